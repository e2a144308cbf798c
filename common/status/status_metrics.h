/* The status as metrics for Prometheus: pure. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

/* All metrics of the tunnel that @status, the object of `status --json`, describes, in the plain format 0.0.4 or in
 * that of OpenMetrics 1.0.0. A part that @status does not have is left out. Return: free() it; NULL without memory. */
char *status_metrics_format(const json_t *status, bool is_openmetrics);
