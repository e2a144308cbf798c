/* See record.h. Happy path of a write: each field becomes a JSON value, the object goes into a sealed memory file.
 * Happy path of a read: each field's value is looked up by its key, checked against the row, and put where the row
 * says.
 *
 * A field is found by its offset in the struct, and a number by its size. The table must describe the struct
 * exactly: RECORD_FIELD() takes both from the field itself, so that only the kind can be wrong.
 *
 * Elements of an array are records again. Where the table of the element has one field without a key, the element is
 * that value itself: ["X-A: 1", "X-B: 2"] instead of [{"header":"X-A: 1"}, …].
 *
 * Reading stops at the first thing that is wrong; what was read until then is freed by the same table. jansson's
 * memory is wiped when it is freed, see sealed.c.
 */
#include "common/base/record.h"

#include "common/base/addr.h"
#include "common/base/base64.h"
#include "common/base/sealed.h"
#include "common/base/secret.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BYTES_MAX 64 /* of RECORD_BYTES; a SHA-256 has 32 */

static json_t *pack_record(const struct record *record, const void *owner);

/* --- writing --- */

/* Integers of all sizes are unsigned here; an enum that never is negative has the same bytes. */
static uint64_t load_number(const void *at, size_t size)
{
	uint64_t number = 0;

	if (size == sizeof(uint8_t))
		number = *(const uint8_t *)at;
	else if (size == sizeof(uint16_t))
		number = *(const uint16_t *)at;
	else if (size == sizeof(uint32_t))
		number = *(const uint32_t *)at;
	else if (size == sizeof(uint64_t))
		number = *(const uint64_t *)at;
	return number;
}

static json_t *pack_addr(const struct addr *addr, uint16_t port)
{
	struct addr with_port = *addr;
	char text[ADDR_TEXT_MAX];

	addr_set_port(&with_port, port);
	return json_string(addr_format(text, sizeof(text), &with_port));
}

static json_t *pack_array(const struct record_field *field, const void *owner)
{
	const char *elements = *(const char *const *)((const char *)owner + field->offset);
	size_t count = *(const size_t *)((const char *)owner + field->count_offset);
	json_t *array = json_array();

	for (size_t i = 0; i < count; i++)
		if (json_array_append_new(array, pack_record(field->element, elements + i * field->element->size)) <
			0) {
			json_decref(array);
			return NULL;
		}
	return array;
}

static json_t *pack_field(const struct record_field *field, const void *owner)
{
	const void *at = (const char *)owner + field->offset;
	const char *const *pointer = at;
	char text[BASE64_LEN(BYTES_MAX) + 1];

	switch (field->kind) {
	case RECORD_TEXT:
	case RECORD_TEXT_OR_NULL:
		return *pointer ? json_string(*pointer) : json_null();
	case RECORD_CHARS:
		return json_string(at);
	case RECORD_NUMBER:
		return json_integer((json_int_t)load_number(at, field->size));
	case RECORD_BOOL:
		return json_boolean(*(const bool *)at);
	case RECORD_ADDR:
		return pack_addr(at, addr_port(at));
	case RECORD_ADDR_ONLY:
		return pack_addr(at, 1); /* with a port and in brackets an address is read again without guessing */
	case RECORD_BYTES:
		base64_encode(text, sizeof(text), at, field->size, BASE64_STANDARD);
		return json_string(text);
	case RECORD_ARRAY:
		return pack_array(field, owner);
	}
	return NULL;
}

/* NULL without memory, and for text that is not UTF-8: jansson refuses both, and NULL as a member as well. */
static json_t *pack_record(const struct record *record, const void *owner)
{
	json_t *object;

	if (!record->fields[0].key)
		return pack_field(&record->fields[0], owner);
	object = sealed_new_object();
	for (size_t i = 0; i < record->field_count; i++)
		if (json_object_set_new(object, record->fields[i].key, pack_field(&record->fields[i], owner)) < 0) {
			json_decref(object);
			return NULL;
		}
	return object;
}

int record_write(const struct record *record, const void *owner, struct err *err)
{
	return sealed_write(record->noun, pack_record(record, owner), err);
}

/* --- reading --- */

/* Where a value comes from, for complaints. */
struct source {
	const char *noun, *key;
	struct err *err;
};

static int take_record(const struct record *record, const json_t *value, void *ret, const struct source *source);

static int refuse(const struct source *source, const char *what)
{
	return err_set(source->err, -EINVAL, "%s: %s: %s", source->noun, source->key, what);
}

/* @ret_text: borrowed; NULL for JSON's null where the field may be it. */
static int check_text(const struct record_field *field, const json_t *value, size_t min, size_t max,
	const char **ret_text, const struct source *source)
{
	const char *fault;

	*ret_text = json_string_value(value);
	if (json_is_null(value) && field->kind == RECORD_TEXT_OR_NULL)
		return 0;
	if (!*ret_text)
		return refuse(source, "not text");
	if (json_string_length(value) < min || json_string_length(value) > max)
		return refuse(source, "of a wrong length");
	fault = field->find_fault ? field->find_fault(*ret_text) : NULL;
	return fault ? refuse(source, fault) : 0;
}

/* The copy is the record's own: the JSON object is freed, and wiped, when reading ends. */
static int take_text(const struct record_field *field, const json_t *value, char **ret, const struct source *source)
{
	const char *text;
	int rc = check_text(field, value, field->min, field->max, &text, source);

	if (rc < 0 || !text)
		return rc;
	*ret = strdup(text);
	return *ret ? 0 : err_set(source->err, -ENOMEM, "%s: out of memory", source->noun);
}

