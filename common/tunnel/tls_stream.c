/* TLS over a non-blocking socket with a BIO of our own: OpenSSL reads straight from the socket, up to 64 KiB at a time,
 * and writes into the stream's send buffer, which leaves with one send(). Fails with a reason; never blocks.
 *
 * OpenSSL's own BIO would send each record by itself. Here a batch of datagrams, up to four records of 16 KiB, leaves
 * with one system call.
 *
 * OpenSSL keeps a queue of errors for each thread, and SSL_get_error() looks at it. Each call into a session therefore
 * starts with an empty queue, or one connection would fail by the errors of another. */
#include "common/tunnel/tls_stream.h"

#include "common/tunnel/tls_explain.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TLS_BUFFERS_KEPT 32u
/* Reading yields to the loop after so many bytes; the poll is level-triggered, so nothing is forgotten. */
#define RECEIVE_BUDGET (1 << 20)
#define BEHIND_MS 1000 /* a hello that has waited for longer; our clients are patient for 10 s */
/* A record adds 5 + 1 + 16 bytes (TLS 1.3), 5 + 8 + 16 in TLS 1.2. */
#define RECORD_OVERHEAD 32u
/* A burst that is nearly full takes one more datagram of any size, and control frames come on top. */
#define BUFFER_LEN (2 * TLS_STREAM_BURST + TLS_STREAM_CONTROL + 64u * RECORD_OVERHEAD)

struct tls_buffer {
	struct tls_buffer *next;
	size_t used; /* bytes written so far */
	size_t sent; /* of these, bytes the socket has taken */
	uint8_t data[BUFFER_LEN];
};

/* Buffers are 150 KiB. They are passed from stream to stream, because few streams hold unsent bytes at the same
 * time. */
static struct tls_buffer *buffer_take(struct tls_buffers *buffers)
{
	struct tls_buffer *buffer = buffers->free;

	if (buffer) {
		buffers->free = buffer->next;
		buffers->kept--;
	} else {
		buffer = malloc(sizeof(*buffer));
	}
	if (buffer)
		buffer->used = buffer->sent = 0;
	return buffer;
}

/* At most TLS_BUFFERS_KEPT are kept, 5 MB; a storm of blocked streams must not hold its memory for ever. */
static void buffer_give(struct tls_buffers *buffers, struct tls_buffer *buffer)
{
	if (!buffer)
		return;
	if (buffers->kept >= TLS_BUFFERS_KEPT) {
		free(buffer);
		return;
	}
	buffer->next = buffers->free;
	buffers->free = buffer;
	buffers->kept++;
}

void tls_buffers_done(struct tls_buffers *buffers)
{
	while (buffers->free) {
		struct tls_buffer *next = buffers->free->next;

		free(buffers->free);
		buffers->free = next;
	}
	buffers->kept = 0;
}

/* Append bytes that are ready for the wire. Return: false where there is no room or no memory; tls_stream_write() has
 * checked the room, so OpenSSL sees that only for control messages beyond it. */
static bool stream_put(struct tls_stream *stream, const void *data, size_t len)
{
	if (!stream->out)
		stream->out = buffer_take(stream->buffers);
	if (!stream->out || BUFFER_LEN - stream->out->used < len)
		return false;
	memcpy(stream->out->data + stream->out->used, data, len);
	stream->out->used += len;
	return true;
}

/* --- the ClientHello --- */

static void kept_done(struct tls_stream *stream)
{
	stream->keeps_hello = false;
	free(stream->kept.bytes);
	stream->kept = (struct tls_kept){NULL, 0};
}

/* Without memory, and beyond the limit, the hello is not asked for: the connection stays here. */
static void keep(struct tls_stream *stream, const void *bytes, size_t len)
{
	uint8_t *grown = stream->kept.len + len <= TLS_STREAM_KEPT_MAX
				 ? realloc(stream->kept.bytes, stream->kept.len + len)
				 : NULL;

	if (!grown) {
		kept_done(stream);
		return;
	}
	memcpy(grown + stream->kept.len, bytes, len);
	stream->kept.bytes = grown;
	stream->kept.len += len;
}

