/* Sockets for the way to the server. SO_MARK needs a privilege that the worker has not, so the supervisor makes and
 * marks each, or binds it to a device (way_past.h): CHANNEL_LINK_WANTED goes up with a ticket, CHANNEL_LINK_SOCKET
 * brings the descriptor with it. */
#pragma once

#include "common/base/addr.h"

#include <stdbool.h>
#include <stdint.h>

struct channel;

/* Embedded by the module that needs a socket; zeroed before use. */
struct socket_request {
	struct socket_request *next; /* in the source's list */
	uint64_t ticket;
	bool is_open;
	/* Called once, from the loop. @fd is the owner's from now on; -1 where @error is a negative errno. */
	void (*on_socket)(struct socket_request *request, int error, int fd);
};

/* One for each worker; zeroed, then given the channel. */
struct socket_source {
	struct channel *channel;
	struct socket_request *requests; /* that wait for their socket */
	uint64_t last_ticket;
};

/* @to: where the socket will be connected; @type: SOCK_STREAM, SOCK_DGRAM. Return: 0, or a negative errno: no answer
 * will come. */
int socket_request_open(
	struct socket_source *source, struct socket_request *request, const struct addr *to, uint32_t type);

/* Give the request up; its handler is not called any more. Does nothing for a request that is not open. */
void socket_request_close(struct socket_source *source, struct socket_request *request);

/* The supervisor's answer, from the worker's channel. Owns @fd (-1 with @error). */
void socket_source_deliver(struct socket_source *source, uint64_t ticket, int error, int fd);

/* Close a socket that came from the supervisor. The supervisor may hold a duplicate (link_marks.h), so that close()
 * alone would leave the connection standing. */
void socket_request_close_socket(int fd);
