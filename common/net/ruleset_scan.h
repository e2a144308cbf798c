/* Reads the rules of nftables and iptables by their programs, beside the loop.
 *
 * A program that fails is logged, and counts as one without rules: this is for help and warnings only.
 */
#pragma once

#include "common/base/err.h"
#include "common/net/ruleset.h"

#include <uv.h>

struct ruleset_scan;

/* @on_read is called once, from the loop; the texts live as long as the call, and the scan is gone after it. Return: 0
 * or a negative errno. */
int ruleset_scan_start(struct ruleset_scan **ret, uv_loop_t *loop,
	void (*on_read)(void *owner, const struct ruleset_texts *texts), void *owner, struct err *err);
/* @on_read does not come any more. NULL: nothing is done. */
void ruleset_scan_close(struct ruleset_scan *scan);
