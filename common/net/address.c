#include "common/net/address.h"
