/* Tickets in a list: sent with the wish, looked up when the socket comes. */
#include "client/socket_request.h"

#include "client/client.h"

#include <sys/socket.h>
#include <unistd.h>

int socket_request_open(struct client *client, struct socket_request *wish, uint32_t family, uint32_t type)
{
	struct channel_link wanted = {.ticket = ++client->last_ticket, .family = family, .type = type};
	int rc = channel_send(client->channel, CHANNEL_LINK_WANTED, &wanted, sizeof(wanted), -1);

	if (rc < 0)
		return rc;
	wish->ticket = wanted.ticket;
	wish->is_open = true;
	wish->next = client->wishes;
	client->wishes = wish;
	return 0;
}

void socket_request_close(struct client *client, struct socket_request *wish)
{
	struct socket_request **place = &client->wishes;

	if (!wish->is_open)
		return;
	wish->is_open = false;
	while (*place != wish)
		place = &(*place)->next;
	*place = wish->next;
}

void socket_request_on_socket(struct client *client, uint64_t ticket, int error, int fd)
{
	struct socket_request *wish = client->wishes;

	while (wish && wish->ticket != ticket)
		wish = wish->next;
	if (!wish) { /* who asked has given up */
		if (fd >= 0)
			close(fd);
		return;
	}
	socket_request_close(client, wish);
	wish->on_socket(wish, error, fd);
}

void socket_request_close_socket(int fd)
{
	shutdown(fd, SHUT_RDWR);
	close(fd);
}
