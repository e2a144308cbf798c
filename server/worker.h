/* The hub's worker: TLS, HTTP heads, WebSocket and datagrams, without any privilege. */
#ifndef TOWPATH_SERVER_WORKER_H
#define TOWPATH_SERVER_WORKER_H

/* Run on the channel @channel_fd until it ends or CHANNEL_STOP comes. Return: the exit code. */
int server_worker_main(int channel_fd);

#endif
