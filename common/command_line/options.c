/* The command line, see options.h.
 *
 *    towpath-client  -v       --token-file=/etc/t --ping-interval=30s  up    home
 *                    general  keys of the configuration                verb  tunnel
 *
 * Happy path: getopt_long() over one table, made of the general options and the program's keys; then the verb, the
 * tunnel, and what goes with which verb. Options may stand anywhere. Fails with one line on stderr that names the
 * word and, if one is near, the known word; a value is never repeated there, it may be a secret.
 *
 * A key's value is kept as text. It is parsed later by the parser that also reads the file, so that an option and a
 * line of the file mean the same.
 *
 * Each take_… and check_… function returns -1 to go on, or the exit code after it has complained.
 */
#include "common/command_line/options.h"

#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/base/key_table.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "common/wireguard/tunnel_file.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_STATE_DIR "/var/lib/towpath"
#define DEFAULT_TIMEOUT_MS 30000
#define LONG_MAX_COUNT 96 /* 10 general ones, and each key up to twice; more are not accepted */

/* The values that getopt_long() returns. Letters are short options; 256 and up have no short form. */
enum option_value {
	OPTION_HELP = 'h',
	OPTION_VERBOSE = 'v',
	OPTION_QUIET = 'q',
	OPTION_VERSION = 'V',
	OPTION_JSON = 256,
	OPTION_HOOKS,
	OPTION_CONFIG_DIR,
	OPTION_RUNTIME_DIR,
	OPTION_STATE_DIR,
	OPTION_TIMEOUT,
	OPTION_KEYS, /* this and above: the program's keys in their order */
	OPTION_COMMANDS = 1024, /* the same for the options of its commands, by their place in the table */
};

/* The options of both programs. A program's keys follow them in one table, so that getopt_long() also completes what is
 * abbreviated without doubt. */
static const struct option general[] = {
	{"help", no_argument, NULL, OPTION_HELP},
	{"verbose", no_argument, NULL, OPTION_VERBOSE},
	{"quiet", no_argument, NULL, OPTION_QUIET},
	{"version", no_argument, NULL, OPTION_VERSION},
	{"json", no_argument, NULL, OPTION_JSON},
	{"hooks", no_argument, NULL, OPTION_HOOKS},
	{"config-dir", required_argument, NULL, OPTION_CONFIG_DIR},
	{"runtime-dir", required_argument, NULL, OPTION_RUNTIME_DIR},
	{"state-dir", required_argument, NULL, OPTION_STATE_DIR},
	{"timeout", required_argument, NULL, OPTION_TIMEOUT},
};

#define GENERAL_COUNT (sizeof(general) / sizeof(general[0]))

/* In the order of enum options_verb; ends with NULL for ini_nearest(). */
static const char *const verbs[] = {[OPTIONS_RUN] = "run",
	[OPTIONS_UP] = "up",
	[OPTIONS_DOWN] = "down",
	[OPTIONS_STATUS] = "status",
	[OPTIONS_RELOAD] = "reload",
	[OPTIONS_CHECK] = "check",
	NULL};

/* Verbs of later versions: these are not misspelled, so no other word is proposed. */
static const char *const future_verbs[] = {"doctor", "show", NULL};

struct parsing {
	const struct options_program *program;
	const char *const *keys; /* the program's; NULL: none */
	struct options *options;
	struct option longs[LONG_MAX_COUNT];
	const char *names[LONG_MAX_COUNT];	     /* of longs, for "did you mean" */
	char joined[LONG_MAX_COUNT][KEY_OPTION_MAX]; /* "servername" for "server-name" */
	size_t count;
	bool version;
	bool help;
	bool has_timeout;
};

/* @about: the word, or what is missing. @nearest: a known word to propose, or NULL. Return: EXIT_USAGE. */
static int complain(const struct parsing *parsing, const char *about, const char *what, const char *nearest)
{
	if (nearest)
		fprintf(stderr, "%s: %s: %s; did you mean %s?\n", parsing->program->name, about, what, nearest);
	else
		fprintf(stderr, "%s: %s: %s; see %s --help\n", parsing->program->name, about, what,
			parsing->program->name);
	return EXIT_USAGE;
}

/* Append to the table, which ends with an empty element: the array is zeroed, and its last element is never used. */
static void add_long(struct parsing *parsing, const char *name, int has_argument, int value)
{
	if (parsing->count + 1 >= LONG_MAX_COUNT)
		return;
	parsing->longs[parsing->count] = (struct option){name, has_argument, NULL, value};
	parsing->names[parsing->count++] = name;
}

