/* The governor above a line that is calculated: its rate, its round trip, a queue that overflows, somebody else on it. */
#include "common/tunnel/governor.h"

#include "common/base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define STEP_US 1000u
#define SEGMENT 1448u
#define MBIT (1000000 / 8)

struct line {
	double bytes_per_s, buffer_bytes, rtt_us;
	bool has_other; /* another sender, who fills the buffer and halves its window when that overflows */
	double loss;	/* of the segments, by chance */
};

struct bed {
	struct line line;
	struct governor governor;
	struct tcp_rate rate;
	uint64_t now_us;
	uint32_t limit;
	uint64_t other_halved_us;
	double offered_bytes_per_s; /* what we have to send; 0: whatever goes */
	double other_window;	    /* bytes */
	double queue_bytes, ours_in_queue, sent, lost;
	double delivered;
	double delayed[1024]; /* what left the queue, on its way there and back */
	double queue_area_us; /* for the mean */
	unsigned steps;
};

static int setup(void **state)
{
	struct bed *bed = calloc(1, sizeof(*bed));

	bed->line = (struct line){.bytes_per_s = 20 * MBIT, .buffer_bytes = 100000, .rtt_us = 40000};
	bed->now_us = CLOCK_US_PER_S;
	bed->limit = TCP_RATE_UNLIMITED;
	bed->rate.segment_bytes = SEGMENT;
	bed->rate.rtt_us = bed->rate.min_rtt_us = 40000;
	governor_init(&bed->governor);
	*state = bed;
	return 0;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

/* Reno: a segment more in each round trip. */
static double other_sends(struct bed *bed)
{
	double rtt_us = bed->line.rtt_us + bed->queue_bytes / bed->line.bytes_per_s * CLOCK_US_PER_S;

	if (!bed->line.has_other)
		return 0;
	if (bed->other_window == 0)
		bed->other_window = 10 * SEGMENT;
	bed->other_window += SEGMENT * STEP_US / rtt_us;
	return bed->other_window * STEP_US / rtt_us;
}

/* One millisecond: we send at the limit, or at thrice the line's rate as BBR does while it starts. */
static void step(struct bed *bed)
{
	const struct line *line = &bed->line;
	double out = line->bytes_per_s * STEP_US / CLOCK_US_PER_S, in, share, late;
	unsigned slot = (unsigned)(bed->now_us / STEP_US) % 1024, back = (unsigned)(line->rtt_us / STEP_US);
	double rate = bed->limit == TCP_RATE_UNLIMITED ? 3 * line->bytes_per_s : bed->limit;
	double queue_us;

	if (bed->offered_bytes_per_s > 0 && rate > bed->offered_bytes_per_s)
		rate = bed->offered_bytes_per_s;
	in = rate * STEP_US / CLOCK_US_PER_S;
	bed->ours_in_queue += in;
	bed->queue_bytes += in + other_sends(bed);
	share = bed->queue_bytes > 0 ? bed->ours_in_queue / bed->queue_bytes : 0;
	if (bed->queue_bytes > line->buffer_bytes) { /* the tail is dropped */
		bed->lost += (bed->queue_bytes - line->buffer_bytes) * share;
		bed->ours_in_queue -= (bed->queue_bytes - line->buffer_bytes) * share;
		bed->queue_bytes = line->buffer_bytes;
		if (line->has_other && bed->now_us - bed->other_halved_us > 2 * line->rtt_us) {
			bed->other_halved_us = bed->now_us;
			bed->other_window /= 2;
		}
	}
	bed->lost += in * line->loss;
	bed->sent += in;
	if (out > bed->queue_bytes)
		out = bed->queue_bytes;
	bed->queue_bytes -= out;
	bed->ours_in_queue -= out * share;
	bed->delayed[(slot + back) % 1024] = out * share * (1 - line->loss);
	bed->delivered += bed->delayed[slot];
	bed->delayed[slot] = 0;
	queue_us = bed->queue_bytes / line->bytes_per_s * CLOCK_US_PER_S;
	late = (line->rtt_us + queue_us - bed->rate.rtt_us) / 10; /* the kernel's figure is smoothed */
	bed->rate.rtt_us = (uint32_t)(bed->rate.rtt_us + late);
	if (bed->rate.rtt_us < bed->rate.min_rtt_us)
		bed->rate.min_rtt_us = bed->rate.rtt_us;
	bed->rate.sent_bytes = (uint64_t)bed->sent;
	bed->rate.delivered_bytes = (uint64_t)bed->delivered;
	bed->rate.retransmits = (uint32_t)(bed->lost / SEGMENT);
	bed->rate.unsent_bytes = bed->offered_bytes_per_s > 0 && rate >= bed->offered_bytes_per_s ? 0 : 4 * SEGMENT;
	bed->now_us += STEP_US;
	bed->queue_area_us += queue_us;
	bed->steps++;
	if (bed->now_us % 10000 == 0)
		bed->limit = governor_update(&bed->governor, &bed->rate, bed->rate.unsent_bytes > 0, bed->now_us);
}

/* Return: bytes/s delivered; the queue's mean length is in queue_area_us / steps. */
static double run(struct bed *bed, unsigned ms)
{
	double before = bed->delivered;

	bed->queue_area_us = 0;
	bed->steps = 0;
	for (unsigned i = 0; i < ms; i++)
		step(bed);
	return (bed->delivered - before) * 1000 / ms;
}

static unsigned mean_queue_us(const struct bed *bed)
{
	return (unsigned)(bed->queue_area_us / bed->steps);
}

static void a_line_is_full_and_its_queue_short(void **state)
{
	static const struct line lines[] = {
		{.bytes_per_s = 20 * MBIT, .buffer_bytes = 100000, .rtt_us = 40000},
		{.bytes_per_s = 20 * MBIT, .buffer_bytes = 400000, .rtt_us = 40000},
		{.bytes_per_s = 2 * MBIT, .buffer_bytes = 400000, .rtt_us = 40000},
		{.bytes_per_s = 20 * MBIT, .buffer_bytes = 100000, .rtt_us = 10000},
		{.bytes_per_s = 20 * MBIT, .buffer_bytes = 100000, .rtt_us = 150000},
		{.bytes_per_s = 500 * MBIT, .buffer_bytes = 2000000, .rtt_us = 20000},
		{.bytes_per_s = 20 * MBIT, .buffer_bytes = 100000, .rtt_us = 40000, .loss = 0.01},
	};
	struct bed *bed = *state;

	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		double rate;

		*bed = (struct bed){.line = lines[i], .now_us = CLOCK_US_PER_S, .limit = TCP_RATE_UNLIMITED};
		bed->rate.segment_bytes = SEGMENT;
		bed->rate.rtt_us = bed->rate.min_rtt_us = (uint32_t)lines[i].rtt_us;
		governor_init(&bed->governor);
		run(bed, 4000);
		rate = run(bed, 10000);
		assert_true(rate > 0.96 * (1 - lines[i].loss) * lines[i].bytes_per_s);
		assert_in_range(mean_queue_us(bed), 0, 20000);
	}
}

