/* Kernel parameters, by their path under /proc/sys: "net/ipv4/conf/all/src_valid_mark". With slashes, because a
 * device's name may have dots. Those of the network are of this process's network namespace. */
#pragma once

#include "common/base/err.h"

#define SYSCTL_VALUE_MAX 64
#define SYSCTL_PATH_MAX 128

/* Return: 0, -ENOENT (not in this kernel, or no such device), or another negative errno. @ret: without the newline. */
int sysctl_read(const char *path, char ret[SYSCTL_VALUE_MAX], struct err *err);
int sysctl_write(const char *path, const char *value, struct err *err);