/* FwMark is --fw-mark, but --fwmark is accepted, too: all keys are known without their dashes. */
static void add_joined(struct parsing *parsing, const char *name, int value)
{
	char *joined = parsing->joined[parsing->count];
	size_t len = 0;

	for (const char *at = name; *at && len + 1 < KEY_OPTION_MAX; at++)
		if (*at != '-')
			joined[len++] = *at;
	joined[len] = '\0';
	if (strcmp(joined, name) != 0)
		add_long(parsing, joined, required_argument, value);
}

/* A key of the configuration, or an option of a command. Its value is checked later, by the parser that also reads the
 * file, or by the command. */
static int take_key(struct parsing *parsing, int value, const char *text)
{
	bool is_of_command = value >= OPTION_COMMANDS;
	struct options *options = parsing->options;
	struct options_key *key = array_append(&options->keys, &options->key_count, sizeof(*key));

	if (!key) {
		fprintf(stderr, "%s: out of memory\n", parsing->program->name);
		return EXIT_FAILED;
	}
	*key = (struct options_key){
		is_of_command ? parsing->names[value - OPTION_COMMANDS] : parsing->keys[value - OPTION_KEYS], text,
		is_of_command};
	return -1;
}

/* The folders are not looked at here: the command that needs one says what is wrong with it. */
static int take_folder(struct parsing *parsing, int value, const char *text)
{
	struct options *options = parsing->options;
	size_t len = strlen(options->places);
	const char *name = "--runtime-dir", *quote = text_is_argument(text, "_-./+=@:~") ? "" : "'";

	if (*text == '\0' || strlen(text) >= sizeof(options->runtime_dir))
		return complain(parsing, "a folder", "empty or too long", NULL);
	if (value == OPTION_RUNTIME_DIR) {
		snprintf(options->runtime_dir, sizeof(options->runtime_dir), "%s", text);
	} else if (value == OPTION_CONFIG_DIR) {
		options->config_dir = text;
		name = "--config-dir";
	} else {
		options->state_dir = text;
		name = "--state-dir";
	}
	snprintf(options->places + len, sizeof(options->places) - len, " %s %s%s%s", name, quote, text, quote);
	return -1;
}

/* An option that getopt_long() does not know, told without its argument, which may be a secret. */
static int complain_unknown(const struct parsing *parsing, int argc, char **argv)
{
	const char *word = optind > 0 && optind <= argc ? argv[optind - 1] : "";
	char shown[64], nearest[KEY_OPTION_MAX + 2];
	const char *known;

	if (optopt > 0 && optopt < OPTION_JSON && strncmp(word, "--", 2) != 0) {
		snprintf(shown, sizeof(shown), "-%c", isprint(optopt) ? optopt : '?');
		return complain(parsing, shown, "unknown option", NULL);
	}
	snprintf(shown, sizeof(shown), "%.*s", (int)strcspn(word, "="), word);
	if (optopt != 0) /* known, but given as --json=yes */
		return complain(parsing, shown, "takes no value", NULL);
	known = strlen(shown) > 2 ? ini_nearest(shown + 2, parsing->names) : NULL;
	if (known)
		snprintf(nearest, sizeof(nearest), "--%s", known);
	return complain(parsing, shown, "unknown option", known ? nearest : NULL);
}

/* @value: what getopt_long() returned. ":" is a missing value, "?" an option it does not know. */
static int take_option(struct parsing *parsing, int value, int argc, char **argv)
{
	struct options *options = parsing->options;

	switch (value) {
	case OPTION_HELP:
		parsing->help = true;
		return -1;
	case OPTION_VERSION:
		parsing->version = true;
		return -1;
	case OPTION_VERBOSE:
		options->verbose = true;
		return -1;
	case OPTION_QUIET:
		options->quiet = true;
		return -1;
	case OPTION_JSON:
		options->json = true;
		return -1;
	case OPTION_HOOKS:
		options->hooks = true;
		return -1;
	case OPTION_CONFIG_DIR:
	case OPTION_RUNTIME_DIR:
	case OPTION_STATE_DIR:
		return take_folder(parsing, value, optarg);
	case OPTION_TIMEOUT:
		parsing->has_timeout = true;
		if (clock_parse_span(optarg, &options->timeout_ms) < 0 || options->timeout_ms == 0)
			return complain(parsing, "--timeout", "not a time; expected for example 30s or 5min", NULL);
		return -1;
	case ':':
		return complain(parsing, argv[optind - 1], "needs a value", NULL);
	case '?':
		return complain_unknown(parsing, argc, argv);
	default:
		return take_key(parsing, value, optarg);
	}
}

