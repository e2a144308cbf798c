/* See governor.h. Happy path of a transfer: STARTS without a limit; two samples in a row see a queue, and the rate
 * that was delivered meanwhile is the line's; HOLDS with a limit around it. The constants were measured on the lines of
 * tests/bench/line. */
#include "common/tunnel/governor.h"

#include "common/base/clock.h"

/* A sample needs half a round trip, and enough segments that one more or less does not matter. */
#define SAMPLE_MIN_US 20000u
#define SAMPLE_MAX_US 200000u
#define SAMPLE_SEGMENTS 24u

#define TARGET_MAX_US 15000u
#define TARGET_MIN_US 4000u
#define TARGET_GROWTH_US 10u	     /* with each sample without a loss */
#define TARGET_OF_SLOW_MAX_US 50000u /* two segments of a slow line take long */

#define EPOCH_US (8 * CLOCK_US_PER_S)
#define HOLD_SAMPLES_MIN 16u
#define HOLD_SAMPLES_MAX 256u
#define PROBE_SAMPLES 4u /* two round trips: what is sent more is seen after one */
#define PROBE_GAIN_MIN (GAIN_UNIT / 16)
#define PROBE_GAIN_MAX (GAIN_UNIT / 4)
#define DRAINED_US 1000u
#define DRAIN_SAMPLES 6u
#define FREE_SAMPLES_MAX 20u
#define STUCK_SAMPLES_MAX 16u
#define COMPETE_SAMPLES 60u

#define LIMIT_MIN 16384u /* bytes/s: an estimate from few segments must not hold us back for long */
#define GAIN_UNIT 1024
#define ROUND_TRIP_OF_GAINS_US 40000u /* for which they were measured */

void governor_init(struct governor *governor)
{
	*governor = (struct governor){
		.state = GOVERNOR_STARTS, .queue_target_us = TARGET_MAX_US, .hold_samples = HOLD_SAMPLES_MIN};
}

static void enter(struct governor *governor, enum governor_state state)
{
	governor->state = state;
	governor->state_samples = governor->free_samples = 0;
}

/* The round trip without a queue. The kernel remembers the smallest one for minutes. If we have seen nothing near it
 * for two epochs, although each began with a drained queue, the path is longer now. */
static uint32_t empty_rtt_us(const struct governor *governor, const struct tcp_rate *rate)
{
	uint32_t seen_us = governor->smallest_us[0];

	if (governor->smallest_us[1] == 0)
		return rate->min_rtt_us;
	if (governor->smallest_us[1] < seen_us)
		seen_us = governor->smallest_us[1];
	return seen_us > rate->min_rtt_us + rate->min_rtt_us / 4 + 5000 ? seen_us : rate->min_rtt_us;
}

/* How long the queue in the line should be: a quarter of the round trip, at least two segments. */
static uint32_t queue_target_us(const struct governor *governor, const struct tcp_rate *rate, uint32_t empty_us)
{
	uint64_t two_segments_us = 0;
	uint32_t target_us = empty_us / 4;

	if (target_us < TARGET_MIN_US)
		target_us = TARGET_MIN_US;
	if (target_us > governor->queue_target_us)
		target_us = governor->queue_target_us;
	if (governor->line_bytes_per_s > 0)
		two_segments_us = 2 * rate->segment_bytes * CLOCK_US_PER_S / governor->line_bytes_per_s;
	if (two_segments_us > TARGET_OF_SLOW_MAX_US)
		return TARGET_OF_SLOW_MAX_US;
	return target_us < two_segments_us ? (uint32_t)two_segments_us : target_us;
}

/* A queue that overflows loses segments: half of it is safe. A line that loses some anyway has the smallest target. */
static void learn_target(struct governor *governor, bool has_loss)
{
	uint32_t half_us = governor->queue_max_us / 2;

	if (!has_loss || governor->queue_max_us <= TARGET_MIN_US) {
		if (governor->queue_target_us < TARGET_MAX_US)
			governor->queue_target_us += TARGET_GROWTH_US;
		return;
	}
	if (half_us < TARGET_MIN_US)
		half_us = TARGET_MIN_US;
	if (half_us < governor->queue_target_us)
		governor->queue_target_us = half_us;
}

/* What one sample says, in bytes/s. */
struct measured {
	uint64_t sent;
	uint64_t delivered;
	bool has_loss;
	bool is_busy; /* enough to say something of the line, and not only acknowledgements that were delayed */
};

static void follow(struct governor *governor, uint64_t delivered)
{
	governor->line_bytes_per_s += ((int64_t)delivered - (int64_t)governor->line_bytes_per_s) / 4;
}

/* Where as much is delivered as is sent, our queue neither grows nor shrinks, and it may be the queue of the way back,
 * which is part of the round trip: then the rate is a lower bound. Otherwise a queue of ours is there, and what is
 * delivered is the line's rate. */
