/* The undo list on disk, parameters that another tunnel relies on, and undoing it. Tests that change parameters do so
 * in a network namespace of the test's own, and are skipped where there can be none. */
#include "common/host/undo.h"

#include "common/host/unwind.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define VALID_MARK "net/ipv4/conf/all/src_valid_mark"

static char folder[PATH_MAX];

static const char *list_path(const char *name)
{
	static char path[PATH_MAX + 64];

	snprintf(path, sizeof(path), "%s/%s/undo", folder, name);
	return path;
}

static int set_up(void **state)
{
	const char *base = getenv("TMPDIR");

	(void)state;
	snprintf(folder, sizeof(folder), "%s/towpath-test-XXXXXX", base ? base : "/tmp");
	return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
	char command[PATH_MAX + 16];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	return system(command);
}

static struct undo *open_list(const char *name)
{
	struct undo *undo;
	struct err err = {""};

	if (undo_open(&undo, folder, name, &err) < 0)
		fail_msg("%s", err.text);
	return undo;
}

static size_t count_entries(const struct undo *undo)
{
	size_t count = 0;

	while (undo_newest(undo, count))
		count++;
	return count;
}

/* As a crash leaves it: closed, but not emptied. */
static void crash(struct undo *undo)
{
	undo_close(undo);
}

static void add(struct undo *undo, const struct undo_entry *entry)
{
	struct err err = {""};

	if (undo_add(undo, entry, &err) < 0)
		fail_msg("%s", err.text);
}

static struct undo_entry command_entry(const char *text)
{
	struct undo_entry entry = {.kind = UNDO_COMMAND};

	snprintf(entry.text, sizeof(entry.text), "%s", text);
	return entry;
}

static struct undo_entry sysctl_entry(const char *path, const char *old_value, const char *new_value)
{
	struct undo_entry entry = {.kind = UNDO_SYSCTL};

	snprintf(entry.path, sizeof(entry.path), "%s", path);
	snprintf(entry.old_value, sizeof(entry.old_value), "%s", old_value);
	snprintf(entry.new_value, sizeof(entry.new_value), "%s", new_value);
	return entry;
}

static void add_command(struct undo *undo, const char *text)
{
	struct undo_entry entry = command_entry(text);

	add(undo, &entry);
}

static void add_sysctl(struct undo *undo, const char *path, const char *old_value, const char *new_value)
{
	struct undo_entry entry = sysctl_entry(path, old_value, new_value);

	add(undo, &entry);
}

static void append_text(const char *name, const char *text)
{
	FILE *file = fopen(list_path(name), "a");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void write_list(const char *name, const char *text)
{
	char path[PATH_MAX + 64];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	assert_int_equal(mkdir(path, 0755), 0);
	append_text(name, text);
}

/* --- the list --- */

/* After a crash the entries are there, the newest first. */
static void newest_comes_first(void **state)
{
	struct undo *undo = open_list("home");

	(void)state;
	add_command(undo, "first");
	add_command(undo, "second");
	crash(undo);
	undo = open_list("home");
	assert_int_equal(count_entries(undo), 2);
	assert_string_equal(undo_newest(undo, 0)->text, "second");
	assert_string_equal(undo_newest(undo, 1)->text, "first");
	assert_null(undo_newest(undo, 2));
	undo_close(undo);
}

/* Every kind comes back as it was written. */
static void every_kind_is_kept(void **state)
{
	const struct undo_entry written[] = {
		{.kind = UNDO_SYSCTL, .path = "net/ipv6/conf/eth0.7/accept_ra", .old_value = "1", .new_value = "2"},
		{.kind = UNDO_DEVICE, .device = "home", .index = 12345},
		{.kind = UNDO_RULE,
			.rule = {.family = AF_INET6,
				.priority = 4294967295,
				.table = 51820,
				.mark = 51820,
				.is_not = true}},
		{.kind = UNDO_RULE,
			.rule = {.family = AF_INET, .priority = 5, .table = 254, .suppresses_default = true}},
		{.kind = UNDO_FIREWALL, .text = "towpath-home"},
		{.kind = UNDO_COMMAND, .text = "resolvconf -d \"a b\" # ä", .outlives_boot = true},
		{.kind = UNDO_CLAIM_IP,
			.text = "/proc/4711/ns/net",
			.netns = 0x7fffffffffffffff,
			.device = "wg0",
			.index = 7,
			.prefix = {.addr = {.in4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a000000)}}, .bits = 8},
			.public_key = {1, 2, 3}},
		{.kind = UNDO_CLAIM_ROUTE,
			.device = "wg0",
			.index = 8,
			.prefix = {.addr = {.in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT}}, .bits = 128}},
		{.kind = UNDO_SERVICE,
			.service = {.protocol = IPPROTO_TCP,
				.address = {.in4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0xcb00710a)}},
				.ports = {8000, 8010},
				.to = {.in4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0xc0a8011e)}},
				.to_ports = {9000, 9010}}},
		{.kind = UNDO_SERVICE,
			.service = {.protocol = IPPROTO_UDP,
				.ports = {1, 65535},
				.to = {.in6 = {.sin6_family = AF_INET6, .sin6_addr = {{{0xfd, 0x10, [15] = 2}}}}},
				.to_ports = {1, 65535}}},
	};
	const size_t count = sizeof(written) / sizeof(written[0]);
	struct undo *undo = open_list("home");

	(void)state;
	for (size_t i = 0; i < count; i++)
		add(undo, &written[i]);
	crash(undo);
	undo = open_list("home");
	for (size_t i = 0; i < count; i++)
		assert_memory_equal(undo_newest(undo, i), &written[count - 1 - i], sizeof(written[0]));
	undo_close(undo);
}

