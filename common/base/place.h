/* The place of a key, its file and line, as one number.
 *
 * A configuration is a file and its drop-ins (dropins.h). Everything that keeps a place keeps an `unsigned line`, and
 * knows the path of the file. A line of that file is its own number. A drop-in has a range of numbers of its own: it
 * gets it when it is first read and keeps it until the process ends, so that a reload moves none. What is said about a
 * place names the file that it is really in. Not for threads.
 */
#pragma once

#include <limits.h>

#define PLACE_MAIN_LINES_MAX (32u << 20) /* of the file itself */
#define PLACE_LINES_MAX 32767u	      /* of a drop-in */
#define PLACE_TEXT_MAX (PATH_MAX + 32)

/* The number in front of that of the first line of the drop-in @path. Return: 0: no memory, or no number is left. */
unsigned place_base(const char *path);

/* The line within its file. @path: in: the configuration's file; out: the one that the line is in. */
unsigned place_split(const char **path, unsigned line);

/* "FILE:LINE", or FILE alone for line 0. @buf: PLACE_TEXT_MAX bytes. Return: @buf. */
const char *place_format(char *buf, const char *path, unsigned line);
#define PLACE(path, line) place_format((char[PLACE_TEXT_MAX]){""}, path, line)

/* Another place, in a message that begins with the place @here: "line 12", or "line 12 of FILE" where that is another
 * file. @buf and return as above. */
const char *place_refer(char *buf, const char *path, unsigned line, unsigned here);
#define PLACE_REFER(path, line, here) place_refer((char[PLACE_TEXT_MAX]){""}, path, line, here)
