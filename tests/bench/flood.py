#!/usr/bin/python3
"""Datagrams that carry a number and the time at which they were sent.

    flood.py send SECONDS RATE BYTES ADDRESS…    RATE a second to each address, at an even pace
    flood.py receive FILE                        until SIGTERM; then FILE has a line for each: number, when it was
                                                 sent, when it came (seconds of the kernel's clock, the same for all)

It never spins: in a test kernel with a clock of its own, time stands still while a program runs.
"""

import contextlib
import signal
import socket
import struct
import sys
import time

PORT = 4999
STAMP = struct.Struct("!Id")


def send(seconds: float, rate: float, size: int, *addresses: str) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    start = time.monotonic()
    for number in range(int(seconds * rate)):
        time.sleep(max(0, start + number / rate - time.monotonic()))
        for address in addresses:
            with contextlib.suppress(OSError):  # a full queue of the device: WireGuard has no key yet
                sock.sendto(STAMP.pack(number, time.monotonic()).ljust(size, b"\0"), (address, PORT))


def receive(path: str) -> None:
    def on_end(*_) -> None:
        raise KeyboardInterrupt

    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    sock.bind(("", PORT))
    lines = []
    signal.signal(signal.SIGTERM, on_end)
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            number, sent = STAMP.unpack_from(sock.recv(65535))
            lines.append(f"{number} {sent:.3f} {time.monotonic():.3f}\n")
    with open(path, "w") as file:
        file.writelines(lines)


if __name__ == "__main__":
    if sys.argv[1] == "send":
        send(float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]), *sys.argv[5:])
    else:
        receive(sys.argv[2])
