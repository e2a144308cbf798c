/* Read an INI file into a flat list of sections and their entries.
 *
 * Happy path: read the whole file, cut it into lines, cut the comment off each, and add a section or an entry. What
 * a line is, in wg-quick's words: all from the first `#` on is a comment, also inside a value; blanks around names,
 * keys and values do not count; there are no quotes, no escapes and no continued lines.
 *
 * A wrong line becomes a line of the report and reading goes on, so that all are told in one go; what could be read
 * is in @ret then as well. Secrets may stand in any line: the file's copy is wiped, and a line that is not
 * understood is never quoted.
 */
#include "common/base/ini.h"

#include "common/base/array.h"
#include "common/base/place.h"
#include "common/base/secret.h"
#include "common/base/text.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(INI_FILE_MAX < PLACE_MAIN_LINES_MAX, "a file that is read has fewer lines than place.h lets it");

/* Longer than every key there is and shorter than a secret: a line "TOKEN =" without its key is then no key. */
#define INI_KEY_MAX 32
#define INI_READ_STEP 65536u /* bytes a read(): most files need one */

struct ini_reader {
	struct ini *ini;
	const char *path; /* of this file: a drop-in's is not the configuration's */
	struct ini_report *report;
	unsigned line, last_line; /* last_line: further ones have no number */
	bool has_section; /* a header was seen, right or wrong */
	bool skip;	  /* the last header was wrong: its keys are passed over, they would only be reported again */
	int rc;
};

void ini_report_add(struct ini_report *report, const char *path, unsigned line, const char *format, ...)
{
	char text[ERR_TEXT_MAX] = "";
	char *whole;
	char **slot;
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	for (char *at = text; *at; at++)
		if (iscntrl((unsigned char)*at))
			*at = '?';
	if (asprintf(&whole, "%s: %s", PLACE(path, line), text) < 0)
		return;
	slot = array_append(&report->lines, &report->count, sizeof(*slot));
	if (slot)
		*slot = whole;
	else
		free(whole);
}

int ini_report_join(const struct ini_report *report, int code, struct err *err)
{
	static const char rest[] = "lines more; check tells them all";
	size_t room =
		sizeof(err->text) - sizeof(rest) - 24; /* 24: a newline, the longest number (20 digits), a blank */
	size_t len = 0, i;

	for (i = 0; i < report->count && len + strlen(report->lines[i]) + 1 < room; i++)
		len += (size_t)snprintf(
			err->text + len, sizeof(err->text) - len, "%s%s", i > 0 ? "\n" : "", report->lines[i]);
	if (i < report->count)
		snprintf(err->text + len, sizeof(err->text) - len, "%s%zu %s", i > 0 ? "\n" : "", report->count - i,
			rest);
	return code;
}

void ini_report_done(struct ini_report *report)
{
	for (size_t i = 0; i < report->count; i++)
		free(report->lines[i]);
	free(report->lines);
	memset(report, 0, sizeof(*report));
}

/* A wrong line. Reading goes on. */
#define reject(reader, ...)                                                                                            \
	((reader)->rc = -EINVAL, ini_report_add((reader)->report, (reader)->ini->path, (reader)->line, __VA_ARGS__))

/* The same about @words, which stand in that line: they are not quoted, only a character among them that is not
 * ASCII. */
static void reject_words(struct ini_reader *reader, const char *words, const char *what)
{
	char foreign[TEXT_FOREIGN_MAX];

	text_name_foreign(foreign, words);
	reject(reader, "%s%s%s", what, *foreign ? "; " : "", foreign);
}

/* Take surrounding blanks off, in place. */
static char *trim(char *text, size_t len)
{
	while (len > 0 && isspace((unsigned char)text[len - 1]))
		len--;
	text[len] = '\0';
	while (isspace((unsigned char)*text))
		text++;
	return text;
}

