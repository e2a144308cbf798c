/* See place.h.
 *
 *    0                    PLACE_MAIN_LINES_MAX                                                       UINT_MAX
 *    | lines of the file  | range 0: 10-pi.conf | range 1: 20-web.conf | …                         | (an option)
 *
 * The ranges begin above every line that a file can have, and are given one after the other. A tree finds the range of
 * a path, an array the path of a range. Both are kept until the process ends, because settings that are compared by a
 * reload still hold places of the former reading. A supervisor that runs for years gets a range only for each path that
 * it has not seen before.
 */
#include "common/base/place.h"

#include "common/base/array.h"

#include <search.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RANGE (PLACE_LINES_MAX + 1)
#define FIRST_RANGE PLACE_MAIN_LINES_MAX
#define RANGES_MAX ((UINT_MAX - FIRST_RANGE) / RANGE) /* below UINT_MAX, which stands for an option */

struct dropin {
	unsigned base;
	char path[];
};

static struct dropin **dropins; /* in the order of their ranges */
static size_t count;
static void *tree;

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct dropin *)a)->path, ((const struct dropin *)b)->path);
}

unsigned place_base(const char *path)
{
	size_t size = strlen(path) + 1;
	struct dropin *dropin = malloc(sizeof(*dropin) + size), **slot;
	void *found;

	if (!dropin || count >= RANGES_MAX) {
		free(dropin);
		return 0;
	}
	memcpy(dropin->path, path, size);
	dropin->base = FIRST_RANGE + (unsigned)count * RANGE;
	found = tsearch(dropin, &tree, compare);
	if (found && *(struct dropin **)found != dropin) {
		free(dropin);
		return (*(struct dropin **)found)->base;
	}
	slot = found ? array_append(&dropins, &count, sizeof(struct dropin *)) : NULL;
	if (!slot) {
		if (found)
			tdelete(dropin, &tree, compare);
		free(dropin);
		return 0;
	}
	*slot = dropin;
	return dropin->base;
}

unsigned place_split(const char **path, unsigned line)
{
	size_t at = line < FIRST_RANGE ? count : (line - FIRST_RANGE) / RANGE;

	if (at >= count)
		return line;
	*path = dropins[at]->path;
	return line - dropins[at]->base;
}

const char *place_format(char *buf, const char *path, unsigned line)
{
	line = place_split(&path, line);
	snprintf(buf, PLACE_TEXT_MAX, line ? "%s:%u" : "%s", path, line);
	return buf;
}

const char *place_refer(char *buf, const char *path, unsigned line, unsigned here)
{
	const char *file = path, *here_file = path;

	line = place_split(&file, line);
	place_split(&here_file, here);
	snprintf(buf, PLACE_TEXT_MAX, file == here_file ? "line %u" : "line %u of %s", line, file);
	return buf;
}
