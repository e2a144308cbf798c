/* Secrets: read from files, compared in constant time, wiped after use.
 *
 * Files are read with read() into a buffer of ours: stdio would keep a copy. Only the first line counts, as an editor
 * or echo leaves it. Fails with the file's name, never with its content.
 */
#include "common/base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void secret_wipe(void *memory, size_t len)
{
	if (memory)
		OPENSSL_cleanse(memory, len);
}

void secret_free(char *text)
{
	if (!text)
		return;
	secret_wipe(text, strlen(text));
	free(text);
}

/* memcmp() ends at the first difference, and its time tells how many bytes of a guess were right. */
bool secret_equal(const void *a, const void *b, size_t len)
{
	return CRYPTO_memcmp(a, b, len) == 0;
}

/* Read until a line end, the end of the file or @size bytes. Return: bytes read, or a negative errno. */
static ssize_t read_first_line(int fd, char *buf, size_t size)
{
	size_t used = 0;

	while (used < size && !memchr(buf, '\n', used)) {
		ssize_t len = read(fd, buf + used, size - used);

		if (len < 0 && errno == EINTR)
			continue;
		if (len < 0)
			return -errno;
		if (len == 0)
			break;
		used += (size_t)len;
	}
	return (ssize_t)used;
}

/* Cut the line end off. Return: the line's length, or a negative errno with the reason in @err. */
static ssize_t check_line(const char *buf, size_t len, size_t max, const char *path, struct err *err)
{
	const char *end = memchr(buf, '\n', len);

	if (end)
		len = (size_t)(end - buf);
	if (len > 0 && buf[len - 1] == '\r')
		len--;
	if (len == 0)
		return err_set(err, -EINVAL, "%s: the first line is empty; expected the secret there", path);
	if (len > max)
		return err_set(err, -EINVAL, "%s: the first line is longer than %zu characters", path, max);
	if (memchr(buf, '\0', len))
		return err_set(err, -EINVAL, "%s: the first line has a NUL byte; expected a line of text", path);
	return (ssize_t)len;
}

static int read_secret(int fd, const char *path, size_t max, char **ret_text, struct err *err)
{
	size_t size = max + 3; /* one more than allowed, "\r\n" */
	char *buf = calloc(1, size);
	ssize_t len;

	if (!buf)
		return err_system(err, -ENOMEM, "%s", path);
	len = read_first_line(fd, buf, size);
	if (len < 0)
		err_system(err, (int)len, "%s", path);
	else
		len = check_line(buf, (size_t)len, max, path, err);
	if (len < 0) {
		secret_wipe(buf, size);
		free(buf);
		return (int)len;
	}
	/* Also what lies behind the line, which secret_free() does not see. */
	secret_wipe(buf + len, size - (size_t)len);
	*ret_text = buf;
	return 0;
}

int secret_read_file(const char *path, size_t max, char **ret_text, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	int rc;

	if (fd < 0)
		return err_system(err, -errno, "%s", path);
	rc = read_secret(fd, path, max, ret_text, err);
	close(fd);
	return rc;
}
