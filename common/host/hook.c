/* Hooks, one after the other (hook.h).
 *
 * Happy path: each line becomes a bash command with %i replaced, is started, and the next one follows when its shell
 * has ended with 0. A line that fails ends PreUp and PostUp with its words as the reason; after PreDown and PostDown it
 * is logged and the next line follows, since stopping half-way would leave more behind.
 */
#include "common/host/hook.h"

#include "common/base/log.h"
#include "common/base/place.h"
#include "common/base/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_QUOTED 1024

static void hooks_next(struct hooks *hooks);

/* Every %i in @line becomes the device. Return: the caller frees it; NULL: out of memory. */
static char *expand(const char *line, const char *device)
{
	size_t device_len = strlen(device), len = 0;
	char *text = malloc(strlen(line) * (device_len > 1 ? device_len : 1) + 1);

	while (text && *line)
		if (line[0] == '%' && line[1] == 'i') {
			memcpy(text + len, device, device_len);
			len += device_len;
			line += 2;
		} else {
			text[len++] = *line++;
		}
	if (text)
		text[len] = '\0';
	return text;
}

static void on_line(void *owner, const char *line)
{
	/* Logs the output of a hook. A program that a hook has left in the background may still write after all hooks
	 * are over, so this outlives them. */
	const char *const *key = owner;
	char quoted[LINE_MAX_QUOTED];

	log_info("wireguard", "%s: %s", *key, log_quote(quoted, sizeof(quoted), line, strlen(line)));
}

static void fail(struct hooks *hooks, const char *reason)
{
	const char *line = hooks->lines[hooks->next - 1], *remedy = "";
	char text[LINE_MAX_QUOTED + TEXT_FOREIGN_MAX], foreign[TEXT_FOREIGN_MAX];

	hooks->failed_line = hooks->file_lines[hooks->next - 1];
	text_name_foreign(foreign, line);
	if (strstr(line, "sysctl") && access("/proc/sys/net/ipv4/ip_forward", W_OK) < 0 && errno == EROFS)
		remedy = "; /proc/sys is read-only, as in a container: docker run --sysctl sets what the hook would set, "
			 "and the hook works without its sysctl";
	snprintf(text, sizeof(text), "%s = %.800s: %s%s%s%s", wg_config_hook_keys[hooks->kind], line, reason, remedy,
		*foreign ? "; " : "", foreign);
	if (hooks->kind == HOOK_PRE_UP || hooks->kind == HOOK_POST_UP) {
		hooks->on_done(hooks->owner, text);
		return;
	}
	log_warning("wireguard", "%s; going on", text);
	hooks_next(hooks);
}

static void on_exit_of(void *owner, int status, const char *output)
{
	struct hooks *hooks = owner;
	char reason[64];

	(void)output;
	hooks->command = NULL;
	if (status == 0) {
		hooks_next(hooks);
		return;
	}
	fail(hooks, command_why(reason, sizeof(reason), status, "")); /* its output is in the log */
}

/* The shell is set as wg-quick's own, inside which hooks run there: set -e -o pipefail, shopt -s extglob, LC_ALL=C. A
 * hook that works under wg-quick then means the same here. */
static int start(struct hooks *hooks, const char *text, struct err *err)
{
	const char *const argv[] = {
		"env", "LC_ALL=C", "bash", "-e", "-o", "pipefail", "-O", "extglob", "-c", text, NULL};
	const struct command_setup setup = {.argv = argv,
		.on_line = on_line,
		.line_owner = &wg_config_hook_keys[hooks->kind],
		.tails = hooks->tails,
		.on_exit = on_exit_of,
		.owner = hooks};

	return command_start(&hooks->command, hooks->loop, &setup, err);
}

static void hooks_next(struct hooks *hooks)
{
	struct err err = {""};
	char *text;

	if (hooks->next == hooks->count) {
		hooks->on_done(hooks->owner, NULL);
		return;
	}
	text = expand(hooks->lines[hooks->next++], hooks->device);
	if (!text) {
		fail(hooks, "out of memory");
		return;
	}
	log_info("wireguard", "[#] %s", text);
	if (start(hooks, text, &err) < 0)
		fail(hooks, err.text);
	free(text);
}

void hooks_start(struct hooks *hooks)
{
	hooks->next = 0;
	hooks->command = NULL;
	hooks_next(hooks);
}

void hooks_kill(struct hooks *hooks)
{
	if (hooks->command)
		command_kill(hooks->command);
}

void hooks_stop(struct hooks *hooks)
{
	command_close(hooks->command);
	hooks->command = NULL;
}

bool hooks_format_missed(
	const struct wg_config_interface *interface, const char *path, size_t at, char *buf, size_t size)
{
	int kind = HOOK_PRE_DOWN;

	if (at >= interface->hook_count[kind])
		at -= interface->hook_count[kind++];
	if (at >= interface->hook_count[kind])
		return false;
	snprintf(buf, size, "%s: %s = %s", PLACE(path, interface->hook_lines[kind][at]), wg_config_hook_keys[kind],
		interface->hooks[kind][at]);
	return true;
}
