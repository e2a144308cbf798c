#!/usr/bin/python3
"""Pings a host at an even pace, and says how long each answer took.

Happy path: ping.py HOST INTERVAL SECONDS [BYTES] prints a line for each answer: at what second it came, and how many
milliseconds it took; and at the end "lost N". Unlike ping(8) it never spins: in a test kernel with a clock of its own,
time stands still while a program runs.
"""

import os
import select
import socket
import struct
import sys
import time

ECHO_REQUEST, ECHO_REPLY = 8, 0  # RFC 792
SHORTEST_WAIT_S = 0.0005


def checksum(data: bytes) -> int:
    """RFC 1071, of an even number of bytes."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def request(ident: int, sequence: int, size: int) -> bytes:
    unsummed = struct.pack("!BBHHH", ECHO_REQUEST, 0, 0, ident, sequence) + bytes(size)
    return unsummed[:2] + struct.pack("!H", checksum(unsummed)) + unsummed[4:]


def sequence_of_reply(packet: bytes, ident: int):
    """None for what answers nobody here."""
    head = (packet[0] & 15) * 4
    kind, _, _, to, sequence = struct.unpack("!BBHHH", packet[head : head + 8])
    return sequence if kind == ECHO_REPLY and to == ident else None


def main(host: str, interval: float, seconds: float, size: int = 56) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    sock.setblocking(False)
    ident, sequence, waiting = os.getpid() & 0xFFFF, 0, {}
    following = time.monotonic()
    start, end = following, following + seconds
    while (now := time.monotonic()) < end:
        if now >= following:
            sequence = (sequence + 1) & 0xFFFF
            waiting[sequence] = now
            following += interval
            sock.sendto(request(ident, sequence, size), (host, 0))
            continue
        if not select.select([sock], [], [], max(SHORTEST_WAIT_S, min(following, end) - now))[0]:
            continue
        sent = waiting.pop(sequence_of_reply(sock.recv(65535), ident), None)
        if sent:
            now = time.monotonic()
            print(f"{now - start:.3f} {(now - sent) * 1000:.3f}")
    print("lost", len(waiting))


if __name__ == "__main__":
    main(sys.argv[1], *map(float, sys.argv[2:4]), *map(int, sys.argv[4:5]))