static bool is_level(const struct measured *measured)
{
	uint64_t noise = measured->sent / 32;

	return measured->delivered + noise >= measured->sent && measured->delivered <= measured->sent + noise;
}

/* A queue of the way back is at most as long as that side's target. A longer one that does not shrink although we send
 * no more than gets through is another sender's. */
static void hold_busy(struct governor *governor, uint32_t queue_us, uint32_t target_us, const struct measured *measured)
{
	bool is_long = queue_us >= 2 * target_us;
	bool is_shrinking = queue_us <= governor->last.queue_us - governor->last.queue_us / 32;

	governor->free_samples = 0;
	if (!is_long)
		governor->line_before = governor->line_bytes_per_s;
	if (governor->line_bytes_per_s < governor->probed_line - governor->probed_line / 8)
		governor->hold_samples = HOLD_SAMPLES_MIN;
	if (!is_long && governor->stuck_samples > 0)
		governor->stuck_samples--;
	else if (is_long && !is_shrinking && is_level(measured))
		governor->stuck_samples += 2;
	if (is_long || !is_level(measured) || measured->delivered > governor->line_bytes_per_s)
		follow(governor, measured->delivered);
	if (governor->stuck_samples > STUCK_SAMPLES_MAX) {
		governor->line_bytes_per_s = governor->line_before;
		governor->stuck_samples = 0;
		enter(governor, GOVERNOR_COMPETES);
	} else if (governor->state_samples > governor->hold_samples && !is_long) {
		governor->probe_gain = PROBE_GAIN_MIN;
		enter(governor, GOVERNOR_PROBES);
	}
}

/* A probe that finds more is followed by a bolder one, one that finds nothing by a longer time without. */
static void probe(struct governor *governor, uint32_t queue_us, uint32_t target_us, uint64_t delivered)
{
	if (delivered > governor->line_bytes_per_s)
		governor->line_bytes_per_s += (delivered - governor->line_bytes_per_s) / 2;
	if (governor->state_samples < PROBE_SAMPLES && queue_us < 3 * target_us)
		return;
	if (governor->line_bytes_per_s <= governor->line_before + governor->line_before / 32 ||
		queue_us >= 2 * target_us) {
		governor->probed_line = governor->line_bytes_per_s;
		if (governor->hold_samples < HOLD_SAMPLES_MAX)
			governor->hold_samples *= 2;
		enter(governor, GOVERNOR_HOLDS);
		return;
	}
	if (governor->probe_gain < PROBE_GAIN_MAX)
		governor->probe_gain *= 2;
	governor->line_before = governor->line_bytes_per_s;
	governor->hold_samples = HOLD_SAMPLES_MIN;
	enter(governor, GOVERNOR_PROBES);
}

static void hold_free(struct governor *governor, uint64_t delivered, bool is_backlogged)
{
	governor->stuck_samples -= governor->stuck_samples > 0;
	governor->line_before = governor->line_bytes_per_s;
	governor->free_samples = is_backlogged ? governor->free_samples + 1 : 0;
	if (delivered > governor->line_bytes_per_s)
		follow(governor, delivered);
	if (governor->free_samples > FREE_SAMPLES_MAX)
		enter(governor, GOVERNOR_STARTS);
}

static void take_sample(struct governor *governor, uint32_t queue_us, uint32_t target_us,
	const struct measured *measured, bool is_backlogged)
{
	uint64_t delivered = measured->delivered;
	uint32_t shorter_us = queue_us < governor->last.queue_us ? queue_us : governor->last.queue_us;

	governor->state_samples++;
	switch (governor->state) {
	case GOVERNOR_STARTS: /* one sample alone may be low, behind a loss for example */
		governor->line_bytes_per_s -= governor->line_bytes_per_s / 16;
		if (delivered > governor->line_bytes_per_s)
			governor->line_bytes_per_s = delivered;
		if (measured->is_busy && shorter_us > target_us)
			enter(governor, GOVERNOR_HOLDS);
		break;
	case GOVERNOR_HOLDS:
		if (shorter_us <= target_us / 2)
			hold_free(governor, delivered, is_backlogged);
		else if (measured->is_busy)
			hold_busy(governor, queue_us, target_us, measured);
		break;
	case GOVERNOR_PROBES:
		probe(governor, queue_us, target_us, delivered);
		break;
	case GOVERNOR_DRAINS:
		if (queue_us < DRAINED_US || governor->state_samples >= DRAIN_SAMPLES)
			enter(governor, GOVERNOR_HOLDS);
		break;
	case GOVERNOR_COMPETES:
		if (measured->has_loss)
			governor->line_bytes_per_s -= governor->line_bytes_per_s / 8;
		if (delivered > governor->line_bytes_per_s)
			follow(governor, delivered);
		if (governor->state_samples >= COMPETE_SAMPLES)
			enter(governor, GOVERNOR_HOLDS);
		break;
	}
}

