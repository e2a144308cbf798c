/* The hub's worker: TLS, HTTP heads, WebSocket and datagrams, without any privilege. */
#pragma once

/* Run on the channel @channel_fd until it ends or CHANNEL_STOP comes. Return: the exit code. */
int server_worker_main(int channel_fd);
