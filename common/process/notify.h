/* The notifications that a supervisor sends out: systemd (readiness, the state in words, signs of life) and the `up`
 * that started it. The calls to systemd do nothing where systemd is absent, at build time or at run time. */
#pragma once

#include <stdint.h>

void notify_ready(void);
void notify_status(const char *text);
void notify_stopping(void);
void notify_alive(void);

/* How often notify_alive() is due: half of WatchdogSec=. Return: milliseconds, 0: never. */
uint64_t notify_alive_interval_ms(void);

/* Traffic can flow: from now on standard error is the log, which `up` has put on standard output, and the waiting `up`
 * is told by one byte on its pipe. Closes @up_fd. Cannot fail: an `up` that has left does not matter. */
void notify_flowing(int up_fd);
