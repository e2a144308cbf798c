/* A worker's life, the same in both programs: settings and sockets come over the channel, everything that needs files
 * is made, the sandbox closes, the loop serves until CHANNEL_STOP or the channel's end.
 *
 *     on_settings, on_listener … → open → (sandbox) → start → READY → on_socket, on_tick, report … → close → done
 *
 * A failure before READY is told to the supervisor as CHANNEL_FAILED. After READY no failure ends a worker.
 */
#pragma once

#include "common/base/err.h"
#include "common/process/channel.h"
#include "common/process/sandbox.h"

#include <jansson.h>
#include <stdint.h>
#include <uv.h>

#define WORK_TICK_MS 500

struct work_setup {
	enum sandbox_profile sandbox;
	const char *area; /* of log lines */
	/* In order; each returns 0 or a negative errno with @err set. @fd is owned by the callee. */
	int (*on_settings)(void *owner, int fd, struct err *err);
	int (*on_listener)(void *owner, uint32_t index, int fd, struct err *err);
	int (*open)(void *owner, struct err *err);  /* files may still be read */
	int (*start)(void *owner, struct err *err); /* in the sandbox */
	/* The supervisor's answer to CHANNEL_FLOW_WANTED or CHANNEL_LINK_WANTED. Owns @fd (-1 with @error). */
	void (*on_socket)(void *owner, uint64_t ticket, int error, int fd);
	/* CHANNEL_RELOAD, CHANNEL_NETWORK, CHANNEL_NAMESERVERS. Owns @fd (-1: none came along). NULL: not wanted. */
	void (*on_message)(void *owner, enum channel_kind kind, const void *payload, int fd);
	/* Every WORK_TICK_MS. Return: how often the datagram path was served since the start. */
	uint64_t (*on_tick)(void *owner, uint64_t now_us);
	void (*on_calm)(void *owner);	/* there is little traffic: give memory back that was kept for more */
	json_t *(*report)(void *owner); /* the worker's fields of `status`, a new object */
	void (*close)(void *owner);	/* close all handles; they let go while the loop runs on */
	void (*done)(void *owner);	/* free what is no handle; the loop has ended */
};

/* Live that life. @loop is initialised here; *ret_channel is set before `open`. Return: the exit code. */
int work_run(
	const struct work_setup *setup, void *owner, uv_loop_t *loop, struct channel **ret_channel, int channel_fd);