/* @word: the first word that is no option, or NULL. */
static int take_verb(struct parsing *parsing, const char *word)
{
	if (!word)
		return complain(parsing, "a command is missing", "run, up, down, status, reload or check", NULL);
	for (int i = 0; verbs[i]; i++)
		if (strcmp(word, verbs[i]) == 0) {
			parsing->options->verb = (enum options_verb)i;
			return -1;
		}
	for (const struct options_command *command = parsing->program->commands; command && command->name; command++)
		if (strcmp(word, command->name) == 0) {
			parsing->options->verb = OPTIONS_COMMAND;
			parsing->options->command = command;
			return -1;
		}
	for (int i = 0; future_verbs[i]; i++)
		if (strcmp(word, future_verbs[i]) == 0)
			return complain(parsing, word, "not known to this version", NULL);
	return complain(parsing, word, "unknown command", ini_nearest(word, verbs));
}

/* Only these read keys of the configuration from the command line; check and reload read the file as it is. */
static bool starts_a_tunnel(const struct parsing *parsing)
{
	return parsing->options->verb == OPTIONS_RUN || parsing->options->verb == OPTIONS_UP;
}

/* @has_more: another word follows it. */
static int check_tunnel_word(struct parsing *parsing, const char *word, bool has_more)
{
	const struct options *options = parsing->options;
	const char *verb = verbs[options->verb];
	bool takes_url = parsing->program->takes_url && starts_a_tunnel(parsing);

	if (!word && options->verb != OPTIONS_STATUS)
		return complain(parsing, verb,
			takes_url ? "which tunnel? NAME, FILE or wss://HOST is missing"
				  : "which tunnel? NAME or FILE is missing",
			NULL);
	if (has_more)
		return complain(parsing, verb, "one tunnel at a time", NULL);
	if (word && options_is_url(word) && !takes_url)
		return complain(parsing, verb,
			parsing->program->takes_url ? "needs NAME or FILE; a tunnel from a URL is named after its host"
						    : "needs NAME or FILE, not a URL",
			NULL);
	return -1;
}

/* Return: NULL: the command has no such option. */
static const struct option *find_option(const struct options_command *command, const char *name)
{
	const struct option *option = command->options;

	while (option->name && strcmp(option->name, name) != 0)
		option++;
	return option->name ? option : NULL;
}

/* The name of a command that has such an option: for a complaint. */
static const char *command_of_option(const struct parsing *parsing, const char *name)
{
	const struct options_command *command = parsing->program->commands;

	while (!find_option(command, name))
		command++;
	return command->name;
}

/* A command's words and options, and options of commands with another verb. */
static int check_command(struct parsing *parsing, int word_count)
{
	const struct options *options = parsing->options;
	const struct options_command *command = options->command;
	char text[KEY_OPTION_MAX + 2];

	if (command && (word_count < command->words_min || word_count > command->words_max)) {
		fprintf(stderr, "%s: %s: %s; expected %s %s %s\n", parsing->program->name, command->name,
			word_count > command->words_max ? "a word too many" : "a word is missing",
			parsing->program->name, command->name, command->words);
		return EXIT_USAGE;
	}
	for (size_t i = 0; i < options->key_count; i++) {
		const char *name = options->keys[i].name;

		if (!options->keys[i].is_of_command || (command && find_option(command, name)))
			continue;
		snprintf(text, sizeof(text), "--%s", name);
		fprintf(stderr, "%s: %s: goes with %s; see %s --help\n", parsing->program->name, text,
			command_of_option(parsing, name), parsing->program->name);
		return EXIT_USAGE;
	}
	return -1;
}

/* True if a general option, or one of a key or command, goes with the verb. @name: with its dashes inside. */
static bool goes_with_verb(const struct parsing *parsing, int value, const char *name)
{
	const struct options *options = parsing->options;

	if (value >= OPTION_COMMANDS)
		return options->command && find_option(options->command, name);
	if (value >= OPTION_KEYS)
		return starts_a_tunnel(parsing) && strcmp(name, parsing->keys[value - OPTION_KEYS]) == 0;
	if (value == OPTION_JSON)
		return options->command ? options->command->takes_json : options->verb == OPTIONS_STATUS;
	if (value == OPTION_HOOKS)
		return options->verb == OPTIONS_DOWN;
	if (value == OPTION_TIMEOUT)
		return options->command ? options->command->takes_timeout : options->verb == OPTIONS_UP;
	return true;
}

