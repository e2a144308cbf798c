/* Undoing a list: the order, entries that are left alone because they are no longer ours, and entries that fail. */
#include "host_bed.h"

#include "common/host/unwind.h"
#include "common/net/link.h"

#include <limits.h>
#include <stdlib.h>

#define SEND_REDIRECTS "net/ipv4/conf/all/send_redirects"
#define INDEX 12345

static char folder[PATH_MAX];
static struct undo *undo;
static struct unwind unwind;
static unsigned calls;
static char value[SYSCTL_VALUE_MAX]; /* of each parameter */
static const char *kind_at_index;    /* of the device with our index; NULL: gone */
static bool has_other_device;	     /* of WireGuard */

/* --- what the unwinding calls --- */

int net_link_find(struct netlink *netlink, const char *name, struct net_link *ret, struct err *err)
{
	(void)netlink;
	(void)name;
	(void)ret;
	(void)err;
	return -ENODEV;
}

int net_link_get(struct netlink *netlink, int index, struct net_link *ret, struct err *err)
{
	(void)netlink;
	(void)err;
	assert_int_equal(index, INDEX);
	*ret = (struct net_link){.index = index};
	snprintf(ret->kind, sizeof(ret->kind), "%s", kind_at_index ? kind_at_index : "");
	return kind_at_index ? 0 : -ENODEV;
}

int net_link_list(struct netlink *netlink, struct net_link **ret, size_t *ret_count, struct err *err)
{
	(void)netlink;
	(void)err;
	*ret = calloc(1, sizeof(**ret));
	(*ret)->index = 3;
	strcpy((*ret)->kind, has_other_device ? "wireguard" : "veth");
	*ret_count = 1;
	return 0;
}

int net_link_delete(struct netlink *netlink, int index, struct err *err)
{
	(void)netlink;
	(void)err;
	assert_int_equal(index, INDEX);
	note("-device", "");
	return 0;
}

int net_rule_delete(struct netlink *netlink, const struct net_rule *rule, struct err *err)
{
	(void)netlink;
	(void)rule;
	note("-rule", "");
	return fails_at("-rule") ? err_set(err, bed.failure, "refused") : 0;
}

int sysctl_read(const char *path, char ret[SYSCTL_VALUE_MAX], struct err *err)
{
	(void)path;
	(void)err;
	strcpy(ret, value);
	return 0;
}

int sysctl_set(const char *path, const char *new_value, struct err *err)
{
	(void)err;
	note(strrchr(path, '/') + 1, "=");
	note(new_value, "");
	return fails_at("sysctl") ? bed.failure : 0;
}

bool sysctl_is_denied(int rc)
{
	return rc == -EROFS;
}

/* --- the list --- */

static void add(struct undo_entry entry)
{
	struct err err = {""};

	assert_int_equal(undo_add(undo, &entry, &err), 0);
}

static void add_sysctl(const char *path)
{
	struct undo_entry entry = {.kind = UNDO_SYSCTL, .old_value = "1", .new_value = "0"};

	snprintf(entry.path, sizeof(entry.path), "%s", path);
	add(entry);
}

static void add_device(void)
{
	add((struct undo_entry){.kind = UNDO_DEVICE, .device = "home", .index = INDEX});
}

static void open_list(void)
{
	struct err err = {""};

	assert_int_equal(undo_open(&undo, folder, "home", &err), 0);
}

static int set_up(void **state)
{
	const char *base = getenv("TMPDIR");

	(void)state;
	make_host_bed();
	calls = 0;
	strcpy(value, "0");
	kind_at_index = "wireguard";
	has_other_device = false;
	snprintf(folder, sizeof(folder), "%s/towpath-test-XXXXXX", base ? base : "/tmp");
	if (!mkdtemp(folder))
		return -1;
	open_list();
	return 0;
}

static int tear_down(void **state)
{
	char command[PATH_MAX + 16];

	(void)state;
	undo_close(undo);
	clear_host_bed();
	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	return system(command);
}

static void on_done(void *owner)
{
	(void)owner;
	calls++;
}

static void start(void)
{
	unwind_start(&unwind, &bed.loop, undo, on_done, NULL);
}

static void assert_over(unsigned undone, unsigned failed)
{
	assert_int_equal(calls, 1);
	assert_int_equal(unwind.undone, undone);
	assert_int_equal(unwind.failed, failed);
}

/* --- the claims --- */

