/* A socket wished for from the supervisor, which makes it with the link's mark: CHANNEL_LINK_WANTED and its answer. */
#ifndef TOWPATH_CLIENT_SOCKET_REQUEST_H
#define TOWPATH_CLIENT_SOCKET_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

struct client;

/* Embedded by who wishes; zeroed before. */
struct socket_request {
	struct socket_request *next; /* of the client's list */
	uint64_t ticket;
	bool is_open;
	/* Once, from the loop. @fd: the owner's from now on, or -1 and @error is a negative errno. */
	void (*on_socket)(struct socket_request *wish, int error, int fd);
};

/* @family: AF_INET, AF_INET6; @type: SOCK_STREAM, SOCK_DGRAM. Return: 0, or a negative errno: no answer will come. */
int socket_request_open(struct client *client, struct socket_request *wish, uint32_t family, uint32_t type);

/* The answer is not wanted any more. Fine at any time. */
void socket_request_close(struct client *client, struct socket_request *wish);

/* The supervisor's answer. Owns @fd (-1 with @error). */
void socket_request_on_socket(struct client *client, uint64_t ticket, int error, int fd);

/* Close a socket that was handed down. The supervisor may hold a duplicate, so that close() alone would leave the connection
 * standing. */
void socket_request_close_socket(int fd);

#endif
