#include "common/host/host.h"