static void newest_goes_first_and_programs_are_waited_for(void **state)
{
	(void)state;
	add_sysctl("net/ipv4/conf/eth0/forwarding");
	add_device();
	add((struct undo_entry){.kind = UNDO_COMMAND, .text = "no-dns"});
	add((struct undo_entry){.kind = UNDO_FIREWALL, .text = "towpath-home"});
	add((struct undo_entry){.kind = UNDO_RULE});
	start();
	assert_log("-rule table");
	end_program();
	assert_log("no-dns");
	assert_int_equal(calls, 0);
	end_programs();
	assert_log("-device forwarding= 1");
	assert_over(5, 0);
	assert_null(undo_newest(undo, 0));
}

static void nothing_left_is_done_at_once(void **state)
{
	(void)state;
	start();
	assert_over(0, 0);
}

/* Another tunnel has handed it over to us, so it is newer than our device. */
static void send_redirects_waits_for_the_device(void **state)
{
	(void)state;
	add_device();
	add_sysctl(SEND_REDIRECTS);
	start();
	assert_log("-device send_redirects= 1");
	assert_over(2, 0);
}

static void send_redirects_stays_while_a_device_is_there(void **state)
{
	(void)state;
	has_other_device = true;
	add_sysctl(SEND_REDIRECTS);
	start();
	assert_log("");
	assert_over(1, 0);
}

/* A container: the kernel has changed it, and /proc/sys is read-only. For any other parameter this is a failure. */
static void read_only_send_redirects_is_no_failure(void **state)
{
	(void)state;
	bed.fails = "sysctl";
	bed.failure = -EROFS;
	add_sysctl("net/ipv4/conf/eth0/forwarding");
	add_sysctl(SEND_REDIRECTS);
	start();
	assert_over(1, 1);
}

static void changed_by_another_program_is_left(void **state)
{
	(void)state;
	strcpy(value, "2");
	add_sysctl("net/ipv6/conf/eth0/accept_ra");
	start();
	assert_log("");
	assert_over(1, 0);
}

static void device_of_another_kind_or_gone_is_left(void **state)
{
	(void)state;
	kind_at_index = "veth";
	add_device();
	start();
	kind_at_index = NULL;
	add_device();
	calls = 0;
	start();
	assert_log("");
	assert_over(1, 0);
}

static void failure_stays_in_the_list_until_given_up(void **state)
{
	(void)state;
	bed.fails = "-rule";
	bed.failure = -EIO;
	add_device();
	add((struct undo_entry){.kind = UNDO_RULE});
	for (int try = 1; try <= UNDO_TRIES_MAX; try++) {
		calls = 0;
		start();
		assert_log(try == 1 ? "-rule -device" : "-rule");
		assert_over(try == 1, 1);
		undo_close(undo);
		open_list();
		assert_int_equal(undo_newest(undo, 0) != NULL, try < UNDO_TRIES_MAX);
	}
}

static void program_that_fails_holds_nothing_up(void **state)
{
	(void)state;
	bed.fails = "no-dns";
	bed.failure = 1;
	add_device();
	add((struct undo_entry){.kind = UNDO_COMMAND, .text = "no-dns"});
	start();
	end_programs();
	assert_log("no-dns -device");
	assert_over(1, 1);
}

static void after_a_stop_the_rest_is_left(void **state)
{
	(void)state;
	add_device();
	add((struct undo_entry){.kind = UNDO_COMMAND, .text = "no-dns"});
	start();
	unwind_stop(&unwind);
	unwind_stop(&unwind);
	assert_log("no-dns killed-no-dns");
	assert_int_equal(calls, 0);
	assert_int_equal(undo_newest(undo, 0)->kind, UNDO_COMMAND);
	assert_int_equal(undo_newest(undo, 1)->kind, UNDO_DEVICE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(newest_goes_first_and_programs_are_waited_for, set_up, tear_down),
		cmocka_unit_test_setup_teardown(nothing_left_is_done_at_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(send_redirects_waits_for_the_device, set_up, tear_down),
		cmocka_unit_test_setup_teardown(send_redirects_stays_while_a_device_is_there, set_up, tear_down),
		cmocka_unit_test_setup_teardown(read_only_send_redirects_is_no_failure, set_up, tear_down),
		cmocka_unit_test_setup_teardown(changed_by_another_program_is_left, set_up, tear_down),
		cmocka_unit_test_setup_teardown(device_of_another_kind_or_gone_is_left, set_up, tear_down),
		cmocka_unit_test_setup_teardown(failure_stays_in_the_list_until_given_up, set_up, tear_down),
		cmocka_unit_test_setup_teardown(program_that_fails_holds_nothing_up, set_up, tear_down),
		cmocka_unit_test_setup_teardown(after_a_stop_the_rest_is_left, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
