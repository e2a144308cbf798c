/* The plain page for visitors.
 *
 * Happy path: the file is there and read. On the first start it is put together from words, sentences, colours and
 * measures drawn by chance, so that no two hosts show the same bytes, and written by rename. Fails with the file.
 */
#include "server/page.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE_LEN_MAX 65536
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

static const char *chance_of(struct page_chance *chance, const char *const *list, size_t count)
{
	return list[chance_below(chance, (unsigned int)count)];
}

/* --- the page --- */

static int page_format(char *buf, size_t size)
{
	struct page_chance chance = {.used = 0};
	char title[64], style[512];
	unsigned int hue, margin, width;
	int len;

	if (getrandom(chance.bytes, sizeof(chance.bytes), 0) != (ssize_t)sizeof(chance.bytes))
		return -errno;
	snprintf(title, sizeof(title), "%s %s", chance_of(&chance, page_first_words, COUNT_OF(page_first_words)),
		chance_of(&chance, page_second_words, COUNT_OF(page_second_words)));
	title[0] = (char)(title[0] - 'a' + 'A');
	hue = chance_below(&chance, 360);
	margin = 4 + chance_below(&chance, 12);
	width = 28 + chance_below(&chance, 24);
	snprintf(style, sizeof(style),
		"body { margin: %uvh auto; max-width: %uem; font-family: %s; color: hsl(%u, %u%%, %u%%); "
		"background: hsl(%u, %u%%, %u%%); }",
		margin, width, chance_of(&chance, page_fonts, COUNT_OF(page_fonts)), hue,
		10 + chance_below(&chance, 40), 15 + chance_below(&chance, 15),
		(hue + chance_below(&chance, 120)) % 360, 10 + chance_below(&chance, 50),
		90 + chance_below(&chance, 9));
	len = snprintf(buf, size,
		"<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>%s</title>\n"
		"<style>\n%s\n</style>\n</head>\n<body>\n<h1>%s</h1>\n<p>%s</p>\n</body>\n</html>\n",
		title, style, title, chance_of(&chance, page_sentences, COUNT_OF(page_sentences)));
	return len;
}

static int page_write(const char *path, const char *text, size_t len, struct err *err)
{
	char temporary[PATH_MAX];
	int fd, rc = 0;

	if (snprintf(temporary, sizeof(temporary), "%s.new", path) >= (int)sizeof(temporary))
		return err_system(err, -ENAMETOOLONG, "%s", path);
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		return err_system(err, -errno, "%s", temporary);
	if (write(fd, text, len) != (ssize_t)len)
		rc = errno ? -errno : -ENOSPC;
	close(fd);
	if (rc == 0 && rename(temporary, path) < 0)
		rc = -errno;
	if (rc < 0)
		unlink(temporary);
	return rc < 0 ? err_system(err, rc, "%s", path) : 0;
}

static int page_make(const char *path, struct err *err)
{
	char text[2048];
	int len = page_format(text, sizeof(text));

	if (len < 0 || len >= (int)sizeof(text))
		return err_system(err, len < 0 ? len : -ENOBUFS, "%s", path);
	return page_write(path, text, (size_t)len, err);
}

/* Return: descriptor, also of a file just made. */
static int page_open(const char *path, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int rc;

	if (fd >= 0)
		return fd;
	if (errno != ENOENT)
		return err_system(err, -errno, "%s", path);
	rc = page_make(path, err);
	if (rc < 0)
		return rc;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? err_system(err, -errno, "%s", path) : fd;
}

int page_ensure(const char *folder, char **ret_html, struct err *err)
{
	char path[PATH_MAX];
	char *text;
	ssize_t got;
	int fd;

	if (snprintf(path, sizeof(path), "%s/page.html", folder) >= (int)sizeof(path))
		return err_system(err, -ENAMETOOLONG, "%s", folder);
	fd = page_open(path, err);
	if (fd < 0)
		return fd;
	text = malloc(PAGE_LEN_MAX + 1);
	got = text ? read(fd, text, PAGE_LEN_MAX + 1) : -1;
	close(fd);
	if (got <= 0 || got > PAGE_LEN_MAX || memchr(text, '\0', (size_t)got)) {
		free(text);
		return err_set(err, -EINVAL, "%s: not a text of 1 to %d bytes; remove it, a new one is made", path,
			PAGE_LEN_MAX);
	}
	text[got] = '\0';
	*ret_html = text;
	return 0;
}