static int take_chars(const struct record_field *field, const json_t *value, char *ret, const struct source *source)
{
	const char *text;
	int rc = check_text(field, value, 1, field->size - 1, &text, source);

	if (rc == 0)
		memcpy(ret, text, strlen(text) + 1);
	return rc;
}

static int take_number(const struct record_field *field, const json_t *value, void *ret, const struct source *source)
{
	json_int_t number = json_integer_value(value);

	if (!json_is_integer(value))
		return refuse(source, "not an integer");
	if (number < 0 || (uint64_t)number < field->min || (uint64_t)number > field->max)
		return refuse(source, "out of range");
	if (field->size == sizeof(uint8_t))
		*(uint8_t *)ret = (uint8_t)number;
	else if (field->size == sizeof(uint16_t))
		*(uint16_t *)ret = (uint16_t)number;
	else if (field->size == sizeof(uint32_t))
		*(uint32_t *)ret = (uint32_t)number;
	else if (field->size == sizeof(uint64_t))
		*(uint64_t *)ret = (uint64_t)number;
	return 0;
}

/* The port is never a guess: record_write() puts one behind every address. */
static int take_addr(const json_t *value, bool has_port, struct addr *ret, const struct source *source)
{
	const char *text = json_string_value(value);

	if (!text || addr_parse(text, 0, ret) < 0)
		return refuse(source, has_port ? "not an address with its port" : "not an address");
	if (!has_port)
		addr_set_port(ret, 0);
	return 0;
}

/* The count grows with each element, so that record_done() frees what was read when a later one is refused. */
static int take_array(const struct record_field *field, const json_t *value, void *owner, const struct source *source)
{
	size_t total = json_array_size(value), size = field->element->size;
	size_t *count = (size_t *)((char *)owner + field->count_offset);
	char *elements;
	int rc = 0;

	if (!json_is_array(value))
		return refuse(source, "not an array");
	if (total < field->min || total > field->max)
		return refuse(source, "too few or too many elements");
	if (total == 0)
		return 0;
	elements = calloc(total + 1, size);
	if (!elements)
		return err_set(source->err, -ENOMEM, "%s: out of memory", source->noun);
	*(void **)((char *)owner + field->offset) = elements;
	for (*count = 0; rc == 0 && *count < total; ++*count)
		rc = take_record(field->element, json_array_get(value, *count), elements + *count * size, source);
	return rc;
}

static int take_field(const struct record_field *field, const json_t *value, void *owner, const struct source *source)
{
	const char *text = json_string_value(value);
	void *at = (char *)owner + field->offset;

	if (!value)
		return refuse(source, "missing");
	switch (field->kind) {
	case RECORD_TEXT:
	case RECORD_TEXT_OR_NULL:
		return take_text(field, value, at, source);
	case RECORD_CHARS:
		return take_chars(field, value, at, source);
	case RECORD_NUMBER:
		return take_number(field, value, at, source);
	case RECORD_BOOL:
		*(bool *)at = json_is_true(value);
		return json_is_boolean(value) ? 0 : refuse(source, "neither true nor false");
	case RECORD_ADDR:
	case RECORD_ADDR_ONLY:
		return take_addr(value, field->kind == RECORD_ADDR, at, source);
	case RECORD_BYTES:
		if (text && base64_decode(at, field->size, text, strlen(text), BASE64_STANDARD) == (ssize_t)field->size)
			return 0;
		return refuse(source, "not base64 of the right length");
	case RECORD_ARRAY:
		return take_array(field, value, owner, source);
	}
	return -EINVAL;
}

/* @source: of the array this is an element of; an element that is no object is complained about by the array's key. */
static int take_record(const struct record *record, const json_t *value, void *ret, const struct source *source)
{
	int rc = 0;

	if (!record->fields[0].key)
		return take_field(&record->fields[0], value, ret, source);
	if (!json_is_object(value))
		return err_set(source->err, -EINVAL, "%s: not a JSON object", record->noun);
	for (size_t i = 0; rc == 0 && i < record->field_count; i++) {
		const struct record_field *field = &record->fields[i];
		const struct source here = {record->noun, field->key, source->err};

		rc = take_field(field, json_object_get(value, field->key), ret, &here);
	}
	if (rc == 0 && json_object_size(value) != record->field_count)
		rc = err_set(source->err, -EINVAL, "%s: a field that nobody knows", record->noun);
	return rc;
}

int record_read(const struct record *record, int fd, void *ret, struct err *err)
{
	const struct source source = {record->noun, NULL, err};
	json_t *object = NULL;
	int rc;

	memset(ret, 0, record->size);
	rc = sealed_read(fd, &object, err);
	if (rc < 0)
		return rc;
	rc = take_record(record, object, ret, &source);
	json_decref(object);
	if (rc < 0)
		record_done(record, ret);
	return rc;
}

/* --- freeing --- */

void record_done(const struct record *record, void *owner)
{
	for (size_t i = 0; i < record->field_count; i++) {
		const struct record_field *field = &record->fields[i];
		char *memory;

		if (field->kind != RECORD_TEXT && field->kind != RECORD_TEXT_OR_NULL && field->kind != RECORD_ARRAY)
			continue;
		memory = *(char **)((char *)owner + field->offset);
		if (field->kind != RECORD_ARRAY) {
			secret_free(memory);
			continue;
		}
		/* Only the elements that were read are counted; memory behind them is zeroed. */
		for (size_t j = 0; j < *(size_t *)((char *)owner + field->count_offset); j++)
			record_done(field->element, memory + j * field->element->size);
		free(memory);
	}
	secret_wipe(owner, record->size);
}
