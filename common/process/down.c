#include "common/process/down.h"
