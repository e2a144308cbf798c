/* Drop-ins: files beside a configuration that are read as if they stood at its end.
 *
 * Beside /etc/towpath/hub.conf these are the files of the folder /etc/towpath/hub.d whose names end in ".conf" and do not
 * begin with a dot, in the order of their names' bytes. So what an editor or a package manager leaves there
 * (laptop.conf~, .laptop.conf.swp, laptop.conf.dpkg-new) is not read. A drop-in begins with a section of its own.
 */
#pragma once

#include "common/base/err.h"
#include "common/base/ini.h"

#include <limits.h>
#include <stddef.h>

/* Read @path and its drop-ins. Return: as ini_read(). A folder that is not there has none. */
int dropins_read(const char *path, struct ini *ret, struct ini_report *report, struct err *err);

/* The length of @path without ".conf". */
size_t dropins_stem_len(const char *path);

/* The folder of @path's drop-ins. Return: 0 or -ENAMETOOLONG. */
int dropins_folder(const char *path, char ret[PATH_MAX]);
