/* Shared by the tests of WireGuard devices: devices wgt0 and wgt1 in a network namespace of the test's own, made with
 * ip and wg, and configurations made of text. Without root or without kernel WireGuard a test that needs them is
 * skipped.
 */
#pragma once

#include "common/base/ini.h"
#include "common/wireguard/wg_config.h"
#include "common/wireguard/wg_device.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static inline bool run(const char *command)
{
	int status = system(command);

	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static inline void assert_run(const char *command)
{
	if (!run(command))
		fail_msg("failed: %s", command);
}

/* In a network namespace of our own from here on, without a device. */
static inline void need_devices(void)
{
	static bool entered;

	if (!wg_device_kernel_has() || geteuid() != 0)
		skip();
	if (!entered && unshare(CLONE_NEWNET) < 0)
		skip();
	entered = true;
	assert_run("ip link set lo up; ip link del wgt0 2>/dev/null; ip link del wgt1 2>/dev/null; :");
}

/* Endpoints are addresses. Free both with plan_done(). */
static inline void read_plan(const char *path, struct wg_config *config, struct wg_device_setup *plan)
{
	struct addr *endpoints;
	struct ini_report report = {0};
	struct err err = {""};
	struct ini ini;

	memset(config, 0, sizeof(*config));
	assert_int_equal(ini_read(path, &ini, &report, &err), 0);
	for (size_t i = 0; i < ini.section_count; i++)
		wg_config_read_section(config, &ini, &ini.sections[i], &report);
	wg_config_finish(config, &ini, &report);
	if (report.count > 0)
		fail_msg("%s", report.lines[0]);
	ini_report_done(&report);
	ini_done(&ini);
	endpoints = calloc(config->peer_count + 1, sizeof(*endpoints));
	assert_non_null(endpoints);
	for (size_t i = 0; i < config->peer_count; i++)
		if (config->peers[i].endpoint)
			assert_int_equal(addr_parse(config->peers[i].endpoint, 0, &endpoints[i]), 0);
	*plan = (struct wg_device_setup){.config = config, .fwmark = config->interface.fwmark, .endpoints = endpoints};
}

static inline void plan_done(struct wg_config *config, struct wg_device_setup *plan)
{
	union {
		const struct addr *constant;
		struct addr *ours;
	} endpoints = {plan->endpoints};

	free(endpoints.ours);
	wg_config_done(config);
}

static inline void make_plan(const char *text, struct wg_config *config, struct wg_device_setup *plan)
{
	char path[] = "/tmp/wg_device_bed.XXXXXX";
	int fd = mkstemp(path);
	size_t len = strlen(text);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), len);
	close(fd);
	read_plan(path, config, plan);
	unlink(path);
}
