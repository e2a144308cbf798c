/* /etc/towpath/NAME.conf as both programs walk through it: each section by the tables of those who know its keys, the
 * rest refused. Also the wg-quick file of WireGuard = PATH, the question which of the two files describes our device,
 * and files with a secret that a key points at.
 */
#pragma once

#include "common/base/err.h"
#include "common/base/ini.h"
#include "common/base/key_table.h"
#include "common/wireguard/wg_config.h"

#include <limits.h>
#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>

#define TUNNEL_FILE_NAME_MAX 63

/* A section that repeats. Its keys are parsed into what @open returns; NULL after a complaint: they are passed over. */
struct tunnel_section {
	const struct key_table *table;
	void *(*open)(void *owner, const struct key_place *place);
};

struct tunnel_file {
	/* From the caller: */
	const char *other_section; /* the other program's, refused with its name */
	const char *other_program;
	struct key_reader main;		     /* the program's own section; its owner is what open() gets */
	bool (*may_wait)(const void *peer); /* a [Peer] of the program's: may it be without PublicKey? NULL: none */
	struct tunnel_section peer, gateway; /* keys of ours in [Peer], and [Gateway] */
	struct tunnel_section publish, claim; /* no table: these sections are for the other program's file */
	char *const *wireguard_path; /* where the main table's row WireGuard leaves its path; NULL there: none */
	struct wg_config *wireguard;
	/* Filled in: */
	unsigned main_line; /* header of the first main section, 0: there is none */
};

/* The tunnel's name: the base name without ".conf". Return: 0, or -EINVAL with a line in @report. */
int tunnel_file_name(const char *path, char name[TUNNEL_FILE_NAME_MAX + 1], struct ini_report *report);
/* Letters, digits and "_=+.-@", not a dot first, at most TUNNEL_FILE_NAME_MAX. */
bool tunnel_file_is_name(const char *name);

/* Walk through @path and its drop-ins. Return: 0 (what is wrong is in @report), or a negative errno where it cannot be read. */
int tunnel_file_read(struct tunnel_file *file, const char *path, struct ini_report *report, struct err *err);

/**
 * tunnel_file_take_device() - Find out which device is ours, and its name
 * @wireguard_path: of WireGuard = PATH, a wg-quick file; NULL: ours may have an [Interface]
 * @path, @name: our file, NULL without one, and the tunnel's name
 * @wireguard: what tunnel_file_read() made of our file; replaced by the content of @wireguard_path, complaints about
 * which
 * 	name that file
 * @ret_device: its name; "" after a complaint
 * @place: of WireGuard; a @wireguard_path that cannot be read is complained about there
 *
 * Return: true; false: no device is ours.
 */
bool tunnel_file_take_device(const char *wireguard_path, const char *path, const char *name,
	struct wg_config *wireguard, char ret_device[IFNAMSIZ], const struct key_place *place);

/* Complain about each peer without any key of WireGuard's; wg_config_finish() complains about others without
 * PublicKey. */
void tunnel_file_check_peers(const struct wg_config *wireguard, const char *path, struct ini_report *report);

/* Warn of a file with a secret that others can read. */
void tunnel_file_warn_readable_path(const char *path);

/* The secret in the first line of a file a key points at; complains at @place.
 * Return: 0 (secret_free() it) or -EINVAL. */
int tunnel_file_read_secret(const char *path, size_t max, char **ret, const struct key_place *place);

/* The hooks as they stand in the file now, for `down` after a crash. */
struct tunnel_file_hooks {
	struct wg_config config; /* of [Interface] what could be read */
	char path[PATH_MAX];	 /* of the file with [Interface] */
	char device[TUNNEL_FILE_NAME_MAX + 8];
};

/* Read them, whatever else may be wrong with @path; nothing is complained about. @section: "Client". The caller calls
 * wg_config_done() in any case. Return: false: there is no file with such a section. */
bool tunnel_file_read_hooks(const char *path, const char *section, struct tunnel_file_hooks *ret);