static void a_queue_of_ten_milliseconds_does_not_overflow_for_long(void **state)
{
	struct bed *bed = *state;
	double lost;

	bed->line.buffer_bytes = 25000;
	run(bed, 5000);
	lost = bed->lost;
	assert_true(run(bed, 10000) > 0.95 * bed->line.bytes_per_s);
	assert_true(bed->lost - lost < 0.001 * 10 * bed->line.bytes_per_s);
}

static void a_line_that_becomes_faster_or_slower_is_followed(void **state)
{
	struct bed *bed = *state;

	run(bed, 3000);
	bed->line.bytes_per_s = 4 * MBIT;
	run(bed, 2000);
	assert_true(run(bed, 2000) > 0.95 * bed->line.bytes_per_s);
	assert_in_range(mean_queue_us(bed), 0, 30000);
	bed->line.bytes_per_s = 50 * MBIT;
	run(bed, 3000);
	assert_true(run(bed, 2000) > 0.95 * bed->line.bytes_per_s);
	assert_in_range(mean_queue_us(bed), 0, 20000);
}

static void a_longer_path_is_not_taken_for_a_queue_for_ever(void **state)
{
	struct bed *bed = *state;

	run(bed, 3000);
	bed->line.rtt_us = 90000;
	run(bed, 25000);
	assert_true(run(bed, 5000) > 0.95 * bed->line.bytes_per_s);
}

/* What comes the other way has a queue of its own, which is part of our round trip. */
static void a_queue_of_the_way_back_does_not_slow_us(void **state)
{
	struct bed *bed = *state;

	run(bed, 3000);
	bed->line.rtt_us = 52000;
	run(bed, 1000);
	assert_true(run(bed, 4000) > 0.85 * bed->line.bytes_per_s);
}

static void another_sender_and_we_share(void **state)
{
	struct bed *bed = *state;
	double rate;

	run(bed, 3000);
	bed->line.has_other = true;
	run(bed, 10000);
	rate = run(bed, 30000);
	assert_true(rate > 0.2 * bed->line.bytes_per_s);
	assert_true(rate < 0.8 * bed->line.bytes_per_s);
	bed->line.has_other = false;
	run(bed, 4000);
	assert_true(run(bed, 3000) > 0.95 * bed->line.bytes_per_s);
}

/* Acknowledgements of a download: some per cent of the line, and a round trip that delayed acknowledgements lengthen. */
static void a_trickle_says_nothing_of_the_line(void **state)
{
	struct bed *bed = *state;

	run(bed, 3000);
	bed->offered_bytes_per_s = 50000;
	for (unsigned i = 0; i < 10000; i++) {
		bed->rate.rtt_us = 55000;
		step(bed);
	}
	bed->offered_bytes_per_s = 0;
	run(bed, 100);
	assert_true(run(bed, 1000) > 0.9 * bed->line.bytes_per_s);
}

/* Short segments are counted as full ones while they are acknowledged selectively only. */
static void a_count_that_goes_back_is_no_rate(void **state)
{
	struct bed *bed = *state;

	run(bed, 3000);
	bed->now_us += 300000;
	bed->rate.delivered_bytes -= 50000;
	assert_in_range(governor_update(&bed->governor, &bed->rate, true, bed->now_us), 1, 2 * 20 * MBIT);
	assert_in_range(bed->governor.line_bytes_per_s, 1, 2 * 20 * MBIT);
}

static void nothing_is_limited_before_a_queue_stands(void **state)
{
	struct bed *bed = *state;

	bed->offered_bytes_per_s = bed->line.bytes_per_s / 2;
	run(bed, 5000);
	assert_int_equal(bed->limit, TCP_RATE_UNLIMITED);
	assert_int_equal(bed->governor.state, GOVERNOR_STARTS);
}

int main(void)
{
#define BED(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		BED(a_line_is_full_and_its_queue_short),
		BED(a_queue_of_ten_milliseconds_does_not_overflow_for_long),
		BED(a_line_that_becomes_faster_or_slower_is_followed),
		BED(a_longer_path_is_not_taken_for_a_queue_for_ever),
		BED(a_queue_of_the_way_back_does_not_slow_us),
		BED(another_sender_and_we_share),
		BED(a_trickle_says_nothing_of_the_line),
		BED(a_count_that_goes_back_is_no_rate),
		BED(nothing_is_limited_before_a_queue_stands),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
