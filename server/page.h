/* The plain page for visitors: made at first start, kept under the state folder, different on each host, naming nobody. */
#ifndef TOWPATH_SERVER_PAGE_H
#define TOWPATH_SERVER_PAGE_H

#include "common/base/err.h"

/* Read FOLDER/page.html, make it first where it does not exist; its owner may write a better one. Return: 0 (free()) or
 * a negative errno. */
int page_ensure(const char *folder, char **ret_html, struct err *err);

#endif
