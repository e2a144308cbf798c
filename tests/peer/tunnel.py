"""Clients of a hub: a raw one that can do everything wrong, and one whose framing is the `websockets` library's.

    with tunnel.open_ours(hub) as carrier:
        carrier.datagram(b'…')
        assert carrier.next_datagram() == b'…'
"""

import os
import time

from websockets.client import ClientConnection
from websockets.datastructures import Headers
from websockets.frames import Opcode
from websockets.http11 import Request
from websockets.uri import parse_uri

from . import certs, frames, http, programs, stream, tokens
from .claims import patience


def connect(hub, tls=True, port=None, context=None, piece=None, host='127.0.0.1', session=None):
    """A connection to the hub, TLS shaken hands, nothing sent yet."""
    sock = stream.dial((host, port or hub.port))
    if not tls:
        return stream.Stream(sock, piece)
    return stream.TlsStream(sock, context or certs.client_context(), piece=piece, session=session).handshake()


def our_token(hub, link, token=None, binding=True, claims=None, **changes):
    """A JWT of our client for this TLS session. claims: changes to them; value None leaves one out."""
    token = token or programs.TOKEN
    bound = link.binding() if binding and isinstance(link, stream.TlsStream) else None
    wanted = tokens.our_claims(hub.target.port, token, bound, **changes)
    wanted.update(claims or {})
    return tokens.sign({key: value for key, value in wanted.items() if value is not None}, token)


class Carrier:
    """A WebSocket on a stream, from either end. mask: for frames sent."""

    def __init__(self, link, buffer=b'', mask=frames.ZERO):
        self.link = link
        self.buffer = bytearray(buffer)
        self.mask = mask
        self.head = None

    def send(self, *raw):
        """Bytes as they are, all in as few records as hold them."""
        self.link.send(b''.join(raw))

    def datagram(self, payload):
        self.send(frames.frame(payload, mask=self.mask))

    def next(self, timeout=10.0):
        """The next frame; None at the end of the stream."""
        deadline = time.monotonic() + patience(timeout)
        while True:
            frame = frames.parse(self.buffer)
            if frame:
                return frame
            self.link.timeout(max(0.01, deadline - time.monotonic()))
            data = self.link.recv()
            if not data:
                return None
            self.buffer += data

    def next_datagram(self, timeout=10.0):
        """The payload of the next data frame, answering pings on the way."""
        deadline = time.monotonic() + patience(timeout)
        while True:
            frame = self.next(max(0.01, deadline - time.monotonic()))
            assert frame, 'the stream ended'
            if frame.opcode == frames.PING:
                self.send(frames.frame(frame.payload, frames.PONG, self.mask))
            elif frame.opcode == frames.BINARY:
                return frame.payload
            else:
                assert frame.opcode == frames.PONG, frame

    def next_control(self, opcode, timeout=10.0):
        """The next frame of that kind, passing over others; None at the end."""
        deadline = time.monotonic() + patience(timeout)
        while True:
            frame = self.next(max(0.01, deadline - time.monotonic()))
            if frame is None or frame.opcode == opcode:
                return frame

    def close_code(self, timeout=10.0):
        """The code of the close frame that comes; None where the stream ends without one."""
        frame = self.next_control(frames.CLOSE, timeout)
        return frame and int.from_bytes(frame.payload[:2], 'big')

    def echo(self, payload=None, timeout=10.0):
        """The tunnel carries a datagram there and back."""
        payload = payload or os.urandom(64)
        self.datagram(payload)
        deadline = time.monotonic() + patience(timeout)
        while self.next_datagram(max(0.01, deadline - time.monotonic())) != payload:
            pass

    def close(self):
        self.link.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def ask(link, request):
    """Send a request, read the answer's head. Return: (head, what follows)."""
    link.send(request)
    buffer = bytearray()
    return http.read_head(link, buffer), buffer


def open_with(link, request, mask=frames.ZERO):
    """The carrier that this request opens."""
    head, rest = ask(link, request)
    assert head and head.status == 101, head and head.raw
    carrier = Carrier(link, rest, mask)
    carrier.head = head
    return carrier


def open_ours(hub, mask=frames.ZERO, tls=True, port=None, piece=None, **options):
    """As our client comes in. options: see our_token()."""
    link = connect(hub, tls, port, piece=piece)
    return open_with(link, http.upgrade(our_token(hub, link, **options)), mask)


def stock_token(hub, **options):
    return tokens.sign(tokens.stock_claims(hub.target.port, **options), 'stock')


def open_stock(hub, mask=frames.ZERO, tls=True, port=None, piece=None, path=programs.STOCK_PATH):
    """As a stock client comes in."""
    return open_with(connect(hub, tls, port, piece=piece), http.upgrade(stock_token(hub), path), mask)


class LibraryClient:
    """The `websockets` library's framing and handshake on a stream of ours: strict, random masks, fragments."""

    def __init__(self, hub, tls=True):
        self.link = connect(hub, tls)
        uri = parse_uri(f'wss://127.0.0.1:{hub.port}/v1/events')
        jwt = our_token(hub, self.link)
        self.peer = ClientConnection(uri, subprotocols=['v1', tokens.PROTOCOL + jwt], max_size=1 << 20)
        request = self.peer.connect()
        assert isinstance(request, Request) and isinstance(request.headers, Headers)
        self.peer.send_request(request)
        self.queue = []
        self.flush()
        self.answer = self.next(10)
        assert self.answer.status_code == 101, self.answer
        assert self.peer.handshake_exc is None, self.peer.handshake_exc

    def flush(self):
        for data in self.peer.data_to_send():
            if data:
                self.link.send(data)

    def next(self, timeout=10.0):
        """The next event: the answer, then frames."""
        deadline = time.monotonic() + patience(timeout)
        while not self.queue:
            self.link.timeout(max(0.01, deadline - time.monotonic()))
            data = self.link.recv()
            if data:
                self.peer.receive_data(data)
            else:
                self.peer.receive_eof()
            self.flush()
            self.queue += self.peer.events_received()
            if not data and not self.queue:
                return None
        return self.queue.pop(0)

    def datagram(self, payload, cuts=()):
        edges = [0, *cuts, len(payload)]
        for n, (start, end) in enumerate(zip(edges, edges[1:])):
            send = self.peer.send_continuation if n else self.peer.send_binary
            send(payload[start:end], fin=end == len(payload) and n == len(cuts))
        self.flush()

    def next_datagram(self, timeout=10.0):
        while True:
            frame = self.next(timeout)
            assert frame is not None, 'the stream ended'
            if frame.opcode is Opcode.BINARY:
                assert frame.fin and not (frame.rsv1 or frame.rsv2 or frame.rsv3)
                return bytes(frame.data)

    def close(self):
        self.link.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
