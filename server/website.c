/* The plain page for visitors, by libwebsockets (website.h).
 *
 * Happy path: website_connect() makes a socketpair, libwebsockets adopts one end into its vhost and calls back with
 * each request. The request is answered in one write, and the connection waits for the next one.
 *
 * It fails by closing the visitor's end. Every answer is formatted here, none by libwebsockets, so that status lines,
 * headers and error pages look the same, and nothing in them tells which library answers.
 *
 * The end takes some turns of the loop: libwebsockets closes handles of its own, and frees its context only when it is
 * asked a second time, after they are closed. ->closing_turn counts the turns.
 */
#include "server/website.h"

#include "common/base/clock.h"
#include "common/base/log.h"

#include <errno.h>
#include <libwebsockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define VISITORS_MAX 1024		/* a bound for the descriptors of libwebsockets */
#define HEAD_MEMORY (2 * HTTP_HEAD_MAX) /* libwebsockets keeps 8 bytes more for each header it does not know */
#define READ_MAX 16384			/* bytes that libwebsockets reads at once */
/* Longer than the front end waits, so that it is the one that ends a visitor. */
#define KEEP_ALIVE_S 90
#define BODY_TIMEOUT_S 90
/* Turns of the loop until all handles of libwebsockets are closed: its connections and pipe, then its timer and idle
 * handle; one more on either side. */
#define CLOSING_TURNS 4
#define ANSWER_HEAD_MAX 512

struct website {
	struct lws_context *context;
	struct lws_vhost *vhost;
	char *page_html;
	size_t page_len;
	size_t visitor_count;
	uv_idle_t closing_turn; /* runs once a turn of the loop after website_close() */
	unsigned closing_turns;
};

/* RFC 9110 §15. */
static const char *reason_of(unsigned status)
{
	switch (status) {
	case 200:
		return "OK";
	case 400:
		return "Bad Request";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 408:
		return "Request Timeout";
	case 411:
		return "Length Required";
	case 431:
		return "Request Header Fields Too Large";
	case 503:
		return "Service Unavailable";
	}
	return "Error";
}

/* Names of fields are in lower case, as many servers behind a front end send them. Return: its length, or -ENOBUFS. */
static int format_head(char *buf, size_t size, unsigned status, size_t body_len, bool closes)
{
	time_t now = (time_t)clock_wall_s();
	char date[64] = "";
	struct tm tm;
	int len;

	if (gmtime_r(&now, &tm))
		strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	len = snprintf(buf, size,
		"HTTP/1.1 %u %s\r\ndate: %s\r\n"
		"content-type: text/html; charset=utf-8\r\ncontent-length: %zu\r\n%s%s\r\n",
		status, reason_of(status), date, body_len, status == 405 ? "allow: GET, HEAD\r\n" : "",
		closes ? "connection: close\r\n" : "");
	return len < 0 || (size_t)len >= size ? -ENOBUFS : len;
}

/* The page says no more than the status does, and could be that of any small server. */
int website_format_error(char *buf, size_t size, unsigned status, bool with_body, bool closes)
{
	const char *reason = reason_of(status);
	char body[256];
	int body_len = snprintf(body, sizeof(body), "<!doctype html>\n<title>%u %s</title>\n<h1>%u %s</h1>\n", status,
		reason, status, reason);
	int head_len = format_head(buf, size, status, (size_t)body_len, closes);

	if (head_len < 0 || !with_body)
		return head_len;
	if (size - (size_t)head_len < (size_t)body_len)
		return -ENOBUFS;
	memcpy(buf + head_len, body, (size_t)body_len);
	return head_len + body_len;
}

/* True if each "%" has two hex digits behind it and none stands for a NUL. libwebsockets answers others by itself. */
static bool has_good_escapes(struct http_span target)
{
	for (size_t i = 0; i < target.len; i++) {
		if (target.text[i] != '%')
			continue;
		if (target.len - i < 3 || http_hex_digit(target.text[i + 1]) < 0 ||
			http_hex_digit(target.text[i + 2]) < 0)
			return false;
		if (target.text[i + 1] == '0' && target.text[i + 2] == '0')
			return false;
	}
	return true;
}

