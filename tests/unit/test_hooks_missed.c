/* After a crash: the hooks of going down, read from a file that may be wrong otherwise, and told one by one. */
#include "common/host/hook.h"
#include "common/wireguard/tunnel_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/test_hooks_missed.XXXXXX";

static int make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static int remove_folder(void **state)
{
	(void)state;
	return unlink("hub.conf") == 0 && unlink("home.conf") == 0 ? rmdir(folder) : -1;
}

static void write_file(const char *name, const char *text)
{
	FILE *file = fopen(name, "w");

	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
}

/* All lines of the list, joined. @section: "Client". */
static void check(const char *file, const char *section, const char *device, const char *expected)
{
	struct tunnel_file_hooks hooks;
	char list[1024] = "", line[256];

	assert_true(tunnel_file_read_hooks(file, section, &hooks));
	assert_string_equal(hooks.device, device);
	for (size_t at = 0; hooks_format_missed(&hooks.config.interface, hooks.path, at, line, sizeof(line)); at++)
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s\n", line);
	assert_string_equal(list, expected);
	wg_config_done(&hooks.config);
}

static void each_hook_is_told_with_its_line(void **state)
{
	(void)state;
	write_file("hub.conf", "[Server]\n[Interface]\nPostDown = end\nPreDown = one %i\nPostUp = x\npredown = two # x\n");
	check("hub.conf", "Server", "hub",
		"hub.conf:4: PreDown = one %i\nhub.conf:6: PreDown = two\nhub.conf:3: PostDown = end\n");
	write_file("home.conf", "[Client]\n[Interface]\nPostDown = last\n");
	check("home.conf", "Client", "home", "home.conf:3: PostDown = last\n");
	write_file("home.conf", "[Client]\n[Interface]\nPreDown =\nPostUp = x\n");
	check("home.conf", "Client", "home", "");
	write_file("home.conf", "[Client]\n");
	check("home.conf", "Client", "home", "");
}

static void mistakes_are_passed_over(void **state)
{
	(void)state;
	write_file("home.conf", "x\n[Client]\nServer = ?\n[Peer]\nPublicKey = x\n[Interface]\nMTU = x\nPreDown = one\nNo =\n"
				"PrivateKeyFile = /none\n[Interface]\nPreDown = two\n[Other]\n");
	check("home.conf", "Client", "home", "home.conf:8: PreDown = one\nhome.conf:12: PreDown = two\n");
}

static void hooks_stand_in_the_file_of_wireguard(void **state)
{
	char text[256], path[128], expected[256];

	(void)state;
	snprintf(path, sizeof(path), "%s/wg0.conf", folder);
	snprintf(text, sizeof(text), "[client]\nwireguard = none\nWireGuard = %s\n[Interface]\nPreDown = no\n", path);
	write_file("home.conf", text);
	write_file("wg0.conf", "[Interface]\nPreDown = this\n");
	snprintf(expected, sizeof(expected), "%s:2: PreDown = this\n", path);
	check("home.conf", "Client", "wg0", expected);
	unlink("wg0.conf");
	check("home.conf", "Client", "wg0", "");
}

/* `towpath-client down hub` must not run what belongs to the server. */
static void file_of_the_other_program_has_none(void **state)
{
	static const char *const files[] = {"hub.conf", "none.conf", "", "."};
	struct tunnel_file_hooks hooks;

	(void)state;
	write_file("hub.conf", "[Server]\n[Interface]\nPreDown = one\n");
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		assert_false(tunnel_file_read_hooks(files[i], "Client", &hooks));
		wg_config_done(&hooks.config);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_hook_is_told_with_its_line),
		cmocka_unit_test(mistakes_are_passed_over),
		cmocka_unit_test(hooks_stand_in_the_file_of_wireguard),
		cmocka_unit_test(file_of_the_other_program_has_none),
	};

	return cmocka_run_group_tests_name("hooks_missed", tests, make_folder, remove_folder);
}
