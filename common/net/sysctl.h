/* Kernel parameters, by their path under /proc/sys: "net/ipv4/conf/all/src_valid_mark". With slashes, because a
 * device's name may have dots. Those of the network are of this process's network namespace. */
#pragma once

#include "common/base/err.h"

#include <stdbool.h>

#define SYSCTL_VALUE_MAX 64
#define SYSCTL_PATH_MAX 128

/* Return: 0, -ENOENT (not in this kernel, or no such device), or another negative errno. @ret: without the newline. */
int sysctl_read(const char *path, char ret[SYSCTL_VALUE_MAX], struct err *err);
/* Writes only where the value is another one. */
int sysctl_set(const char *path, const char *value, struct err *err);

/* Changes nothing. Return: 0 if sysctl_set() would be allowed to, or has nothing to do; as sysctl_read() otherwise. */
int sysctl_check(const char *path, const char *value);

/* True if an error of sysctl_set() says that this process may not write: /proc/sys is read-only in most containers. */
bool sysctl_is_denied(int rc);