/* @text: "[…", trimmed, its comment gone. */
static void read_header(struct ini_reader *reader, char *text)
{
	struct ini *ini = reader->ini;
	struct ini_section *section;
	size_t len = strlen(text);
	char *name, foreign[TEXT_FOREIGN_MAX];

	reader->has_section = true;
	reader->skip = true;
	if (text[len - 1] != ']') {
		reject_words(reader, text,
			"a section's header has no \"]\" at its end; expected [Section] on a line of its own");
		return;
	}
	name = trim(text + 1, len - 2);
	if (*name == '\0' || strpbrk(name, "[]") || *text_name_foreign(foreign, name)) {
		reject_words(reader, name,
			"a section's header has no single name; expected [Section] on a line of its own");
		return;
	}
	reader->skip = false;
	section = array_append(&ini->sections, &ini->section_count, sizeof(*section));
	if (section) {
		section->name = strdup(name);
		section->line = reader->line;
	}
	if (!section || !section->name)
		reader->rc = -ENOMEM;
}

static void add_entry(struct ini_reader *reader, const char *key, const char *value)
{
	struct ini_section *section = &reader->ini->sections[reader->ini->section_count - 1];
	struct ini_entry *entry = array_append(&section->entries, &section->entry_count, sizeof(*entry));

	if (entry) {
		entry->key = strdup(key);
		entry->value = strdup(value);
		entry->line = reader->line;
	}
	if (!entry || !entry->key || !entry->value)
		reader->rc = -ENOMEM; /* ends the reading; ini_done() frees the half of it that is there */
}

/* @text: trimmed, its comment gone. */
static void read_entry(struct ini_reader *reader, char *text)
{
	char *equals = strchr(text, '=');
	char *key, *value;
	size_t key_len;

	if (!equals) {
		reject_words(reader, text, "the line has no \"=\"; expected KEY = VALUE");
		return;
	}
	key = trim(text, (size_t)(equals - text));
	value = trim(equals + 1, strlen(equals + 1));
	key_len = strlen(key);
	/* Short, and made of few characters: anything else may be a secret whose key was forgotten, and is not
	 * quoted. */
	if (key_len == 0 || key_len > INI_KEY_MAX || !text_is_made_of(key, key_len, "-_"))
		reject_words(reader, key,
			"what stands before \"=\" is no key; expected KEY = VALUE, where KEY is one word");
	else if (!reader->has_section)
		reject(reader,
			"%s: a key stands before the first section; expected a header such as [Interface] above it",
			key);
	else if (!reader->skip)
		add_entry(reader, key, value);
}

/* @text: one line of @len bytes; the byte behind it may be overwritten. */
static void read_line(struct ini_reader *reader, char *text, size_t len)
{
	char *comment;

	/* An editor's byte order mark, in front of the file or, where files were joined, in front of a later one's
	 * first line. */
	if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
		text += 3;
		len -= 3;
	}
	if (memchr(text, '\0', len)) { /* all that follows would be lost without a word */
		reject(reader, "the line has a NUL byte; the file must be plain text");
		return;
	}
	comment = memchr(text, '#', len);
	text = trim(text, comment ? (size_t)(comment - text) : len);
	if (*text == '[')
		read_header(reader, text);
	else if (*text != '\0')
		read_entry(reader, text);
}

/* The name that iconv(1) has for the encoding of a file that some editors write, told by its byte order mark or,
 * without one, by the NUL beside the first character: files of ours begin with ASCII. Return: NULL: nothing of that
 * kind. */
static const char *find_encoding(const char *text, size_t len)
{
	static const struct {
		const char *bytes;
		size_t len;
		const char *name;
	} marks[] = {{"\xff\xfe\0\0", 4, "UTF-32"}, {"\0\0\xfe\xff", 4, "UTF-32"}, {"\xff\xfe", 2, "UTF-16"},
		{"\xfe\xff", 2, "UTF-16"}};

	for (size_t i = 0; i < sizeof(marks) / sizeof(*marks); i++)
		if (len >= marks[i].len && memcmp(text, marks[i].bytes, marks[i].len) == 0)
			return marks[i].name;
	if (len < 4 || !text[0] == !text[1] || !text[2] == !text[3] || !text[0] != !text[2])
		return NULL;
	return text[0] ? "UTF-16LE" : "UTF-16BE";
}

