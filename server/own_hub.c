/* See own_hub.h. Happy path: find the file, read it as `check` does. Fails with the lines of the report, or one that says
 * which hubs there are. */
#include "server/own_hub.h"

#include "common/base/dropins.h"
#include "common/base/folder.h"
#include "common/base/log.h"
#include "common/base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define CLIENT_LEN_MAX 32

int own_hub_check_client(const struct options *options, const char *client)
{
	size_t len = strlen(client), i = 0;

	while (i < len &&
		((client[i] >= 'a' && client[i] <= 'z') || (client[i] >= '0' && client[i] <= '9') || client[i] == '-'))
		i++;
	if (len > 0 && i == len && len <= CLIENT_LEN_MAX && client[0] != '-')
		return -1;
	fprintf(stderr, "%s: '%.80s': not a client's name; expected up to %d of a-z, 0-9 and -\n",
		options->command->name, client, CLIENT_LEN_MAX);
	return EXIT_USAGE;
}

/* By the file alone: drop-ins may be 10,000. */
static bool is_hub(const char *path)
{
	struct ini_report ignored = {0};
	struct ini ini = {0};
	bool found = false;

	ini_read(path, &ini, &ignored, NULL);
	for (size_t i = 0; i < ini.section_count; i++)
		found |= strcasecmp(ini.sections[i].name, "Server") == 0;
	ini_done(&ini);
	ini_report_done(&ignored);
	return found;
}

/* Without --hub. Return: -1, or the exit code. */
static int find_only(struct own_hub *hub)
{
	const char *folder = hub->options->config_dir;
	DIR *dir = opendir(folder);
	char path[PATH_MAX], names[256] = "";
	bool is_denied = !dir && errno == EACCES;
	const struct dirent *entry;
	size_t count = 0;

	while (dir && (entry = readdir(dir))) {
		size_t stem = dropins_stem_len(entry->d_name);

		if (entry->d_name[0] == '.' || stem == strlen(entry->d_name) ||
			snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name) >= (int)sizeof(path))
			continue;
		is_denied |= access(path, R_OK) < 0 && errno == EACCES;
		if (!is_hub(path))
			continue;
		memcpy(hub->path, path, sizeof(path));
		snprintf(path, sizeof(path), "%.*s", (int)stem, entry->d_name);
		text_append_word(names, sizeof(names), path);
		count++;
	}
	if (dir)
		closedir(dir);
	if (count == 1 && !is_denied)
		return -1;
	if (is_denied)
		fprintf(stderr, "%s: %s: only root may read what is there, sudo helps\n", hub->options->command->name, folder);
	else if (count == 0)
		fprintf(stderr, "%s: no hub has a file in %s/; 'towpath-server init' makes one\n",
			hub->options->command->name, folder);
	else
		fprintf(stderr, "%s: there are %zu hubs: %s; expected --hub NAME\n", hub->options->command->name, count,
			names);
	return count == 0 || is_denied ? EXIT_FAILED : EXIT_USAGE;
}

/* Keep other commands out until the process ends: two at once would take one address. */
static int lock(const char *path, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC); /* stays open until the process ends */

	if (fd < 0)
		return 0; /* the reader says why */
	return flock(fd, LOCK_EX) < 0 ? err_system(err, -errno, "%s: lock", path) : 0;
}

int own_hub_open(struct own_hub *ret, const struct options *options, bool is_changed)
{
	const struct options_key *named = options_find(options, "hub");
	struct options as_named = *options;
	struct ini_report report = {0};
	struct err err = {""};
	int code = -1;

	*ret = (struct own_hub){.options = options};
	if (!named) {
		code = find_only(ret);
	} else {
		as_named.tunnel_word = named->value;
		if (options_find_file(&as_named, ret->path, &report) < 0)
			code = options_complain(&report, NULL);
	}
	if (code < 0 && is_changed && lock(ret->path, &err) < 0) {
		log_error("config", "%s", err.text);
		code = EXIT_FAILED;
	}
	if (code < 0) {
		log_set_level(LOG_LEVEL_ERROR); /* its warnings are for `check` */
		if (server_config_read(ret->path, &ret->config, &report, &err) < 0)
			code = options_complain(&report, &err);
		log_set_level(options->quiet ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO);
	}
	ini_report_done(&report);
	as_named.tunnel_word = ret->config.name;
	if (code < 0 && tunnel_ref_set(&ret->tunnel, &as_named, "server", ret->config.name, ret->path, &err) < 0) {
		log_error("config", "%s", err.text);
		code = EXIT_FAILED;
	}
	if (code >= 0)
		own_hub_close(ret);
	return code;
}

void own_hub_close(struct own_hub *hub)
{
	server_config_done(&hub->config);
}

int own_hub_reload(const struct own_hub *hub, bool *ret_runs, struct err *err)
{
	json_t *answer;
	const char *error;
	int rc = tunnel_ref_ask(&hub->tunnel, "reload", &answer, err);

	*ret_runs = rc != -ENOENT;
	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	error = tunnel_ref_text(answer, "error");
	if (*error)
		rc = err_set(err, -EINVAL, "%s", error);
	json_decref(answer);
	return rc;
}

int own_hub_state_folder(const struct own_hub *hub, char ret[PATH_MAX], struct err *err)
{
	if (snprintf(ret, PATH_MAX, "%s/%s", hub->options->state_dir, hub->config.name) >= PATH_MAX)
		return err_system(err, -ENAMETOOLONG, "%s", hub->options->state_dir);
	return folder_ensure(ret, "--state-dir", err);
}
