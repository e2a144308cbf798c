/* The command line of both programs: verb, tunnel, general options, and how wrong ones are refused. */
#pragma once

#include "common/base/err.h"
#include "common/base/ini.h"
#include "common/process/exit_code.h"

#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum options_verb {
	OPTIONS_RUN,
	OPTIONS_UP,
	OPTIONS_DOWN,
	OPTIONS_STATUS,
	OPTIONS_RELOAD,
	OPTIONS_CHECK,
	OPTIONS_COMMAND, /* one that only this program has */
};

#define OPTIONS_CONFIG_DIR "/etc/towpath"
#define OPTIONS_RUNTIME_DIR "/run/towpath" /* root's */

struct options;

/* A command of one program. */
struct options_command {
	const char *name; /* "init" */
	const char *words; /* after it, for a complaint about their number: "[NAME]" */
	int words_min, words_max; /* at most 2 */
	bool takes_json, takes_timeout;
	const struct option *options; /* of getopt_long(), their val is not used; ends with a NULL name */
	int (*run)(const struct options *options); /* Return: the exit code. */
};

struct options_program {
	const char *name; /* "towpath-client" */
	const char *help;
	/* Long options of `run` and `up` that take a value, NULL-terminated. NULL: none. */
	const char *const *(*keys)(void);
	bool takes_url; /* run wss://…, up wss://… */
	const struct options_command *commands; /* ends with a NULL name; NULL: none */
};

struct options_key {
	const char *name; /* without "--", as in the program's keys */
	const char *value; /* NULL: an option without one */
	bool is_of_command;
};

struct options {
	enum options_verb verb;
	const struct options_command *command; /* of OPTIONS_COMMAND */
	const char *tunnel_word; /* NAME, FILE or URL as typed; NULL only with status. A command's first word, or NULL */
	const char *second_word; /* a command's, or NULL */
	bool json, hooks, quiet, verbose;
	const char *config_dir;
	char runtime_dir[PATH_MAX];
	bool is_users_runtime_dir; /* by default, because we are not root */
	const char *state_dir;
	char places[1024];	  /* " --state-dir DIR": those that were given, for commands that a message names */
	uint64_t timeout_ms;	  /* of `up` */
	struct options_key *keys; /* in the order given */
	size_t key_count;
};

/* Read the command line and set the log's level. Return: -1 to go on (options_done() later); or the exit code, after
 * the complaint or, for --help and --version, the answer has been printed. */
int options_parse(const struct options_program *program, int argc, char **argv, struct options *ret);
void options_done(struct options *options);

/* The last such option of a command; NULL: it was not given. */
const struct options_key *options_find(const struct options *options, const char *name);

/* A complaint about an option of a command, one line. Return: EXIT_USAGE. */
int options_refuse(const struct options *options, const char *name, const char *what);

/* Set the log's level from a worker's argv, see spawn.h: "--worker LEVEL verbose|plain". */
void options_take_worker_log(int argc, char **argv);

bool options_is_url(const char *word);
/* A word with a slash or ending in ".conf" is a file, another a NAME in the configuration folder.
 * Return: 0, or -EINVAL with a line in @report. */
int options_find_file(const struct options *options, char path[PATH_MAX], struct ini_report *report);

/* Print what is wrong with a configuration: all lines of @report, or @err where that is empty. Return: EXIT_USAGE. */
int options_complain(const struct ini_report *report, const struct err *err);

/* See that descriptors 0 to 2 are open, so that no socket becomes one of them and is written to as a log. */
void options_guard_standard_files(void);
