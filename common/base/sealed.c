/* See sealed.h. Writing: dump, write, seal. Reading: check seals and size, read, parse, wipe the text.
 * Fails with a sentence that names the field, and without leaving a descriptor or a secret behind.
 */
#include "common/base/sealed.h"

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

static void sealed_use_wiping_memory(void)
{
	json_set_alloc_funcs(malloc, sealed_free);
}

json_t *sealed_new_object(void)
{
	sealed_use_wiping_memory();
	return json_object();
}

json_t *sealed_text(const char *text)
{
	return text ? json_string(text) : json_null();
}

static int sealed_write_all(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

static int sealed_write_text(const char *name, const char *text, struct err *err)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int rc;

	if (fd < 0)
		return err_system(err, -errno, "%s: memory file", name);
	rc = sealed_write_all(fd, text, strlen(text));
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

static int sealed_read_all(int fd, char *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, buf + done, len - done, (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
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
	int rc = sealed_check_file(fd, &len, err);

	if (rc < 0)
		goto out;
	text = malloc(len);
	if (!text) {
		rc = err_set(err, -ENOMEM, "settings: out of memory");
		goto out;
	}
	rc = sealed_read_all(fd, text, len);
	if (rc < 0)
		err_system(err, rc, "settings");
	else
		rc = sealed_parse(text, len, ret_object, err);
	secret_wipe(text, len);
	free(text);
out:
	close(fd);
	return rc;
}

void fields_open(struct fields *fields, const json_t *object, const char *noun, struct err *err)
{
	*fields = (struct fields){.object = object, .noun = noun, .err = err};
	if (!json_is_object(object))
		fields->code = err_set(err, -EINVAL, "%s: not a JSON object", noun);
}

void fields_fail(struct fields *fields, const char *key, const char *what)
{
	if (fields->code == 0)
		fields->code = err_set(fields->err, -EINVAL, "%s: %s: %s", fields->noun, key, what);
}

/* The value, or NULL after a failure that has been remembered. */
static const json_t *fields_take(struct fields *fields, const char *key)
{
	const json_t *value;

	if (fields->code < 0)
		return NULL;
	value = json_object_get(fields->object, key);
	if (!value)
		fields_fail(fields, key, "missing");
	fields->taken++;
	return value;
}

/* The text of @key between @min and @max bytes, borrowed; NULL otherwise. */
static const char *fields_borrow_text(
	struct fields *fields, const char *key, size_t min, size_t max, enum fields_presence presence)
{
	const json_t *value = fields_take(fields, key);

	if (!value || (json_is_null(value) && presence == FIELDS_MAY_BE_NULL))
		return NULL;
	if (!json_is_string(value)) {
		fields_fail(fields, key, "not text");
		return NULL;
	}
	if (json_string_length(value) < min || json_string_length(value) > max) {
		fields_fail(fields, key, "of a wrong length");
		return NULL;
	}
	return json_string_value(value);
}

char *fields_take_text(struct fields *fields, const char *key, size_t min, size_t max, enum fields_presence presence)
{
	const char *text = fields_borrow_text(fields, key, min, max, presence);
	char *copy = text ? strdup(text) : NULL;

	if (text && !copy)
		fields->code = err_set(fields->err, -ENOMEM, "%s: out of memory", fields->noun);
	return copy;
}

void fields_take_text_into(struct fields *fields, const char *key, char *buf, size_t size)
{
	const char *text = fields_borrow_text(fields, key, 1, size - 1, FIELDS_REQUIRED);

	buf[0] = '\0';
	if (text)
		memcpy(buf, text, strlen(text) + 1);
}

uint64_t fields_take_number(struct fields *fields, const char *key, uint64_t min, uint64_t max)
{
	const json_t *value = fields_take(fields, key);
	json_int_t number;

	if (!value)
		return 0;
	if (!json_is_integer(value)) {
		fields_fail(fields, key, "not an integer");
		return 0;
	}
	number = json_integer_value(value);
	if (number < 0 || (uint64_t)number < min || (uint64_t)number > max) {
		fields_fail(fields, key, "out of range");
		return 0;
	}
	return (uint64_t)number;
}

bool fields_take_bool(struct fields *fields, const char *key)
{
	const json_t *value = fields_take(fields, key);

	if (value && !json_is_boolean(value))
		fields_fail(fields, key, "neither true nor false");
	return value && json_is_true(value);
}

void fields_take_addr(struct fields *fields, const char *key, struct addr *ret)
{
	const char *text = fields_borrow_text(fields, key, 1, ADDR_TEXT_MAX - 1, FIELDS_REQUIRED);

	if (text && addr_parse(text, 0, ret) < 0)
		fields_fail(fields, key, "not an address with its port");
}

const json_t *fields_take_array(struct fields *fields, const char *key, size_t min, size_t max)
{
	const json_t *value = fields_take(fields, key);

	if (!value)
		return NULL;
	if (!json_is_array(value)) {
		fields_fail(fields, key, "not an array");
		return NULL;
	}
	if (json_array_size(value) < min || json_array_size(value) > max) {
		fields_fail(fields, key, "too few or too many elements");
		return NULL;
	}
	return value;
}

int fields_close(struct fields *fields)
{
	if (fields->code == 0 && fields->taken != json_object_size(fields->object))
		fields->code = err_set(fields->err, -EINVAL, "%s: a field that nobody knows", fields->noun);
	return fields->code;
}
