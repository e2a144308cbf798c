#include "common/net/link.h"
