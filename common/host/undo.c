/* The undo list on disk (undo.h).
 *
 * Happy path: open and lock the file, read its lines, append. Every line is one write() with O_APPEND. A line for which
 * the disk had no room is cut off again, and the change that it stands for is not made. The entries that are not undone
 * yet are kept in memory. A line that cannot be read is skipped with a warning: the entries around it are still undone.
 */
#include "common/host/undo.h"

#include "common/base/array.h"
#include "common/base/file.h"
#include "common/base/folder.h"
#include "common/base/log.h"
#include "common/base/require.h"
#include "common/host/undo_entry.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* An entry has some 100 bytes and a tunnel some tens of them. A longer file is none of ours, and would be read with all
 * tunnels of the host waiting. */
#define FILE_MAX (1u << 20)
#define BOOT_ID_MAX 64
/* A child of a killed tunnel holds the lock until it runs its program: a few ms, so 20 times 10 ms are enough. The
 * pause blocks, but there is no loop yet. */
#define LOCK_ATTEMPTS 20
#define LOCK_PAUSE_NS 10000000

struct undo_line {
	struct undo_entry entry;
	size_t number;
	unsigned failures;
	bool is_set_aside; /* until the list is opened again */
};

/* The content of a file. */
struct undo_lines {
	struct undo_line *lines;
	size_t count;
	size_t entries;	 /* entries that were ever written; also the number of the next one */
	bool is_current; /* true if the last boot and namespace in it are ours */
};

struct era {
	char boot[BOOT_ID_MAX];
	json_int_t netns;
};

struct undo {
	int fd;	       /* locked while open */
	int folder_fd; /* STATE_DIR, for undo_lock() */
	char state_dir[PATH_MAX];
	char path[PATH_MAX];
	struct undo_lines list;
	struct era era; /* of the opening: later we may be in another namespace for a moment */
};

/* --- this boot and network namespace --- */

/* A boot has a random id, and a namespace an inode number that is unique while it lives. Together they tell whether the
 * changes of a list can still be there. */
static int era_of_now(struct era *ret, struct err *err)
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -1 : read(fd, ret->boot, sizeof(ret->boot) - 1);
	struct stat netns;

	if (fd >= 0)
		close(fd);
	if (len <= 0 || stat("/proc/self/ns/net", &netns) < 0)
		return err_system(err, -errno, "/proc: this boot's id and network namespace");
	ret->boot[len] = '\0';
	ret->boot[strcspn(ret->boot, "\n")] = '\0';
	ret->netns = (json_int_t)netns.st_ino;
	return 0;
}

/* --- reading --- */

static int lines_append(struct undo_lines *list, const struct undo_line *line)
{
	struct undo_line *slot = array_append(&list->lines, &list->count, sizeof(*slot));

	if (!slot)
		return -ENOMEM;
	*slot = *line;
	return 0;
}

static void lines_remove(struct undo_lines *list, size_t index)
{
	require(index < list->count);
	list->count--;
	memmove(list->lines + index, list->lines + index + 1, (list->count - index) * sizeof(*list->lines));
}

static struct undo_line *lines_find(struct undo_lines *list, json_int_t number)
{
	for (size_t i = 0; i < list->count; i++)
		if ((json_int_t)list->lines[i].number == number)
			return &list->lines[i];
	return NULL;
}

/* A change of another boot or namespace is gone with that boot or namespace, so its entry is void. */
static void lines_end_era(struct undo_lines *list)
{
	for (size_t i = list->count; i-- > 0;)
		if (!list->lines[i].entry.outlives_boot)
			lines_remove(list, i);
}

/* An entry that is not understood keeps its number, because later lines refer to entries by number. */
static int take_entry(struct undo_lines *list, const json_t *object)
{
	struct undo_line line = {.number = list->entries++};

	if (undo_entry_decode(object, &line.entry) < 0) {
		log_warning("config", "undo list: entry %zu is not understood and left out", line.number);
		return 0;
	}
	return lines_append(list, &line);
}

