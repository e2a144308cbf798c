/* `down` and `reload`, see stop_reload.h.
 *
 * Happy path of `down`: ask the tunnel for its process, stop it, wait for that process's end, clean up (which then
 * finds nothing to do), 0. It waits as long as the tunnel needs, because hooks may take long, and says after a while
 * what it waits for. Fails with 1 and a line.
 *
 * A tunnel may be started by hand or by its systemd unit, and `down` may itself be the unit's ExecStopPost=, so
 * stop_tunnel() asks first where each of the two runs.
 */
#include "common/command_line/stop_reload.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/command_line/systemd_unit.h"
#include "common/command_line/tunnel_ref.h"
#include "common/host/host.h"
#include "common/wireguard/tunnel_file.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DOWN_TELL_MS 5000    /* after this it says what it waits for */
#define DOWN_ASK_AGAIN_MS 50 /* while another process cleans up */

struct down {
	const struct options *options;
	struct tunnel_ref tunnel;
	pid_t pid; /* of the running supervisor; 0: none */
	struct tunnel_file_hooks hooks;
	uint64_t begun_us;
	bool is_waiting_told;
};

static int fail_command(const struct down *down, const char *what)
{
	log_error(down->tunnel.name, "%s", what);
	return EXIT_FAILED;
}

static int fail_no_such(const struct options *options)
{
	fprintf(stderr, "%s: no such tunnel; the configured ones are files in %s/\n", options->tunnel_word,
		options->config_dir);
	return EXIT_NO_SUCH;
}

/* --- waiting --- */

static void tell_waiting(struct down *down, const char *what)
{
	if (down->is_waiting_told || clock_now_us() - down->begun_us < DOWN_TELL_MS * CLOCK_US_PER_MS)
		return;
	down->is_waiting_told = true;
	log_notice(down->tunnel.name, "waiting for %s", what);
}

/* Wait until the process has ended. A pidfd, because it is not our child. */
static void await_process(struct down *down)
{
	char what[96];
	struct pollfd waiting = {.events = POLLIN};

	waiting.fd = (int)syscall(SYS_pidfd_open, down->pid, 0);
	if (waiting.fd < 0)
		return; /* it is gone already */
	snprintf(what, sizeof(what), "process %ld, which runs PreDown and PostDown and puts everything back",
		(long)down->pid);
	while (poll(&waiting, 1, DOWN_TELL_MS) <= 0)
		tell_waiting(down, what);
	close(waiting.fd);
}

/* --- down --- */

/* Stop it where it runs. systemd must stop its own unit: one that is between two starts would bring the tunnel back.
 * Return: 0, also where it has ended meanwhile, or a negative errno. */
static int stop_tunnel(struct down *down, struct err *err)
{
	const struct tunnel_ref *tunnel = &down->tunnel;
	bool is_unit_ours = systemd_unit_has_process(tunnel, 0);
	json_t *answer;
	int rc;

	if (!is_unit_ours &&
		(down->pid > 0 ? systemd_unit_has_process(tunnel, down->pid) : systemd_unit_is_active(tunnel)))
		return systemd_unit_stop(tunnel, err);
	if (down->pid == 0)
		return 0;
	rc = tunnel_ref_ask(tunnel, "stop", &answer, err);
	if (rc == 0)
		json_decref(answer);
	return rc == -ENOENT || rc == -EPROTO ? 0 : rc; /* it ended before it could answer */
}

/* A kill switch that PostUp has made is still there if no PreDown takes it out. */
static void tell_cleaned(const struct down *down, int count, bool with_hooks)
{
	char remedy[TUNNEL_REF_TYPED_MAX + 64];

	log_notice(down->tunnel.name, "it had crashed; changes undone on this host, %s hooks: %d",
		with_hooks ? "with" : "without", count);
	snprintf(remedy, sizeof(remedy), "towpath-%s down --hooks %s runs them", down->tunnel.role, down->tunnel.typed);
	if (!with_hooks)
		host_tell_missed_hooks(&down->hooks.config.interface, down->hooks.path, remedy);
}

