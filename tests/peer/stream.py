"""Byte streams, plain and TLS, with a hand on everything a well-behaved library hides.

TLS runs over memory buffers, so that the test decides how its bytes travel: in pieces, cut off, followed by garbage,
ended by close_notify, by a bare FIN or by a reset.
"""

import contextlib
import ctypes
import random
import socket
import ssl
import struct
import time

from . import claims

CHUNK = 65536


def local_address():
    """A loopback address of its own for each connection: no limit for one source bites by accident."""
    return f'127.{random.randint(1, 60)}.{random.randint(0, 255)}.{random.randint(1, 254)}'


def dial(address, timeout=10.0, source=None):
    """A TCP connection to (host, port), from a loopback address of its own where it is IPv4."""
    family = socket.AF_INET6 if ':' in address[0] else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.settimeout(claims.patience(timeout))
    if source or family == socket.AF_INET:
        sock.bind((source or local_address(), 0))
    sock.connect(address)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


class Stream:
    """A TCP connection. `piece`: bytes for each TCP segment; None: as they come."""

    def __init__(self, sock, piece=None):
        self.sock = sock
        self.piece = piece

    def send_raw(self, data):
        if not self.piece:
            self.sock.sendall(data)
            return
        for start in range(0, len(data), self.piece):
            self.sock.sendall(data[start:start + self.piece])
            time.sleep(0.0002)  # so that the other side's reads do not put the pieces together again

    def recv_raw(self):
        return self.sock.recv(CHUNK)

    def send(self, data):
        self.send_raw(data)

    def recv(self):
        """The bytes that have come; b'' at the end. Raises ConnectionResetError, TimeoutError."""
        return self.recv_raw()

    def timeout(self, seconds):
        self.sock.settimeout(seconds)

    def finish(self):
        """End our direction with a bare FIN; the other side may have ended all of it already."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def ends(self, timeout=10.0):
        """Read on until the other side ends: 'end' or 'reset'; raises TimeoutError where it does not."""
        deadline = time.monotonic() + claims.patience(timeout)
        try:
            while True:
                self.timeout(max(0.01, deadline - time.monotonic()))
                if not self.recv():
                    return 'end'
        except TimeoutError:
            raise
        except (ConnectionResetError, BrokenPipeError, ssl.SSLError):
            return 'reset'


class TlsStream(Stream):
    """TLS on top. The handshake is a step of its own, so that it can be left half done."""

    def __init__(self, sock, context, server_side=False, name=None, piece=None, session=None):
        super().__init__(sock, piece)
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=server_side, server_hostname=name,
                                    session=session)
        self.notified = False  # the other side said close_notify

    def _flush(self):
        data = self.outgoing.read()
        if data:
            self.send_raw(data)

    def _fill(self):
        data = self.recv_raw()
        if not data:
            self.incoming.write_eof()
        self.incoming.write(data)
        return data

    def hello(self):
        """The bytes of our ClientHello, not sent."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        return self.outgoing.read()

    def handshake(self):
        while True:
            try:
                self.tls.do_handshake()
                self._flush()
                return self
            except ssl.SSLWantReadError:
                self._flush()
                if not self._fill():
                    raise ConnectionResetError('the other side ended the connection within the TLS handshake')
            except ssl.SSLError:
                try:
                    self._flush()  # the alert
                except OSError:
                    pass
                raise

    def seal(self, data):
        """The records that carry data, not sent."""
        self.tls.write(data)
        return self.outgoing.read()

    def send(self, data):
        for start in range(0, len(data), 16384):
            self.tls.write(data[start:start + 16384])
        self._flush()

    def recv(self):
        while True:
            try:
                data = self.tls.read(CHUNK)
                if not data:
                    self.notified = True
                return data
            except ssl.SSLWantReadError:
                self._flush()
                if not self._fill():
                    return b''
            except ssl.SSLZeroReturnError:
                self.notified = True
                return b''
            except ssl.SSLEOFError:
                return b''

    def notify(self):
        """Say close_notify, without waiting for the other side's."""
        try:
            self.tls.unwrap()
        except ssl.SSLError:
            pass
        self._flush()

    def binding(self):
        """RFC 9266's channel binding of this session: 32 bytes. Python's ssl has no exporter, OpenSSL has."""
        return export(self.tls, b'EXPORTER-Channel-Binding', 32)


_libssl = None


def export(tls, label, length):
    """SSL_export_keying_material() on a Python TLS object, whose `SSL *` is its second pointer."""
    global _libssl
    if _libssl is None:
        _libssl = ctypes.CDLL('libssl.so.3')
        _libssl.SSL_get_version.restype = ctypes.c_char_p
        _libssl.SSL_get_version.argtypes = [ctypes.c_void_p]
        _libssl.SSL_export_keying_material.argtypes = [
            ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p,
            ctypes.c_size_t, ctypes.c_int]
    handle = ctypes.c_void_p.from_address(id(tls._sslobj) + object.__basicsize__ + ctypes.sizeof(ctypes.c_void_p))
    assert _libssl.SSL_get_version(handle).decode() == tls.version(), 'another layout of Python\'s TLS object'
    out = ctypes.create_string_buffer(length)
    done = _libssl.SSL_export_keying_material(handle, out, length, label, len(label), b'', 0, 1)
    assert done == 1, 'no keying material'
    return out.raw
