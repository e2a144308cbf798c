/* The channel between supervisor and worker: one AF_UNIX SOCK_SEQPACKET socket, fixed kinds of messages, descriptors
 * downwards only. The table of kinds for readers: README.md of this folder.
 *
 * Only the supervisor sends descriptors (SCM_RIGHTS), one with a message at most; the worker never needs sendmsg().
 * Each side checks the other: a kind from the wrong side, a wrong length, a descriptor too many or missing ends the
 * channel with an event, never with a crash. Where this side has no descriptor free, a reply arrives as -EMFILE. A
 * request that is answered later carries a `ticket`, a number its sender chose, and so does the answer.
 */
#pragma once

#include "common/base/addr.h"
#include "common/base/err.h"
#include "common/base/prefix.h"

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#define CHANNEL_FD 3 /* the worker's end, in the worker */
#define CHANNEL_TEXT_MAX 512
#define CHANNEL_PAYLOAD_MAX 2560
#define CHANNEL_NETWORKS_MAX 64

enum channel_kind {
	/* supervisor → worker */
	CHANNEL_SETTINGS = 1, /* fd: sealed memfd with JSON, see settings.h of the program */
	CHANNEL_LISTENER,     /* struct channel_index: which one of the settings' listeners; fd */
	CHANNEL_START,	      /* all handed down: enter the sandbox and work */
	CHANNEL_FLOW_SOCKET,  /* struct channel_reply; server: UDP socket connected to Target; fd where error is 0 */
	CHANNEL_LINK_SOCKET,  /* struct channel_reply; client: TCP socket, marked, not connected; fd where error is 0 */
	CHANNEL_STATUS,	      /* struct channel_ticket; fd: empty memfd to write the worker's JSON into */
	CHANNEL_STOP,	      /* close sessions in an orderly way (WebSocket close 1001) and exit 0 */
	CHANNEL_RELOAD,	 /* fd: settings as for CHANNEL_SETTINGS; server: clients that are gone lose their sessions */
	CHANNEL_LOG,	 /* fd: where standard error goes from now on */
	CHANNEL_NETWORK, /* client: the host's network has changed; a waiting attempt is made now */
	CHANNEL_NAMESERVERS, /* client: char text[]: "192.168.1.1,2001:db8::53", the links'; "" for the system's */
	CHANNEL_HOME_SOCKET, /* struct channel_reply; server: TCP socket that connects to To; fd where error is 0 */
	CHANNEL_PAGE_PORT,   /* struct channel_page_port; fd: the status page's listening socket, in place of the last */
	CHANNEL_PAGE_CLOSED, /* the status page answers nowhere any more */
	CHANNEL_PAGE_TEXT,   /* struct channel_page; fd: memory file with the text that was wanted */
	CHANNEL_ENROL_FAILED, /* server: struct channel_enrol_failed: a key of CHANNEL_ENROL could not be written down */
	/* worker → supervisor */
	CHANNEL_READY = 32,  /* the server listens; the client's local port is open */
	CHANNEL_FAILED,	     /* char text[]: set-up failed for good; the supervisor prints it and exits 1 */
	CHANNEL_FLOW_WANTED, /* struct channel_flow */
	CHANNEL_LINK_WANTED, /* struct channel_link */
	CHANNEL_STATUS_DONE, /* struct channel_ticket */
	CHANNEL_STATE,	     /* char text[]: "up", "connecting: …", for sd_notify's STATUS= */
	CHANNEL_ADDRESSES,   /* client: char text[]: "2 203.0.113.10,2001:db8:1::10": addresses of server 2's name */
	CHANNEL_CLOCK,	     /* server: struct channel_clock: the time that a client has told while it came in */
	CHANNEL_HOME_WANTED, /* server: struct channel_home */
	CHANNEL_PAGE_WANTED, /* struct channel_page: a text of the status page, as it is now */
	CHANNEL_ENROL, /* server: struct channel_enrol: the public key of a client that has come in by an invitation */
	CHANNEL_NETWORKS, /* client: struct channel_networks: what lies behind the hub, told to a machine that joins */
};

struct channel_index {
	uint32_t index;
};

struct channel_ticket {
	uint64_t ticket;
};

struct channel_reply {
	uint64_t ticket;
	int32_t error; /* 0, or a negative errno and no descriptor */
	uint32_t reserved;
};

struct channel_flow {
	uint64_t ticket;
	uint32_t client; /* its number in the settings, the same after every reload */
	uint32_t has_instance;
	/* From the JWT of a client of ours: the same instance gets the same source address and port again. Without one:
	 * the same address, any port. */
	uint8_t instance[16];
	uint32_t rtt_ms; /* round trip of the connection that the flow is for, milliseconds */
	uint32_t reserved;
};

struct channel_link {
	uint64_t ticket;
	struct addr to;
	uint32_t type; /* SOCK_STREAM: a link; SOCK_DGRAM: for questions to name servers */
};

struct channel_clock {
	int64_t wall_s;	 /* `iat` of its JWT: seconds since 1970 */
	uint32_t client; /* its number in the settings */
	uint32_t reserved;
};

struct channel_home {
	uint64_t ticket;
	uint32_t publish; /* number of a published service; no settings have the same ones again */
	uint32_t reserved;
};

struct channel_page_port {
	struct addr at;
};

struct channel_page {
	uint32_t text; /* enum status_text */
	uint32_t reserved;
};

struct channel_enrol {
	struct addr from;
	uint32_t client; /* its number in the settings */
	uint8_t public_key[32];
};

struct channel_enrol_failed {
	uint32_t client;
	int32_t error; /* a negative errno */
};

struct channel_networks {
	struct prefix networks[CHANNEL_NETWORKS_MAX];
	uint32_t count;
	uint32_t reserved;
};

enum channel_side { CHANNEL_SUPERVISOR, CHANNEL_WORKER };

struct channel;

struct channel_handlers {
	/* @payload is borrowed, its length is right for @kind; text is terminated. @fd: owned by the handler, or -1. */
	void (*on_message)(void *owner, enum channel_kind kind, const void *payload, size_t len, int fd);
	/* The other side is gone or has broken the rules; @reason says which. The channel is closed already. */
	void (*on_end)(void *owner, const char *reason);
};

/* Serve @fd on @loop. Owns @fd from now on, also on failure. Return: 0 or a negative errno. */
int channel_open(struct channel **ret, uv_loop_t *loop, int fd, enum channel_side side,
	const struct channel_handlers *handlers, void *owner, struct err *err);

/* Send one message; @fd (borrowed, -1 for none) goes along. If the socket is full, the message is queued (a few hundred
 * at most). Return: 0, -EPIPE where the channel has ended, -ENOBUFS where the queue is full. */
int channel_send(struct channel *channel, enum channel_kind kind, const void *payload, size_t len, int fd);

/* Deliver at once what has arrived already: the last messages of a side that has ended. */
void channel_drain(struct channel *channel);

/* No handler is called any more; memory goes when the loop has let go of the handle. NULL is fine. */
void channel_close(struct channel *channel);

/* Before there is a loop: wait for the next message, blocking, at most @timeout_ms. For the worker's start.
 * @payload: CHANNEL_PAYLOAD_MAX bytes. Return: length ≥ 0, or a negative errno (-EPIPE: the end). */
int channel_receive(
	int fd, enum channel_side side, enum channel_kind *ret_kind, void *payload, int *ret_fd, int timeout_ms);