static int take_line(struct undo_lines *list, const struct era *era, const json_t *object)
{
	const json_t *undone = json_object_get(object, "undone"), *failed = json_object_get(object, "failed");
	const char *boot = json_string_value(json_object_get(object, "boot"));
	struct undo_line *line = lines_find(list, json_integer_value(undone ? undone : failed));

	if (boot) {
		/* the entries before this line are of another boot or namespace, even if it is this one again */
		lines_end_era(list);
		list->is_current = strcmp(boot, era->boot) == 0 &&
				   json_integer_value(json_object_get(object, "netns")) == era->netns;
	} else if (undone && line)
		lines_remove(list, (size_t)(line - list->lines));
	else if (failed && line && ++line->failures >= UNDO_TRIES_MAX)
		lines_remove(list, (size_t)(line - list->lines));
	else if (!undone && !failed)
		return take_entry(list, object);
	return 0;
}

/* @text: lines. A rest behind the last line end was cut short by a crash and is ignored. A loss of power may leave
 * anything in a line, also zero bytes. Return: 0 or -ENOMEM. */
static int take_text(struct undo_lines *list, const struct era *era, const char *text, size_t len)
{
	const char *end;
	int rc = 0;

	for (; rc == 0 && (end = memchr(text, '\n', len)); len -= (size_t)(end + 1 - text), text = end + 1) {
		json_t *object = json_loadb(text, (size_t)(end - text), 0, NULL);

		if (object)
			rc = take_line(list, era, object);
		json_decref(object);
	}
	return rc;
}

/* Return: bytes (free() *ret), or a negative errno. */
static ssize_t read_all(int fd, char **ret)
{
	struct stat status;
	size_t size;
	ssize_t got;
	char *text;

	if (fstat(fd, &status) < 0)
		return -errno;
	if (status.st_size > FILE_MAX)
		return -EFBIG;
	size = (size_t)status.st_size;
	text = malloc(size + 1);
	if (!text)
		return -ENOMEM;
	got = file_read_all(fd, text, size);
	if (got >= 0)
		*ret = text;
	else
		free(text);
	return got;
}

static int lines_read(struct undo_lines *ret, int fd, const char *path, struct err *err)
{
	struct undo_lines list = {0};
	struct era era;
	ssize_t len;
	char *text = NULL; /* gcc does not see that it is set */
	int rc;

	rc = era_of_now(&era, err);
	if (rc < 0)
		return rc;
	len = read_all(fd, &text);
	if (len < 0)
		return err_system(err, (int)len, "%s", path);
	rc = take_text(&list, &era, text, (size_t)len);
	free(text);
	if (!list.is_current)
		lines_end_era(&list);
	if (rc < 0) {
		free(list.lines);
		return err_system(err, rc, "%s", path);
	}
	*ret = list;
	return 0;
}

/* --- writing --- */

/* All or nothing: a disk that takes only part of a line gets the rest of it cut off again. */
static int append_text(int fd, const char *text, size_t len)
{
	off_t size = lseek(fd, 0, SEEK_END);
	ssize_t written = write(fd, text, len);

	if (written == (ssize_t)len)
		return 0;
	if (written >= 0 && ftruncate(fd, size) == 0)
		return -ENOSPC;
	return -errno;
}

/* A line that a crash has cut short is ended first. It then stays a line of its own, which the reader skips. Owns
 * @object. Return: 0 or a negative errno. */
static int append(int fd, json_t *object)
{
	char *line = object ? json_dumps(object, JSON_COMPACT) : NULL, last;
	off_t size = lseek(fd, 0, SEEK_END);
	size_t len;
	int rc = 0;

	json_decref(object);
	if (!line)
		return -ENOMEM;
	len = strlen(line);
	if (size > 0 && pread(fd, &last, 1, size - 1) == 1 && last != '\n')
		rc = append_text(fd, "\n", 1);
	line[len] = '\n'; /* in the terminator's place */
	if (rc == 0)
		rc = append_text(fd, line, len + 1);
	free(line);
	return rc;
}

