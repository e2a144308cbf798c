/* See dropins.h. Happy path: read the file, list the folder, add one file after the other. Fails where one of them cannot
 * be read: a configuration without one of its files may let in a client that was revoked there. */
#include "common/base/dropins.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

size_t dropins_stem_len(const char *path)
{
	size_t len = strlen(path);

	return len > 5 && strcmp(path + len - 5, ".conf") == 0 ? len - 5 : len;
}

int dropins_folder(const char *path, char ret[PATH_MAX])
{
	int len = snprintf(ret, PATH_MAX, "%.*s.d", (int)dropins_stem_len(path), path);

	return len < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static int is_dropin(const struct dirent *entry)
{
	return entry->d_name[0] != '.' && dropins_stem_len(entry->d_name) < strlen(entry->d_name);
}

/* Not alphasort(): its order is the locale's. */
static int compare_names(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* One that was deleted since the folder was listed is not there any more. A link that leads nowhere is. */
static int read_one(const char *folder, const char *name, struct ini *ini, struct ini_report *report, struct err *err)
{
	char path[PATH_MAX], target[1];
	int rc;

	if (snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int)sizeof(path))
		return err_system(err, -ENAMETOOLONG, "%s/%s", folder, name);
	rc = ini_read_dropin(path, ini, report, err);
	return rc == -ENOENT && readlink(path, target, sizeof(target)) < 0 && errno == ENOENT ? 0 : rc;
}

int dropins_read(const char *path, struct ini *ret, struct ini_report *report, struct err *err)
{
	int rc = ini_read(path, ret, report, err), wrong = rc == -EINVAL ? rc : 0, count;
	struct dirent **entries = NULL;
	char folder[PATH_MAX];

	if (rc < 0 && rc != -EINVAL)
		return rc;
	count = dropins_folder(path, folder) < 0 ? 0 : scandir(folder, &entries, is_dropin, compare_names);
	rc = count < 0 && errno != ENOENT ? err_system(err, -errno, "%s", folder) : 0;
	for (int i = 0; i < count; i++) {
		if (rc == 0)
			rc = read_one(folder, entries[i]->d_name, ret, report, err);
		if (rc == -EINVAL) {
			wrong = rc;
			rc = 0;
		}
		free(entries[i]);
	}
	free(entries);
	if (rc < 0)
		ini_done(ret);
	return rc < 0 ? rc : wrong;
}
