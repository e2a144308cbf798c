#include "common/net/command.h"