static int append_era(struct undo *undo, struct err *err)
{
	int rc = append(undo->fd, json_pack("{s:s, s:I}", "boot", undo->era.boot, "netns", undo->era.netns));

	if (rc < 0)
		return file_explain(rc, undo->path, err);
	undo->list.is_current = true;
	return 0;
}

/* The file is synced, and then the folder, in which a new file's name stands. */
static int sync_to_disk(struct undo *undo)
{
	char folder[PATH_MAX];
	int fd, rc;

	snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(undo->path, '/') - undo->path), undo->path);
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rc = fsync(undo->fd) < 0 || fd < 0 || fsync(fd) < 0 ? -errno : 0;
	if (fd >= 0)
		close(fd);
	return rc;
}

/* The line comes first, the memory last. Where the latter fails the line stands for a change that is never made, and
 * undoing it does no harm. */
int undo_add(struct undo *undo, const struct undo_entry *entry, struct err *err)
{
	struct undo_line line = {.entry = *entry, .number = undo->list.entries};
	int rc = undo->list.is_current ? 0 : append_era(undo, err);

	if (rc < 0)
		return rc;
	rc = append(undo->fd, undo_entry_encode(entry));
	if (rc == 0 && entry->outlives_boot)
		rc = sync_to_disk(undo);
	if (rc == 0)
		rc = lines_append(&undo->list, &line);
	if (rc < 0)
		return file_explain(rc, undo->path, err);
	undo->list.entries++;
	return 0;
}

/* --- the entries that are left --- */

/* The newest line is at 0; those set aside are not counted. */
static struct undo_line *line_at(const struct undo *undo, size_t at)
{
	for (size_t i = undo->list.count; i-- > 0;)
		if (!undo->list.lines[i].is_set_aside && at-- == 0)
			return &undo->list.lines[i];
	return NULL;
}

const struct undo_entry *undo_newest(const struct undo *undo, size_t at)
{
	const struct undo_line *line = line_at(undo, at);

	return line ? &line->entry : NULL;
}

/* If the disk is full, the entry stays in the file and is only dropped from memory: undoing it a second time does no
 * harm. */
static int drop_line(struct undo *undo, struct undo_line *line)
{
	int rc = append(undo->fd, json_pack("{s:I}", "undone", (json_int_t)line->number));

	if (rc < 0)
		line->is_set_aside = true;
	else
		lines_remove(&undo->list, (size_t)(line - undo->list.lines));
	return rc;
}

int undo_drop(struct undo *undo, size_t at, struct err *err)
{
	struct undo_line *line = line_at(undo, at);
	int rc = line ? drop_line(undo, line) : -ENOENT;

	return rc < 0 ? err_system(err, rc, "%s", undo->path) : 0;
}

void undo_begin_anew(struct undo *undo)
{
	if (undo->list.count > 0 || ftruncate(undo->fd, 0) < 0)
		return;
	undo->list.entries = 0;
	undo->list.is_current = false;
}

bool undo_set_aside(struct undo *undo, size_t at)
{
	struct undo_line *line = line_at(undo, at);

	line->is_set_aside = true;
	if (append(undo->fd, json_pack("{s:I}", "failed", (json_int_t)line->number)) < 0)
		log_warning("config", "%s cannot be written", undo->path);
	return ++line->failures >= UNDO_TRIES_MAX;
}

/* The file is short, so it is read from the start each time. Which lines are set aside is known in memory only, and is
 * kept. */
int undo_refresh(struct undo *undo, struct err *err)
{
	struct undo_lines list;
	int rc = lines_read(&list, undo->fd, undo->path, err);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < undo->list.count; i++) {
		struct undo_line *line = lines_find(&list, (json_int_t)undo->list.lines[i].number);

		if (line)
			line->is_set_aside = undo->list.lines[i].is_set_aside;
	}
	free(undo->list.lines);
	undo->list = list;
	return 0;
}