/* An entry that has been undone does not come back. */
static void undone_is_gone(void **state)
{
	struct undo *undo = open_list("home");
	struct err err;

	(void)state;
	add_command(undo, "first");
	add_command(undo, "second");
	add_command(undo, "third");
	assert_int_equal(undo_drop(undo, 1, &err), 0);
	crash(undo);
	undo = open_list("home");
	assert_int_equal(count_entries(undo), 2);
	assert_string_equal(undo_newest(undo, 0)->text, "third");
	assert_string_equal(undo_newest(undo, 1)->text, "first");
	undo_close(undo);
}

/* Two cannot have one list; it says that the tunnel runs. */
static void list_is_locked(void **state)
{
	struct undo *undo = open_list("home"), *other;
	struct err err = {""};

	(void)state;
	assert_int_equal(undo_open(&other, folder, "home", &err), -EBUSY);
	assert_non_null(strstr(err.text, "runs already"));
	undo_close(undo);
	undo_close(open_list("home"));
}

/* The list of a tunnel's claims is another one, with a lock of its own; it may be begun anew where nothing is left. */
static void claims_have_a_list_of_their_own(void **state)
{
	struct undo *undo = open_list("home"), *claims;
	struct err err;
	struct stat status;
	char path[PATH_MAX + 64];

	(void)state;
	assert_int_equal(undo_open_claims(&claims, folder, "home", &err), 0);
	add_command(claims, "first");
	undo_close(undo);
	assert_true(undo_exists(folder, "home"));
	undo_begin_anew(claims);
	assert_non_null(undo_newest(claims, 0));
	assert_int_equal(undo_drop(claims, 0, &err), 0);
	undo_begin_anew(claims);
	snprintf(path, sizeof(path), "%s/home/claims", folder);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_size, 0);
	add_command(claims, "second");
	crash(claims);
	assert_int_equal(undo_open_claims(&claims, folder, "home", &err), 0);
	assert_string_equal(undo_newest(claims, 0)->text, "second");
	assert_int_equal(undo_drop(claims, 0, &err), 0);
	undo_close(claims);
	assert_false(undo_exists(folder, "home"));
}

/* An empty list leaves no file. */
static void empty_list_is_removed(void **state)
{
	struct undo *undo = open_list("home");
	struct err err;

	(void)state;
	add_command(undo, "first");
	assert_true(undo_exists(folder, "home"));
	assert_int_equal(undo_drop(undo, 0, &err), 0);
	undo_close(undo);
	assert_false(undo_exists(folder, "home"));
}