/* One complaint for the file: each of its lines would be wrong. The mark is taken out too, and the mode stays. */
static int check_encoding(const char *path, const char *text, size_t len, struct err *err)
{
	const char *encoding = find_encoding(text, len);

	if (!encoding)
		return 0;
	return err_set(err, -EILSEQ,
		"%s:1: the file is %.6s; expected plain text (UTF-8): (umask 077; iconv -f %s -t UTF-8 '%s' >'%s.new') && "
		"cat '%s.new' >'%s' && rm '%s.new'",
		path, encoding, encoding, path, path, path, path, path);
}

/* @text has one byte more than @len. */
static int read_lines(struct ini_reader *reader, char *text, size_t len)
{
	char *end = text + len;

	while (text < end && reader->rc != -ENOMEM) {
		char *line_end = memchr(text, '\n', (size_t)(end - text));

		if (reader->line == reader->last_line) {
			reject(reader, "a drop-in has at most %u lines; expected the others in one more", PLACE_LINES_MAX);
			break;
		}
		if (!line_end)
			line_end = end;
		reader->line++;
		read_line(reader, text, (size_t)(line_end - text));
		text = line_end + 1;
	}
	return reader->rc;
}

/* realloc() may move the memory and leave the old copy, secrets and all, to the next malloc(). */
static char *grow_wiped(char *old, size_t old_size, size_t size)
{
	char *grown = malloc(size);

	if (grown && old)
		memcpy(grown, old, old_size);
	secret_wipe(old, old_size);
	free(old);
	return grown;
}

/* Read @fd to its end; *ret_text has one spare byte for a terminator and is freed by the caller, also after a failure.
 * The size that fstat() tells is not used: a file may grow while it is read, and those under /proc have none. */
static int read_all(int fd, char **ret_text, size_t *ret_size, size_t *ret_len)
{
	char *text = NULL;
	size_t size = 0, used = 0;
	ssize_t len = 1;

	while (len > 0 && used <= INI_FILE_MAX) {
		if (size - used < INI_READ_STEP) {
			text = grow_wiped(text, size, size + size + 2 * INI_READ_STEP);
			if (!text)
				return -ENOMEM;
			size += size + 2 * INI_READ_STEP;
		}
		len = read(fd, text + used, INI_READ_STEP - 1);
		if (len < 0 && errno == EINTR)
			len = 1;
		else if (len > 0)
			used += (size_t)len;
		else if (len < 0)
			len = -errno;
	}
	*ret_text = text;
	*ret_size = size;
	*ret_len = used;
	if (used > INI_FILE_MAX)
		return -EFBIG;
	return (int)len;
}

static int read_file(int fd, struct ini_reader *reader, struct err *err)
{
	char *text = NULL;
	size_t size = 0, len = 0;
	struct stat st;
	int rc;

	if (fstat(fd, &st) < 0)
		return err_system(err, -errno, "%s", reader->path);
	if (S_ISDIR(st.st_mode))
		return err_system(err, -EISDIR, "%s", reader->path);
	if (!S_ISREG(st.st_mode))
		return err_set(err, -ENODEV, "%s: not a regular file", reader->path);
	rc = read_all(fd, &text, &size, &len);
	if (rc == 0)
		rc = check_encoding(reader->path, text, len, err);
	if (rc == 0)
		rc = read_lines(reader, text, len);
	secret_wipe(text, size);
	free(text);
	return rc < 0 && rc != -EINVAL && rc != -EILSEQ ? err_system(err, rc, "%s", reader->path) : rc;
}

