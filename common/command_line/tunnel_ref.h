/* The tunnel a command is about, as it is seen from outside: its name, its file, its control socket, its undo list. */
#pragma once

#include "common/base/err.h"
#include "common/base/ini.h"
#include "common/command_line/options.h"

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>

#define TUNNEL_REF_NAME_MAX 64
#define TUNNEL_REF_TYPED_MAX 1280

struct tunnel_ref {
	char name[TUNNEL_REF_NAME_MAX];
	const char *role;	    /* "client" */
	char typed[TUNNEL_REF_TYPED_MAX]; /* "home --state-dir DIR": behind the verb of a command in a message */
	char file_path[PATH_MAX];   /* "": started from a URL */
	char socket_path[PATH_MAX]; /* of its control socket */
	char twin_path
		[PATH_MAX]; /* control socket of the other program's tunnel of this name; both share one undo list */
	const char *state_dir; /* of its undo lists; borrowed from the options */
};

/* From NAME, FILE, or the host name after which a tunnel from a URL is called. Return: 0 or -EINVAL. */
int tunnel_ref_find(struct tunnel_ref *ret, const struct options *options, const char *role, struct ini_report *report);

/* From a NAME that has been checked. @file_path: NULL for a tunnel from a URL. Return: 0 or -ENAMETOOLONG. */
int tunnel_ref_set(struct tunnel_ref *ret, const struct options *options, const char *role, const char *name,
	const char *file_path, struct err *err);

/* An ordinary user may name a tunnel of root's: take root's control socket if ours does not exist and that one does.
 * Asking there is refused, which at least says that the tunnel runs. */
void tunnel_ref_look_at_roots(struct tunnel_ref *tunnel, const struct options *options);

/* True if it has a file with such a section, or one that may not be read. */
bool tunnel_ref_has_file(const struct tunnel_ref *tunnel, const char *section);
bool tunnel_ref_has_undo_list(const struct tunnel_ref *tunnel);

/* Send @word to the running tunnel and wait for its answer. Return: 0 (json_decref() it), -ENOENT where it does not
 * run, another negative errno. */
int tunnel_ref_ask(const struct tunnel_ref *tunnel, const char *word, json_t **ret, struct err *err);

/* A text in an answer; "" if it is absent, or @object is NULL. */
const char *tunnel_ref_text(const json_t *object, const char *key);

/* Before it is started. Return: 0, -EEXIST where it runs already (the state it is in, and what stops it, in @err), or
 * another negative errno. */
int tunnel_ref_refuse_running(const struct tunnel_ref *tunnel, struct err *err);

/* Undo what a crash left: changes on the host, the control socket. An undo list that is held by the other program's
 * running tunnel of this name is left alone. Return: the number of changes undone, -EBUSY while this tunnel runs or
 * another process cleans up, or another negative errno. */
int tunnel_ref_clean(const struct tunnel_ref *tunnel, const char *state_dir, struct err *err);
