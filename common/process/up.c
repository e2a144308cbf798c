#include "common/process/up.h"
