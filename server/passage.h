/* Visitors of published servers: connections to our own port whose ClientHello asks for another server's name. Each
 * goes on to that server unread, byte for byte, both ways. passage.c has the states.
 *
 * A passage frees itself some turns of the loop after its end. All that have not ended are in hub->passages.
 */
#pragma once

#include "common/base/addr.h"
#include "common/base/err.h"
#include "common/tunnel/tls_stream.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define PASSAGES_MAX 4096u /* some 4 KB each, most of it the kernel's */

struct hub;
struct passage;
struct passages;
struct server_settings;

/* Return: 0 or -ENOMEM. */
int passages_open(struct passages *passages, const struct server_settings *settings);

/* Make one for the visitor of @name, which the settings' service @publish has. It does nothing before
 * passage_start(). Return: NULL without memory. */
struct passage *passage_new(struct hub *hub, size_t publish, const char *name, size_t len);

/* Serve the visitor @from on @fd, who has said @kept so far. Owns all of them. */
void passage_start(struct passage *passage, int fd, struct tls_kept *kept, const struct addr *from);

/* The supervisor's answer. Owns @fd (-1 with @error). */
void passages_on_socket(struct hub *hub, uint64_t ticket, int error, int fd);

/* Deadlines. Call about twice a second. */
void passages_tick(struct passages *passages, uint64_t now_us);

/* Before hub->settings become @now: passages whose name leads elsewhere are ended, the others move to their place in
 * @now, and so do the counters. Return: 0, or -ENOMEM with nothing changed. */
int passages_reload(struct hub *hub, const struct server_settings *now);

/* The array `publish` of status, a new object. */
json_t *passages_report(const struct hub *hub);

void passages_close(struct passages *passages);
