/* The HTTP request that becomes a WebSocket (RFC 6455 §4; drawn in README.md). Pure: text in, text out. */
#pragma once

#include "common/tunnel/http_head.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UPGRADE_KEY_TEXT_LEN 24	   /* base64 of 16 bytes */
#define UPGRADE_ACCEPT_TEXT_LEN 28 /* base64 of a SHA-1 */
#define UPGRADE_REQUEST_MAX 8192
#define UPGRADE_ANSWER_MAX 4096

/* A request as a server reads it. */
struct upgrade_request {
	struct http_span key;	 /* of 16 bytes, checked */
	struct http_span prefix; /* "v1" of "/v1/events": everything between the first slash and the last "/events" */
	struct http_span jwt;	 /* the token after "authorization.bearer.", or the bare cookie; len 0: none */
	const char *lost;	 /* what is not there any more: "Upgrade", "Connection", "HTTP/1.1"; NULL: nothing */
};

/* Is it a tunnel's upgrade in form: GET, HTTP/1.1, Host, version 13, a key of 16 bytes, Connection and Upgrade lists
 * with the words, exact path "/<prefix>/events", a JWT? No body may be announced. Nothing is admitted here. */
bool upgrade_read_request(const struct http_head *head, struct upgrade_request *ret);

/* Is it what a reverse proxy makes of such a request if it drops what RFC 9110 §7.6.1 calls hop-by-hop, or speaks
 * HTTP/1.0? ->lost says what is not there; the key may not be either. Nothing is admitted here. */
bool upgrade_read_lost(const struct http_head *head, struct upgrade_request *ret);

/* A request as a client makes it. All text as is; headers are checked by the configuration. */
struct upgrade_ask {
	const char *prefix; /* "v1" */
	const char *host;   /* as in the URL, IPv6 without brackets */
	uint16_t port;	    /* left out where it is 80 or 443 */
	const char *key;    /* UPGRADE_KEY_TEXT_LEN characters */
	const char *jwt;
	const char *basic_auth;	    /* "user:password"; NULL: none */
	const char *const *headers; /* "Name: value", replacing one of ours of the same name; NULL-terminated or NULL */
};

/* Write the request in a stock client's order. Return: bytes written, or -ENOBUFS. */
int upgrade_write_request(char *buf, size_t size, const struct upgrade_ask *ask);

/* What the 101 says besides, to our own clients. */
struct upgrade_told {
	const char *networks; /* for a machine that joins; NULL: none are told */
	bool is_beside; /* it stands beside another one, which goes on; or, where it asked for none, it may get a second one */
};

/* Write the 101 as a stock client wants it. @wall_s: for `date`. Return: bytes written, or -ENOBUFS. */
int upgrade_write_answer(char *buf, size_t size, struct http_span key, int64_t wall_s, const struct upgrade_told *told);

/* 16 random bytes as base64, terminated. */
void upgrade_make_key(char out[UPGRADE_KEY_TEXT_LEN + 1]);

/* base64(SHA-1(key + GUID)), terminated (RFC 6455 §4.2.2). */
void upgrade_accept(char out[UPGRADE_ACCEPT_TEXT_LEN + 1], struct http_span key);

/* Is the answer a 101 to our key? Return: NULL, or what is wrong with it, in words for the log ("status 403"). */
const char *upgrade_check_answer(const struct http_head *head, const char *key, char *buf, size_t size);

/* Write a CONNECT for a proxy. @user NULL: without Proxy-Authorization. Return: bytes written, or -ENOBUFS. */
int upgrade_write_connect(
	char *buf, size_t size, const char *host, uint16_t port, const char *user, const char *password);
