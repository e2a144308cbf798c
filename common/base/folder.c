/* Folders of ours, made level by level. Fails with the level that could not be made; what was made stays. */
#include "common/base/folder.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* mkdir() first, stat() only afterwards: another process may make the folder between the two. */
static int folder_make(const char *path, struct err *err)
{
	struct stat status;
	int rc = mkdir(path, 0755) < 0 ? -errno : 0;

	if (rc == 0)
		return 0;
	if (stat(path, &status) == 0)
		return S_ISDIR(status.st_mode) ? 0 : err_system(err, -ENOTDIR, "folder %s", path);
	return err_system(err, rc, "folder %s", path);
}

/* Levels that are there already are left as they are, with their mode and owner. */
int folder_ensure(const char *path, struct err *err)
{
	char level[PATH_MAX];
	size_t len = strlen(path);

	if (len >= sizeof(level))
		return err_system(err, -ENAMETOOLONG, "folder %s", path);
	memcpy(level, path, len + 1);
	/* Cut the path at each slash in turn, from the left; index 0 is the root's. */
	for (size_t i = 1; i < len; i++) {
		int rc;

		if (level[i] != '/')
			continue;
		level[i] = '\0';
		rc = folder_make(level, err);
		if (rc < 0)
			return rc;
		level[i] = '/';
	}
	return folder_make(level, err);
}

int folder_ensure_parent(const char *path, struct err *err)
{
	char parent[PATH_MAX];
	const char *slash = strrchr(path, '/');

	if (!slash || slash == path)
		return 0;
	if ((size_t)(slash - path) >= sizeof(parent))
		return err_system(err, -ENAMETOOLONG, "folder of %s", path);
	snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path), path);
	return folder_ensure(parent, err);
}
