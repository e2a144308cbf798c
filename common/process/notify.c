/* sd_notify() where libsystemd was there at build time, and the pipe of `up`. Fails silently: it is the normal case
 * that systemd does not listen and that no `up` waits.
 */
#include "common/process/notify.h"

#include <unistd.h>

#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#else /* built without libsystemd: nothing listens, as where the variable NOTIFY_SOCKET is missing */
#define sd_notify(unset, text) ((void)0)
#define sd_notifyf(unset, format, text) ((void)(text))
#define sd_watchdog_enabled(unset, ret) ((void)(ret), 0)
#endif

void notify_flowing(int up_fd)
{
	ssize_t ignored;

	dup2(STDOUT_FILENO, STDERR_FILENO);
	ignored = write(up_fd, "", 1); /* `up` may have been killed meanwhile; the tunnel stays up */
	(void)ignored;
	close(up_fd);
}

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
