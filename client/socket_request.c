/* A list of the requests that are open. Happy path: ticket sent, socket delivered, request found by its ticket, handler
 * called. A socket whose request was given up in the meantime is closed. */
#include "client/socket_request.h"

#include "common/base/require.h"
#include "common/process/channel.h"

#include <sys/socket.h>
#include <unistd.h>

/* Tickets are never used twice, so a late answer cannot be taken for another request's. */
int socket_request_open(
	struct socket_source *source, struct socket_request *request, const struct addr *to, uint32_t type)
{
	struct channel_link wanted = {.ticket = ++source->last_ticket, .to = *to, .type = type};
	int rc = channel_send(source->channel, CHANNEL_LINK_WANTED, &wanted, sizeof(wanted), -1);

	if (rc < 0)
		return rc;
	request->ticket = wanted.ticket;
	request->is_open = true;
	request->next = source->requests;
	source->requests = request;
	return 0;
}

void socket_request_close(struct socket_source *source, struct socket_request *request)
{
	struct socket_request **link = &source->requests;

	if (!request->is_open)
		return;
	request->is_open = false;
	while (*link && *link != request)
		link = &(*link)->next;
	require(*link == request);
	*link = request->next;
}

/* A ticket that is not in the list was given up, for example because another address has won. */
void socket_source_deliver(struct socket_source *source, uint64_t ticket, int error, int fd)
{
	struct socket_request *request = source->requests;

	while (request && request->ticket != ticket)
		request = request->next;
	if (!request) {
		if (fd >= 0)
			close(fd);
		return;
	}
	socket_request_close(source, request); /* first: the handler may free the request */
	request->on_socket(request, error, fd);
}

void socket_request_close_socket(int fd)
{
	/* shutdown() works on the connection, whatever other descriptors of it there are. */
	shutdown(fd, SHUT_RDWR);
	close(fd);
}
