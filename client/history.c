/* See history.h. The first call only notes the counters: a rate needs two. */
#include "client/history.h"

#include "common/base/clock.h"

bool history_is_due(const struct history *history, uint64_t now_us)
{
	return history->last_us == 0 || now_us - history->last_us >= HISTORY_STEP_S * CLOCK_US_PER_S;
}

void history_add(struct history *history, uint64_t now_us, uint64_t rtt_us, const struct flow_counters *total)
{
	uint64_t passed_us = now_us - history->last_us;

	if (history->last_us != 0 && passed_us > 0) {
		history->samples[history->next] = (struct history_sample){.rtt_us = (uint32_t)rtt_us,
			.sent_per_s = (total->sent_bytes - history->sent_bytes) * CLOCK_US_PER_S / passed_us,
			.received_per_s =
				(total->received_bytes - history->received_bytes) * CLOCK_US_PER_S / passed_us};
		history->next = (history->next + 1) % HISTORY_SAMPLES;
		history->count += history->count < HISTORY_SAMPLES;
	}
	history->last_us = now_us;
	history->sent_bytes = total->sent_bytes;
	history->received_bytes = total->received_bytes;
}

json_t *history_report(const struct history *history)
{
	json_t *rtt = json_array(), *sent = json_array(), *received = json_array();

	for (size_t i = 0; i < history->count; i++) {
		const struct history_sample *sample =
			&history->samples[(history->next + HISTORY_SAMPLES - history->count + i) % HISTORY_SAMPLES];

		json_array_append_new(
			rtt, sample->rtt_us ? json_real((double)sample->rtt_us / CLOCK_US_PER_MS) : json_null());
		json_array_append_new(sent, json_integer((json_int_t)sample->sent_per_s));
		json_array_append_new(received, json_integer((json_int_t)sample->received_per_s));
	}
	return json_pack("{s:i,s:o,s:o,s:o}", "step_s", (int)HISTORY_STEP_S, "rtt_ms", rtt, "sent_bytes_per_s", sent,
		"received_bytes_per_s", received);
}
