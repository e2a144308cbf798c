/* One TCP connection as a stream of TLS records on the loop, or in the clear behind a reverse proxy.
 *
 * Writing is in two steps: tls_stream_write() turns bytes into a record in the stream's send buffer, without a system
 * call; tls_stream_flush() sends what is there, up to 64 KiB in one send(). Bytes that the socket does not take stay,
 * and on_writable comes when it has left. The send buffer and OpenSSL's are held only while they hold something.
 *
 * Happy path: open → on_open (handshake done) → on_readable … → close → on_closed. A failure at any time is one
 * on_failed with a reason in words; the owner closes then. Inside callbacks everything is allowed, also closing.
 *
 * A server may let a connection go to another server unread, by what its ClientHello says: tls_stream_keep_hello(),
 * then on_hello when the hello is whole and nothing has been answered. OpenSSL itself reads the hello, so that a
 * connection that stays here is served as if nobody had asked.
 */
#pragma once

#include "common/base/err.h"

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#define TLS_RECORD_MAX 16384u	  /* plaintext bytes of a record, RFC 8446 §5.1 */
#define TLS_STREAM_BURST 65536u	  /* plaintext that goes into one send at most */
#define TLS_STREAM_CONTROL 24576u /* room kept for handshake messages, pongs and closes beside the burst */
/* Bytes kept of a ClientHello: one of 16 KiB in records of one byte, 5 + 1 each, and early data behind it. */
#define TLS_STREAM_KEPT_MAX 131072u

/* Send buffers, shared by the streams of a loop: few are ever busy at the same time. */
struct tls_buffers {
	struct tls_buffer *free;
	unsigned kept;
};

void tls_buffers_done(struct tls_buffers *buffers);

struct tls_stream;

struct tls_stream_handlers {
	void (*on_open)(void *owner);
	void (*on_readable)(void *owner); /* call tls_stream_read() until it returns 0 */
	void (*on_writable)(void *owner); /* everything flushed has left */
	/* The connection is of no use any more. @reason: for the log, borrowed. */
	void (*on_failed)(void *owner, const char *reason);
	void (*on_closed)(void *owner); /* the last call: the memory is the owner's again */
	/* Only after tls_stream_keep_hello(): the ClientHello is whole, ->kept has it, and SSL_client_hello_…() may be
	 * called for ->ssl, but nothing else of the stream. Return: true to let the connection go; on_let_go comes. */
	bool (*on_hello)(void *owner);
	void (*on_let_go)(void *owner); /* call tls_stream_let_go() */
};

/* What came of a ClientHello so far. */
struct tls_kept {
	uint8_t *bytes;
	size_t len;
};

struct tls_stream {
	uv_poll_t poll;
	int fd;
	SSL *ssl; /* NULL: in the clear */
	const struct tls_stream_handlers *handlers;
	void *owner;
	struct tls_buffers *buffers;
	struct tls_buffer *out; /* NULL: nothing waits */
	int events;		/* what the poll handle is armed for */
	int error;		/* errno of a recv() that failed for good; 0: none yet */
	int receive_budget;	/* bytes that may still be read before the loop gets its turn */
	struct tls_kept kept;	/* all that was read, while keeps_hello */

	/* The socket's TCP_NOTSENT_LOWAT, set by the owner; 0: none. Linux looks at it only where a send() begins another
	 * buffer of the kernel's, and one takes 64 KiB, which are half a second at 1 Mbit/s. So one is ended after as many
	 * bytes as this. */
	uint32_t low_water;
	uint32_t appended; /* bytes since the last end */

	bool keeps_hello;
	bool is_open;	 /* handshake done */
	bool is_blocked; /* the socket took less than was there */
	bool is_paused;	 /* no reading */
	bool is_failed;
	bool is_closing;
	bool is_first_turn; /* the handshake has not been begun */
	bool at_end;	    /* EOF was read */
};

/* Serve a connected socket. @ssl NULL: in the clear, on_open comes with the first turn of the loop. Owns @fd and @ssl
 * from now on, also on failure: then nothing is left and on_closed does not come. @is_server chooses the TLS role.
 * Return: 0 or a negative errno. */
int tls_stream_open(struct tls_stream *stream, uv_loop_t *loop, int fd, SSL *ssl, bool is_server,
	struct tls_buffers *buffers, const struct tls_stream_handlers *handlers, void *owner, struct err *err);

/* Hand the stream to another owner: from a request to its tunnel. */
void tls_stream_set_handlers(struct tls_stream *stream, const struct tls_stream_handlers *handlers, void *owner);

/* Speak TLS from now on, on a stream that was opened in the clear: behind a proxy's CONNECT, or its PROXY header.
 * on_open comes once more. Owns @ssl from now on, also on failure. Return: 0 or a negative errno. */
int tls_stream_secure(struct tls_stream *stream, SSL *ssl, bool is_server, struct err *err);

/* Let the context's server streams ask their owners about the ClientHello, where tls_stream_keep_hello() was called. */
void tls_stream_ask_for_hello(SSL_CTX *context);

/* Keep what is read until the ClientHello is whole. Call before the first turn of the loop. A hello that takes more
 * than TLS_STREAM_KEPT_MAX bytes with its records is not asked for. */
void tls_stream_keep_hello(struct tls_stream *stream);

/* Give the socket up, with all that was read from it; the owner of both is the caller. The stream is closed: on_closed
 * follows, from the loop. Return: the socket. */
int tls_stream_let_go(struct tls_stream *stream, struct tls_kept *ret_kept);

/* Return: bytes read, 0 where no more is there now, -EPIPE at the end of the stream, another negative errno after a
 * failure, -EIO where TLS knows more. No handler is called from inside. */
ssize_t tls_stream_read(struct tls_stream *stream, void *buf, size_t len);

/* Why a read or a flush failed, in words. Return: @buf. */
const char *tls_stream_reason(struct tls_stream *stream, ssize_t code, char *buf, size_t size);

/* Bytes left of the burst; while not 0, tls_stream_write() takes one datagram of any size. Control frames fit too. */
size_t tls_stream_room(const struct tls_stream *stream);

/* One call is one record up to TLS_RECORD_MAX bytes, several beyond. Return: 0, -ENOBUFS without room, -EIO. */
int tls_stream_write(struct tls_stream *stream, const void *buf, size_t len);

/* Send what is there. Return: 0 sent (or nothing was there), 1 blocked (on_writable follows), or a negative errno. */
int tls_stream_flush(struct tls_stream *stream);

/* Stop and resume reading; the kernel's window closes, so the peer stops. */
void tls_stream_pause(struct tls_stream *stream, bool is_paused);

/* Keep OpenSSL's buffers, 82 KiB, from now on, or hold them only while they hold something: that takes a little more
 * time for each record, and is what a stream begins with. */
void tls_stream_keep_buffers(struct tls_stream *stream, bool is_kept);

/* Say that nothing more will be written (close_notify, FIN); reading goes on. Only when everything was flushed. */
void tls_stream_finish(struct tls_stream *stream);

/* TLS close_notify where possible, then close. on_closed follows, from the loop. */
void tls_stream_close(struct tls_stream *stream);