/* Options that go with some verbs only. */
static int check_options(struct parsing *parsing)
{
	const struct options *options = parsing->options;

	if (options->json && !goes_with_verb(parsing, OPTION_JSON, "json"))
		return complain(parsing, "--json", "goes with status only", NULL);
	if (options->hooks && !goes_with_verb(parsing, OPTION_HOOKS, "hooks"))
		return complain(parsing, "--hooks", "goes with down only", NULL);
	if (parsing->has_timeout && !goes_with_verb(parsing, OPTION_TIMEOUT, "timeout"))
		return complain(parsing, "--timeout", "goes with what brings a tunnel up only", NULL);
	if (options->key_count > 0 && !starts_a_tunnel(parsing) && !options->command)
		return complain(parsing, verbs[options->verb],
			"takes no key of the configuration; those go with run and up", NULL);
	if (options->verbose && options->quiet)
		return complain(parsing, "--verbose", "does not go with --quiet", NULL);
	return -1;
}

/* Without --runtime-dir: root's folder, or the user's own as systemd or XDG names it. */
static void fill_runtime_dir(struct options *options)
{
	const char *user = getenv("XDG_RUNTIME_DIR");

	if (options->runtime_dir[0])
		return;
	options->is_users_runtime_dir = geteuid() != 0;
	if (!options->is_users_runtime_dir)
		snprintf(options->runtime_dir, sizeof(options->runtime_dir), "%s", OPTIONS_RUNTIME_DIR);
	else if (user && *user)
		snprintf(options->runtime_dir, sizeof(options->runtime_dir), "%s/towpath", user);
	else
		snprintf(options->runtime_dir, sizeof(options->runtime_dir), "/run/user/%u/towpath", geteuid());
}

/* Everything but defaults: options anywhere, then VERB and at most one tunnel. --help and --version need no verb. */
static int parse_words(struct parsing *parsing, int argc, char **argv)
{
	int value, rc = -1;

	opterr = 0;
	optind = 0; /* glibc: begin anew, whatever was parsed before */
	while (rc < 0 && (value = getopt_long(argc, argv, ":hvqV", parsing->longs, NULL)) != -1)
		rc = take_option(parsing, value, argc, argv);
	if (rc >= 0)
		return rc;
	if (parsing->help || parsing->version) {
		if (parsing->help)
			fputs(parsing->program->help, stdout);
		else
			printf("%s %s\n", parsing->program->name, TOWPATH_VERSION);
		return fflush(stdout) == 0 ? EXIT_DONE : EXIT_FAILED;
	}
	rc = take_verb(parsing, optind < argc ? argv[optind] : NULL);
	if (rc >= 0)
		return rc;
	if (optind + 1 < argc)
		parsing->options->tunnel_word = argv[optind + 1];
	if (optind + 2 < argc)
		parsing->options->second_word = argv[optind + 2];
	rc = check_command(parsing, argc - optind - 1);
	if (rc < 0 && !parsing->options->command)
		rc = check_tunnel_word(parsing, parsing->options->tunnel_word, optind + 2 < argc);
	return rc >= 0 ? rc : check_options(parsing);
}

/* `--complete [VERB]`, for the shell's completion and not in --help: the verbs, or what may follow one: "NAME" for a
 * tunnel's, and the options that go with it, those that take a value with "=". One word a line. */
static int print_words(struct parsing *parsing, const char *verb)
{
	const struct options_command *command = parsing->program->commands;

	if (!verb) {
		for (int i = 0; verbs[i]; i++)
			puts(verbs[i]);
		for (; command && command->name; command++)
			puts(command->name);
	} else if (take_verb(parsing, verb) < 0) {
		if (!parsing->options->command)
			puts("NAME");
		for (size_t i = 0; i < parsing->count; i++)
			if (goes_with_verb(parsing, parsing->longs[i].val, parsing->names[i]))
				printf("--%s%s\n", parsing->names[i],
					parsing->longs[i].has_arg == required_argument ? "=" : "");
	}
	return fflush(stdout) == 0 ? EXIT_DONE : EXIT_FAILED;
}

