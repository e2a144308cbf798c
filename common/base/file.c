/* See file.h. Reading: check type and size, read into a buffer of ours, which is wiped on failure; stdio would keep
 * a copy. Writing: a temporary file beside the target, written and synced, takes its name; a failure leaves the old
 * file as it was and removes the temporary one.
 */
#include "common/base/file.h"

#include "common/base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Return: the size in bytes, at least 1, or a negative errno. */
static int check_file(int fd, const char *path, size_t max, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_system(err, -errno, "%s", path);
	if (!S_ISREG(st.st_mode))
		return err_set(err, -EINVAL, "%s: not a regular file", path);
	if (st.st_size == 0 || (size_t)st.st_size > max)
		return err_set(err, -EINVAL, "%s: %s", path, st.st_size ? "too large" : "empty");
	return (int)st.st_size;
}

/* At most @len bytes, fewer where the file shrinks meanwhile. Return: bytes read or a negative errno. */
static ssize_t read_up_to(int fd, char *buf, size_t len)
{
	size_t used = 0;

	while (used < len) {
		ssize_t n = read(fd, buf + used, len - used);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		used += (size_t)n;
	}
	return (ssize_t)used;
}

static int read_text(int fd, const char *path, size_t len, char **ret_text, struct err *err)
{
	char *text = calloc(1, len + 1);
	ssize_t got;

	if (!text)
		return err_system(err, -ENOMEM, "%s", path);
	got = read_up_to(fd, text, len); /* a file that grew meanwhile is cut where it ended before */
	if (got >= 0 && strlen(text) == (size_t)got) {
		*ret_text = text;
		return 0;
	}
	secret_wipe(text, len);
	free(text);
	return got < 0 ? err_system(err, (int)got, "%s", path) : err_set(err, -EINVAL, "%s: not a text file", path);
}

int file_read_text(const char *path, size_t max, char **ret_text, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK); /* a pipe must not hold us up */
	int rc;

	if (fd < 0)
		return err_system(err, -errno, "%s", path);
	rc = check_file(fd, path, max, err);
	if (rc >= 0)
		rc = read_text(fd, path, (size_t)rc, ret_text, err);
	close(fd);
	return rc;
}

/* Without fsync() a power cut after rename() may leave an empty file under the new name. */
static int write_whole(int fd, const char *text)
{
	size_t len = strlen(text);
	ssize_t n;

	while (len > 0) {
		n = write(fd, text, len);
		if (n < 0)
			return -errno;
		text += n;
		len -= (size_t)n;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

int file_write_text(const char *folder, const char *path, const char *text, struct err *err)
{
	char beside[PATH_MAX];
	int rc;
	int fd;

	if (snprintf(beside, sizeof(beside), "%s.XXXXXX", path) >= (int)sizeof(beside))
		return err_system(err, -ENAMETOOLONG, "%s", path);
	fd = mkostemp(beside, O_CLOEXEC);
	if (fd < 0)
		return err_system(err, -errno, "%s", beside);
	rc = write_whole(fd, text);
	if (close(fd) < 0 && rc == 0)
		rc = -errno;
	if (rc == 0 && rename(beside, path) < 0)
		rc = -errno;
	if (rc < 0) {
		unlink(beside);
		return err_system(err, rc, "%s", path);
	}
	/* The new name is on disk only when its folder is. A file system that cannot do that (some network ones) is no
	 * failure. */
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0) {
		fsync(fd);
		close(fd);
	}
	return 0;
}
