/* "wireguard" of the status: what the kernel says of our device, and the numbers that were chosen. */
#pragma once

#include "common/host/applied.h"

#include <jansson.h>
#include <stdbool.h>

/* Reads the device. @is_gone: it was deleted; the report says so, as it does where the device cannot be read. */
json_t *report_make(struct applied *applied, bool is_gone);
