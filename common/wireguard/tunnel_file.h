/* /etc/towpath/NAME.conf as both programs walk through it: the program's own section and its keys by a table,
 * [Interface] and [Peer] by wg_config, everything else refused. Also a wg-quick file of somebody else's, and
 * files that a key points at.
 */
#ifndef TOWPATH_WIREGUARD_TUNNEL_FILE_H
#define TOWPATH_WIREGUARD_TUNNEL_FILE_H

#include "common/base/err.h"
#include "common/base/ini.h"
#include "common/base/key_table.h"
#include "common/wireguard/wg_config.h"

#include <stdbool.h>
#include <stddef.h>

#define TUNNEL_FILE_NAME_MAX 63

struct tunnel_file {
	/* From the caller: */
	const char *main_section;  /* "Server", "Client" */
	const char *other_section; /* the other program's, refused with its name */
	const char *other_program;
	const struct key_table *table; /* rows of main_section, of "Interface" and of "Peer" */
	unsigned *lines; /* for each row, see key_table_take(); those of "Peer" are cleared at each [Peer] */
	/* A [Peer] begins; may be NULL. Return: 0, or -EINVAL with a line in the report. */
	int (*on_peer)(void *owner, unsigned line, const struct ini *ini, struct ini_report *report);
	void *owner;
	struct wg_config *wireguard;
	/* Filled in: */
	unsigned main_line; /* header of the first main_section, 0: there is none */
	bool has_interface;
	bool has_secret; /* something in it must not be read by others */
	unsigned mode, owner_uid;
};

/* The tunnel's name: the base name without ".conf". Return: 0, or -EINVAL with a line in @report. */
int tunnel_file_name(const char *path, char name[TUNNEL_FILE_NAME_MAX + 1], struct ini_report *report);
/* Letters, digits and "_=+.-@", not a dot first, at most TUNNEL_FILE_NAME_MAX. */
bool tunnel_file_is_name(const char *name);

/* Walk through @path. Return: 0 (what is wrong is in @report), or a negative errno with @err set where it cannot be
 * read. */
int tunnel_file_read(struct tunnel_file *file, const char *path, struct ini_report *report, struct err *err);

/* Read and check a wg-quick file: into *ret (done by the caller in any case), complaints with its own name and lines.
 * One that cannot be read is complained about at @place. */
void tunnel_file_read_wg_quick(const char *path, struct wg_config *ret, const struct key_place *place);

/* Warn of a file with a secret that others can read. */
void tunnel_file_warn_readable(const char *path, unsigned mode, unsigned owner);
void tunnel_file_warn_readable_path(const char *path);

/* The secret in the first line of a file a key points at; complains at @place.
 * Return: 0 (secret_free() it) or -EINVAL. */
int tunnel_file_read_secret(const char *path, size_t max, char **ret, const struct key_place *place);

#endif
