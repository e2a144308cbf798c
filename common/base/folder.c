/* Folders of ours, made level by level. Fails with the level that could not be made; what was made stays. */
#include "common/base/folder.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* mkdir() first, stat() only afterwards: another process may make the folder between the two. */
static int folder_make(const char *path)
{
	struct stat status;
	int rc = mkdir(path, 0755) < 0 ? -errno : 0;

	if (rc < 0 && stat(path, &status) == 0)
		return S_ISDIR(status.st_mode) ? 0 : -ENOTDIR;
	return rc;
}

/* Levels that are there already are left as they are, with their mode and owner. */
int folder_ensure(const char *path, const char *option, struct err *err)
{
	char level[PATH_MAX];
	size_t len = strlen(path);
	int rc = 0;

	if (len >= sizeof(level))
		return err_system(err, -ENAMETOOLONG, "folder %s", path);
	/* Cut the path behind each level in turn, from the left; index 0 is the root's. */
	for (size_t i = 1; i <= len && rc == 0; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		snprintf(level, sizeof(level), "%.*s", (int)i, path);
		rc = folder_make(level);
	}
	if (rc == 0 && access(path, W_OK) < 0 && errno == EROFS)
		rc = -EROFS;
	return rc < 0 ? err_set(err, rc, "folder %s: %s; %s DIR names another one", level, strerror(-rc), option) : 0;
}

int folder_ensure_parent(const char *path, const char *option, struct err *err)
{
	char parent[PATH_MAX];
	const char *slash = strrchr(path, '/');

	if (!slash || slash == path)
		return 0;
	if ((size_t)(slash - path) >= sizeof(parent))
		return err_system(err, -ENAMETOOLONG, "folder of %s", path);
	snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path), path);
	return folder_ensure(parent, option, err);
}