/* -EINVAL: lines were wrong and are in the report; the right ones are kept, so that their values are checked too. */
static int open_and_read(struct ini_reader *reader, struct err *err)
{
	int fd = open(reader->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK); /* a pipe must not hold us up */
	int rc = fd < 0 ? err_system(err, -errno, "%s", reader->path) : read_file(fd, reader, err);

	if (rc == -EACCES)
		err_set(err, rc, "%s: %s; its owner or root may read it, as by sudo", reader->path, strerror(-rc));
	if (fd >= 0)
		close(fd);
	return rc;
}

int ini_read(const char *path, struct ini *ret, struct ini_report *report, struct err *err)
{
	struct ini_reader reader = {.ini = ret, .path = path, .report = report, .last_line = UINT_MAX};
	int rc;

	memset(ret, 0, sizeof(*ret));
	ret->path = strdup(path);
	if (!ret->path)
		return err_system(err, -ENOMEM, "%s", path);
	rc = open_and_read(&reader, err);
	if (rc < 0 && rc != -EINVAL)
		ini_done(ret);
	return rc;
}

int ini_read_dropin(const char *path, struct ini *ini, struct ini_report *report, struct err *err)
{
	unsigned base = place_base(path);
	struct ini_reader reader = {
		.ini = ini, .path = path, .report = report, .line = base, .last_line = base + PLACE_LINES_MAX};

	return base ? open_and_read(&reader, err) : err_set(err, -ENOMEM, "%s: one drop-in too many", path);
}

void ini_done(struct ini *ini)
{
	for (size_t i = 0; i < ini->section_count; i++) {
		struct ini_section *section = &ini->sections[i];

		for (size_t j = 0; j < section->entry_count; j++) {
			free(section->entries[j].key);
			secret_free(section->entries[j].value);
		}
		free(section->entries);
		free(section->name);
	}
	free(ini->sections);
	free(ini->path);
	memset(ini, 0, sizeof(*ini));
}

/* Optimal string alignment: the fewest insertions, deletions, replacements and swaps of neighbours that make one
 * word of the other, regardless of case. cost[i][j] is the distance of the first i letters of @a and the first j of
 * @b. Both are at most INI_KEY_MAX long. */
static unsigned edit_distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
	unsigned cost[INI_KEY_MAX + 1][INI_KEY_MAX + 1];

	for (size_t i = 0; i <= a_len; i++)
		cost[i][0] = (unsigned)i;
	for (size_t j = 0; j <= b_len; j++)
		cost[0][j] = (unsigned)j;
	for (size_t i = 1; i <= a_len; i++) {
		for (size_t j = 1; j <= b_len; j++) {
			int x = tolower((unsigned char)a[i - 1]), y = tolower((unsigned char)b[j - 1]);

			cost[i][j] = 1 + (cost[i - 1][j] < cost[i][j - 1] ? cost[i - 1][j] : cost[i][j - 1]);
			if (cost[i - 1][j - 1] + (x != y) < cost[i][j])
				cost[i][j] = cost[i - 1][j - 1] + (x != y);
			if (i > 1 && j > 1 && x == tolower((unsigned char)b[j - 2]) &&
				y == tolower((unsigned char)a[i - 2]) && cost[i - 2][j - 2] + 1 < cost[i][j])
				cost[i][j] = cost[i - 2][j - 2] + 1;
		}
	}
	return cost[a_len][b_len];
}

const char *ini_nearest(const char *word, const char *const *known)
{
	size_t len = strlen(word);
	unsigned best = (unsigned)(len / 3) + 1;
	const char *nearest = NULL;

	if (len > INI_KEY_MAX)
		return NULL;
	for (; *known; known++) {
		size_t known_len = strlen(*known);
		unsigned distance;

		if (known_len > INI_KEY_MAX)
			continue;
		distance = edit_distance(word, len, *known, known_len);
		if (distance < best) {
			best = distance;
			nearest = *known;
		}
	}
	return nearest;
}
