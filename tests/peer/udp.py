"""The UDP ends: a target behind the server, a WireGuard-like socket in front of the client."""

import os
import queue
import socket
import threading
import time

from .claims import patience

BUFFER = 4 << 20


def _open(address):
    sock = socket.socket(socket.AF_INET6 if ':' in address[0] else socket.AF_INET, socket.SOCK_DGRAM)
    for option in (33, 32):  # SO_RCVBUFFORCE, SO_SNDBUFFORCE: so that the test itself drops nothing
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        except PermissionError:
            pass
    sock.bind(address)
    return sock


class Target:
    """A UDP service on loopback that records every datagram and, with echo, sends it back."""

    def __init__(self, echo=True, host='127.0.0.1', port=0):
        self.echo = echo
        self.host = host
        self.got = queue.Queue()
        self.sock = None
        self.open(port)

    def open(self, port=None):
        """Start, or start again on the same port after close()."""
        self.sock = _open((self.host, port or getattr(self, 'port', 0)))
        self.port = self.sock.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, args=(self.sock,), daemon=True)
        self.thread.start()

    def _serve(self, sock):
        while True:
            try:
                data, source = sock.recvfrom(65536)
            except ConnectionRefusedError:
                continue
            except OSError:
                return
            if sock.fileno() < 0 or data == b'stop' and source == sock.getsockname():
                return
            if self.echo:
                try:
                    sock.sendto(data, source)
                except OSError:
                    pass
            self.got.put((data, source))  # a test that sees it may send at once: the echo has left by then

    def next(self, timeout=10.0):
        """The next datagram that came: (data, source)."""
        try:
            return self.got.get(timeout=patience(timeout))
        except queue.Empty:
            raise AssertionError(f'no datagram reached the target within {timeout} s') from None

    def expect(self, data, timeout=10.0):
        """Wait for this datagram, passing over others. Return: its source."""
        deadline = time.monotonic() + patience(timeout)
        while True:
            got, source = self.next(max(0.01, deadline - time.monotonic()))
            if got == data:
                return source

    def is_quiet(self, seconds=0.3):
        try:
            got = self.got.get(timeout=seconds)
        except queue.Empty:
            return True
        raise AssertionError(f'{len(got[0])} bytes reached the target: {got[0][:80]!r}')

    def overflow(self):
        """How many datagrams the kernel dropped because the target did not read them fast enough."""
        for table in ('/proc/net/udp', '/proc/net/udp6'):
            with open(table) as file:
                for line in file.readlines()[1:]:
                    fields = line.split()
                    if fields[1].endswith(f':{self.port:04X}') and int(fields[9]) == os.fstat(self.sock.fileno()).st_ino:
                        return int(fields[12])
        raise AssertionError('the target is in no table')

    def drain(self):
        while not self.got.empty():
            self.got.get()

    def send(self, data, source):
        self.sock.sendto(data, source)

    def close(self):
        """The port is closed from now on: the kernel answers with ICMP."""
        if self.sock is None:
            return
        try:
            self.sock.sendto(b'stop', self.sock.getsockname())
        except OSError:
            pass
        self.thread.join(5)
        self.sock.close()
        self.sock = None


class Local:
    """A local application in front of our client, as WireGuard is: sends and gets datagrams."""

    def __init__(self, port, host='127.0.0.1', source_port=0):
        self.sock = _open((host, source_port))
        self.sock.connect((host, port))
        self.sock.settimeout(patience(10))
        self.port = self.sock.getsockname()[1]

    def send(self, data):
        try:
            self.sock.send(data)
        except ConnectionRefusedError:
            self.sock.send(data)  # the error was of an earlier one

    def recv(self, timeout=10.0):
        deadline = time.monotonic() + patience(timeout)
        while True:
            self.sock.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                return self.sock.recv(65536)
            except ConnectionRefusedError:
                continue
            except TimeoutError:
                raise AssertionError(f'no datagram came back within {timeout} s') from None

    def expect(self, data, timeout=10.0):
        """Wait for this datagram, passing over others."""
        deadline = time.monotonic() + patience(timeout)
        while self.recv(max(0.01, deadline - time.monotonic())) != data:
            pass

    def ping(self, timeout=20.0, pause=0.3, size=100):
        """Send until an echo of one of ours comes back: the tunnel is up. Return: seconds it took."""
        started = time.monotonic()
        sent = set()
        while time.monotonic() < started + patience(timeout):
            data = os.urandom(size)
            sent.add(data)
            self.send(data)
            self.sock.settimeout(pause)
            try:
                while self.sock.recv(65536) not in sent:
                    pass
                return time.monotonic() - started
            except (TimeoutError, ConnectionRefusedError):
                continue
        raise AssertionError(f'no echo through the tunnel within {timeout} s')

    def drain(self):
        self.sock.settimeout(0.05)
        try:
            while True:
                self.sock.recv(65536)
        except (TimeoutError, ConnectionRefusedError):
            pass

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def initiation(mark=None):
    """A WireGuard handshake initiation: type 1, 148 bytes."""
    return b'\x01\0\0\0' + (mark or b'').ljust(16, b'.') + os.urandom(128)


def transport(size=128, mark=None):
    """A WireGuard transport message: type 4."""
    return b'\x04\0\0\0' + (mark or b'').ljust(12, b'.') + os.urandom(size - 16)
