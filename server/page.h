/* The plain page for visitors: made at the first start, kept in the state folder, different on each host. It names
 * neither the host nor the program. */
#pragma once

#include "common/base/err.h"

/* Read FOLDER/page.html; make it first where it does not exist. An operator may replace it by a better one. Return: 0
 * (free() *ret_html) or a negative errno. */
int page_ensure(const char *folder, char **ret_html, struct err *err);
