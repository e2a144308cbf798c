"""A small name server for our client: answers A and AAAA, late, cut short, falsely or not at all. Port 53, UDP and TCP.

    with dns.Server({'hub.example.org': ['127.0.0.1']}) as server: …; assert server.asked == {'hub.example.org'}
"""

import ipaddress
import select
import socket
import struct
import threading
import time

from . import stream


def _name(data, at):
    labels = []
    while data[at]:
        labels.append(data[at + 1:at + 1 + data[at]].decode())
        at += 1 + data[at]
    return '.'.join(labels).lower(), at + 1


class Server:
    """names: what each name stands for; one that is not there does not exist."""

    def __init__(self, names, host=None, delay=0.0, is_silent=False, is_cut=False):
        self.names = names
        self.host = host or stream.local_address()
        self.delay = delay
        self.is_silent = is_silent
        self.is_cut = is_cut  # UDP answers are truncated: ask again by TCP
        self.asked = set()
        self.count = 0
        self.tcp_count = 0
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind((self.host, 53))
        self.tcp = socket.create_server((self.host, 53))
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _answer(self, question, is_cut=False):
        name, end = _name(question, 12)
        kind, = struct.unpack('>H', question[end:end + 2])
        self.asked.add(name)
        self.count += 1
        known = self.names.get(name)
        version = {1: 4, 28: 6}.get(kind)
        records = b''
        number = 0
        for text in known or []:
            address = ipaddress.ip_address(text)
            if address.version == version and not is_cut:
                records += b'\xc0\x0c' + struct.pack('>HHIH', kind, 1, 0, len(address.packed)) + address.packed
                number += 1
        flags = 0x8180 | (0x0200 if is_cut else 0) | (0 if known is not None else 3)
        return question[:2] + struct.pack('>HHHHH', flags, 1, number, 0, 0) + question[12:end + 4] + records

    def _serve_tcp(self):
        sock, _ = self.tcp.accept()
        with sock:
            sock.settimeout(5)
            try:
                while (head := sock.recv(2)):
                    question = sock.recv(struct.unpack('>H', head)[0])
                    answer = self._answer(question)
                    self.tcp_count += 1
                    sock.sendall(struct.pack('>H', len(answer)) + answer)
            except OSError:
                pass

    def _serve_udp(self):
        question, source = self.udp.recvfrom(4096)
        answer = self._answer(question, self.is_cut)
        if self.is_silent:
            return
        time.sleep(self.delay if self.count % 2 else 0)  # the two questions of one look-up arrive together
        self.udp.sendto(answer, source)

    def _serve(self):
        while not self.stopped.is_set():
            for ready in select.select([self.udp, self.tcp], [], [], 0.1)[0]:
                if ready is self.udp:
                    self._serve_udp()
                else:
                    self._serve_tcp()

    def close(self):
        self.stopped.set()
        self.thread.join(10)
        self.udp.close()
        self.tcp.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