/* RFC 9112 §3.2 wants exactly one Host in HTTP/1.1. 411: libwebsockets does not follow a chunked body. */
unsigned website_refusal(const struct http_head *head)
{
	if (head->minor_version > 0 && !http_head_find(head, "Host", 0))
		return 400;
	if (http_head_find(head, "Host", 1))
		return 400;
	if (!http_span_is(head->method, "GET") && !http_span_is(head->method, "HEAD"))
		return 405;
	if (head->target.len == 0 || head->target.text[0] != '/' || !has_good_escapes(head->target))
		return 400;
	return head->framing == HTTP_FRAMING_CHUNKED ? 411 : 0;
}

/* libwebsockets cannot tell where a body without a length ends, so the connection must end with the answer. The front
 * end lets none of these through; this is the second lock. */
static bool has_body_without_end(struct lws *wsi)
{
	if (lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_TRANSFER_ENCODING) > 0)
		return true;
	if (lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH) > 0)
		return false;
	return lws_hdr_total_length(wsi, WSI_TOKEN_GET_URI) <= 0 && lws_hdr_total_length(wsi, WSI_TOKEN_HEAD_URI) <= 0;
}

/* HTTP/1.1 without `Connection: close`. */
static bool is_kept_alive(struct lws *wsi)
{
	char text[128];

	if (lws_hdr_copy(wsi, text, sizeof(text), WSI_TOKEN_HTTP) < 0 || !strstr(text, "1.1"))
		return false;
	if (lws_hdr_total_length(wsi, WSI_TOKEN_CONNECTION) <= 0)
		return true;
	return lws_hdr_copy(wsi, text, sizeof(text), WSI_TOKEN_CONNECTION) >= 0 && !strcasestr(text, "close");
}

/* Write the whole answer to @buf: one write has no state that could be left half done. Return: its length or a negative
 * errno. */
static int format_answer(
	const struct website *website, struct lws *wsi, char *buf, size_t size, bool is_found, bool closes)
{
	bool is_head = lws_hdr_total_length(wsi, WSI_TOKEN_HEAD_URI) > 0;
	bool is_get = lws_hdr_total_length(wsi, WSI_TOKEN_GET_URI) > 0;
	int len;

	if (!is_head && !is_get)
		return website_format_error(buf, size, 405, true, closes);
	if (!is_found)
		return website_format_error(buf, size, 404, !is_head, closes);
	len = format_head(buf, size, 200, website->page_len, closes);
	if (len < 0 || is_head)
		return len;
	if (size - (size_t)len < website->page_len)
		return -ENOBUFS;
	memcpy(buf + len, website->page_html, website->page_len);
	return len + (int)website->page_len;
}

/* Answer one request. The heap keeps a large page off the stack of the loop. Return: 0, or -1 to close the
 * connection. */
static int on_request(struct website *website, struct lws *wsi, const char *path, size_t path_len)
{
	bool closes = !is_kept_alive(wsi) || has_body_without_end(wsi);
	size_t size = WEBSITE_ERROR_MAX + website->page_len;
	unsigned char *buf = malloc(LWS_PRE + size); /* libwebsockets wants room in front */
	int len, sent;

	if (!buf)
		return -1;
	len = format_answer(website, wsi, (char *)buf + LWS_PRE, size, path_len == 1 && path[0] == '/', closes);
	sent = len < 0 ? -1 : lws_write(wsi, buf + LWS_PRE, (size_t)len, LWS_WRITE_HTTP_FINAL);
	free(buf);
	/* The rest that the socket did not take is copied and sent later, which completes the transaction. */
	if (sent < 0 || lws_http_transaction_completed(wsi) != 0)
		return -1;
	return closes ? -1 : 0;
}

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
	struct lws_context *context = lws_get_context(wsi);
	struct website *website = context ? lws_context_user(context) : NULL;

	(void)user;
	switch ((int)reason) {
	case LWS_CALLBACK_HTTP:
		return on_request(website, wsi, in, len);
	case LWS_CALLBACK_WSI_CREATE:
		website->visitor_count++;
		return 0;
	case LWS_CALLBACK_WSI_DESTROY:
		website->visitor_count--;
		return 0;
	case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE: /* the front end hides upgrades from us */
	case LWS_CALLBACK_RAW_ADOPT:
	case LWS_CALLBACK_RAW_RX:
		return -1;
	}
	return 0;
}

