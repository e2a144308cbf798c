/* Lines on stderr, one write() each, so that those of two processes do not mix.
 *
 * Happy path: format, flatten to one line, compare with the line before, write. Text that does not fit is cut; a
 * failed write is ignored: there is no other place to report it.
 */
#include "common/base/log.h"

#include "common/base/clock.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_TEXT_MAX 2048
#define LOG_AREA_MAX 32
/* A line that repeats the last one within this time is only counted. */
#define LOG_REPEAT_WINDOW_US (60ull * CLOCK_US_PER_S)

static enum log_level log_highest = LOG_LEVEL_INFO;
static bool log_verbose;

/* The line written last, and how often it came again. */
static struct {
	enum log_level level; /* 0: none yet */
	char area[LOG_AREA_MAX];
	char text[LOG_TEXT_MAX];
	uint64_t written_us;
	unsigned repeats;
} last;

static struct {
	struct log_event events[LOG_EVENTS_MAX];
	size_t count; /* since the start; the next one goes to this place, modulo */
} recent;

void log_set_level(enum log_level level)
{
	log_highest = level;
}

enum log_level log_get_level(void)
{
	return log_highest;
}

void log_set_verbose(bool with_level_and_time)
{
	log_verbose = with_level_and_time;
}

const char *log_level_word(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_ERROR:
		return "error";
	case LOG_LEVEL_WARNING:
		return "warning";
	case LOG_LEVEL_NOTICE:
		return "notice";
	case LOG_LEVEL_INFO:
		return "info";
	case LOG_LEVEL_DEBUG:
		return "debug";
	}
	return "?";
}

static void keep_event(enum log_level level, const char *area, const char *text)
{
	struct log_event *event = &recent.events[recent.count % LOG_EVENTS_MAX];

	if (level > LOG_LEVEL_INFO)
		return;
	recent.count++;
	*event = (struct log_event){.at_s = clock_wall_s(), .level = level};
	strncat(event->text, area, LOG_AREA_MAX);
	strcat(event->text, ": ");
	strncat(event->text, text, sizeof(event->text) - strlen(event->text) - 1);
}

const struct log_event *log_event_find(size_t back)
{
	return back < recent.count && back < LOG_EVENTS_MAX ? &recent.events[(recent.count - 1 - back) % LOG_EVENTS_MAX]
							    : NULL;
}

/* In front of the area stands the journal's priority (sd-daemon(3)), or time and level, or nothing. The journal adds
 * the time itself. A line leaves with one write(), so that lines of two processes do not mix; nothing can be done
 * when it fails. */
static void write_line(enum log_level level, const char *area, const char *text)
{
	char line[LOG_TEXT_MAX + LOG_AREA_MAX + 64];
	char prefix[48] = "", when[32];
	int len;
	ssize_t written;

	keep_event(level, area, text);
	if (getenv("JOURNAL_STREAM"))
		snprintf(prefix, sizeof(prefix), "<%d>", (int)level);
	else if (log_verbose)
		snprintf(prefix, sizeof(prefix), "%s %s ", clock_format_utc(when, sizeof(when), clock_wall_s()),
			log_level_word(level));
	len = snprintf(line, sizeof(line) - 1, "%s%s: %s", prefix, area, text);
	if (len < 0)
		return;
	if ((size_t)len > sizeof(line) - 2)
		len = sizeof(line) - 2;
	line[len++] = '\n';
	written = write(STDERR_FILENO, line, (size_t)len);
	(void)written;
}

/* One line: line ends at the end go, every other control character becomes a blank. */
static void flatten(char *text)
{
	size_t len = strlen(text);

	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
		text[--len] = '\0';
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			text[i] = ' ';
}

void log_line(enum log_level level, const char *area, const char *format, ...)
{
	char short_area[LOG_AREA_MAX] = "";
	char text[LOG_TEXT_MAX] = "";
	uint64_t now_us;
	va_list args;

	if (level > log_highest)
		return;
	strncat(short_area, area, sizeof(short_area) - 1);
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	flatten(text);

	/* A line that repeats all the time must not fill the disk; the count is told by the next other line, or by a
	 * timer. */
	now_us = clock_now_us();
	if (last.level == level && now_us - last.written_us < LOG_REPEAT_WINDOW_US &&
		strcmp(last.area, short_area) == 0 && strcmp(last.text, text) == 0) {
		last.repeats++;
		return;
	}
	log_flush();
	write_line(level, short_area, text);
	last.level = level;
	last.written_us = now_us;
	strcpy(last.area, short_area); /* both were cut to the sizes of `last` above */
	strcpy(last.text, text);
}

void log_flush(void)
{
	char text[64];

	if (last.repeats == 0)
		return;
	snprintf(text, sizeof(text), "last message repeated %u times", last.repeats);
	write_line(last.level, last.area, text);
	last.repeats = 0;
}

/* Four characters a byte that is not printable, so that a terminal or a log viewer is never sent a control sequence. */
const char *log_quote(char *buf, size_t size, const void *text, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *in = text;
	size_t used = 0;

	if (size == 0)
		return buf;
	for (size_t i = 0; i < len; i++) {
		bool printable = in[i] >= 0x20 && in[i] < 0x7f;

		if (used + (printable ? 1 : 4) >= size)
			break;
		if (printable) {
			buf[used++] = (char)in[i];
			continue;
		}
		buf[used++] = '\\';
		buf[used++] = 'x';
		buf[used++] = digits[in[i] >> 4];
		buf[used++] = digits[in[i] & 15];
	}
	buf[used] = '\0';
	return buf;
}
