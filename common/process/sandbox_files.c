/* Landlock by raw system calls: Debian 12's C library has no wrappers, its headers know two of the versions.
 *
 * Happy path: ask the version, handle every right that it knows, allow reading below a few folders, restrict ourselves.
 * Fails with the errno of the step; nothing is restricted then.
 */
#include "common/process/sandbox_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif

/* The kernel's ABI, include/uapi/linux/landlock.h, as far as version 6. */
#define LANDLOCK_VERSION_FLAG 1u
#define LANDLOCK_RULE_FOLDER 1
#define LANDLOCK_FS_READ_FILE (1ull << 2)
#define LANDLOCK_FS_READ_DIR (1ull << 3)
#define LANDLOCK_FS_VERSION_1 ((1ull << 13) - 1)
#define LANDLOCK_FS_REFER (1ull << 13)	   /* since 2 */
#define LANDLOCK_FS_TRUNCATE (1ull << 14)  /* since 3 */
#define LANDLOCK_FS_IOCTL_DEV (1ull << 15) /* since 5 */
#define LANDLOCK_NET_TCP 3ull		   /* bind and connect, since 4 */
#define LANDLOCK_SCOPES 3ull		   /* abstract AF_UNIX names, signals, since 6 */

struct landlock_rights {
	uint64_t fs, net, scoped;
};

struct landlock_folder {
	uint64_t allowed;
	int32_t parent_fd;
} __attribute__((packed));

/* The rights that Landlock of @version knows: all of them are denied unless a rule allows them. Return: the struct's
 * size as that version expects it. */
static size_t landlock_rights_of(long version, int deny_tcp, struct landlock_rights *ret)
{
	*ret = (struct landlock_rights){.fs = LANDLOCK_FS_VERSION_1};
	if (version >= 2)
		ret->fs |= LANDLOCK_FS_REFER;
	if (version >= 3)
		ret->fs |= LANDLOCK_FS_TRUNCATE;
	if (version >= 4 && deny_tcp)
		ret->net = LANDLOCK_NET_TCP;
	if (version >= 5)
		ret->fs |= LANDLOCK_FS_IOCTL_DEV;
	if (version >= 6)
		ret->scoped = LANDLOCK_SCOPES;
	return version >= 6 ? 24 : version >= 4 ? 16 : 8;
}

/* A file or folder that does not exist is passed over: distributions differ. */
static int landlock_allow(int ruleset, const char *path)
{
	struct landlock_folder folder = {.allowed = LANDLOCK_FS_READ_FILE | LANDLOCK_FS_READ_DIR};
	struct stat status;
	int rc = 0;

	folder.parent_fd = open(path, O_PATH | O_CLOEXEC);
	if (folder.parent_fd < 0)
		return 0;
	if (fstat(folder.parent_fd, &status) == 0 && !S_ISDIR(status.st_mode))
		folder.allowed = LANDLOCK_FS_READ_FILE; /* the other right is a folder's only, and refused here */
	if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_FOLDER, &folder, 0) < 0)
		rc = -errno;
	close(folder.parent_fd);
	return rc;
}

long sandbox_files_version(void)
{
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_VERSION_FLAG);

	return version < 0 ? -errno : version;
}

int sandbox_files_restrict(const char *const *readable, size_t count, int deny_tcp)
{
	struct landlock_rights rights;
	long version = sandbox_files_version();
	size_t size;
	int ruleset, rc = 0;

	if (version < 0)
		return (int)version;
	size = landlock_rights_of(version, deny_tcp, &rights);
	ruleset = (int)syscall(SYS_landlock_create_ruleset, &rights, size, 0);
	if (ruleset < 0)
		return -errno;
	for (size_t i = 0; i < count && rc == 0; i++)
		rc = landlock_allow(ruleset, readable[i]);
	if (rc == 0 && syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		rc = -errno;
	close(ruleset);
	return rc;
}
