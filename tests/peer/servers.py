"""Servers for our client: a stock-like one that can do everything wrong, a strict one made of the `websockets`
library, and an HTTP proxy. All work step by step in the test's own thread: accept, shake hands, answer.

    with servers.Server(certificate) as server, programs.Client(server.url, pin=certificate.pin) as client:
        local = client.local(); local.send(b'…')
        carrier = server.carrier()
        assert carrier.next_datagram() == b'…'
"""

import base64
import select
import socket
import threading
import time

from websockets.http11 import Request
from websockets.server import ServerConnection

from . import certs, claims, http, programs, stream
from .tunnel import Carrier


class Server:
    """Listens on loopback. certificate: None for ws://."""

    def __init__(self, certificate=None, host='127.0.0.1', port=0, name=None, backlog=64):
        self.context = certs.server_context(certificate) if certificate else None
        family = socket.AF_INET6 if ':' in host else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind((host, port or programs.free_port(host=host)))
        self.sock.listen(backlog)
        self.port = self.sock.getsockname()[1]
        shown = name or (f'[{host}]' if ':' in host else host)
        self.url = f'{"wss" if certificate else "ws"}://{shown}:{self.port}'

    def accept(self, timeout=15.0):
        """The next connection, nothing said yet."""
        self.sock.settimeout(claims.patience(timeout))
        try:
            sock, self.peer = self.sock.accept()
        except TimeoutError:
            raise AssertionError(f'nobody connected within {timeout} s') from None
        sock.settimeout(claims.patience(10))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def is_quiet(self, seconds):
        """True if no connection comes for so long."""
        return not select.select([self.sock], [], [], seconds)[0]

    def link(self, timeout=15.0):
        """The next connection, TLS shaken hands."""
        sock = self.accept(timeout)
        if not self.context:
            return stream.Stream(sock)
        return stream.TlsStream(sock, self.context, server_side=True).handshake()

    def request(self, timeout=15.0):
        """The next connection and the upgrade request on it: (link, head, what followed)."""
        link = self.link(timeout)
        buffer = bytearray()
        head = http.read_head(link, buffer)
        assert head, 'the client ended instead of asking'
        return link, head, buffer

    def carrier(self, timeout=15.0, then=b''):
        """The next connection, answered with 101 and, in the same record, then. A traced client may be too slow for its
        own limits, and tries again."""
        for left in (2, 1, 0) if claims.is_traced() else (0,):
            try:
                link, head, rest = self.request(timeout)
                link.send(http.switching(head.get('sec-websocket-key')) + then)
                break
            except (AssertionError, OSError):
                if not left:
                    raise
        carrier = Carrier(link, rest, mask=None)
        carrier.head = head
        return carrier

    def count(self, seconds, meet=lambda sock: sock.close()):
        """How many connections come in so many seconds, where each is met by meet(socket)."""
        deadline, number = time.monotonic() + seconds, 0
        while (left := deadline - time.monotonic()) > 0:
            if self.is_quiet(left):
                break
            meet(self.accept())
            number += 1
        return number

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def reset(sock):
    stream.Stream(sock).reset()


class LibraryServer:
    """The `websockets` library's handshake and framing on a connection of a Server: refuses what RFC 6455 refuses."""

    def __init__(self, link):
        self.link = link
        self.peer = ServerConnection(subprotocols=['v1'], max_size=1 << 20)
        self.queue = []
        self.request = self.next()
        assert isinstance(self.request, Request), self.request
        self.answer = self.peer.accept(self.request)
        assert self.answer.status_code == 101, self.answer.body
        self.peer.send_response(self.answer)
        self.flush()

    def flush(self):
        for data in self.peer.data_to_send():
            if data:
                self.link.send(data)

    def next(self, timeout=10.0):
        """The next event: the request, then frames. None at the end."""
        while not self.queue:
            self.link.timeout(timeout)
            data = self.link.recv()
            if not data:
                return None
            self.peer.receive_data(data)
            self.queue += self.peer.events_received()
            if self.peer.parser_exc:
                raise self.peer.parser_exc
            if self.peer.close_expected():
                self.flush()
        return self.queue.pop(0)

    def datagram(self, payload):
        self.peer.send_binary(payload)
        self.flush()

    def close(self):
        self.link.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Proxy:
    """An HTTP proxy that knows CONNECT only. login: 'user:password' it insists on. It keeps the heads it was sent."""

    def __init__(self, login=None, answer=None):
        self.login = login
        self.answer = answer  # bytes said instead of a tunnel
        self.heads = []
        self.sock = socket.create_server(('127.0.0.1', programs.free_port()))
        self.port = self.sock.getsockname()[1]
        self.stopped = threading.Event()
        self.threads = [threading.Thread(target=self._serve, daemon=True)]
        self.threads[0].start()

    def _serve(self):
        while not self.stopped.is_set():
            if not select.select([self.sock], [], [], 0.1)[0]:
                continue
            sock = self.sock.accept()[0]
            self.threads.append(threading.Thread(target=self._relay, args=(sock,), daemon=True))
            self.threads[-1].start()

    def _refusal(self, head):
        if self.answer is not None:
            return self.answer
        wanted = self.login and 'Basic ' + base64.b64encode(self.login.encode()).decode()
        if wanted and head.get('proxy-authorization') != wanted:
            return (b'HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm="p"\r\n'
                    b'Content-Length: 0\r\n\r\n')
        return None

    def _relay(self, sock):
        with sock:
            sock.settimeout(10)
            try:
                head = http.read_head(stream.Stream(sock), bytearray())
                self.heads.append(head)
                refusal = self._refusal(head)
                if refusal is not None:
                    sock.sendall(refusal)
                    return
                host, _, port = head.line.split()[1].rpartition(':')
                host = '127.0.0.1' if host == 'hub.test' else host.strip('[]')
                with socket.create_connection((host, int(port))) as far:
                    sock.sendall(b'HTTP/1.1 200 Connection established\r\n\r\n')
                    self._pump(sock, far)
            except (OSError, AttributeError, ValueError):
                pass

    def _pump(self, near, far):
        while not self.stopped.is_set():
            for ready in select.select([near, far], [], [], 0.1)[0]:
                data = ready.recv(65536)
                if not data:
                    return
                (far if ready is near else near).sendall(data)

    def close(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join(5)
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
