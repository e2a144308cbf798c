#include "common/net/rule.h"
