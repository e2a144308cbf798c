/* One attempt to make a TCP connection a tunnel: proxy CONNECT, TLS, upgrade; then its carrier. Allocated anew each time,
 * frees itself when its stream has closed. */
#ifndef TOWPATH_CLIENT_ATTEMPT_H
#define TOWPATH_CLIENT_ATTEMPT_H

#include <openssl/ssl.h>
#include <stdint.h>

struct attempt;
struct link;

/* On the connected socket @fd (owned from now on). The link is told of the rest. Return: NULL where it could not begin; then
 * @fd is closed and link_on_attempt_closed() does not come. */
struct attempt *attempt_open(struct link *link, int fd);

void attempt_step(struct attempt *attempt, uint64_t now_us);

/* The host's network has changed: is there still anybody? */
void attempt_check(struct attempt *attempt, uint64_t now_us);

/* Say goodbye where it is up, and close. link_on_attempt_closed() follows. */
void attempt_close(struct attempt *attempt);

/* For the TLS context: keep the newest session of each server for resumption. Return: 1 where it was kept. */
int attempt_keep_session(SSL *ssl, SSL_SESSION *session);

const char *attempt_tls_version(const struct attempt *attempt); /* "TLSv1.3", "none" */
uint64_t attempt_rtt_us(const struct attempt *attempt);

#endif