static int work_down(struct down *down, const char *section)
{
	const struct tunnel_ref *tunnel = &down->tunnel;
	struct err err = {""};
	json_t *status;
	bool runs_hooks;
	int rc = tunnel_ref_ask(tunnel, "status", &status, &err);

	if (rc == 0) {
		down->pid = (pid_t)json_integer_value(json_object_get(status, "pid"));
		json_decref(status);
	}
	if (rc == -EACCES)
		return fail_command(down, "it runs as another user; root may stop it");
	/* We are ExecStopPost= of a unit that could not start, because the tunnel was brought up by hand: leave that
	 * one. */
	if (down->pid > 0 && systemd_unit_has_process(tunnel, 0) && !systemd_unit_has_process(tunnel, down->pid))
		return EXIT_DONE;
	if (rc < 0 && rc != -ENOENT)
		return fail_command(down, err.text);
	if (rc == -ENOENT && !tunnel_ref_has_file(tunnel, section) && !tunnel_ref_has_undo_list(tunnel) &&
		access(tunnel->socket_path, F_OK) < 0)
		return fail_no_such(down->options);
	if (!tunnel_file_read_hooks(tunnel->file_path, section, &down->hooks) && down->options->hooks)
		return fail_command(down, "no file has its PreDown and PostDown; down without --hooks helps");
	rc = stop_tunnel(down, &err);
	if (rc < 0)
		return fail_command(down, err.text);
	if (down->pid > 0)
		await_process(down);
	runs_hooks = down->options->hooks && down->pid == 0; /* one that runs has run them itself */
	if (runs_hooks)
		host_run_hooks(&down->hooks.config.interface, down->hooks.device, HOOK_PRE_DOWN);
	while ((rc = tunnel_ref_clean(tunnel, down->options->state_dir, &err)) == -EBUSY) {
		tell_waiting(down, "another process, which cleans up after this tunnel");
		usleep(DOWN_ASK_AGAIN_MS * 1000);
	}
	if (rc < 0)
		return fail_command(down, err.text);
	if (runs_hooks)
		host_run_hooks(&down->hooks.config.interface, down->hooks.device, HOOK_POST_DOWN);
	if (rc > 0)
		tell_cleaned(down, rc, runs_hooks);
	return EXIT_DONE;
}

/* Find the tunnel that was named and do @work on it. Return: its exit code. */
static int with_tunnel(const struct options *options, const char *role, const char *section,
	int (*work)(struct down *down, const char *section))
{
	struct down down = {.options = options, .begun_us = clock_now_us()};
	struct ini_report report = {0};
	int code;

	if (tunnel_ref_find(&down.tunnel, options, role, &report) < 0)
		code = options_complain(&report, NULL);
	else
		code = work(&down, section);
	wg_config_done(&down.hooks.config);
	ini_report_done(&report);
	log_flush();
	return code;
}

int down_run(const struct options *options, const char *role, const char *section)
{
	return with_tunnel(options, role, section, work_down);
}

/* --- reload --- */

/* The file is read by the running tunnel, which answers with all lines that are wrong, or with what needs a restart. */
static int work_reload(struct down *down, const char *section)
{
	struct err err = {""};
	json_t *answer;
	const char *restart, *error;
	int code = EXIT_DONE, rc = tunnel_ref_ask(&down->tunnel, "reload", &answer, &err);

	if (rc == -ENOENT && !tunnel_ref_has_file(&down->tunnel, section))
		return fail_no_such(down->options);
	if (rc == -ENOENT)
		return fail_command(down, "it does not run; up or systemctl start starts it");
	if (rc == -EACCES)
		return fail_command(down, "it runs as another user; root may reload it");
	if (rc < 0)
		return fail_command(down, err.text);
	restart = tunnel_ref_text(answer, "restart");
	error = tunnel_ref_text(answer, "error");
	if (*error) {
		fprintf(stderr, "%s\n", error);
		if (!json_is_true(json_object_get(answer, "in_part")))
			fprintf(stderr, "%s: not reloaded, everything stays as it was\n", down->tunnel.name);
		code = json_integer_value(json_object_get(answer, "exit")) == EXIT_USAGE ? EXIT_USAGE : EXIT_FAILED;
	} else if (*restart) {
		log_notice(down->tunnel.name, "reloaded; what needs a restart: %s", restart);
	}
	json_decref(answer);
	return code;
}

int reload_run(const struct options *options, const char *role, const char *section)
{
	return with_tunnel(options, role, section, work_reload);
}
