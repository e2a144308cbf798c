/* A program run beside the loop (command.h).
 *
 * Happy path: the program starts as leader of a session, and so of a process group of its own. Its input is a file in
 * memory, its output one pipe. When it ends, the rest of the pipe is read, on_exit() is called, and the memory goes
 * with the last handle. A program that it left in the background (`daemon &`) may keep the pipe open; that holds
 * nothing up. With setup->tails the command then stays in that list until the pipe has ended.
 *
 * Failure: a program that exceeds its time is killed with its group. When a command is closed early, its process handle
 * stays until the killed program is reaped: otherwise libuv would leave a zombie.
 */
#include "common/net/command.h"

#include "common/base/file.h"
#include "common/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define COMMAND_LINE_MAX 1024 /* a longer line comes in pieces */
#define COMMAND_READ_SIZE 4096
#define COMMAND_PATH_MAX 4096
#define COMMAND_FOLDERS "/usr/sbin:/usr/bin:/sbin:/bin" /* behind PATH: where a plain user's has no sbin */

struct command {
	uv_process_t process;
	uv_pipe_t pipe;
	uv_timer_t timer;	    /* time limit */
	unsigned int pending;	    /* open handles */
	bool has_exited, has_ended; /* the program; the pipe */
	bool finished;		    /* on_exit() was called, or is not wanted any more */
	bool is_tail;		    /* finished, but in ->tails: a background program is still heard */
	int status;
	char *output;
	size_t output_len, output_size;
	char line[COMMAND_LINE_MAX];
	size_t line_len;
	char buffer[COMMAND_READ_SIZE];
	void (*on_line)(void *owner, const char *line);
	void *line_owner;
	struct command_tails *tails;
	struct command *next; /* of the tails */
	void (*on_exit)(void *owner, int status, const char *output);
	void *owner;
};

/* --- where a program is --- */

static const char *command_path(char *buf, size_t size)
{
	const char *path = getenv("PATH");

	snprintf(buf, size, "%s%s%s", path ? path : "", path && *path ? ":" : "", COMMAND_FOLDERS);
	return buf;
}

static bool is_program(const char *path)
{
	struct stat info;

	return stat(path, &info) == 0 && S_ISREG(info.st_mode) && access(path, X_OK) == 0;
}

/* A word with a slash is a path, as for a shell. Ours come without, and are looked for in our PATH and then where a
 * system's own programs are, because a plain user's PATH lacks /usr/sbin. */
static bool command_find(const char *program, char *ret, size_t size)
{
	char folders[COMMAND_PATH_MAX], *rest, *folder;

	if (strchr(program, '/')) {
		snprintf(ret, size, "%s", program);
		return is_program(program);
	}
	command_path(folders, sizeof(folders));
	for (folder = strtok_r(folders, ":", &rest); folder; folder = strtok_r(NULL, ":", &rest))
		if ((size_t)snprintf(ret, size, "%s/%s", folder, program) < size && is_program(ret))
			return true;
	return false;
}

bool command_exists(const char *program)
{
	char path[COMMAND_PATH_MAX];

	return command_find(program, path, sizeof(path));
}

/* --- in words --- */

/* Put all lines of @output behind each other, escaped, with "; " between them: the remedy may stand in any of them.
 * Lines of blanks and carets are left out: they point into the line above (nft), which means nothing in one line.
 * Words that do not fit become "…". Return: characters written; 0: the program said nothing. */
static size_t join_lines(char *buf, size_t size, const char *output)
{
	static const char separator[] = "; ", more[] = "…";
	size_t used = 0;

	for (size_t len; *output; output += len + (output[len] == '\n')) {
		size_t blank = strspn(output, " \t\r"), end;

		end = len = strcspn(output, "\n");
		if (strspn(output, " \t\r^") >= len)
			continue;
		while (strchr(" \t\r", output[end - 1]))
			end--;
		if (used > 0 && used + sizeof(separator) + sizeof(more) < size)
			used += strlen(strcpy(buf + used, separator));
		/* An escaped character takes four: only where all of them would fit is the line surely whole. */
		log_quote(buf + used, size - used - sizeof(more), output + blank, end - blank);
		used += strlen(buf + used);
		if (used + sizeof(more) + 4 >= size)
			return used + strlen(strcpy(buf + used, more));
	}
	return used;
}