/* OpenSSL has parsed a ClientHello: the first one, or the one that follows a HelloRetryRequest of ours. */
static int on_client_hello(SSL *ssl, int *alert, void *argument)
{
	struct tls_stream *stream = BIO_get_data(SSL_get_rbio(ssl));

	(void)alert;
	(void)argument;
	if (!stream->keeps_hello)
		return SSL_CLIENT_HELLO_SUCCESS;
	if (stream->handlers->on_hello(stream->owner))
		return SSL_CLIENT_HELLO_RETRY;
	kept_done(stream);
	return SSL_CLIENT_HELLO_SUCCESS;
}

void tls_stream_ask_for_hello(SSL_CTX *context)
{
	SSL_CTX_set_client_hello_cb(context, on_client_hello, NULL);
}

void tls_stream_keep_hello(struct tls_stream *stream)
{
	stream->keeps_hello = true;
}

/* --- the socket --- */

/* Read from the socket as far as the budget goes. Return: as recv(). */
static ssize_t stream_receive(struct tls_stream *stream, void *buf, size_t len)
{
	ssize_t n;

	if (stream->receive_budget <= 0) {
		errno = EAGAIN;
		return -1;
	}
	do
		n = recv(stream->fd, buf, len, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	/* Less than was asked for: nothing more is there, and the poll tells when there is. Asking again costs a
	 * call. */
	if (n > 0)
		stream->receive_budget = (size_t)n < len ? 0 : stream->receive_budget - (int)n;
	return n;
}

/* The BIO is how OpenSSL reaches the socket. Errors are kept in the stream: OpenSSL itself only knows that reading
 * failed. */
static int bio_read(BIO *bio, char *buf, int len)
{
	struct tls_stream *stream = BIO_get_data(bio);
	ssize_t n = stream_receive(stream, buf, (size_t)len);

	BIO_clear_retry_flags(bio);
	if (n < 0 && errno == EAGAIN)
		BIO_set_retry_read(bio);
	else if (n < 0)
		stream->error = errno;
	if (n == 0)
		stream->at_end = true;
	if (n > 0 && stream->keeps_hello)
		keep(stream, buf, (size_t)n);
	return (int)n;
}

/* Never a system call: bytes leave with tls_stream_flush(). */
static int bio_write(BIO *bio, const char *buf, int len)
{
	BIO_clear_retry_flags(bio);
	return stream_put(BIO_get_data(bio), buf, (size_t)len) ? len : -1;
}

/* OpenSSL asks whether the end was reached, and flushes after each flight; both must not be refused. Any other
 * command is answered with 0: not supported. */
static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
	const struct tls_stream *stream = BIO_get_data(bio);

	(void)number;
	(void)pointer;
	if (command == BIO_CTRL_EOF)
		return stream->at_end;
	return command == BIO_CTRL_FLUSH;
}

/* Made once for the life of the process. */
static const BIO_METHOD *stream_bio_method(void)
{
	static BIO_METHOD *method;

	if (method)
		return method;
	method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stream");
	if (!method)
		return NULL;
	BIO_meth_set_read(method, bio_read);
	BIO_meth_set_write(method, bio_write);
	BIO_meth_set_ctrl(method, bio_ctrl);
	return method;
}

static void stream_on_poll(uv_poll_t *poll, int status, int events);

/* Arm the poll handle for what is wanted now. A pause holds only once the handshake is done. The first turn is asked
 * for as "writable": a client has to speak first, and a connected socket can be written to at once. */
/* A server's handshake is half a millisecond of processor time. A hub that is behind with many hellos would do nothing
 * else for clients that have given up meanwhile and come anew: it begins none for those that have gone. */
static bool awaits_hello(const struct tls_stream *stream)
{
	return stream->ssl && SSL_is_server(stream->ssl) && SSL_in_before(stream->ssl);
}

