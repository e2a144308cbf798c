/* A struct written by its table is read back as it was, numbers of every size included. */
#include "common/base/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct sample {
	uint8_t tiny;
	uint16_t small;
	uint32_t middle;
	uint64_t large;
};

static const struct record_field fields[] = {
	{RECORD_FIELD(struct sample, tiny, RECORD_NUMBER, 0, UINT8_MAX)},
	{RECORD_FIELD(struct sample, small, RECORD_NUMBER, 0, UINT16_MAX)},
	{RECORD_FIELD(struct sample, middle, RECORD_NUMBER, 0, UINT32_MAX)},
	{RECORD_FIELD(struct sample, large, RECORD_NUMBER, 0, INT64_MAX)},
};
static const struct record record = {"sample", fields, sizeof(fields) / sizeof(*fields), sizeof(struct sample)};

static void numbers_of_every_size_come_back(void **state)
{
	const struct sample sample = {200, 60000, 4000000000u, 1ull << 40};
	struct sample read = {0};
	struct err err = {""};
	int fd = record_write(&record, &sample, &err);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(record_read(&record, fd, &read, &err), 0);
	assert_int_equal(read.tiny, 200);
	assert_int_equal(read.small, 60000);
	assert_int_equal(read.middle, 4000000000u);
	assert_int_equal(read.large, 1ull << 40);
	record_done(&record, &read);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(numbers_of_every_size_come_back)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
