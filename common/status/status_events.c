/* See status_events.h. A line that is no UTF-8, because it was cut or has bytes of a stranger's, is quoted. */
#include "common/status/status_events.h"

#include "common/base/clock.h"
#include "common/base/log.h"

#include <string.h>

void status_events_add(json_t *object)
{
	json_t *events = json_object_get(object, "events");
	char at[32], quoted[4 * LOG_EVENT_MAX];
	const struct log_event *event;

	if (!events) {
		events = json_array();
		if (json_object_set_new(object, "events", events) < 0) /* also where @object could not be made */
			return;
	}
	for (size_t back = LOG_EVENTS_MAX; back-- > 0;) {
		json_t *text = NULL;

		event = log_event_find(back);
		if (event)
			text = json_string(event->text);
		if (event && !text)
			text = json_string(log_quote(quoted, sizeof(quoted), event->text, strlen(event->text)));
		if (text)
			json_array_append_new(
				events, json_pack("{s:s,s:s,s:o}", "at", clock_format_utc(at, sizeof(at), event->at_s),
						"level", log_level_word(event->level), "text", text));
	}
}
