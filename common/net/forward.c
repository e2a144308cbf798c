#include "common/net/forward.h"
