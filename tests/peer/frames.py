"""RFC 6455 frames by hand: right ones, and every kind of wrong one.

    0        1          2..3 (len 126) / 2..9 (len 127)     +4 if masked
    | 0x82 | M | len7 |  extended length, big endian      | masking key | payload …
"""

import os
import struct
from dataclasses import dataclass

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
ZERO = bytes(4)
RANDOM = 'random'


def xor(data, key):
    """data under the masking key."""
    if key == ZERO or not data:
        return bytes(data)
    pad = (key * (len(data) // 4 + 1))[:len(data)]
    return (int.from_bytes(data, 'big') ^ int.from_bytes(pad, 'big')).to_bytes(len(data), 'big')


def frame(payload=b'', opcode=BINARY, mask=ZERO, fin=True, rsv=0, width=None, length=None):
    """One frame. mask: 4 bytes, RANDOM, or None for none. width: 7, 16 or 64 bits of length, whether that is the
    shortest or not. length: what the header claims, where that is not the truth."""
    size = len(payload) if length is None else length
    width = width or (7 if size < 126 else 16 if size < 65536 else 64)
    key = os.urandom(4) if mask is RANDOM else mask
    flag = 0x80 if key is not None else 0
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    head += {7: lambda: bytes([flag | size]), 16: lambda: struct.pack('!BH', flag | 126, size),
             64: lambda: struct.pack('!BQ', flag | 127, size)}[width]()
    return head + (key + xor(payload, key) if key is not None else payload)


def close(code=1000, reason=b'', mask=ZERO):
    return frame(struct.pack('!H', code) + reason, CLOSE, mask)


def fragments(payload, cuts, mask=ZERO, opcode=BINARY):
    """The frames of one message, cut after each of the offsets."""
    edges = [0, *cuts, len(payload)]
    parts = [payload[start:end] for start, end in zip(edges, edges[1:])]
    last = len(parts) - 1
    return [frame(part, CONTINUATION if n else opcode, mask, fin=n == last) for n, part in enumerate(parts)]


@dataclass
class Frame:
    opcode: int
    payload: bytes
    fin: bool
    rsv: int
    mask: bytes | None
    header: bytes


def parse(buffer):
    """Take one frame off the front of a bytearray; None where it is not all there."""
    if len(buffer) < 2:
        return None
    offset, size = 2, buffer[1] & 0x7f
    if size >= 126:
        width = 2 if size == 126 else 8
        offset += width
        if len(buffer) < offset:
            return None
        size = int.from_bytes(buffer[2:offset], 'big')
    mask = None
    if buffer[1] & 0x80:
        mask = bytes(buffer[offset:offset + 4])
        offset += 4
    if len(buffer) < offset + size:
        return None
    payload = bytes(buffer[offset:offset + size])
    found = Frame(buffer[0] & 15, xor(payload, mask) if mask else payload, bool(buffer[0] & 0x80), buffer[0] >> 4 & 7,
                  mask, bytes(buffer[:offset]))
    del buffer[:offset + size]
    return found