static void note_round_trip(struct governor *governor, uint32_t rtt_us, uint64_t now_us)
{
	if (governor->epoch_us == 0) {
		governor->epoch_us = now_us;
		governor->smallest_us[0] = rtt_us;
	} else if (now_us - governor->epoch_us > EPOCH_US) {
		governor->epoch_us = now_us;
		governor->smallest_us[1] = governor->smallest_us[0];
		governor->smallest_us[0] = rtt_us;
		if (governor->state == GOVERNOR_HOLDS || governor->state == GOVERNOR_PROBES)
			enter(governor, GOVERNOR_DRAINS);
	} else if (rtt_us < governor->smallest_us[0]) {
		governor->smallest_us[0] = rtt_us;
	}
}

/* What is sent more is seen after a round trip and the time of a sample: on a long path less of it. */
static int64_t careful(int64_t gain, uint32_t empty_us)
{
	return empty_us <= ROUND_TRIP_OF_GAINS_US
		       ? gain
		       : gain * (2 * ROUND_TRIP_OF_GAINS_US) / (ROUND_TRIP_OF_GAINS_US + empty_us);
}

/* More than the line's rate by up to an eighth while the queue is too short, less by up to a half while it is too
 * long: a round trip and 40 ms later it has its length. */
static int64_t gain(const struct governor *governor, uint32_t queue_us, uint32_t target_us, uint32_t empty_us)
{
	int64_t more;

	if (governor->state == GOVERNOR_DRAINS)
		return -GAIN_UNIT / 4;
	if (governor->state == GOVERNOR_COMPETES)
		return GAIN_UNIT / 4;
	if (governor->state == GOVERNOR_PROBES)
		return careful(governor->probe_gain, empty_us);
	if (queue_us <= target_us)
		return careful((int64_t)(target_us - queue_us) * (GAIN_UNIT / 8) / target_us, empty_us);
	more = ((int64_t)target_us - queue_us) * GAIN_UNIT / ((int64_t)empty_us + ROUND_TRIP_OF_GAINS_US);
	return more < -GAIN_UNIT / 2 ? -GAIN_UNIT / 2 : more;
}

uint32_t governor_update(struct governor *governor, const struct tcp_rate *rate, bool is_backlogged, uint64_t now_us)
{
	uint64_t passed_us = now_us - governor->last.at_us;
	uint64_t delivered = 0, limit;
	uint32_t empty_us, queue_us, target_us;
	bool is_bulk;

	/* It may have been less since: what is acknowledged selectively is counted in full segments. */
	if (rate->delivered_bytes > governor->last.delivered_bytes)
		delivered = rate->delivered_bytes - governor->last.delivered_bytes;
	is_bulk = delivered >= SAMPLE_SEGMENTS * (uint64_t)rate->segment_bytes;
	note_round_trip(governor, rate->rtt_us, now_us);
	empty_us = empty_rtt_us(governor, rate);
	queue_us = rate->rtt_us > empty_us ? rate->rtt_us - empty_us : 0;
	target_us = queue_target_us(governor, rate, empty_us);
	if (queue_us > governor->queue_max_us)
		governor->queue_max_us = queue_us;
	if (passed_us >= SAMPLE_MIN_US && passed_us >= empty_us / 2 && (is_bulk || passed_us >= SAMPLE_MAX_US)) {
		struct measured measured = {
			.sent = (rate->sent_bytes - governor->last.sent_bytes) * CLOCK_US_PER_S / passed_us,
			.delivered = delivered * CLOCK_US_PER_S / passed_us,
			.has_loss = rate->retransmits != governor->last.retransmits,
			.is_busy = is_bulk || rate->unsent_bytes > rate->segment_bytes,
		};

		learn_target(governor, measured.has_loss);
		take_sample(governor, queue_us, target_us, &measured, is_backlogged);
		governor->last.at_us = now_us;
		governor->last.sent_bytes = rate->sent_bytes;
		governor->last.delivered_bytes = rate->delivered_bytes;
		governor->last.retransmits = rate->retransmits;
		governor->last.queue_us = queue_us;
		governor->queue_max_us = 0;
	}
	if (governor->state == GOVERNOR_STARTS)
		return TCP_RATE_UNLIMITED;
	limit = governor->line_bytes_per_s;
	limit = limit * (uint64_t)(GAIN_UNIT + gain(governor, queue_us, target_us, empty_us)) / GAIN_UNIT;
	if (limit >= TCP_RATE_UNLIMITED)
		return TCP_RATE_UNLIMITED;
	return limit < LIMIT_MIN ? LIMIT_MIN : (uint32_t)limit;
}
