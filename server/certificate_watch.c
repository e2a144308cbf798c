/* See certificate_watch.h. A program that renews a certificate needs a moment between the two files, so a pair that
 * does not fit is no fault before REFUSED_US have passed. */
#include "server/certificate_watch.h"

#include "common/base/clock.h"

#include <string.h>
#include <sys/stat.h>

#define REFUSED_US (60ull * CLOCK_US_PER_S)
#define READ_US (24ull * 3600 * CLOCK_US_PER_S)
#define NS_PER_S 1000000000ull

static struct certificate_mark mark_of(const char *path)
{
	struct stat st;

	if (!path || stat(path, &st) < 0)
		return (struct certificate_mark){0};
	return (struct certificate_mark){.device = st.st_dev,
		.inode = st.st_ino,
		.size = (uint64_t)st.st_size,
		.modified_ns = (uint64_t)st.st_mtim.tv_sec * NS_PER_S + (uint64_t)st.st_mtim.tv_nsec};
}

/* stat() follows links, so turning a link of certbot's to another file is a change of inode. The size and the time of
 * the last change tell of a file that was written in place. */
void certificate_marks_look(struct certificate_marks *ret, const char *certificate_path, const char *key_path)
{
	*ret = (struct certificate_marks){mark_of(certificate_path), mark_of(key_path)};
}

bool certificate_watch_is_due(const struct certificate_watch *watch, const struct certificate_marks *in_use,
	const struct certificate_marks *now, uint64_t now_us)
{
	return memcmp(in_use, now, sizeof(*now)) != 0 || watch->refused_us != 0 || now_us - watch->read_us >= READ_US;
}

/* A pair that does not fit is usually a renewal that was caught between its two files. It is looked at again each time,
 * and only after a minute is it worth a warning, once. */
bool certificate_watch_note(struct certificate_watch *watch, bool is_taken, uint64_t now_us)
{
	if (is_taken) {
		*watch = (struct certificate_watch){.read_us = now_us};
		return false;
	}
	if (watch->refused_us == 0)
		watch->refused_us = now_us;
	if (watch->is_told || now_us - watch->refused_us < REFUSED_US)
		return false;
	watch->is_told = true;
	return true;
}