/* --- other tunnels --- */

void undo_lock(struct undo *undo)
{
	while (flock(undo->folder_fd, LOCK_EX) < 0 && errno == EINTR)
		;
}

void undo_unlock(struct undo *undo)
{
	flock(undo->folder_fd, LOCK_UN);
}

/* A running tunnel holds its list's lock. */
static bool is_running(int fd)
{
	if (flock(fd, LOCK_SH | LOCK_NB) < 0)
		return errno == EWOULDBLOCK;
	flock(fd, LOCK_UN);
	return false;
}

/* True if the list of another tunnel has an entry for the same parameter, or for one that depends on it. */
static bool is_relied_on(const struct undo_lines *list, const struct undo_entry *entry)
{
	for (size_t i = 0; i < list->count; i++)
		if (undo_entry_is_tied(&list->lines[i].entry, entry))
			return true;
	return false;
}

/* An entry is in the other list before it leaves ours. A crash in between leaves it in both, and it is undone twice,
 * which does no harm; the other way round it would be lost. Return: how many of our entries went into the list @fd or
 * were not worth handing over; or a negative errno. */
static int hand_over_to(struct undo *undo, int fd, const char *path, struct err *err)
{
	struct undo_lines other = {0};
	int rc = lines_read(&other, fd, path, err), count = 0;

	for (size_t i = 0; rc == 0 && i < undo->list.count;) {
		struct undo_line *line = &undo->list.lines[i];

		if (!is_relied_on(&other, &line->entry)) {
			i++;
			continue;
		}
		/* An entry that changed nothing would only make the other list longer, with each start of ours. */
		if (strcmp(line->entry.old_value, line->entry.new_value) != 0)
			rc = append(fd, undo_entry_encode(&line->entry));
		if (rc == 0)
			rc = drop_line(undo, line);
		if (rc < 0)
			err_system(err, rc, "%s", path);
		count++;
	}
	free(other.lines);
	return rc < 0 ? rc : count;
}

/* Any list whose lock is taken belongs to a tunnel that runs. Two of them may rely on one parameter; the first in the
 * folder gets the entry, and hands it on when it goes down itself. */
