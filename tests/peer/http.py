"""HTTP/1.1 heads, byte by byte: the requests of tunnel clients and visitors, and the answers."""

import base64
import hashlib
import os
from dataclasses import dataclass

from . import tokens

GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'


def new_key():
    return base64.b64encode(os.urandom(16)).decode()


def accept_of(key):
    return base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()


def upgrade(jwt, prefix='v1', host='127.0.0.1', key=None, protocols=None, extra=(), replace=None):
    """A stock client's request. replace: {name: new line, or None to leave it out}; extra: further lines."""
    lines = {
        'host': f'host: {host}',
        'upgrade': 'upgrade: websocket',
        'connection': 'connection: upgrade',
        'sec-websocket-key': f'sec-websocket-key: {key or new_key()}',
        'sec-websocket-version': 'sec-websocket-version: 13',
        'sec-websocket-protocol': 'sec-websocket-protocol: ' + (protocols or f'v1, {tokens.PROTOCOL}{jwt}'),
    }
    lines.update(replace or {})
    wanted = [f'GET /{prefix}/events HTTP/1.1', *[line for line in lines.values() if line is not None], *extra, '', '']
    return '\r\n'.join(wanted).encode()


def page_request(path='/', host='127.0.0.1', method='GET', extra=(), body=b''):
    return '\r\n'.join([f'{method} {path} HTTP/1.1', f'host: {host}', *extra, '', '']).encode() + body


def switching(key, extra=(), connection='upgrade', protocol='v1'):
    """A stock server's 101."""
    lines = ['HTTP/1.1 101 Switching Protocols', f'connection: {connection}', 'upgrade: websocket',
             f'sec-websocket-accept: {accept_of(key)}', f'sec-websocket-protocol: {protocol}',
             'date: Sat, 21 Nov 2026 12:00:00 GMT', *extra, '', '']
    return '\r\n'.join(lines).encode()


@dataclass
class Head:
    line: str
    fields: list  # (name as sent, value)
    raw: bytes

    @property
    def status(self):
        return int(self.line.split()[1])

    def all(self, name):
        return [value for known, value in self.fields if known.lower() == name]

    def get(self, name, default=None):
        return next(iter(self.all(name)), default)


def parse(buffer):
    """Take one head off the front of a bytearray; None where it is not all there."""
    end = buffer.find(b'\r\n\r\n')
    if end < 0:
        return None
    raw = bytes(buffer[:end + 4])
    del buffer[:end + 4]
    lines = raw.decode('latin-1').split('\r\n')[:-2]
    fields = [tuple(line.split(':', 1)) for line in lines[1:]]
    return Head(lines[0], [(name, value.strip()) for name, value in fields], raw)


def read_head(stream, buffer):
    """Read until a head is complete; what follows stays in the buffer. None: the other side ended before it."""
    while True:
        head = parse(buffer)
        if head:
            return head
        data = stream.recv()
        if not data:
            return None
        buffer += data


def read_answer(stream, buffer):
    """A head and its body, by length, in chunks, or to the end. Return: (head, body)."""
    head = read_head(stream, buffer)
    if head is None:
        return None, b''
    if head.get('content-length') is not None:
        return head, take(stream, buffer, int(head.get('content-length')))
    if (head.get('transfer-encoding') or '').lower() == 'chunked':
        return head, _take_chunks(stream, buffer)
    if head.status in (101, 204, 304):
        return head, b''
    while data := stream.recv():
        buffer += data
    return head, bytes(buffer)


def take(stream, buffer, size):
    while len(buffer) < size:
        data = stream.recv()
        if not data:
            raise AssertionError(f'the body ended after {len(buffer)} of {size} bytes')
        buffer += data
    body = bytes(buffer[:size])
    del buffer[:size]
    return body


def _take_chunks(stream, buffer):
    body = b''
    while True:
        while b'\r\n' not in buffer:
            buffer += stream.recv()
        line = bytes(buffer[:buffer.index(b'\r\n')])
        del buffer[:len(line) + 2]
        size = int(line.split(b';')[0], 16)
        body += take(stream, buffer, size)
        take(stream, buffer, 2)
        if size == 0:
            return body
