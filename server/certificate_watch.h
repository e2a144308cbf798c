/* When the hub reads its certificate's files again.
 *
 * certbot turns symbolic links, acme.sh and cp write in place, others rename: one file after the other, at any time. So
 * the supervisor looks every CERTIFICATE_LOOK_MS at what stat() says of both. Files that differ from those in use are
 * read. If they do not fit each other, the pair in use stays, and they are read again at each look until they do. Once
 * a day they are read in any case, which also renews a certificate of our own. Pure but for
 * certificate_marks_look(). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define CERTIFICATE_LOOK_MS 15000u

/* Marks that tell one state of a file from another; all 0: it cannot be looked at. */
struct certificate_mark {
	uint64_t device, inode, size, modified_ns;
};

struct certificate_marks {
	struct certificate_mark certificate, key;
};

struct certificate_watch {
	uint64_t read_us;    /* of the last time that the pair was read and taken */
	uint64_t refused_us; /* since when it cannot be taken; 0: it can */
	bool is_told;
};

/* Look at both files, through symbolic links. NULL, for a certificate of our own, is a file that never changes. To be
 * called before the files are read: a write in between then shows at the next look. */
void certificate_marks_look(struct certificate_marks *ret, const char *certificate_path, const char *key_path);

/* Return: true if the files must be read. @in_use: the marks of the pair that is served. */
bool certificate_watch_is_due(const struct certificate_watch *watch, const struct certificate_marks *in_use,
	const struct certificate_marks *now, uint64_t now_us);

/* The files were read. @is_taken: they are served from now on. Return: true if a warning is due, once for files that
 * have not been fit for a minute. */
bool certificate_watch_note(struct certificate_watch *watch, bool is_taken, uint64_t now_us);