const char *command_why(char *buf, size_t size, int status, const char *output)
{
	static const char late[] = "took too long, and was killed";
	char said[COMMAND_WHY_MAX];
	size_t len = join_lines(said, sizeof(said), output);

	if (status == -ETIMEDOUT)
		snprintf(buf, size, "%s%s%s", late, len > 0 ? ": " : "", len > 0 ? said : "");
	else if (len > 0)
		snprintf(buf, size, "%s", said);
	else if (status < 0)
		snprintf(buf, size, "%s", strerror(-status));
	else if (status > 128 && status <= 128 + SIGRTMAX) /* ssh(1) and ip(8) end with 255 */
		snprintf(buf, size, "killed by signal %d", status - 128);
	else
		snprintf(buf, size, "exit code %d", status);
	return buf;
}

/* --- its end --- */

/* The last handle frees: libuv touches each until it has called this. */
static void command_on_handle_closed(uv_handle_t *handle)
{
	struct command *command = handle->data;

	if (--command->pending > 0)
		return;
	free(command->output);
	free(command);
}

static void command_close_handle(void *handle)
{
	if (!uv_is_closing(handle))
		uv_close(handle, command_on_handle_closed);
}

/* A handle of a process that runs is closed when it has been reaped. */
static void command_close_handles(struct command *command)
{
	command_close_handle(&command->pipe);
	command_close_handle(&command->timer);
	if (command->has_exited)
		command_close_handle(&command->process);
}

/* True as long as lines are wanted. */
static bool command_is_heard(const struct command *command)
{
	return command->on_line && (!command->finished || command->is_tail);
}

/* Pass on the line that was gathered. Its owner may close the command inside the call. */
static void command_say_line(struct command *command)
{
	if (command->line_len == 0 || !command_is_heard(command))
		return;
	command->line[command->line_len] = '\0';
	command->line_len = 0;
	command->on_line(command->line_owner, command->line);
}

/* The pipe has ended, or no one listens any more. */
static void command_leave_tails(struct command *command)
{
	struct command **place = &command->tails->first;

	while (*place != command)
		place = &(*place)->next;
	*place = command->next;
	command->is_tail = false;
	command_close_handle(&command->pipe);
}

void command_tails_close(struct command_tails *tails)
{
	while (tails->first)
		command_leave_tails(tails->first);
}

/* The program has ended, or was closed before: on_exit() is called at most once, as the last thing that happens
 * here. */
static void command_finish(struct command *command)
{
	if (!command->finished)
		command_say_line(command); /* a last one without its end */
	if (command->finished)
		return; /* its owner closed it upon that line */
	command->finished = true;
	if (command->tails && !command->has_ended) {
		/* It becomes a tail: the pipe stays open for the program in the background. */
		command->is_tail = true;
		command->next = command->tails->first;
		command->tails->first = command;
		command_close_handle(&command->timer);
		command_close_handle(&command->process);
	} else {
		command_close_handles(command);
	}
	command->on_exit(command->owner, command->status, command->output ? command->output : "");
	free(command->output);
	command->output = NULL;
}

static void command_take(struct command *command, const char *text, size_t len);

/* All that the ended program wrote is in the pipe by now. No more is read: a program in the background may write for
 * ever. */
static void command_read_rest(struct command *command)
{
	uv_os_fd_t fd = -1;
	int left = 0;

	uv_fileno((const uv_handle_t *)&command->pipe, &fd);
	ioctl(fd, FIONREAD, &left);
	while (left > 0 && !command->finished) {
		size_t wanted = (size_t)left < sizeof(command->buffer) ? (size_t)left : sizeof(command->buffer);
		ssize_t got = read(fd, command->buffer, wanted);

		if (got <= 0)
			break;
		command_take(command, command->buffer, (size_t)got);
		left -= (int)got;
	}
}

/* The exit may be heard before the end of the pipe, or after it. A timeout has set the status already. */
static void command_on_exit(uv_process_t *process, int64_t exit_code, int signal_number)
{
	struct command *command = process->data;

	command->has_exited = true;
	if (command->status == 0)
		command->status = signal_number ? 128 + signal_number : (int)exit_code;
	if (command->finished) {
		command_close_handle(process);
		return;
	}
	if (!command->has_ended)
		command_read_rest(command);
	if (command->finished) /* its owner closed it upon a line */
		return;
	command_finish(command);
}