/* A line that a crash cut short is no entry, and what is written after it is one. */
static void torn_line_is_no_entry(void **state)
{
	struct undo *undo = open_list("home");

	(void)state;
	add_command(undo, "first");
	crash(undo);
	append_text("home", "{\"kind\":\"command\",\"text\":\"sec");
	undo = open_list("home");
	assert_int_equal(count_entries(undo), 1);
	add_command(undo, "third");
	crash(undo);
	undo = open_list("home");
	assert_int_equal(count_entries(undo), 2);
	assert_string_equal(undo_newest(undo, 0)->text, "third");
	undo_close(undo);
}

/* A line that is no entry of ours is left out, whatever it is; the rest counts. */
static void nonsense_is_left_out(void **state)
{
	struct undo *undo = open_list("home");

	(void)state;
	add_command(undo, "first");
	crash(undo);
	append_text("home", "[]\n7\n\n{\"kind\":\"magic\"}\n{\"kind\":\"device\",\"name\":\"x\",\"index\":-1}\n"
			    "{\"kind\":\"device\",\"name\":\"longerthanfifteen\",\"index\":3}\n{\"kind\":\"sysctl\"}\n"
			    "{\"kind\":\"rule\",\"family\":2,\"priority\":4294967296,\"table\":1,\"mark\":0}\n");
	undo = open_list("home");
	assert_int_equal(count_entries(undo), 1);
	undo_close(undo);
}

/* After a reboot, or in another network namespace, only what outlives it is left. */
static void reboot_undoes_the_rest(void **state)
{
	struct undo *undo;

	(void)state;
	write_list("home", "{\"boot\":\"another\",\"netns\":1}\n{\"kind\":\"command\",\"text\":\"a rule\"}\n"
			   "{\"kind\":\"command\",\"text\":\"resolver\",\"outlives_boot\":true}\n");
	undo = open_list("home");
	assert_int_equal(count_entries(undo), 1);
	assert_string_equal(undo_newest(undo, 0)->text, "resolver");
	add_command(undo, "now");
	crash(undo);
	undo = open_list("home");
	assert_int_equal(count_entries(undo), 2);
	undo_close(undo);
}

/* An entry that could not be undone is left out for now, comes back with the next clean-up, and is given up after
 * three. */
static void failure_is_tried_again(void **state)
{
	struct undo *undo = open_list("home");

	(void)state;
	add_command(undo, "first");
	add_command(undo, "stubborn");
	for (int attempt = 1; attempt <= UNDO_TRIES_MAX; attempt++) {
		assert_string_equal(undo_newest(undo, 0)->text, "stubborn");
		assert_int_equal(undo_set_aside(undo, 0), attempt == UNDO_TRIES_MAX);
		assert_string_equal(undo_newest(undo, 0)->text, "first");
		crash(undo);
		undo = open_list("home");
	}
	assert_int_equal(count_entries(undo), 1);
	undo_close(undo);
}

/* Power that failed may leave zero bytes where something was being written. */
static void zero_bytes_are_passed_over(void **state)
{
	struct undo *undo = open_list("home");
	FILE *file;

	(void)state;
	add_command(undo, "first");
	crash(undo);
	file = fopen(list_path("home"), "a");
	assert_non_null(file);
	assert_int_equal(fwrite("\0\0\0", 1, 3, file), 3);
	fclose(file);
	undo = open_list("home");
	add_command(undo, "second");
	crash(undo);
	undo = open_list("home");
	assert_int_equal(count_entries(undo), 2);
	assert_string_equal(undo_newest(undo, 0)->text, "second");
	undo_close(undo);
}

/* A list is carried out with our privileges: one that others may write in is refused, and left there to be looked
 * at. */
static void list_of_others_is_refused(void **state)
{
	struct undo *undo = open_list("home");
	struct err err = {""};

	(void)state;
	add_command(undo, "anything");
	crash(undo);
	assert_int_equal(chmod(list_path("home"), 0620), 0);
	assert_int_equal(undo_open(&undo, folder, "home", &err), -EPERM);
	assert_non_null(strstr(err.text, "remove it"));
	assert_int_equal(chmod(list_path("home"), 0600), 0);
	if (geteuid() == 0 && chown(list_path("home"), 1, 0) == 0)
		assert_int_equal(undo_open(&undo, folder, "home", &err), -EPERM);
	assert_true(undo_exists(folder, "home"));
}

