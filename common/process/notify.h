/* What systemd is told: readiness, the state in words, that we are alive. Does nothing without systemd, built or run. */
#ifndef TOWPATH_PROCESS_NOTIFY_H
#define TOWPATH_PROCESS_NOTIFY_H

#include <stdint.h>

void notify_ready(void);
void notify_status(const char *text);
void notify_stopping(void);
void notify_alive(void);

/* How often notify_alive() is due: half of WatchdogSec=. Return: milliseconds, 0: never. */
uint64_t notify_alive_interval_ms(void);

#endif
