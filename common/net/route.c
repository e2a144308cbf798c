#include "common/net/route.h"
