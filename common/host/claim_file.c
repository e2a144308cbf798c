/* See claim_file.h.
 *
 * Theory of operation. Each look finds the file, and compares its device, inode, size and time with those of the
 * last one. If one of them differs, the [Peer] sections are read by wg_config, and keys and prefixes are kept. A
 * file that is missing, or is no regular one, is forgotten: then it gives nothing.
 *
 * Beside them a number for the content is kept (FNV-1a of all bytes). It tells a file that was written anew with the
 * same content from one that has changed. It is no protection against a forger, and needs none: the file is the
 * manager's.
 *
 * A container may be another one's: its file is opened inside of its own root (openat2), where a link leads nowhere
 * else, is no pipe, and is bounded in size by ini_read(). Mistakes in it are not complained about, because neither
 * we nor our user has written it.
 */
#include "common/host/claim_file.h"

#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/base/ini.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FNV_START 14695981039346656037u
#define FNV_PRIME 1099511628211u

/* --- where it is --- */

/* Links in @path are followed as if @root was the root folder (RESOLVE_IN_ROOT). With O_NONBLOCK a pipe in the place
 * of the file does not hold us up. Return: a descriptor, or -1. */
static int open_inside(const char *root, const char *path)
{
	struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, .resolve = RESOLVE_IN_ROOT};
	int root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC), fd;

	if (root_fd < 0)
		return -1;
	fd = (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
	close(root_fd);
	return fd;
}

/* "/run/netns/box" → "box". Return: NULL: it is not kept where ip-netns(8) keeps them. */
static const char *name_of(const char *namespace_path)
{
	static const char *const folders[] = {"/run/netns/", "/var/run/netns/"};

	for (size_t i = 0; i < sizeof(folders) / sizeof(*folders); i++)
		if (strncmp(namespace_path, folders[i], strlen(folders[i])) == 0)
			return namespace_path + strlen(folders[i]);
	return NULL;
}

/* A named namespace may have a file of its own under /etc/netns, which `ip netns exec` mounts over /etc. A
 * container's file is found by its process. Return: a descriptor, or -1. */
static int open_file(const char *namespace_path, const char *interface)
{
	const char *name = name_of(namespace_path);
	char root[64], path[PATH_MAX];
	long pid = 0;
	int fd = -1;

	if (name) {
		snprintf(path, sizeof(path), "etc/netns/%s/wireguard/%s.conf", name, interface);
		fd = open_inside("/", path);
	}
	if (fd >= 0)
		return fd;
	if (sscanf(namespace_path, "/proc/%ld/", &pid) == 1)
		snprintf(root, sizeof(root), "/proc/%ld/root", pid);
	else
		snprintf(root, sizeof(root), "/");
	snprintf(path, sizeof(path), "etc/wireguard/%s.conf", interface);
	return open_inside(root, path);
}

/* --- what is in it --- */

/* Keep a line for each prefix, without the bits behind its length, as the kernel lists it. Return: 0 or -ENOMEM. */
static int take_peer(struct claim_file *file, const struct wg_config_peer *peer)
{
	for (size_t i = 0; i < peer->allowed_ip_count && peer->has_public_key; i++) {
		struct claim_file_line *line = array_append(&file->lines, &file->count, sizeof(*line));

		if (!line)
			return -ENOMEM;
		memcpy(line->public_key, peer->public_key, sizeof(line->public_key));
		line->prefix = prefix_network(&peer->allowed_ips[i].prefix);
	}
	return 0;
}

/* [Interface] is not looked at. A peer with a mistake gives what could be read of it. */
static void take_sections(struct claim_file *file, const struct ini *ini)
{
	struct wg_config config = {0};
	struct ini_report report = {0};

	for (size_t i = 0; i < ini->section_count; i++)
		if (strcasecmp(ini->sections[i].name, "Peer") == 0)
			wg_config_read_section(&config, ini, &ini->sections[i], &report);
	for (size_t i = 0; i < config.peer_count; i++)
		if (take_peer(file, &config.peers[i]) < 0)
			break;
	ini_report_done(&report);
	wg_config_done(&config);
}

/* Also comments count: wg-easy has its clients' names there. */
static uint64_t content_of(int fd)
{
	uint64_t content = FNV_START;
	uint8_t buf[4096];
	ssize_t got;
	off_t at = 0;

	while (at < (off_t)INI_FILE_MAX && (got = pread(fd, buf, sizeof(buf), at)) > 0)
		for (ssize_t i = 0; i < got; i++, at++)
			content = (content ^ buf[i]) * FNV_PRIME;
	explicit_bzero(buf, sizeof(buf));
	return content;
}

/* By the descriptor's own path, because the file's path may lead to another file by now. -EINVAL means lines that
 * are wrong: the others still count. */
static void read_file(struct claim_file *file, int fd)
{
	struct ini_report report = {0};
	struct err err = {""};
	struct ini ini;
	char path[64];
	int rc;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	rc = ini_read(path, &ini, &report, &err);
	if (rc == 0 || rc == -EINVAL) {
		take_sections(file, &ini);
		ini_done(&ini);
	}
	ini_report_done(&report);
	file->content = content_of(fd);
}

/* The same file, not written since? Nanoseconds count: a manager may write twice within a second. */
static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

void claim_file_look(struct claim_file *file, const char *namespace_path, const char *interface)
{
	int fd = open_file(namespace_path, interface);
	struct stat status = {0};

	if (fd < 0 || fstat(fd, &status) < 0 || !S_ISREG(status.st_mode)) {
		claim_file_done(file);
	} else if (!is_same(&status, &file->status)) {
		claim_file_done(file);
		file->status = status;
		read_file(file, fd);
	}
	if (fd >= 0)
		close(fd);
}

void claim_file_done(struct claim_file *file)
{
	free(file->lines);
	*file = (struct claim_file){0};
}

bool claim_file_gives(
	const struct claim_file *file, const uint8_t public_key[WG_CONFIG_KEY_LEN], const struct prefix *prefix)
{
	for (size_t i = 0; i < file->count; i++)
		if (memcmp(file->lines[i].public_key, public_key, WG_CONFIG_KEY_LEN) == 0 &&
			prefix_equal(&file->lines[i].prefix, prefix))
			return true;
	return false;
}

/* A time in the future is no reason to wait. */
bool claim_file_is_fresh(const struct claim_file *file)
{
	int64_t age_s = clock_wall_s() - (int64_t)file->status.st_mtim.tv_sec;

	return file->status.st_ino != 0 && age_s >= 0 && age_s <= 1;
}
