/* sd_notify() where libsystemd was there at build time. Fails silently: systemd not listening is the normal case. */
#include "common/process/notify.h"

#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>

void notify_ready(void)
{
	sd_notify(0, "READY=1");
}

void notify_status(const char *text)
{
	sd_notifyf(0, "STATUS=%s", text);
}

void notify_stopping(void)
{
	sd_notify(0, "STOPPING=1");
}

void notify_alive(void)
{
	sd_notify(0, "WATCHDOG=1");
}

uint64_t notify_alive_interval_ms(void)
{
	uint64_t interval_us = 0;

	return sd_watchdog_enabled(0, &interval_us) > 0 ? interval_us / 2000 : 0;
}

#else

void notify_ready(void)
{
}

void notify_status(const char *text)
{
	(void)text;
}

void notify_stopping(void)
{
}

void notify_alive(void)
{
}

uint64_t notify_alive_interval_ms(void)
{
	return 0;
}

#endif
