/* INI as wg-quick(8) reads it: [Section], Key = Value, `#` begins a comment; sections and keys in any case.
 *
 * Reads lines into a flat list; knows no keys. A key outside a section, a line without "=", a NUL byte and an
 * unclosed bracket are errors here; everything else is for the caller.
 */
#pragma once

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define INI_FILE_MAX (16u << 20)

struct ini_entry {
	char *key;     /* as written; NULL where the entry opens a section */
	char *value;   /* without surrounding blanks and comment; "" allowed */
	unsigned line; /* its place, see place.h */
};

struct ini_section {
	char *name; /* as written */
	unsigned line;
	bool has_secret; /* for the caller: the file that it stands in must not be read by others */
	struct ini_entry *entries;
	size_t entry_count;
};

struct ini {
	char *path; /* with a line that says where: PLACE() */
	struct ini_section *sections;
	size_t section_count;
};

/* One message per wrong line, collected so that all of them are told in one go. */
struct ini_report {
	char **lines; /* "FILE:LINE: KEY: 'VALUE': what is wrong; what would be right" */
	size_t count;
};

/* Return: 0; -EINVAL with lines in @report, @ret then holds what could be read and is freed as usual; -EILSEQ with @err
 * set where it is UTF-16 or UTF-32; another negative errno with @err set where the file cannot be read. */
int ini_read(const char *path, struct ini *ret, struct ini_report *report, struct err *err);
/* Add the sections of a drop-in behind those of @ini. Return: as above, -EINVAL with lines in @report; @ini is good and the
 * caller's after any failure. */
int ini_read_dropin(const char *path, struct ini *ini, struct ini_report *report, struct err *err);
void ini_done(struct ini *ini); /* wipes the values: some are keys */

/* @line 0: @path is no file but an option or a variable, and stands alone. */
void ini_report_add(struct ini_report *report, const char *path, unsigned line, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
void ini_report_done(struct ini_report *report);
/* As many lines as fit into @err, joined by newlines, and how many do not; without lines it stays. Return: @code. */
int ini_report_join(const struct ini_report *report, int code, struct err *err);

/* The known word nearest to @word (edit distance at most a third of its length), or NULL. @known ends with NULL. */
const char *ini_nearest(const char *word, const char *const *known);
