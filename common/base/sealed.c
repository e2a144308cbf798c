/* See sealed.h. Writing: dump, write, seal. Reading: check seals and size, read, parse, wipe the text. Fails with one
 * sentence, and without leaving a descriptor or a secret behind. The parser's own words are never passed on, since they
 * quote the text around the fault.
 *
 * A memory file, not a pipe: the settings of a hub with 100,000 clients are 20 MB, and the worker reads them in one go
 * after it has started. Not a file on disk: secrets would stay there, and the worker has no file system.
 */
#include "common/base/sealed.h"

#include "common/base/file.h"
#include "common/base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEALED_SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

/* Compatible with free(): text from json_dumps() may be freed by it anywhere. */
static void sealed_free(void *memory)
{
	if (!memory)
		return;
	secret_wipe(memory, malloc_usable_size(memory));
	free(memory);
}

/* jansson has one pair of functions for the whole program; set again and again, so that no order of calls matters. */
static void sealed_use_wiping_memory(void)
{
	json_set_alloc_funcs(malloc, sealed_free);
}

json_t *sealed_new_object(void)
{
	sealed_use_wiping_memory();
	return json_object();
}

/* Sealed last: F_SEAL_WRITE ends our own writing too. */
static int sealed_write_text(const char *name, const char *text, struct err *err)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int rc;

	if (fd < 0)
		return err_system(err, -errno, "%s: memory file", name);
	rc = file_write_all(fd, text, strlen(text));
	if (rc == 0 && fcntl(fd, F_ADD_SEALS, SEALED_SEALS) < 0)
		rc = -errno;
	if (rc < 0) {
		close(fd);
		return err_system(err, rc, "%s: memory file", name);
	}
	return fd;
}

int sealed_write(const char *name, json_t *object, struct err *err)
{
	char *text;
	int rc;

	if (!object)
		return err_set(err, -ENOMEM, "%s: out of memory, or text that is not UTF-8", name);
	text = json_dumps(object, JSON_COMPACT);
	json_decref(object);
	if (!text)
		return err_set(err, -ENOMEM, "%s: out of memory", name);
	rc = sealed_write_text(name, text, err);
	secret_free(text);
	return rc;
}

/* Without the seals the writer could change the text while it is parsed. The size is bounded before memory is taken. */
static int sealed_check_file(int fd, size_t *ret_len, struct err *err)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;

	if (seals < 0 || (seals & SEALED_SEALS) != SEALED_SEALS)
		return err_set(err, -EINVAL, "settings: not a sealed memory file");
	if (fstat(fd, &st) < 0)
		return err_system(err, -errno, "settings");
	if (st.st_size <= 0 || st.st_size > (off_t)SEALED_FILE_MAX)
		return err_set(err, -EINVAL, "settings: %lld bytes", (long long)st.st_size);
	*ret_len = (size_t)st.st_size;
	return 0;
}

static int sealed_parse(const char *text, size_t len, json_t **ret_object, struct err *err)
{
	json_error_t wrong;
	json_t *object;

	sealed_use_wiping_memory();
	object = json_loadb(text, len, JSON_REJECT_DUPLICATES, &wrong);
	if (!object)
		return err_set(
			err, -EINVAL, "settings: byte %d: not JSON", wrong.position); /* its text may quote a secret */
	if (!json_is_object(object)) {
		json_decref(object);
		return err_set(err, -EINVAL, "settings: not a JSON object");
	}
	*ret_object = object;
	return 0;
}

int sealed_read(int fd, json_t **ret_object, struct err *err)
{
	char *text = NULL;
	size_t len = 0;
	ssize_t got;
	int rc = sealed_check_file(fd, &len, err);

	if (rc < 0)
		goto out;
	text = malloc(len);
	if (!text) {
		rc = err_set(err, -ENOMEM, "settings: out of memory");
		goto out;
	}
	got = file_read_all(fd, text, len);
	if (got < 0)
		rc = err_system(err, (int)got, "settings");
	else
		rc = sealed_parse(text, (size_t)got, ret_object, err);
	secret_wipe(text, len);
	free(text);
out:
	close(fd);
	return rc;
}