int options_parse(const struct options_program *program, int argc, char **argv, struct options *ret)
{
	struct parsing parsing = {.program = program, .keys = program->keys ? program->keys() : NULL, .options = ret};
	int rc;

	*ret = (struct options){
		.config_dir = OPTIONS_CONFIG_DIR, .state_dir = DEFAULT_STATE_DIR, .timeout_ms = DEFAULT_TIMEOUT_MS};
	for (size_t i = 0; i < GENERAL_COUNT; i++)
		add_long(&parsing, general[i].name, general[i].has_arg, general[i].val);
	for (int i = 0; parsing.keys && parsing.keys[i]; i++) {
		add_long(&parsing, parsing.keys[i], required_argument, OPTION_KEYS + i);
		add_joined(&parsing, parsing.keys[i], OPTION_KEYS + i);
	}
	for (const struct options_command *command = program->commands; command && command->name; command++)
		for (const struct option *option = command->options; option->name; option++)
			add_long(&parsing, option->name, option->has_arg, OPTION_COMMANDS + (int)parsing.count);
	rc = argc > 1 && strcmp(argv[1], "--complete") == 0 ? print_words(&parsing, argv[2])
							     : parse_words(&parsing, argc, argv);
	if (rc >= 0) {
		options_done(ret);
		return rc;
	}
	fill_runtime_dir(ret);
	log_set_level(ret->quiet ? LOG_LEVEL_WARNING : ret->verbose ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
	log_set_verbose(ret->verbose);
	return -1;
}

void options_done(struct options *options)
{
	free(options->keys);
	options->keys = NULL;
	options->key_count = 0;
}

const struct options_key *options_find(const struct options *options, const char *name)
{
	const struct options_key *found = NULL;

	for (size_t i = 0; i < options->key_count; i++)
		if (options->keys[i].is_of_command && strcmp(options->keys[i].name, name) == 0)
			found = &options->keys[i];
	return found;
}

int options_refuse(const struct options *options, const char *name, const char *what)
{
	const struct options_key *key = options_find(options, name);

	fprintf(stderr, "%s: --%s: '%.200s': %s\n", options->command->name, name, key->value, what);
	return EXIT_USAGE;
}

/* The supervisor checked these words before it wrote them; another caller gets the default level. */
void options_take_worker_log(int argc, char **argv)
{
	int level = argc > 2 ? atoi(argv[2]) : LOG_LEVEL_INFO;

	if (level < LOG_LEVEL_ERROR || level > LOG_LEVEL_DEBUG)
		level = LOG_LEVEL_INFO;
	log_set_level((enum log_level)level);
	log_set_verbose(argc > 3 && strcmp(argv[3], "verbose") == 0);
}

/* The form alone decides. A URL that is wrong is complained about as a URL, by its parser. */
bool options_is_url(const char *word)
{
	return strstr(word, "://") != NULL;
}

/* No look at the file system: `down` must find a tunnel whose file is gone. */
int options_find_file(const struct options *options, char path[PATH_MAX], struct ini_report *report)
{
	const char *word = options->tunnel_word;
	size_t word_len = strlen(word);
	bool ends_in_conf = word_len > 5 && strcmp(word + word_len - 5, ".conf") == 0;
	int len;

	if (strchr(word, '/') || ends_in_conf) {
		len = snprintf(path, PATH_MAX, "%s", word);
	} else if (tunnel_file_is_name(word)) {
		len = snprintf(path, PATH_MAX, "%s/%s.conf", options->config_dir, word);
	} else {
		ini_report_add(report, word, 0,
			"not a tunnel's name; expected up to %d letters, digits and _=+.-@; "
			"a file has a slash or ends in .conf",
			TUNNEL_FILE_NAME_MAX);
		return -EINVAL;
	}
	if (len >= 0 && len < PATH_MAX)
		return 0;
	ini_report_add(report, "the file's path", 0, "too long");
	return -EINVAL;
}

/* The prefix is the journal's priority, as log.c writes it: these lines do not go through the log. */
int options_complain(const struct ini_report *report, const struct err *err)
{
	const char *prefix = getenv("JOURNAL_STREAM") ? "<3>" : "";

	for (size_t i = 0; i < report->count; i++)
		fprintf(stderr, "%s%s\n", prefix, report->lines[i]);
	if (report->count == 0)
		fprintf(stderr, "%s%s\n", prefix, err->text);
	return EXIT_USAGE;
}

/* Opens /dev/null until a descriptor above 2 comes out; the ones below were closed, and are taken now. */
void options_guard_standard_files(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd > STDERR_FILENO)
		close(fd);
}
