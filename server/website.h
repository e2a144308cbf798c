/* What a visitor who opens no tunnel gets: for now one plain page, served by libwebsockets in the worker's own loop.
 *
 * Sole user of libwebsockets. A visitor's connection is one end of a socketpair: lws adopts the other
 * (lws_adopt_socket_vhost(), never the _readbuf variant, which spins on request bodies). Nothing in a header or body
 * names us or libwebsockets.
 */
#ifndef TOWPATH_SERVER_WEBSITE_H
#define TOWPATH_SERVER_WEBSITE_H

#include "common/base/err.h"
#include "common/tunnel/http_head.h"

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

struct website;

/* Before the sandbox: loads the event plug-in. @page_html is copied. While there are no visitors, the loop is not kept
 * alive by it once website_close() was called. */
int website_open(struct website **ret, uv_loop_t *loop, const char *page_html, struct err *err);

/* One visitor: our end of a stream socketpair whose other end the web server serves as plain HTTP/1.1; non-blocking,
 * close-on-exec, owned by the caller. Return: descriptor or a negative errno. */
int website_connect(struct website *website);

/* Which requests libwebsockets would answer in words of its own, or lose the thread at: methods it does not know, bodies
 * without a length, broken escapes. Return: the status to answer with website_format_error() instead; 0: pass it on. */
unsigned website_refusal(const struct http_head *head);

#define WEBSITE_ERROR_MAX 1024

/* An answer that looks like the web site's own (it uses it too). @with_body: not for HEAD. @closes: says so in the head.
 * Return: bytes written, or -ENOBUFS. */
int website_format_error(char *buf, size_t size, unsigned status, bool with_body, bool closes);

/* Ends all visitors and the context; memory goes when the loop has run on. */
void website_close(struct website *website);

#endif
