/* One line an event on stderr. Never called on the datagram path.
 *
 * The line begins with its area. With JOURNAL_STREAM in the environment it carries the journal's priority
 * prefix "<6>"; otherwise level and time are shown only when verbose. A line that repeats the one before it
 * (same level, area and text) is counted, and the count is told when another line comes or after a while.
 * Text from outside is quoted by the caller with log_quote().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR = 3, LOG_LEVEL_WARNING, LOG_LEVEL_NOTICE, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Highest level shown: --quiet shows warnings and worse, the default info, --verbose debug (and level and time). */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);
void log_set_verbose(bool with_level_and_time);

void log_line(enum log_level level, const char *area, const char *format, ...) __attribute__((format(printf, 3, 4)));

#define log_error(area, ...) log_line(LOG_LEVEL_ERROR, area, __VA_ARGS__)
#define log_warning(area, ...) log_line(LOG_LEVEL_WARNING, area, __VA_ARGS__)
#define log_notice(area, ...) log_line(LOG_LEVEL_NOTICE, area, __VA_ARGS__)
#define log_info(area, ...) log_line(LOG_LEVEL_INFO, area, __VA_ARGS__)
#define log_debug(area, ...) log_line(LOG_LEVEL_DEBUG, area, __VA_ARGS__)

/* The last lines that this process has written, without debug's, for whoever asks how it goes. */
#define LOG_EVENTS_MAX 32
#define LOG_EVENT_MAX 480 /* bytes; a longer line is cut */

struct log_event {
	int64_t at_s; /* seconds since 1970 */
	enum log_level level;
	char text[LOG_EVENT_MAX]; /* "area: text" */
};

/* 0: the newest, 1: the one before. Return: NULL: there is none; else good until the next line is written. */
const struct log_event *log_event_find(size_t back);

const char *log_level_word(enum log_level level);

/* Write the count of a suppressed repetition, if there is one: before exit, and from a slow timer. */
void log_flush(void);

/* Make text from outside harmless: printable ASCII stays, the rest becomes \xNN, cut at @size. Return: @buf. */
const char *log_quote(char *buf, size_t size, const void *text, size_t len);
