/* `status`, see status.h.
 *
 * Happy path: ask RUNTIME_DIR/NAME.ROLE, print, exit 0 if the state is "up". If no process answers, a file of that name
 * makes it a tunnel that does not run (3), no file makes it none (4). Without a name: all that have a file or a socket.
 * Fails with 1 where a tunnel runs and cannot be asked.
 */
#include "common/command_line/status.h"

#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/command_line/status_text.h"
#include "common/command_line/tunnel_ref.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

/* JSON: one object a line, so that scripts can read several. Text: an empty line between two tunnels. */
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

/* Return: the exit code; EXIT_NO_SUCH without a word, because the file may be another program's. */
static int show_one(struct asking *asking, const struct tunnel_ref *tunnel)
{
	const char *state = "stopped";
	struct err err = {""};
	json_t *object;
	int rc = tunnel_ref_ask(tunnel, "status", &object, &err);

	if (rc < 0 && rc != -ENOENT) {
		fprintf(stderr, "%s: %s%s\n", tunnel->name, err.text, rc == -EACCES ? "; root may ask" : "");
		return EXIT_FAILED;
	}
	if (rc == -ENOENT && !tunnel_ref_has_file(tunnel, asking->section))
		return EXIT_NO_SUCH;
	if (rc == -ENOENT)
		object = json_pack("{s:s, s:s, s:s}", "name", tunnel->name, "role", asking->role, "state", state);
	state = tunnel_ref_text(object, "state");
	if (!*state) {
		fprintf(stderr, "%s: its answer cannot be read; it may be of another version, a restart helps\n",
			tunnel->name);
		json_decref(object);
		return EXIT_FAILED;
	}
	print_object(asking, object);
	rc = strcmp(state, "up") == 0 ? EXIT_DONE : EXIT_NOT_UP;
	json_decref(object);
	return rc;
}

/* `status NAME`: here a tunnel that does not exist is told, and is exit code 4. */
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
		fprintf(stderr, "%s: no such tunnel; the configured ones are files in %s/\n",
			asking->options->tunnel_word, asking->options->config_dir);
	ini_report_done(&report);
	return code;
}

/* Add every name in @folder that ends in @ending, without the ending. A folder that cannot be read has none. Out of
 * memory: the name is left out. */
static void names_scan(struct names *names, const char *folder, const char *ending)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		size_t len = strlen(entry->d_name), ending_len = strlen(ending);
		char *name, **slot;

		if (len <= ending_len || entry->d_name[0] == '.' ||
			strcmp(entry->d_name + len - ending_len, ending) != 0)
			continue;
		name = strndup(entry->d_name, len - ending_len);
		slot = name ? array_append(&names->names, &names->count, sizeof(*slot)) : NULL;
		if (slot)
			*slot = name;
		else
			free(name);
	}
	if (dir)
		closedir(dir);
}

/* Sorted, so that a name found in two folders is seen once, next to itself. */
static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* 0 if all are up, else the worst of their codes. A file of the other program, or a stale socket, does not count. */
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
	for (size_t i = 0; i < names.count; i++)
		free(names.names[i]);
	free(names.names);
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
