/* Time. Everything pure takes `now` as an argument; only loops and timers ask these. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <time.h>

_Static_assert(sizeof(time_t) == 8, "times after 2038: meson.build asks 32-bit C libraries for them");

#define CLOCK_US_PER_MS 1000u
#define CLOCK_US_PER_S 1000000u
#define CLOCK_PLAUSIBLE_S 1704067200 /* 2024: no host that runs this program lives earlier; its clock is wrong */

/* Monotonic time in µs that goes on while the machine sleeps, so that a carrier is asked for life right after waking
 * up. No system call where the vDSO serves it. */
uint64_t clock_now_us(void);

/* Seconds since 1970, as the host believes. */
int64_t clock_wall_s(void);

/* "2026-11-21T02:45:00Z". @size: at least 21. Return: @buf. */
const char *clock_format_utc(char *buf, size_t size, int64_t wall_s);

/* systemd's time spans: "30s", "5min", "1h 30min", "250ms", a bare number is seconds. Return: 0 or -EINVAL. */
int clock_parse_span(const char *text, uint64_t *ret_ms);