/* Only before it is reaped: afterwards another process, or another group, may have its number. */
void command_kill(struct command *command)
{
	if (!command->has_exited)
		kill(-command->process.pid, SIGKILL);
}

/* The group is killed, and its end is heard as any other's. */
static void command_on_timeout(uv_timer_t *timer)
{
	struct command *command = timer->data;

	command->status = -ETIMEDOUT;
	command_kill(command);
}

void command_close(struct command *command)
{
	if (!command || command->finished)
		return;
	command->finished = true;
	command_kill(command);
	command_close_handles(command);
}

/* --- its output --- */

/* COMMAND_OUTPUT_MAX bounds the memory that a program can make us take; the rest is read and forgotten, so that it does
 * not block. */
static void command_keep_output(struct command *command, const char *text, size_t len)
{
	size_t wanted, size;
	char *grown;

	if (len > COMMAND_OUTPUT_MAX - command->output_len)
		len = COMMAND_OUTPUT_MAX - command->output_len;
	wanted = command->output_len + len + 1;
	if (wanted > command->output_size) {
		size = command->output_size * 2 > wanted ? command->output_size * 2 : wanted;
		grown = realloc(command->output, size);
		if (!grown)
			return; /* as much as there is room for */
		command->output = grown;
		command->output_size = size;
	}
	memcpy(command->output + command->output_len, text, len);
	command->output_len += len;
	command->output[command->output_len] = '\0';
}

/* The owner may close the command upon any line, and its tails. */
static void command_take(struct command *command, const char *text, size_t len)
{
	if (!command->finished)
		command_keep_output(command, text, len);
	for (size_t i = 0; i < len && command_is_heard(command); i++) {
		if (text[i] != '\n')
			command->line[command->line_len++] = text[i];
		if (text[i] == '\n' || command->line_len == COMMAND_LINE_MAX - 1)
			command_say_line(command);
	}
}

static void command_on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
	struct command *command = handle->data;

	(void)suggested;
	*ret = uv_buf_init(command->buffer, sizeof(command->buffer));
}

static void command_on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buffer)
{
	struct command *command = stream->data;

	if (got > 0) {
		command_take(command, buffer->base, (size_t)got);
	} else if (got < 0) {
		command->has_ended = true; /* its exit follows, or was before */
		uv_read_stop(stream);
		if (command->is_tail)
			command_say_line(command);
		if (command->is_tail)
			command_leave_tails(command);
	}
}

/* --- its start --- */

/* A file and not a pipe: a program that does not read it can neither block us nor send us SIGPIPE.
 * Return: a descriptor, or a negative errno. */
static int command_open_input(const struct command_setup *setup)
{
	int fd = memfd_create("input", MFD_CLOEXEC);
	int rc = fd < 0 ? -errno : file_write_all(fd, setup->input, setup->input_len);

	if (rc == 0) {
		lseek(fd, 0, SEEK_SET);
		return fd;
	}
	if (fd >= 0)
		close(fd);
	return rc;
}

/* Variables that are between systemd and us, and those that may hold a secret. */
static bool is_withheld(const char *variable)
{
	static const char *const heads[] = {"NOTIFY_SOCKET=", "WATCHDOG_", "JOURNAL_STREAM=", "TOWPATH_", "PATH="};

	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++)
		if (strncmp(variable, heads[i], strlen(heads[i])) == 0)
			return true;
	return false;
}

/* Our environment without those, and with a PATH that has every folder in which we look ourselves. @path is borrowed.
 * Return: the caller frees it; NULL: out of memory. */
static char **command_environment(char *path)
{
	size_t count = 0, kept = 0;
	char **ret;

	while (environ[count])
		count++;
	ret = calloc(count + 2, sizeof(*ret));
	if (!ret)
		return NULL;
	for (size_t i = 0; i < count; i++)
		if (!is_withheld(environ[i]))
			ret[kept++] = environ[i];
	ret[kept] = path;
	return ret;
}

/* `setpriv --pdeathsig KILL PROGRAM …` where there is one: it replaces itself by the program. Return: free() it, or
 * NULL. */