/* --- other tunnels --- */

/* A parameter that a running tunnel relies on becomes that tunnel's to put back, after its own. */
static void shared_parameter_is_handed_over(void **state)
{
	struct undo *a = open_list("a"), *b = open_list("b");
	struct err err = {""};

	(void)state;
	add_sysctl(a, VALID_MARK, "0", "1");
	add_sysctl(a, "net/ipv4/conf/eth0/forwarding", "0", "1");
	add_sysctl(b, VALID_MARK, "1", "1");
	assert_int_equal(undo_hand_over(a, &err), 1);
	assert_int_equal(count_entries(a), 1);
	assert_string_equal(undo_newest(a, 0)->path, "net/ipv4/conf/eth0/forwarding");
	assert_int_equal(undo_refresh(b, &err), 0);
	assert_int_equal(count_entries(b), 2);
	assert_string_equal(undo_newest(b, 0)->old_value, "0");
	undo_close(a);
	undo_close(b);
}

/* IPv6's forwarding and what belongs to it is one matter, and keeps its order. */
static void ipv6_forwarding_goes_as_one(void **state)
{
	struct undo *a = open_list("a"), *b = open_list("b");
	struct err err = {""};

	(void)state;
	add_sysctl(a, "net/ipv6/conf/eth0/accept_ra", "1", "2");
	add_sysctl(a, "net/ipv6/conf/eth1/forwarding", "1", "0");
	add_sysctl(a, "net/ipv6/conf/all/forwarding", "0", "1");
	add_sysctl(b, "net/ipv6/conf/all/forwarding", "1", "1");
	assert_int_equal(undo_hand_over(a, &err), 3);
	assert_int_equal(undo_refresh(b, &err), 0);
	assert_int_equal(count_entries(a), 0);
	assert_string_equal(undo_newest(b, 0)->path, "net/ipv6/conf/all/forwarding");
	assert_string_equal(undo_newest(b, 0)->old_value, "0");
	assert_string_equal(undo_newest(b, 2)->path, "net/ipv6/conf/eth0/accept_ra");
	undo_close(a);
	undo_close(b);
}

/* A tunnel that starts again and again does not make the list of one that runs longer: it has set nothing anew. */
static void list_does_not_grow_by_others_starts(void **state)
{
	struct undo *a, *b = open_list("b");
	struct err err = {""};

	(void)state;
	add_sysctl(b, VALID_MARK, "0", "1");
	for (int start = 0; start < 3; start++) {
		a = open_list("a");
		add_sysctl(a, VALID_MARK, "1", "1");
		assert_int_equal(undo_hand_over(a, &err), 1);
		assert_int_equal(count_entries(a), 0);
		undo_close(a);
	}
	assert_int_equal(undo_refresh(b, &err), 0);
	assert_int_equal(count_entries(b), 1);
	undo_close(b);
}

/* A tunnel that crashed relies on nothing. */
static void crashed_tunnel_gets_nothing(void **state)
{
	struct undo *a = open_list("a"), *b = open_list("b");
	struct err err = {""};

	(void)state;
	add_sysctl(b, VALID_MARK, "1", "1");
	crash(b);
	add_sysctl(a, VALID_MARK, "0", "1");
	assert_int_equal(undo_hand_over(a, &err), 0);
	assert_int_equal(count_entries(a), 1);
	undo_close(a);
}

/* --- undoing --- */

