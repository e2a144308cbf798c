/* The systemd unit of a tunnel: towpath-client@NAME.service. */
#ifndef TOWPATH_PROCESS_UNIT_H
#define TOWPATH_PROCESS_UNIT_H

#include "common/base/err.h"
#include "common/process/subject.h"

#include <stdbool.h>
#include <sys/types.h>

#define UNIT_NAME_MAX 128

/* Does that process run in the tunnel's unit? @pid: 0: we ourselves. */
bool unit_has_process(const struct subject *subject, pid_t pid);

/* Is there a systemd, and is the unit loaded and about to start or running? Also between two starts. */
bool unit_is_active(const struct subject *subject);

/* `systemctl stop`, waits for it. Return: 0, or a negative errno with @err set. */
int unit_stop(const struct subject *subject, struct err *err);

#endif
