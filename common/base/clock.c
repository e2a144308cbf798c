/* Time: the two clocks of the kernel, and the two forms in which a user meets time.
 *
 * CLOCK_BOOTTIME is for everything that waits or measures, in µs: it never jumps, and goes on while the machine
 * sleeps. CLOCK_REALTIME is for times that mean something outside of this process, and may be wrong.
 *
 * A span is a sum of terms, each a number with a unit, as systemd.time(7) has it: "1h 30min", "1.5 s", "90". All
 * sums and products are checked for overflow, so a span that does not fit is refused and does not become a short
 * one.
 */
#include "common/base/clock.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <time.h>

uint64_t clock_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now); /* CLOCK_MONOTONIC stands still while the machine sleeps */
	return (uint64_t)now.tv_sec * CLOCK_US_PER_S + (uint64_t)now.tv_nsec / 1000;
}

/* For certificates, logs and what a user reads, never for a time limit: this clock may be wrong by years, and jump. */
int64_t clock_wall_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec;
}

const char *clock_format_utc(char *buf, size_t size, int64_t wall_s)
{
	time_t when = (time_t)wall_s;
	struct tm tm;

	if (!gmtime_r(&when, &tm) || strftime(buf, size, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		buf[0] = '\0';
	return buf;
}

/* systemd.time(7). A month is 30.44 days, a year 365.25. */
static const struct {
	const char *names; /* separated and enclosed by blanks */
	uint64_t us;
} span_units[] = {
	{" us usec \xc2\xb5s \xce\xbcs ", 1},
	{" ms msec ", CLOCK_US_PER_MS},
	{" s sec second seconds ", CLOCK_US_PER_S},
	{" m min minute minutes ", 60ull * CLOCK_US_PER_S},
	{" h hr hour hours ", 3600ull * CLOCK_US_PER_S},
	{" d day days ", 86400ull * CLOCK_US_PER_S},
	{" w week weeks ", 604800ull * CLOCK_US_PER_S},
	{" M month months ", 2629800ull * CLOCK_US_PER_S},
	{" y year years ", 31557600ull * CLOCK_US_PER_S},
};

/* Without a unit the number is seconds, as in systemd.time(7). Return: µs, 0 where there is no such unit. */
static uint64_t unit_us(const char *word, size_t len)
{
	char enclosed[16] = " ";

	if (len == 0)
		return CLOCK_US_PER_S;
	if (len > sizeof(enclosed) - 3)
		return 0;
	memcpy(enclosed + 1, word, len);
	strcpy(enclosed + 1 + len, " ");
	for (size_t i = 0; i < sizeof(span_units) / sizeof(span_units[0]); i++)
		if (strstr(span_units[i].names, enclosed))
			return span_units[i].us;
	return 0;
}

/* "12" or "1.5", the fraction in millionths. Return: what follows, or NULL. */
static const char *parse_decimal(const char *at, uint64_t *ret_whole, uint64_t *ret_millionths)
{
	uint64_t whole = 0, millionths = 0, weight = 100000;

	if (!isdigit((unsigned char)*at))
		return NULL;
	for (; isdigit((unsigned char)*at); at++)
		if (__builtin_mul_overflow(whole, 10, &whole) ||
			__builtin_add_overflow(whole, (uint64_t)(*at - '0'), &whole))
			return NULL;
	if (*at == '.') {
		if (!isdigit((unsigned char)at[1]))
			return NULL;
		for (at++; isdigit((unsigned char)*at); at++, weight /= 10)
			millionths += (uint64_t)(*at - '0') * weight;
	}
	*ret_whole = whole;
	*ret_millionths = millionths;
	return at;
}

static const char *skip_blanks(const char *at)
{
	return at + strspn(at, " \t");
}

/* One "1.5 min" is added to @total_us. Return: what follows, or NULL. */
static const char *add_term(const char *at, uint64_t *total_us)
{
	uint64_t whole, millionths, unit, product;
	size_t len;

	at = parse_decimal(at, &whole, &millionths);
	if (!at)
		return NULL;
	at = skip_blanks(at);
	len = strcspn(at, " \t.0123456789");
	unit = unit_us(at, len);
	/* The fraction is multiplied in two steps, because a year in µs times a million does not fit into 64 bits. */
	if (unit == 0 || __builtin_mul_overflow(whole, unit, &product) ||
		__builtin_add_overflow(
			product, unit / 1000 * millionths / 1000 + unit % 1000 * millionths / 1000000, &product) ||
		__builtin_add_overflow(*total_us, product, total_us))
		return NULL;
	return skip_blanks(at + len);
}

int clock_parse_span(const char *text, uint64_t *ret_ms)
{
	const char *at = skip_blanks(text);
	uint64_t total_us = 0;

	/* Terms add up: "1h 30min". Their order does not matter. */
	do {
		at = add_term(at, &total_us);
		if (!at)
			return -EINVAL;
	} while (*at);
	/* Upwards: "500us" must not become 0, which often means "off". */
	*ret_ms = total_us / CLOCK_US_PER_MS + (total_us % CLOCK_US_PER_MS != 0);
	return 0;
}