int undo_hand_over(struct undo *undo, struct err *err)
{
	DIR *folder = opendir(undo->state_dir);
	const struct dirent *item;
	char path[PATH_MAX];
	int count = 0, rc = 0;

	while (folder && rc >= 0 && (item = readdir(folder))) {
		int fd;

		if (item->d_name[0] == '.' ||
			snprintf(path, sizeof(path), "%s/%s/undo", undo->state_dir, item->d_name) >= (int)sizeof(path))
			continue;
		fd = strcmp(path, undo->path) == 0 ? -1 : open(path, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
		if (fd < 0)
			continue;
		if (is_running(fd))
			rc = hand_over_to(undo, fd, path, err);
		close(fd);
		count += rc > 0 ? rc : 0;
	}
	if (folder)
		closedir(folder);
	return rc < 0 ? rc : count;
}

/* --- open and close --- */

/* O_NOFOLLOW: a link in the file's place was not made by us. The last owner may have removed the file between our
 * open() and our lock, so the locked file has to have its name still. Return: 0, -EAGAIN (it was removed just now),
 * -EBUSY, or another negative errno. */
static int open_locked(struct undo *undo)
{
	struct stat ours, named;

	undo->fd = open(undo->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (undo->fd < 0)
		return -errno;
	if (flock(undo->fd, LOCK_EX | LOCK_NB) == 0 && fstat(undo->fd, &ours) == 0 && stat(undo->path, &named) == 0 &&
		ours.st_ino == named.st_ino && ours.st_dev == named.st_dev)
		return 0;
	close(undo->fd);
	undo->fd = -1;
	return errno == EWOULDBLOCK ? -EBUSY : -EAGAIN;
}

static int take_lock(struct undo *undo, struct err *err)
{
	const struct timespec pause = {.tv_nsec = LOCK_PAUSE_NS};
	int rc = -EBUSY;

	for (int attempt = 0; attempt < LOCK_ATTEMPTS && (rc == -EBUSY || rc == -EAGAIN); attempt++) {
		if (attempt > 0)
			nanosleep(&pause, NULL);
		errno = 0;
		rc = open_locked(undo);
	}
	if (rc == -EBUSY || rc == -EAGAIN)
		return err_set(err, -EBUSY, "%s: locked; this tunnel runs already", undo->path);
	return rc < 0 ? file_explain(rc, undo->path, err) : 0;
}

/* Lines of the list are run as commands, so nobody but us may be able to write them. */
static int check_writers(const struct undo *undo, struct err *err)
{
	struct stat status;

	if (fstat(undo->fd, &status) < 0)
		return err_system(err, -errno, "%s", undo->path);
	if (S_ISREG(status.st_mode) && status.st_uid == geteuid() && (status.st_mode & (S_IWGRP | S_IWOTH)) == 0)
		return 0;
	return err_set(err, -EPERM,
		"%s: others may have written in it, and what it says would be done; look at it, and remove it",
		undo->path);
}

static int open_files(struct undo *undo, struct err *err)
{
	int rc = folder_ensure_parent(undo->path, "--state-dir", err);

	if (rc < 0)
		return rc;
	undo->folder_fd = open(undo->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (undo->folder_fd < 0)
		return err_system(err, -errno, "folder %s", undo->state_dir);
	rc = take_lock(undo, err);
	if (rc == 0)
		rc = check_writers(undo, err);
	if (rc == 0)
		rc = era_of_now(&undo->era, err);
	return rc < 0 ? rc : lines_read(&undo->list, undo->fd, undo->path, err);
}

static void undo_free(struct undo *undo)
{
	if (undo->fd >= 0)
		close(undo->fd);
	if (undo->folder_fd >= 0)
		close(undo->folder_fd);
	free(undo->list.lines);
	free(undo);
}

static int open_list(struct undo **ret, const char *state_dir, const char *name, const char *list, struct err *err)
{
	struct undo *undo = calloc(1, sizeof(*undo));
	int rc = 0;

	if (!undo)
		return err_system(err, -ENOMEM, "undo list");
	undo->fd = undo->folder_fd = -1;
	if (snprintf(undo->state_dir, sizeof(undo->state_dir), "%s", state_dir) >= (int)sizeof(undo->state_dir) ||
		snprintf(undo->path, sizeof(undo->path), "%s/%s/%s", state_dir, name, list) >= (int)sizeof(undo->path))
		rc = err_system(err, -ENAMETOOLONG, "%s", state_dir);
	if (rc == 0)
		rc = open_files(undo, err);
	if (rc < 0) {
		undo_free(undo);
		return rc;
	}
	*ret = undo;
	return 0;
}

int undo_open(struct undo **ret, const char *state_dir, const char *name, struct err *err)
{
	return open_list(ret, state_dir, name, "undo", err);
}

int undo_open_claims(struct undo **ret, const char *state_dir, const char *name, struct err *err)
{
	return open_list(ret, state_dir, name, "claims", err);
}

/* Another tunnel may have handed something over until the host's lock is ours, so the list is read once more. */
void undo_close(struct undo *undo)
{
	if (!undo)
		return;
	undo_lock(undo);
	if (undo_refresh(undo, NULL) == 0 && undo->list.count == 0)
		unlink(undo->path);
	undo_unlock(undo);
	undo_free(undo);
}

bool undo_exists(const char *state_dir, const char *name)
{
	static const char *const lists[] = {"undo", "claims"};
	char path[PATH_MAX];

	for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++)
		if (snprintf(path, sizeof(path), "%s/%s/%s", state_dir, name, lists[i]) < (int)sizeof(path) &&
			access(path, F_OK) == 0)
			return true;
	return false;
}
