#include "common/host/check.h"
