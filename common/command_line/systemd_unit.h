/* The systemd unit of a tunnel: towpath-client@NAME.service. */
#pragma once

#include "common/base/err.h"
#include "common/command_line/tunnel_ref.h"

#include <stdbool.h>
#include <sys/types.h>

#define SYSTEMD_UNIT_NAME_MAX 128

/* True if the process runs in the tunnel's unit. @pid 0: this process. */
bool systemd_unit_has_process(const struct tunnel_ref *tunnel, pid_t pid);

/* True if systemd runs this host and the unit runs, starts, or waits between two starts. */
bool systemd_unit_is_active(const struct tunnel_ref *tunnel);

/* `systemctl enable --now`, waits until it is ready. Return: 0; a negative errno with @err set: it is disabled again. */
int systemd_unit_enable(const struct tunnel_ref *tunnel, struct err *err);

/* `systemctl stop`, waits for it. Return: 0, or a negative errno with @err set. */
int systemd_unit_stop(const struct tunnel_ref *tunnel, struct err *err);
