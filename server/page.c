/* The plain page for visitors (page.h).
 *
 * Happy path: the file is there and is read. On the first start it is put together from words, sentences, colours and
 * measures drawn by chance, so that nobody can search the web for hosts that show the same bytes. It is written whole
 * or not at all. It fails with the file's path. A file that an operator has spoilt is not replaced.
 */
#include "server/page.h"

#include "common/base/file.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>

#define PAGE_LEN_MAX 65536 /* the settings carry the page, and the worker answers with it in one write */
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static const char *const page_first_words[] = {"amber", "aspen", "birch", "brook", "cedar", "clover", "copper", "coral",
	"dusk", "ember", "fern", "flint", "frost", "garnet", "hazel", "heron", "indigo", "ivory", "juniper", "lark",
	"linden", "maple", "meadow", "mist", "north", "ochre", "olive", "pearl", "quartz", "raven", "sable", "willow"};
static const char *const page_second_words[] = {"bay", "bridge", "cove", "creek", "dale", "field", "ford", "gate",
	"glen", "grove", "harbour", "hill", "hollow", "house", "lake", "lane", "mill", "moor", "orchard", "park",
	"path", "peak", "point", "ridge", "rock", "shore", "spring", "stone", "vale", "view", "wood", "yard"};
static const char *const page_sentences[] = {"There is nothing here yet.", "This page is being prepared.",
	"Please come back later.", "We are moving in.", "More will follow soon.", "Under construction.",
	"The new site opens shortly.", "Work in progress.", "Nothing to see for now.", "We will be here soon.",
	"A small corner of the web.", "Content is on its way."};
static const char *const page_fonts[] = {"Georgia, serif", "Helvetica, Arial, sans-serif", "Verdana, sans-serif",
	"system-ui, sans-serif", "Garamond, serif", "Palatino, serif", "Tahoma, sans-serif",
	"\"Courier New\", monospace"};

/* --- chance --- */

/* Random bytes, two for each draw: a page needs 12 draws. */
struct page_chance {
	uint8_t bytes[64];
	size_t used;
};

static unsigned int chance_below(struct page_chance *chance, unsigned int limit)
{
	unsigned int value = chance->bytes[chance->used] | (unsigned int)chance->bytes[chance->used + 1] << 8;

	chance->used += 2;
	return value % limit;
}

static const char *pick(struct page_chance *chance, const char *const *list, size_t count)
{
	return list[chance_below(chance, (unsigned int)count)];
}

/* --- the page --- */

/* Dark text on a light ground, so that every page can be read. Return: its length, or a negative errno. */
static int format_page(char *buf, size_t size)
{
	struct page_chance chance = {.used = 0};
	char title[64], style[512];
	unsigned int hue, margin, width;

	if (getrandom(chance.bytes, sizeof(chance.bytes), 0) != (ssize_t)sizeof(chance.bytes))
		return -errno;
	snprintf(title, sizeof(title), "%s %s", pick(&chance, page_first_words, COUNT_OF(page_first_words)),
		pick(&chance, page_second_words, COUNT_OF(page_second_words)));
	title[0] = (char)(title[0] - 'a' + 'A');
	hue = chance_below(&chance, 360);
	margin = 4 + chance_below(&chance, 12);
	width = 28 + chance_below(&chance, 24);
	snprintf(style, sizeof(style),
		"body { margin: %uvh auto; max-width: %uem; font-family: %s; color: hsl(%u, %u%%, %u%%); "
		"background: hsl(%u, %u%%, %u%%); }",
		margin, width, pick(&chance, page_fonts, COUNT_OF(page_fonts)), hue, 10 + chance_below(&chance, 40),
		15 + chance_below(&chance, 15), (hue + chance_below(&chance, 120)) % 360,
		10 + chance_below(&chance, 50), 90 + chance_below(&chance, 9));
	return snprintf(buf, size,
		"<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>%s</title>\n"
		"<style>\n%s\n</style>\n</head>\n<body>\n<h1>%s</h1>\n<p>%s</p>\n</body>\n</html>\n",
		title, style, title, pick(&chance, page_sentences, COUNT_OF(page_sentences)));
}

static int make_page(const char *path, struct err *err)
{
	char text[2048];
	int len = format_page(text, sizeof(text)), rc;

	if (len < 0 || len >= (int)sizeof(text))
		return err_system(err, len < 0 ? len : -ENOBUFS, "%s", path);
	rc = file_write_text(path, text, err);
	if (rc == 0)
		chmod(path, 0644); /* no secret: every visitor reads it. Where it fails, 0600 will do */
	return rc;
}

int page_ensure(const char *folder, char **ret_html, struct err *err)
{
	char path[PATH_MAX];
	int rc;

	if (snprintf(path, sizeof(path), "%s/page.html", folder) >= (int)sizeof(path))
		return err_system(err, -ENAMETOOLONG, "%s", folder);
	rc = file_read_text(path, PAGE_LEN_MAX, ret_html, err);
	if (rc == -ENOENT) {
		rc = make_page(path, err);
		if (rc == 0)
			rc = file_read_text(path, PAGE_LEN_MAX, ret_html, err);
	}
	if (rc == -EINVAL)
		return err_set(err, rc, "%s: not a text of 1 to %d bytes; remove it, and a new one is made", path,
			PAGE_LEN_MAX);
	return rc;
}