static char **command_arguments(const char *const *argv, char *program, char *setpriv)
{
	static char option[] = "--pdeathsig", signal_name[] = "KILL";
	size_t count = 0, at = 0;
	char **ret;

	while (argv[count])
		count++;
	ret = calloc(count + 4, sizeof(*ret));
	if (!ret)
		return NULL;
	if (setpriv) {
		ret[at++] = setpriv;
		ret[at++] = option;
		ret[at++] = signal_name;
	}
	ret[at++] = program;
	for (size_t i = 1; i < count; i++)
		memcpy(&ret[at++], &argv[i], sizeof(argv[i])); /* execvp() takes them as not const, and lets them be */
	return ret;
}

/* @program: found already. @fds: input (-1: none) and output. Return: 0 or a negative errno. */
static int command_spawn(
	struct command *command, uv_loop_t *loop, const char *const *argv, char *program, const int fds[2])
{
	char path[COMMAND_PATH_MAX + 8] = "PATH=", setpriv[COMMAND_PATH_MAX];
	uv_stdio_container_t stdio[3] = {{.flags = UV_IGNORE}, {.flags = UV_INHERIT_FD, .data.fd = fds[1]}};
	uv_process_options_t options = {
		.exit_cb = command_on_exit, .flags = UV_PROCESS_DETACHED, .stdio_count = 3, .stdio = stdio};
	bool has_setpriv = command_find("setpriv", setpriv, sizeof(setpriv));
	int rc = -ENOMEM;

	command_path(path + strlen(path), sizeof(path) - strlen(path));
	stdio[2] = stdio[1];
	if (fds[0] >= 0)
		stdio[0] = (uv_stdio_container_t){.flags = UV_INHERIT_FD, .data.fd = fds[0]};
	options.args = command_arguments(argv, program, has_setpriv ? setpriv : NULL);
	options.env = command_environment(path);
	if (options.args && options.env) {
		options.file = options.args[0];
		rc = uv_spawn(loop, &command->process, &options);
		command->pending++;	      /* also where it failed: it is a handle now, */
		command->has_exited = rc < 0; /* that may be closed */
	}
	free(options.args);
	free(options.env);
	return rc;
}

static struct command *command_new(uv_loop_t *loop, const struct command_setup *setup)
{
	struct command *command = calloc(1, sizeof(*command));

	if (!command)
		return NULL;
	command->on_line = setup->on_line;
	command->line_owner = setup->line_owner ? setup->line_owner : setup->owner;
	command->tails = setup->tails;
	command->on_exit = setup->on_exit;
	command->owner = setup->owner;
	command->process.data = command->pipe.data = command->timer.data = command;
	uv_pipe_init(loop, &command->pipe, 0);
	uv_timer_init(loop, &command->timer);
	command->pending = 2;
	return command;
}

/* Return: 0 or a negative errno; @command is closed then. */
static int command_run(
	struct command *command, uv_loop_t *loop, const struct command_setup *setup, char *program, int input_fd)
{
	int output[2], rc;

	if (pipe2(output, O_CLOEXEC) < 0)
		return -errno;
	rc = uv_pipe_open(&command->pipe, output[0]);
	if (rc < 0)
		close(output[0]);
	else
		rc = command_spawn(command, loop, setup->argv, program, (const int[2]){input_fd, output[1]});
	close(output[1]);
	if (rc < 0)
		return rc;
	uv_read_start((uv_stream_t *)&command->pipe, command_on_alloc, command_on_read);
	if (setup->timeout_ms > 0)
		uv_timer_start(&command->timer, command_on_timeout, setup->timeout_ms, 0);
	return 0;
}

int command_start(struct command **ret, uv_loop_t *loop, const struct command_setup *setup, struct err *err)
{
	char program[COMMAND_PATH_MAX];
	struct command *command;
	int rc, input_fd = -1;

	if (!command_find(setup->argv[0], program, sizeof(program)))
		return err_set(err, -ENOENT, "%s: there is no such program", setup->argv[0]);
	if (setup->input_len > 0) {
		input_fd = command_open_input(setup);
		if (input_fd < 0)
			return err_system(err, input_fd, "%s: its input", setup->argv[0]);
	}
	command = command_new(loop, setup);
	rc = command ? command_run(command, loop, setup, program, input_fd) : -ENOMEM;
	if (input_fd >= 0)
		close(input_fd);
	if (rc == 0) {
		*ret = command;
		return 0;
	}
	if (command) {
		command->finished = true;
		command_close_handles(command);
	}
	return err_system(err, rc, "%s", setup->argv[0]);
}
