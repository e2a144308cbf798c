#include "common/base/prefix.h"