static void need_namespace(void)
{
	static bool entered;

	if (!entered && unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		skip();
	entered = true;
}

static void on_done(void *owner)
{
	*(bool *)owner = true;
}

static struct unwind undo_all(struct undo *undo)
{
	struct unwind unwind;
	bool is_done = false;
	uv_loop_t loop;

	uv_loop_init(&loop);
	unwind_start(&unwind, &loop, undo, on_done, &is_done);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	assert_true(is_done);
	return unwind;
}

static void assert_value(const char *path, const char *expected)
{
	char value[SYSCTL_VALUE_MAX];
	struct err err = {""};

	if (sysctl_read(path, value, &err) < 0)
		fail_msg("%s", err.text);
	assert_string_equal(value, expected);
}

static void set_value(const char *path, const char *value)
{
	struct err err = {""};

	if (sysctl_set(path, value, &err) < 0)
		fail_msg("%s", err.text);
}

/* An entry that is written while we are in another namespace for a moment belongs to ours. */
static void era_is_of_the_opening(void **state)
{
	struct undo *undo;
	int home;

	(void)state;
	need_namespace();
	home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	undo = open_list("home");
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	add_command(undo, "first");
	assert_int_equal(setns(home, CLONE_NEWNET), 0);
	close(home);
	crash(undo);
	undo = open_list("home");
	assert_int_equal(count_entries(undo), 1);
	undo_close(undo);
}

/* A parameter is put back where it still has our value, and left where another program has set it. */
static void changed_parameter_is_left(void **state)
{
	struct undo *undo;

	(void)state;
	need_namespace();
	undo = open_list("home");
	set_value(VALID_MARK, "1");
	set_value("net/ipv4/conf/all/rp_filter", "2");
	add_sysctl(undo, VALID_MARK, "0", "1");
	add_sysctl(undo, "net/ipv4/conf/all/rp_filter", "0", "1");
	add_sysctl(undo, "net/ipv4/conf/nowhere/forwarding", "0", "1");
	assert_int_equal(undo_all(undo).undone, 3);
	assert_value(VALID_MARK, "0");
	assert_value("net/ipv4/conf/all/rp_filter", "2");
	undo_close(undo);
}

/* In a container the kernel changes one value for its WireGuard device, and no one may put it back. */
static void read_only_parameters_keep_what_the_kernel_set(void **state)
{
	struct undo *undo = open_list("home");
	struct unwind unwind;

	(void)state;
	need_namespace();
	set_value(VALID_MARK, "1");
	set_value("net/ipv4/conf/all/send_redirects", "0");
	assert_int_equal(unshare(CLONE_NEWNS), 0);
	assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	assert_int_equal(mount("/proc/sys", "/proc/sys", NULL, MS_BIND, NULL), 0);
	assert_int_equal(mount(NULL, "/proc/sys", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), 0);
	add_sysctl(undo, "net/ipv4/conf/all/send_redirects", "1", "0");
	unwind = undo_all(undo);
	assert_int_equal(unwind.undone, 1);
	assert_int_equal(unwind.failed, 0);
	add_sysctl(undo, VALID_MARK, "0", "1"); /* we must have set this one, where we could */
	assert_int_equal(undo_all(undo).failed, 1);
	assert_int_equal(umount("/proc/sys"), 0);
	undo_close(undo);
}

/* Two tunnels rely on one parameter: it is put back when the second goes, whichever came first. */
static void last_one_puts_it_back(void **state)
{
	struct undo *a = open_list("a"), *b = open_list("b");

	(void)state;
	need_namespace();
	set_value(VALID_MARK, "1");
	add_sysctl(a, VALID_MARK, "0", "1");
	add_sysctl(b, VALID_MARK, "1", "1");
	undo_all(a);
	undo_close(a);
	assert_value(VALID_MARK, "1");
	undo_all(b);
	undo_close(b);
	assert_value(VALID_MARK, "0");
	assert_false(undo_exists(folder, "b"));
}

/* The same where the first one crashed and is cleaned up after. */
static void crashed_one_hands_over(void **state)
{
	struct undo *a = open_list("a"), *b = open_list("b");

	(void)state;
	need_namespace();
	set_value(VALID_MARK, "1");
	add_sysctl(a, VALID_MARK, "0", "1");
	add_sysctl(b, VALID_MARK, "1", "1");
	crash(a);
	a = open_list("a");
	undo_all(a);
	undo_close(a);
	assert_value(VALID_MARK, "1");
	undo_all(b);
	undo_close(b);
	assert_value(VALID_MARK, "0");
}

/* Commands run in reverse; one that fails holds up no other, and stays for the next time. */
static void failing_command_holds_nobody_up(void **state)
{
	struct undo *undo = open_list("home");
	char line[PATH_MAX + 64], text[16] = "";
	struct unwind unwind;
	FILE *file;

	(void)state;
	snprintf(line, sizeof(line), "printf 1 >>'%.900s/said'", folder);
	add_command(undo, line);
	add_command(undo, "echo no way >&2; false");
	snprintf(line, sizeof(line), "printf 2 >>'%.900s/said'", folder);
	add_command(undo, line);
	unwind = undo_all(undo);
	assert_int_equal(unwind.undone, 2);
	assert_int_equal(unwind.failed, 1);
	undo_close(undo);
	snprintf(line, sizeof(line), "%.900s/said", folder);
	file = fopen(line, "r");
	assert_non_null(file);
	assert_non_null(fgets(text, sizeof(text), file));
	fclose(file);
	assert_string_equal(text, "21");
	undo = open_list("home");
	assert_int_equal(count_entries(undo), 1);
	undo_close(undo);
}

/* A full disk: what was undone cannot be struck off, and is not undone again and again. */
static void full_disk_ends_all_the_same(void **state)
{
	struct rlimit before, small = {0};
	struct undo *undo = open_list("full");
	struct err err = {""};
	struct stat status;

	(void)state;
	add_command(undo, "first");
	add_command(undo, "second");
	assert_int_equal(stat(list_path("full"), &status), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	small = (struct rlimit){.rlim_cur = (rlim_t)status.st_size, .rlim_max = before.rlim_max};
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	assert_true(undo_drop(undo, 0, &err) < 0);
	assert_int_equal(undo_refresh(undo, &err), 0);
	assert_string_equal(undo_newest(undo, 0)->text, "first");
	assert_true(undo_drop(undo, 0, &err) < 0);
	assert_int_equal(undo_refresh(undo, &err), 0);
	assert_null(undo_newest(undo, 0));
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	undo_close(undo);
	undo = open_list("full");
	assert_int_equal(count_entries(undo), 2);
	crash(undo);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(newest_comes_first, set_up, tear_down),
		cmocka_unit_test_setup_teardown(every_kind_is_kept, set_up, tear_down),
		cmocka_unit_test_setup_teardown(undone_is_gone, set_up, tear_down),
		cmocka_unit_test_setup_teardown(era_is_of_the_opening, set_up, tear_down),
		cmocka_unit_test_setup_teardown(claims_have_a_list_of_their_own, set_up, tear_down),
		cmocka_unit_test_setup_teardown(list_is_locked, set_up, tear_down),
		cmocka_unit_test_setup_teardown(empty_list_is_removed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(torn_line_is_no_entry, set_up, tear_down),
		cmocka_unit_test_setup_teardown(nonsense_is_left_out, set_up, tear_down),
		cmocka_unit_test_setup_teardown(zero_bytes_are_passed_over, set_up, tear_down),
		cmocka_unit_test_setup_teardown(list_of_others_is_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(reboot_undoes_the_rest, set_up, tear_down),
		cmocka_unit_test_setup_teardown(failure_is_tried_again, set_up, tear_down),
		cmocka_unit_test_setup_teardown(shared_parameter_is_handed_over, set_up, tear_down),
		cmocka_unit_test_setup_teardown(ipv6_forwarding_goes_as_one, set_up, tear_down),
		cmocka_unit_test_setup_teardown(list_does_not_grow_by_others_starts, set_up, tear_down),
		cmocka_unit_test_setup_teardown(crashed_tunnel_gets_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(failing_command_holds_nobody_up, set_up, tear_down),
		cmocka_unit_test_setup_teardown(changed_parameter_is_left, set_up, tear_down),
		cmocka_unit_test_setup_teardown(full_disk_ends_all_the_same, set_up, tear_down),
		cmocka_unit_test_setup_teardown(read_only_parameters_keep_what_the_kernel_set, set_up, tear_down),
		cmocka_unit_test_setup_teardown(last_one_puts_it_back, set_up, tear_down),
		cmocka_unit_test_setup_teardown(crashed_one_hands_over, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("undo", tests, NULL, NULL);
}
