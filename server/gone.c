/* See gone.h. Happy path: one small JSON file, read whole and written whole. A list that is lost costs a guest one word. */
#include "server/gone.h"

#include "common/base/file.h"
#include "common/base/secret.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEPT_S (30 * 24 * 3600)
#define TEXT_MAX (16u << 20)

static void path_of(const char *folder, char ret[PATH_MAX])
{
	snprintf(ret, PATH_MAX, "%s/revoked", folder);
}

json_t *gone_read(const char *folder, int64_t now_s)
{
	char path[PATH_MAX], *text = NULL;
	json_t *list = NULL, *at;
	const char *token;
	void *next;

	path_of(folder, path);
	if (file_read_text(path, TEXT_MAX, &text, NULL) == 0)
		list = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	secret_free(text);
	if (!json_is_object(list)) {
		json_decref(list);
		return json_object();
	}
	json_object_foreach_safe (list, next, token, at)
		if (!json_is_integer(at) || json_integer_value(at) + KEPT_S < now_s)
			json_object_del(list, token);
	return list;
}

int gone_add(const char *folder, const char *token, int64_t now_s, struct err *err)
{
	json_t *list = gone_read(folder, now_s);
	char path[PATH_MAX], *text = NULL;
	int rc;

	path_of(folder, path);
	if (list && json_object_set_new(list, token, json_integer(now_s)) == 0)
		text = json_dumps(list, JSON_INDENT(1));
	rc = text ? file_write_text(path, text, err) : err_system(err, -ENOMEM, "%s", path);
	secret_free(text);
	json_decref(list);
	return rc;
}