static const struct lws_protocols protocols[] = {
	{.name = "http", .callback = on_event},
	{0},
};

/* Messages of libwebsockets may contain bytes of a visitor's request, so they are quoted. */
static void on_log(int level, const char *line)
{
	char text[256];
	size_t len = strcspn(line, "\n");

	(void)level;
	log_debug("website", "%s", log_quote(text, sizeof(text), line, len));
}

/* No listener: libwebsockets serves only what website_connect() gives it, on the worker's loop. */
static int open_context(struct website *website, uv_loop_t *loop, struct err *err)
{
	void *loops[1] = {loop};
	struct lws_context_creation_info info = {
		.port = CONTEXT_PORT_NO_LISTEN_SERVER,
		.protocols = protocols,
		.options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS,
		.foreign_loops = loops,
		.user = website,
		.uid = (uid_t)-1,
		.gid = (gid_t)-1,
		.vhost_name = "website",
		.keepalive_timeout = KEEP_ALIVE_S,
		.timeout_secs = BODY_TIMEOUT_S,
		.max_http_header_data2 = HEAD_MEMORY,
		.pt_serv_buf_size = READ_MAX,
		.fd_limit_per_thread = VISITORS_MAX,
	};

	lws_set_log_level(log_get_level() >= LOG_LEVEL_DEBUG ? LLL_ERR | LLL_WARN : 0, on_log);
	tzset(); /* gmtime_r() reads a file at its first call, which the sandbox would forbid */
	website->context = lws_create_context(&info);
	if (!website->context)
		return err_set(err, -ELIBACC,
			"libwebsockets does not start; is the package libwebsockets-evlib-uv installed?");
	website->vhost = lws_create_vhost(website->context, &info);
	if (!website->vhost)
		return err_set(err, -ENOMEM, "libwebsockets makes no virtual host");
	return 0;
}

int website_open(struct website **ret, uv_loop_t *loop, const char *page_html, struct err *err)
{
	struct website *website = calloc(1, sizeof(*website));
	int rc;

	if (!website || !(website->page_html = strdup(page_html))) {
		free(website);
		return err_system(err, -ENOMEM, "web site");
	}
	website->page_len = strlen(page_html);
	uv_idle_init(loop, &website->closing_turn);
	website->closing_turn.data = website;
	rc = open_context(website, loop, err);
	if (rc < 0) {
		website_close(website);
		return rc;
	}
	*ret = website;
	return 0;
}

int website_connect(struct website *website)
{
	int ends[2];

	if (website->visitor_count >= VISITORS_MAX - 1) /* one is its own pipe */
		return -EBUSY;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
		return -errno;
	if (!lws_adopt_socket_vhost(website->vhost, ends[1])) { /* closes it where it fails */
		close(ends[0]);
		return -ENOMEM;
	}
	return ends[0];
}

static void on_closed(uv_handle_t *handle)
{
	struct website *website = handle->data;

	free(website->page_html);
	free(website);
}

/* Destroy the context a second time, when the loop has closed the handles of libwebsockets. */
static void on_closing_turn(uv_idle_t *idle)
{
	struct website *website = idle->data;

	if (website->visitor_count > 0 || ++website->closing_turns < CLOSING_TURNS)
		return;
	if (website->context)
		lws_context_destroy(website->context);
	website->context = NULL;
	uv_close((uv_handle_t *)idle, on_closed);
}

void website_close(struct website *website)
{
	if (!website || uv_is_active((uv_handle_t *)&website->closing_turn))
		return;
	if (website->context)
		lws_context_destroy(website->context);
	uv_idle_start(&website->closing_turn, on_closing_turn);
}
