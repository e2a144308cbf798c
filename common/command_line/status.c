/* See status.h. Happy path: ask RUNTIME_DIR/NAME.ROLE, print, exit 0 where the state is "up". Nobody answers: a file of
 * that name makes it a tunnel that does not run (3), no file makes it none (4). Without a name: all that have a file or
 * a socket.
 */
#include "common/command_line/status.h"

#include "common/base/clock.h"
#include "common/command_line/status_text.h"
#include "common/command_line/tunnel_ref.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

struct asking {
	const struct options *options;
	const char *role;
	const char *section;
	size_t shown;
};

struct names {
	char **names;
	size_t count;
};

static void print_object(struct asking *asking, const json_t *object)
{
	if (asking->options->json) {
		json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
		putchar('\n');
	} else {
		if (asking->shown > 0)
			putchar('\n');
		status_text_write(stdout, object, clock_wall_s());
	}
	asking->shown++;
}

static int show_answer(struct asking *asking, const char *name, const json_t *object)
{
	const char *state = json_string_value(json_object_get(object, "state"));

	if (!state) {
		fprintf(stderr, "%s: its answer cannot be read; it may be of another version, a restart helps\n", name);
		return EXIT_FAILED;
	}
	print_object(asking, object);
	return strcmp(state, "up") == 0 ? EXIT_DONE : EXIT_NOT_UP;
}

static int show_stopped(struct asking *asking, const char *name)
{
	json_t *object = json_pack("{s:s, s:s, s:s}", "name", name, "role", asking->role, "state", "stopped");

	if (object)
		print_object(asking, object);
	json_decref(object);
	return EXIT_NOT_UP;
}

static int show_one(struct asking *asking, const struct tunnel_ref *tunnel)
{
	struct err err = {""};
	json_t *object;
	int code, rc = tunnel_ref_ask(tunnel, "status", &object, &err);

	if (rc == 0) {
		code = show_answer(asking, tunnel->name, object);
		json_decref(object);
		return code;
	}
	if (rc != -ENOENT) {
		fprintf(stderr, "%s: %s%s\n", tunnel->name, err.text, rc == -EACCES ? "; root may ask" : "");
		return EXIT_FAILED;
	}
	return tunnel_ref_has_file(tunnel, asking->section) ? show_stopped(asking, tunnel->name) : EXIT_NO_SUCH;
}

static int show_named(struct asking *asking)
{
	struct ini_report report = {0};
	struct tunnel_ref tunnel;
	int code;

	if (tunnel_ref_find(&tunnel, asking->options, asking->role, &report) == 0)
		code = show_one(asking, &tunnel);
	else
		code = options_complain(&report, NULL);
	if (code == EXIT_NO_SUCH)
		fprintf(stderr, "%s: no such tunnel; %s/ has the files of those that there are\n",
			asking->options->tunnel_word, asking->options->config_dir);
	ini_report_done(&report);
	return code;
}

static void names_add(struct names *names, const char *text, size_t len)
{
	char *name = strndup(text, len);
	char **grown = reallocarray(names->names, names->count + 1, sizeof(*grown));

	if (grown)
		names->names = grown;
	if (!grown || !name) {
		free(name);
		return;
	}
	grown[names->count++] = name;
}

/* All of @folder that end in @ending, without it. */
static void names_scan(struct names *names, const char *folder, const char *ending)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		size_t len = strlen(entry->d_name), ending_len = strlen(ending);

		if (len > ending_len && entry->d_name[0] != '.' &&
			strcmp(entry->d_name + len - ending_len, ending) == 0)
			names_add(names, entry->d_name, len - ending_len);
	}
	if (dir)
		closedir(dir);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void names_done(struct names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->names[i]);
	free(names->names);
}

/* 0 where all are up; what is worse wins, but a file or socket of nobody's counts for nothing. */
static int show_all(struct asking *asking)
{
	struct names names = {0};
	char ending[16], path[PATH_MAX];
	int worst = EXIT_DONE;

	snprintf(ending, sizeof(ending), ".%s", asking->role);
	names_scan(&names, asking->options->config_dir, ".conf");
	names_scan(&names, asking->options->runtime_dir, ending);
	if (asking->options->is_users_runtime_dir)
		names_scan(&names, OPTIONS_RUNTIME_DIR, ending);
	if (names.count > 0)
		qsort(names.names, names.count, sizeof(*names.names), compare_names);
	for (size_t i = 0; i < names.count; i++) {
		struct tunnel_ref tunnel;
		int code;

		if (i > 0 && strcmp(names.names[i - 1], names.names[i]) == 0)
			continue;
		snprintf(path, sizeof(path), "%.*s/%s.conf", PATH_MAX / 2, asking->options->config_dir, names.names[i]);
		if (tunnel_ref_set(&tunnel, asking->options, asking->role, names.names[i], path, NULL) < 0)
			continue;
		tunnel_ref_look_at_roots(&tunnel, asking->options);
		code = show_one(asking, &tunnel);
		if (code == EXIT_FAILED || (code == EXIT_NOT_UP && worst == EXIT_DONE))
			worst = code;
	}
	names_done(&names);
	if (asking->shown > 0 || worst != EXIT_DONE)
		return worst;
	fprintf(stderr, "no tunnel: no file in %s/ has a section [%s], and none is running\n",
		asking->options->config_dir, asking->section);
	return EXIT_NO_SUCH;
}

int status_show(const struct options *options, const char *role, const char *section)
{
	struct asking asking = {.options = options, .role = role, .section = section};
	int code = options->tunnel_word ? show_named(&asking) : show_all(&asking);

	return fflush(stdout) == 0 ? code : EXIT_FAILED;
}
