/* See stop_reload.h. Happy path of `down`: ask the tunnel for its process, stop it, wait for that process's end, clean up (which finds
 * nothing to do), 0. Fails with 1 and a line; waits as long as the tunnel needs, its hooks may.
 */
#include "common/command_line/stop_reload.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/command_line/systemd_unit.h"
#include "common/command_line/tunnel_ref.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DOWN_TELL_MS 5000 /* after this it says what it waits for */
#define DOWN_ASK_AGAIN_MS 50

struct down {
	const struct options *options;
	struct tunnel_ref tunnel;
	pid_t pid; /* of the running supervisor; 0: none */
	uint64_t begun_us;
	bool is_waiting_told;
};

static int down_complain(const struct down *down, const char *what)
{
	log_error(down->tunnel.name, "%s", what);
	return EXIT_FAILED;
}

static int down_no_such(const struct options *options)
{
	fprintf(stderr, "%s: no such tunnel; %s/ has the files of those that there are\n", options->tunnel_word,
		options->config_dir);
	return EXIT_NO_SUCH;
}

/* --- is it there? --- */

/* Return: 0, -ENOENT where it does not run, another negative errno. */
static int down_ask(struct down *down, struct err *err)
{
	json_t *status;
	int rc = tunnel_ref_ask(&down->tunnel, "status", &status, err);

	if (rc < 0)
		return rc;
	down->pid = (pid_t)json_integer_value(json_object_get(status, "pid"));
	json_decref(status);
	return 0;
}

/* --- waiting --- */

static void down_tell_waiting(struct down *down, const char *what)
{
	if (down->is_waiting_told || clock_now_us() - down->begun_us < DOWN_TELL_MS * CLOCK_US_PER_MS)
		return;
	down->is_waiting_told = true;
	log_notice(down->tunnel.name, "waiting for %s", what);
}

/* Until the process has ended: its hooks may take long. */
static void down_await_process(struct down *down)
{
	char what[96];
	struct pollfd waiting = {.events = POLLIN};

	waiting.fd = (int)syscall(SYS_pidfd_open, down->pid, 0);
	if (waiting.fd < 0)
		return; /* it is gone already */
	snprintf(what, sizeof(what), "process %ld, which runs PreDown and PostDown and puts everything back",
		(long)down->pid);
	while (poll(&waiting, 1, DOWN_TELL_MS) <= 0)
		down_tell_waiting(down, what);
	close(waiting.fd);
}

/* Somebody else may clean up just now: systemd's ExecStopPost=. */
static int down_clean(struct down *down, struct err *err)
{
	int rc;

	while ((rc = tunnel_ref_clean(&down->tunnel, down->options->state_dir, err)) == -EBUSY) {
		down_tell_waiting(down, "another process, which cleans up after this tunnel");
		usleep(DOWN_ASK_AGAIN_MS * 1000);
	}
	return rc;
}

/* --- stopping --- */

static int down_stop_directly(struct down *down, struct err *err)
{
	json_t *answer;
	int rc = tunnel_ref_ask(&down->tunnel, "stop", &answer, err);

	if (rc == 0)
		json_decref(answer);
	return rc == -ENOENT || rc == -EPROTO ? 0 : rc; /* it was gone before it could answer */
}

/* A unit that is between two starts would bring it back. Inside the unit (ExecStopPost=) systemd does it. */
static int down_stop(struct down *down, struct err *err)
{
	int rc = 0;

	if (!systemd_unit_has_process(&down->tunnel, 0) &&
		(down->pid > 0 ? systemd_unit_has_process(&down->tunnel, down->pid)
			       : systemd_unit_is_active(&down->tunnel)))
		return systemd_unit_stop(&down->tunnel, err);
	if (down->pid > 0)
		rc = down_stop_directly(down, err);
	return rc;
}

/* ExecStopPost= of a unit that could not start, because somebody has the tunnel up by hand: that is not the unit's to stop. */
static bool down_is_anothers(const struct down *down)
{
	return down->pid > 0 && systemd_unit_has_process(&down->tunnel, 0) &&
	       !systemd_unit_has_process(&down->tunnel, down->pid);
}

static int down_work(struct down *down, const char *section)
{
	struct err err = {""};
	int rc = down_ask(down, &err);

	if (rc == -EACCES)
		return down_complain(down, "it runs as another user; root may stop it");
	if (down_is_anothers(down))
		return EXIT_DONE;
	if (rc < 0 && rc != -ENOENT)
		return down_complain(down, err.text);
	if (rc == -ENOENT && !tunnel_ref_has_file(&down->tunnel, section) && !tunnel_ref_has_undo_list(&down->tunnel) &&
		access(down->tunnel.socket_path, F_OK) < 0)
		return down_no_such(down->options);
	rc = down_stop(down, &err);
	if (rc < 0)
		return down_complain(down, err.text);
	if (down->pid > 0)
		down_await_process(down);
	rc = down_clean(down, &err);
	if (rc < 0)
		return down_complain(down, err.text);
	if (rc > 0)
		log_notice(down->tunnel.name, "it had crashed; changes undone on this host, without hooks: %d", rc);
	return EXIT_DONE;
}

/* Return: the exit code of @work. */
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
	ini_report_done(&report);
	log_flush();
	return code;
}

int down_run(const struct options *options, const char *role, const char *section)
{
	return with_tunnel(options, role, section, down_work);
}

/* --- reload --- */

static int reload_tell(const struct down *down, const json_t *answer)
{
	const char *restart = tunnel_ref_text(answer, "restart"), *error = tunnel_ref_text(answer, "error");

	if (*error) {
		fprintf(stderr, "%s\n%s: not reloaded, everything stays as it was\n", error, down->tunnel.name);
		return json_integer_value(json_object_get(answer, "exit")) == EXIT_USAGE ? EXIT_USAGE : EXIT_FAILED;
	}
	if (*restart)
		log_notice(down->tunnel.name, "reloaded; what needs a restart: %s", restart);
	return EXIT_DONE;
}

static int reload_work(struct down *down, const char *section)
{
	struct err err = {""};
	json_t *answer;
	int code, rc = tunnel_ref_ask(&down->tunnel, "reload", &answer, &err);

	if (rc == -ENOENT && !tunnel_ref_has_file(&down->tunnel, section))
		return down_no_such(down->options);
	if (rc == -ENOENT)
		return down_complain(down, "it does not run; up or systemctl start starts it");
	if (rc == -EACCES)
		return down_complain(down, "it runs as another user; root may reload it");
	if (rc < 0)
		return down_complain(down, err.text);
	code = reload_tell(down, answer);
	json_decref(answer);
	return code;
}

int reload_run(const struct options *options, const char *role, const char *section)
{
	return with_tunnel(options, role, section, reload_work);
}
