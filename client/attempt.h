/* One attempt to make a connected TCP socket a tunnel: proxy CONNECT, TLS, WebSocket upgrade, then the carrier.
 * Allocated anew each time; frees itself when its stream has closed.
 *
 *     PROXY → TLS → on_secured → UPGRADE → on_up → UP;  any failure → on_failed (once);  attempt_close() → on_closed
 */
#pragma once

#include <jansson.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct attempt;
struct flow;
struct profile;
struct pump;

/* All are called from the loop. The attempt may be closed inside each of them. */
struct attempt_handlers {
	/* The server has proved who it is: TLS is done and the pin compared. In the clear: the connection stands. */
	void (*on_secured)(void *owner);
	void (*on_up)(void *owner);
	/* @phase: "proxy", "TLS", "upgrade"; NULL where the tunnel was up and is lost. @reason: borrowed. */
	void (*on_failed)(void *owner, const char *phase, const char *reason);
	void (*on_closed)(void *owner); /* the last call; the attempt is freed */
};

struct attempt_setup {
	uv_loop_t *loop;
	struct pump *pump;
	struct profile *profile; /* kept until on_closed */
	size_t server;		 /* index into the profile's servers */
	struct flow *flow;	 /* whose datagrams are carried once it is up */
	const struct attempt *beside; /* whose carrier the flow has, and this one stands beside (second.h); NULL: none */
	const uint8_t *instance; /* JWT_INSTANCE_LEN bytes, borrowed until on_closed */
	const struct attempt_handlers *handlers;
	void *owner;
};

/* Begin on the connected socket @fd, which is owned from now on. No handler is called from inside. Return: NULL where
 * the attempt could not begin; then @fd is closed and on_closed does not come. */
struct attempt *attempt_open(const struct attempt_setup *setup, int fd);

/* Hand the attempt to another owner: from the search to the link. */
void attempt_set_owner(struct attempt *attempt, const struct attempt_handlers *handlers, void *owner);

/* Pings and the deadline of each phase. About twice a second. */
void attempt_tick(struct attempt *attempt, uint64_t now_us);

/* The host's network has changed: the path may be gone, so the server has to answer within a short time. */
void attempt_check(struct attempt *attempt, uint64_t now_us);

/* Close; with a WebSocket close frame where the tunnel is up. Only on_closed follows. */
void attempt_close(struct attempt *attempt);

/* For profile_open(): keep the newest TLS session of each server for resumption. Return: 1 if it was kept. */
int attempt_keep_session(SSL *ssl, SSL_SESSION *session);

/* The networks behind the hub as it has told them, a stranger's bytes. Return: borrowed; NULL: it has not told. */
const char *attempt_networks(const struct attempt *attempt);

const char *attempt_tls_version(const struct attempt *attempt); /* "TLSv1.3", "none" */
uint64_t attempt_rtt_us(const struct attempt *attempt);
uint32_t attempt_losses(const struct attempt *attempt); /* carrier_losses(), 0 while it is not up */
bool attempt_may_have_second(const struct attempt *attempt); /* the server has said so */
/* carrier_pace(), or null while it is not up. Return: owned by the caller. */
json_t *attempt_pace(const struct attempt *attempt);
