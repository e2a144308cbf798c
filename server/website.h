/* The web site for visitors that open no tunnel: for now one plain page, served by libwebsockets in the worker's own
 * loop.
 *
 * Sole user of libwebsockets. A visitor's connection is one end of a socketpair; lws adopts the other end
 * (lws_adopt_socket_vhost(), never the _readbuf variant, which spins on request bodies). Nothing in a header or body
 * names us or libwebsockets.
 */
#pragma once

#include "common/base/err.h"
#include "common/tunnel/http_head.h"

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

struct website;

/* Call before the sandbox closes: this loads the event plug-in. @page_html is copied. Return: 0 or a negative errno. */
int website_open(struct website **ret, uv_loop_t *loop, const char *page_html, struct err *err);

/* One visitor: our end of a stream socketpair whose other end the web server serves as plain HTTP/1.1; non-blocking,
 * close-on-exec, owned by the caller. Return: descriptor or a negative errno. */
int website_connect(struct website *website);

/* Find requests that libwebsockets would answer in its own words, or would frame wrongly: methods it does not know,
 * bodies without a length, broken escapes. Return: the status for website_format_error(); 0: none. */
unsigned website_refusal(const struct http_head *head);

#define WEBSITE_ERROR_MAX 1024

/* An answer that looks like the web site's own (it uses it too). @with_body: not for HEAD. @closes: says so in the
 * head. Return: bytes written, or -ENOBUFS. */
int website_format_error(char *buf, size_t size, unsigned status, bool with_body, bool closes);

/* End all visitors and the context. The memory goes after some turns of the loop, which ends by itself then. */
void website_close(struct website *website);
