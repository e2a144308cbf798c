/* require(condition): stop the program where going on would corrupt its state.
 *
 * Only for our own mistakes: a count that falls below zero, a removal from a list that does not hold the object, memory
 * that is freed with a request in flight. Never for what a peer, a user, a file, the kernel or a lack of memory can
 * cause: those are errors and have an answer. Never on the path of a datagram.
 *
 * The line at error level names file, line and condition. abort() leaves a core file; the supervisor or systemd then
 * starts the program again. The condition is always evaluated, also with NDEBUG.
 */
#pragma once

#include "common/base/log.h"

#include <stdlib.h>

#define require(condition)                                                                                             \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			log_error("internal", "%s:%d: must hold, does not: %s", __FILE__, __LINE__, #condition);       \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)
