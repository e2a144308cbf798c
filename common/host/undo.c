#include "common/host/undo.h"
