/* See tunnel_ref.h. Nothing is remembered: each question goes to the file system or to the running tunnel again,
 * because the tunnel may start or end between two of them. Fails with a negative errno that says which of both it was.
 */
#include "common/command_line/tunnel_ref.h"

#include "common/base/dropins.h"
#include "common/host/host.h"
#include "common/host/undo.h"
#include "common/process/control.h"
#include "common/wireguard/tunnel_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* Every path is made here, once: a name that is too long for one of them is refused before anything is started. */
int tunnel_ref_set(struct tunnel_ref *ret, const struct options *options, const char *role, const char *name,
	const char *file_path, struct err *err)
{
	struct tunnel_ref tunnel = {.role = role, .state_dir = options->state_dir};
	const char *twin_role = strcmp(role, "client") == 0 ? "server" : "client";
	const char *word = options->tunnel_word;
	size_t max = sizeof(tunnel.socket_path);

	if ((size_t)snprintf(tunnel.name, sizeof(tunnel.name), "%s", name) >= sizeof(tunnel.name) ||
		(size_t)snprintf(tunnel.file_path, max, "%s", file_path ? file_path : "") >= max ||
		(size_t)snprintf(tunnel.socket_path, max, "%s/%s.%s", options->runtime_dir, name, role) >= max ||
		(size_t)snprintf(tunnel.twin_path, max, "%s/%s.%s", options->runtime_dir, name, twin_role) >= max)
		return err_set(err, -ENAMETOOLONG, "%s: its name or the folders are too long", name);
	/* A tunnel from a URL is called after its host; a status of all tunnels has no word. */
	snprintf(tunnel.typed, sizeof(tunnel.typed), "%.255s%s", file_path && word ? word : name, options->places);
	*ret = tunnel;
	return 0;
}

/* A tunnel from a URL has no file, so `down` finds it by the host name alone; an IPv6 address is no valid NAME
 * otherwise. */
int tunnel_ref_find(struct tunnel_ref *ret, const struct options *options, const char *role, struct ini_report *report)
{
	const char *word = options->tunnel_word;
	char name[TUNNEL_FILE_NAME_MAX + 1];
	char path[PATH_MAX];
	int rc;

	if (strchr(word, ':') && !strchr(word, '/') &&
		strlen(word) < sizeof(name)) { /* an IPv6 address, after which a tunnel from a URL is called */
		rc = tunnel_ref_set(ret, options, role, word, NULL, NULL);
	} else {
		rc = options_find_file(options, path, report);
		if (rc == 0)
			rc = tunnel_file_name(path, name, report);
		if (rc < 0)
			return rc;
		rc = tunnel_ref_set(ret, options, role, name, path, NULL);
	}
	if (rc < 0)
		ini_report_add(report, word, 0, "too long");
	else
		tunnel_ref_look_at_roots(ret, options);
	return rc < 0 ? -EINVAL : 0;
}

void tunnel_ref_look_at_roots(struct tunnel_ref *tunnel, const struct options *options)
{
	char path[PATH_MAX];

	if (!options->is_users_runtime_dir || access(tunnel->socket_path, F_OK) == 0)
		return;
	snprintf(path, sizeof(path), OPTIONS_RUNTIME_DIR "/%s.%s", tunnel->name, tunnel->role);
	if (access(path, F_OK) == 0)
		memcpy(tunnel->socket_path, path, sizeof(path));
}

bool tunnel_ref_has_file(const struct tunnel_ref *tunnel, const char *section)
{
	struct ini_report report = {0};
	struct err err = {""};
	struct ini ini = {0};
	bool found;
	int rc;

	if (!tunnel->file_path[0])
		return false;
	rc = dropins_read(tunnel->file_path, &ini, &report, &err);
	/* A file that cannot be read (-EACCES) may have the section; one with mistakes (-EINVAL) was read, and shows
	 * it. */
	found = rc < 0 && rc != -EINVAL && rc != -ENOENT && rc != -ENOTDIR;
	for (size_t i = 0; i < ini.section_count; i++)
		found |= strcasecmp(ini.sections[i].name, section) == 0;
	ini_done(&ini);
	ini_report_done(&report);
	return found;
}

bool tunnel_ref_has_undo_list(const struct tunnel_ref *tunnel)
{
	return undo_exists(tunnel->state_dir, tunnel->name);
}

/* A socket that refuses, a folder that does not exist, a tunnel that has just ended: all mean that it does not run. */
int tunnel_ref_ask(const struct tunnel_ref *tunnel, const char *word, json_t **ret, struct err *err)
{
	char *text = NULL;
	int rc = control_ask(tunnel->socket_path, word, &text, err);

	if (rc == -ECONNREFUSED || rc == -ENOTDIR || rc == -ECONNRESET) /* the last: it ended just now */
		rc = -ENOENT;
	if (rc < 0)
		return rc;
	*ret = json_loads(text, 0, NULL);
	free(text);
	if (json_is_object(*ret))
		return 0;
	json_decref(*ret);
	return err_set(err, -EPROTO, "its answer cannot be read; it may be of another version, a restart helps");
}

const char *tunnel_ref_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

/* A race is left: another `up` may start it right after this. control_open() then refuses the second one. */
int tunnel_ref_refuse_running(const struct tunnel_ref *tunnel, struct err *err)
{
	json_t *status;
	int rc = tunnel_ref_ask(tunnel, "status", &status, err);

	if (rc == -ENOENT)
		return 0;
	if (rc < 0)
		return err_wrap(err, rc, "%s", tunnel->name);
	err_set(err, -EEXIST, "%s: runs already, state: %s, process %.0f; 'towpath-%s down %s' stops it", tunnel->name,
		tunnel_ref_text(status, "state"), json_number_value(json_object_get(status, "pid")), tunnel->role,
		tunnel->typed);
	json_decref(status);
	return -EEXIST;
}

/* host_clean() takes the lock of the undo list: -EBUSY if a process, perhaps this tunnel, still works on it. */
int tunnel_ref_clean(const struct tunnel_ref *tunnel, const char *state_dir, struct err *err)
{
	int count = tunnel_ref_has_undo_list(tunnel) ? host_clean(state_dir, tunnel->name, err) : 0;
	char *text = NULL;
	int rc;

	/* Both programs' tunnels of one name share the list. If the other one runs, the list is that one's and in
	 * use. */
	if (count == -EBUSY && control_ask(tunnel->twin_path, "status", &text, NULL) == 0)
		count = 0;
	free(text);
	rc = count < 0 ? 0 : control_clear(tunnel->socket_path, err);
	return rc < 0 ? rc : count;
}
