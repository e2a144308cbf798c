/* What the status page answers to a request: pure, no socket. See README.md of this folder. */
#pragma once

#include "common/base/addr.h"
#include "common/tunnel/http_head.h"

#include <stdbool.h>
#include <stddef.h>

/* The texts behind the paths. METRICS and OPENMETRICS have one path and differ by the request's Accept. */
enum status_text { STATUS_PAGE, STATUS_JSON, STATUS_METRICS, STATUS_OPENMETRICS, STATUS_TEXT_COUNT };

/* Is @host, a value of the field Host, one of ours: localhost, a literal of the loopback or of @own, with or without a
 * port? A browser that was led here by a name of a stranger's (DNS rebinding) says that name. Any port will do, since
 * the page may be reached through a forwarded one (ssh -L). */
bool status_http_is_own_host(struct http_span host, const struct addr *own);

/* Find the text that a request asks for. Host is looked at first, then the method, then the path. @own: the address of
 * the listener. Return: 200 with *ret set; 400, 403, 404 or 405. */
unsigned status_http_find(const struct http_head *head, const struct addr *own, enum status_text *ret);

#define STATUS_HTTP_ANSWER_MAX 2048

/* The head of an answer, and the body of a refusal, whose code is not 200. @with_body: not for HEAD; @body_len: of the
 * text. Return: its length; STATUS_HTTP_ANSWER_MAX is enough for any. */
size_t status_http_format(
	char buf[STATUS_HTTP_ANSWER_MAX], unsigned code, enum status_text text, size_t body_len, bool with_body);
