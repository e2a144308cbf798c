/* An invitation as text: it comes back as it was, and one that was damaged on the way is noticed. */
#include "common/base/invitation.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct prefix prefix_of(const char *text)
{
	struct prefix prefix;

	assert_int_equal(prefix_parse(text, &prefix), 0);
	return prefix;
}

static struct invitation make(void)
{
	struct invitation invitation = {.server = "vps.example.org:8443",
		.hub = "hub",
		.client = "laptop",
		.token = "0123456789abcdefghijABCDEFGHIJ-_",
		.has_pin = true,
		.address_count = 2,
		.allowed_count = 1,
		.until_s = 1764500000};

	memset(invitation.public_key, 0xa5, sizeof(invitation.public_key));
	memset(invitation.pin, 0x5a, sizeof(invitation.pin));
	invitation.addresses[0] = prefix_of("10.10.0.2/24");
	invitation.addresses[1] = prefix_of("fd10::2/64");
	invitation.allowed[0] = prefix_of("10.10.0.0/24");
	return invitation;
}

static void it_comes_back(void **state)
{
	struct invitation before = make(), after;
	char text[INVITATION_TEXT_MAX];
	const char *why;

	(void)state;
	assert_true(invitation_format(text, sizeof(text), &before) > 0);
	assert_memory_equal(text, "towpath://vps.example.org:8443/#", 32);
	assert_int_equal(invitation_parse(text, &after, &why), 0);
	assert_string_equal(after.server, before.server);
	assert_string_equal(after.hub, "hub");
	assert_string_equal(after.client, "laptop");
	assert_string_equal(after.token, before.token);
	assert_true(after.has_pin);
	assert_memory_equal(after.pin, before.pin, sizeof(after.pin));
	assert_memory_equal(after.public_key, before.public_key, sizeof(after.public_key));
	assert_int_equal(after.address_count, 2);
	assert_true(prefix_equal(&after.addresses[1], &before.addresses[1]));
	assert_int_equal(after.allowed_count, 1);
	assert_int_equal(after.lan_count, 0);
	assert_int_equal(after.until_s, before.until_s);
}

/* Each character replaced by its neighbour, each one missing, each length cut: never taken. */
static void damage_is_noticed(void **state)
{
	struct invitation before = make(), after;
	char text[INVITATION_TEXT_MAX], damaged[INVITATION_TEXT_MAX + 2];
	const char *why;
	int len = invitation_format(text, sizeof(text), &before);

	(void)state;
	for (int i = 0; i < len; i++) {
		strcpy(damaged, text);
		damaged[i] = damaged[i] == 'b' ? 'c' : 'b';
		assert_int_equal(invitation_parse(damaged, &after, &why), -EINVAL);
		assert_memory_equal(why, "damaged", 7);
		memmove(damaged + i, text + i + 1, (size_t)(len - i));
		if (strcmp(damaged, text) != 0)
			assert_int_equal(invitation_parse(damaged, &after, &why), -EINVAL);
		snprintf(damaged, sizeof(damaged), "%.*s", i, text);
		assert_int_equal(invitation_parse(damaged, &after, &why), -EINVAL);
	}
}

/* Base64 has one spelling. */
static void only_canonical_base64_is_taken(void **state)
{
	struct invitation before = make(), after;
	char text[INVITATION_TEXT_MAX], other[INVITATION_TEXT_MAX + 2];
	const char *why;

	(void)state;
	for (int i = 0; i < 3; i++) { /* all three lengths of a last group */
		snprintf(before.client, sizeof(before.client), "laptop%.*s", i, "xx");
		assert_true(invitation_format(text, sizeof(text), &before) > 0);
		snprintf(other, sizeof(other), "%s=", text);
		assert_int_equal(invitation_parse(other, &after, &why), -EINVAL);
		snprintf(other, sizeof(other), "%s ", text);
		assert_int_equal(invitation_parse(other, &after, &why), -EINVAL);
	}
}

static void what_does_not_fit_is_told(void **state)
{
	struct invitation invitation = make();
	char text[64];

	(void)state;
	assert_int_equal(invitation_format(text, sizeof(text), &invitation), -ENOSPC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_comes_back),
		cmocka_unit_test(damage_is_noticed),
		cmocka_unit_test(only_canonical_base64_is_taken),
		cmocka_unit_test(what_does_not_fit_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
