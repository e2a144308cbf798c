/* The client's worker: local UDP port, dial machine, TLS, WebSocket and datagrams, without any privilege. */
#pragma once

/* Run on the channel @channel_fd until it ends or CHANNEL_STOP comes. Return: the exit code. */
int client_worker_main(int channel_fd);
