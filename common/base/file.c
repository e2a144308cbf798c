/* See file.h.
 *
 * Reading: check type and size, read into a buffer of ours, which is wiped on failure; stdio would keep a copy. The
 * buffer ends with a NUL, so a file with a NUL in it is no text and is refused.
 *
 * Writing: a temporary file beside the target (mkostemp(), 0600), written and synced, takes its name.
 *
 *    NAME.XXXXXX ──write, fsync──▶ rename() or link() to NAME ──▶ fsync of the folder
 *        │
 *        └── any failure ──▶ it is removed, and NAME is as it was
 *
 * rename() takes the place of an old file. link() refuses one, also one that another process has made a moment ago,
 * so two that create the same file cannot both succeed.
 */
#include "common/base/file.h"

#include "common/base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
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

/* A signal may end a call early, or with EINTR; 0 bytes are the end of the file. */
ssize_t file_read_all(int fd, char *buf, size_t size)
{
	size_t used = 0;
	ssize_t got = 1;

	while (used < size && got != 0) {
		got = pread(fd, buf + used, size - used, (off_t)used);
		if (got < 0 && errno != EINTR)
			return -errno;
		used += got > 0 ? (size_t)got : 0;
	}
	return (ssize_t)used;
}

int file_write_all(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t put = write(fd, text, len);

		if (put < 0 && errno != EINTR)
			return -errno;
		text += put > 0 ? put : 0;
		len -= put > 0 ? (size_t)put : 0;
	}
	return 0;
}

/* @len: bytes, as check_file() has found. Return: 0 with a text of its own for the caller, or a negative errno. */
static int read_text(int fd, const char *path, size_t len, char **ret_text, struct err *err)
{
	char *text = calloc(1, len + 1);
	ssize_t got;

	if (!text)
		return err_system(err, -ENOMEM, "%s", path);
	got = file_read_all(fd, text, len); /* a file that grew meanwhile is cut where it ended before */
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

/* As rename(), for a new name only. */
static int move_to_new(const char *from, const char *to)
{
	return link(from, to) < 0 ? -1 : unlink(from);
}

/* The new name is on disk only when its folder is. A file system that cannot do that (some network ones) is no
 * failure. */
static void sync_folder(const char *path)
{
	char *copy = strdup(path); /* dirname() may change it */
	int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	if (fd >= 0) {
		fsync(fd);
		close(fd);
	}
	free(copy);
}

int file_explain(int rc, const char *path, struct err *err)
{
	if (rc == -ENOSPC || rc == -EDQUOT)
		return err_set(err, rc, "%s: the disk is full, and the file is as it was; expected room for it", path);
	return err_system(err, rc, "%s", path);
}

/* @move: brings the temporary file to its name, rename() or move_to_new(). Return: 0 or a negative errno. */
static int write_whole(
	const char *path, const char *data, size_t len, int (*move)(const char *from, const char *to), struct err *err)
{
	char beside[PATH_MAX];
	int rc, fd;

	if (snprintf(beside, sizeof(beside), "%s.XXXXXX", path) >= (int)sizeof(beside))
		return err_system(err, -ENAMETOOLONG, "%s", path);
	fd = mkostemp(beside, O_CLOEXEC);
	if (fd < 0)
		return file_explain(-errno, beside, err);
	rc = file_write_all(fd, data, len);
	/* Without fsync() a power cut after rename() may leave an empty file under the new name. */
	if (rc == 0 && fsync(fd) < 0)
		rc = -errno;
	if (close(fd) < 0 && rc == 0)
		rc = -errno;
	if (rc == 0 && move(beside, path) < 0)
		rc = -errno;
	if (rc < 0) {
		unlink(beside);
		return file_explain(rc, path, err);
	}
	sync_folder(path);
	return 0;
}

int file_write_text(const char *path, const char *text, struct err *err)
{
	return file_write(path, text, strlen(text), err);
}

int file_write(const char *path, const void *data, size_t len, struct err *err)
{
	return write_whole(path, data, len, rename, err);
}

int file_create_text(const char *path, const char *text, struct err *err)
{
	return write_whole(path, text, strlen(text), move_to_new, err);
}