/* Who closes right behind his hello is answered as by any web server: only one that had to wait is passed over. */
static bool is_behind(const struct tls_stream *stream)
{
	struct tcp_info info = {.tcpi_last_data_recv = 0};
	socklen_t len = sizeof(info);

	return getsockopt(stream->fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 && info.tcpi_last_data_recv > BEHIND_MS;
}

static void stream_arm(struct tls_stream *stream)
{
	int events = 0;

	if (stream->is_closing)
		return;
	if (!stream->is_failed && !(stream->is_paused && stream->is_open))
		events |= UV_READABLE;
	if (stream->is_blocked || stream->is_first_turn)
		events |= UV_WRITABLE;
	if (awaits_hello(stream))
		events |= UV_DISCONNECT;
	if (events == stream->events)
		return;
	stream->events = events;
	if (events)
		uv_poll_start(&stream->poll, events, stream_on_poll);
	else
		uv_poll_stop(&stream->poll);
}

/* The one way to on_failed: at most once, and never after tls_stream_close(). */
static void stream_fail(struct tls_stream *stream, const char *reason)
{
	if (stream->is_failed || stream->is_closing)
		return;
	stream->is_failed = true;
	stream_arm(stream);
	stream->handlers->on_failed(stream->owner, reason);
}

/* The buffer is given back only when it is empty: what a blocked socket did not take stays in order. */
int tls_stream_flush(struct tls_stream *stream)
{
	struct tls_buffer *out = stream->out;

	if (stream->is_failed)
		return -EIO;
	while (out && out->sent < out->used) {
		size_t left = out->used - out->sent;
		bool is_end = stream->low_water > 0 && stream->appended + left >= stream->low_water;
		ssize_t n = send(
			stream->fd, out->data + out->sent, left, MSG_DONTWAIT | MSG_NOSIGNAL | (is_end ? MSG_EOR : 0));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			return -errno;
		if (n > 0) {
			out->sent += (size_t)n;
			stream->appended = is_end && (size_t)n == left ? 0 : stream->appended + (uint32_t)n;
		}
		if (n < 0 || out->sent < out->used) {
			stream->is_blocked = true;
			stream_arm(stream);
			return 1;
		}
	}
	if (out) {
		stream->out = NULL;
		buffer_give(stream->buffers, out);
	}
	stream->is_blocked = false;
	stream_arm(stream);
	return 0;
}

/* Go on with the handshake. In the clear there is none, and on_open comes with the first turn of the loop. The last
 * flight of a handshake, or the alert that refuses it, is sent before the owner hears. */
static void stream_handshake(struct tls_stream *stream)
{
	char reason[384];
	int rc, code;

	if (!stream->ssl) {
		stream->is_open = true;
		stream->handlers->on_open(stream->owner);
		return;
	}
	ERR_clear_error();
	rc = SSL_do_handshake(stream->ssl);
	code = rc == 1 ? SSL_ERROR_NONE : SSL_get_error(stream->ssl, rc);
	if (code == SSL_ERROR_WANT_CLIENT_HELLO_CB) {
		stream->handlers->on_let_go(stream->owner);
		return;
	}
	if (code != SSL_ERROR_NONE && code != SSL_ERROR_WANT_READ) {
		tls_explain_failure(stream->ssl, reason, sizeof(reason));
		tls_stream_flush(stream); /* the alert */
		stream_fail(stream, reason);
		return;
	}
	rc = tls_stream_flush(stream);
	if (rc < 0) {
		stream_fail(stream, strerror(-rc));
		return;
	}
	if (code == SSL_ERROR_NONE) {
		stream->is_open = true;
		stream->handlers->on_open(stream->owner);
	}
}

/* libuv stops the handle at an error of the socket and says EBADF. Bytes that came before the error can still be
 * read: often an answer that explains the reset behind it. */
static void stream_on_error(struct tls_stream *stream)
{
	int error = 0;
	socklen_t len = sizeof(error);

	stream->events = 0;
	stream->receive_budget = RECEIVE_BUDGET;
	if (!stream->is_open && !awaits_hello(stream))
		stream_handshake(stream);
	else if (stream->is_open && !stream->is_paused)
		stream->handlers->on_readable(stream->owner);
	if (stream->is_closing || stream->is_failed)
		return;
	getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	stream_fail(stream, strerror(error ? error : ECONNRESET));
}

/* Any handler may close or fail the stream, so each call is followed by a look at the flags. */
static void stream_on_poll(uv_poll_t *poll, int status, int events)
{
	struct tls_stream *stream = poll->data;
	int rc;

	if (status < 0) {
		stream_on_error(stream);
		return;
	}
	stream->receive_budget = RECEIVE_BUDGET;
	stream->is_first_turn = false;
	if (stream->is_blocked && (events & UV_WRITABLE)) { /* the socket can take more */
		rc = tls_stream_flush(stream);
		if (rc < 0)
			stream_fail(stream, strerror(-rc));
		else if (rc == 0 && stream->is_open)
			stream->handlers->on_writable(stream->owner);
	}
	if (stream->is_closing || stream->is_failed)
		return;
	if ((events & UV_DISCONNECT) && awaits_hello(stream) && is_behind(stream)) {
		stream_fail(stream, "has gone while its TLS hello had to wait");
		return;
	}
	if (!stream->is_open)
		stream_handshake(stream);
	/* The handshake's last flight may have data right behind it. */
	if (stream->is_open && !stream->is_closing && !stream->is_failed && !stream->is_paused &&
		(events & UV_READABLE))
		stream->handlers->on_readable(stream->owner);
	if (!stream->is_closing)
		stream_arm(stream);
}

/* The SSL owns the BIO from then on. @is_server: of TLS, so for our side of the handshake. */
static int stream_attach_ssl(struct tls_stream *stream, bool is_server, struct err *err)
{
	const BIO_METHOD *method = stream_bio_method();
	BIO *bio = method ? BIO_new(method) : NULL;

	if (!bio)
		return err_openssl(err, -ENOMEM, "TLS stream");
	BIO_set_data(bio, stream);
	BIO_set_init(bio, 1);
	SSL_set_bio(stream->ssl, bio, bio);
	if (is_server)
		SSL_set_accept_state(stream->ssl);
	else
		SSL_set_connect_state(stream->ssl);
	return 0;
}

int tls_stream_open(struct tls_stream *stream, uv_loop_t *loop, int fd, SSL *ssl, bool is_server,
	struct tls_buffers *buffers, const struct tls_stream_handlers *handlers, void *owner, struct err *err)
{
	int rc;

	*stream = (struct tls_stream){.fd = fd,
		.ssl = ssl,
		.handlers = handlers,
		.owner = owner,
		.buffers = buffers,
		.receive_budget = RECEIVE_BUDGET};
	rc = ssl ? stream_attach_ssl(stream, is_server, err) : 0;
	if (rc < 0)
		goto drop;
	rc = uv_poll_init(loop, &stream->poll, fd);
	if (rc < 0) {
		err_system(err, rc, "socket");
		goto drop;
	}
	stream->poll.data = stream;
	stream->is_first_turn = !ssl || !is_server; /* the client speaks first */
	stream_arm(stream);
	return 0;
drop:
	SSL_free(ssl);
	close(fd);
	return rc;
}

void tls_stream_set_handlers(struct tls_stream *stream, const struct tls_stream_handlers *handlers, void *owner)
{
	stream->handlers = handlers;
	stream->owner = owner;
}

int tls_stream_secure(struct tls_stream *stream, SSL *ssl, bool is_server, struct err *err)
{
	int rc;

	stream->ssl = ssl; /* freed with the stream */
	rc = stream_attach_ssl(stream, is_server, err);
	if (rc < 0)
		return rc;
	stream->is_open = false;
	stream->is_first_turn = true;
	stream_arm(stream);
	return 0;
}

/* For each record: to clear an empty queue takes ten times as long as to look at it. */
static void forget_errors(void)
{
	if (ERR_peek_error() != 0)
		ERR_clear_error();
}

ssize_t tls_stream_read(struct tls_stream *stream, void *buf, size_t len)
{
	size_t n;
	int code;

	if (stream->is_failed)
		return -EIO;
	if (!stream->ssl) {
		ssize_t plain = stream_receive(stream, buf, len);

		if (plain > 0)
			return plain;
		stream->at_end = plain == 0;
		if (plain == 0)
			return -EPIPE;
		return errno == EAGAIN ? 0 : -errno;
	}
	/* The socket has nothing more in this turn, and OpenSSL nothing of it: the usual end of a turn. */
	if (stream->receive_budget <= 0 && !SSL_has_pending(stream->ssl))
		return 0;
	forget_errors();
	if (SSL_read_ex(stream->ssl, buf, len, &n) == 1)
		return (ssize_t)n;
	code = SSL_get_error(stream->ssl, 0);
	switch (code) {
	case SSL_ERROR_WANT_READ: /* no whole record yet, or the budget is used up */
	case SSL_ERROR_WANT_WRITE:
		return 0;
	case SSL_ERROR_ZERO_RETURN: /* close_notify */
		return -EPIPE;
	default:
		if (stream->at_end)
			return -EPIPE;
		return stream->error ? -stream->error : -EIO;
	}
}

/* -EIO is no errno of the socket here: OpenSSL has refused what came, and its queue of errors says why. */
const char *tls_stream_reason(struct tls_stream *stream, ssize_t code, char *buf, size_t size)
{
	if (code == -EPIPE)
		snprintf(buf, size, "the other side closed the connection");
	else if (code == -EIO && stream->ssl)
		tls_explain_failure(stream->ssl, buf, size);
	else
		snprintf(buf, size, "%s", strerror((int)-code));
	ERR_clear_error();
	return buf;
}

static size_t room_below(const struct tls_stream *stream, size_t limit)
{
	size_t used = stream->out ? stream->out->used : 0;

	return used < limit ? limit - used : 0;
}

size_t tls_stream_room(const struct tls_stream *stream)
{
	return room_below(stream, TLS_STREAM_BURST);
}

int tls_stream_write(struct tls_stream *stream, const void *buf, size_t len)
{
	size_t n;

	if (stream->is_failed || stream->is_closing)
		return -EIO;
	/* Checked for the whole of @len beforehand: half a record in the buffer could not be taken back. */
	if (room_below(stream, BUFFER_LEN) < len + (len / TLS_RECORD_MAX + 1) * RECORD_OVERHEAD)
		return -ENOBUFS;
	if (!stream->ssl)
		return stream_put(stream, buf, len) ? 0 : -ENOBUFS;
	forget_errors();
	return SSL_write_ex(stream->ssl, buf, len, &n) == 1 ? 0 : -EIO;
}

void tls_stream_pause(struct tls_stream *stream, bool is_paused)
{
	stream->is_paused = is_paused;
	stream_arm(stream);
}

/* From OpenSSL 3.2 on, what reads the records learns of a mode only when one is set. AUTO_RETRY is set already. */
void tls_stream_keep_buffers(struct tls_stream *stream, bool is_kept)
{
	if (!stream->ssl || !stream->is_open || stream->is_failed)
		return;
	if (is_kept)
		SSL_clear_mode(stream->ssl, SSL_MODE_RELEASE_BUFFERS);
	SSL_set_mode(stream->ssl, is_kept ? SSL_MODE_AUTO_RETRY : SSL_MODE_RELEASE_BUFFERS);
	if (!is_kept)
		SSL_free_buffers(stream->ssl); /* refuses while they hold something */
}

/* shutdown() and not close(): closing with unread bytes makes the kernel send a reset, which can overtake our last
 * words at the peer. */
void tls_stream_finish(struct tls_stream *stream)
{
	if (stream->is_failed || stream->is_closing)
		return;
	ERR_clear_error();
	if (stream->ssl && stream->is_open)
		SSL_shutdown(stream->ssl);
	if (tls_stream_flush(stream) == 0)
		shutdown(stream->fd, SHUT_WR);
	ERR_clear_error();
}

/* The last close callback: nothing points into the stream any more, so that on_closed may free it. */
static void stream_on_handle_closed(uv_handle_t *handle)
{
	struct tls_stream *stream = handle->data;

	SSL_free(stream->ssl);
	stream->ssl = NULL;
	kept_done(stream);
	if (stream->fd >= 0) {
		/* close() alone says nothing while another process holds a duplicate. */
		shutdown(stream->fd, SHUT_RDWR);
		close(stream->fd);
	}
	stream->fd = -1;
	buffer_give(stream->buffers, stream->out);
	stream->out = NULL;
	stream->handlers->on_closed(stream->owner);
}

void tls_stream_close(struct tls_stream *stream)
{
	if (stream->is_closing)
		return;
	if (stream->ssl && stream->is_open && !stream->is_failed) {
		ERR_clear_error();
		SSL_shutdown(stream->ssl);
	}
	if (!stream->is_failed)
		tls_stream_flush(stream);
	ERR_clear_error();
	stream->is_closing = true;
	uv_close((uv_handle_t *)&stream->poll, stream_on_handle_closed);
}

int tls_stream_let_go(struct tls_stream *stream, struct tls_kept *ret_kept)
{
	int fd = stream->fd;

	*ret_kept = stream->kept;
	stream->kept = (struct tls_kept){NULL, 0};
	stream->fd = -1;
	stream->is_closing = true;
	uv_close((uv_handle_t *)&stream->poll, stream_on_handle_closed); /* the loop forgets the socket at once */
	return fd;
}
