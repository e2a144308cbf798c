#!/usr/bin/python3
"""Our client in front of a server that misbehaves in one way after another. A failure names its seed; TORTURE_SEED
repeats it."""

import os
import random
import ssl
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from peer import claims, frames, http, programs, servers, stream  # noqa: E402

ROUNDS = 25


class Torture:
    """One connection after another, each met with some fault."""

    def __init__(self, at, ours, chance):
        self.at = at
        self.ours = ours
        self.chance = chance
        self.locals = [ours.local() for _ in range(3)]

    def talk(self):
        """The local applications send, and one of them may vanish."""
        for local in self.locals:
            for _ in range(self.chance.randrange(30)):
                local.send(bytes(self.chance.choice((0, 1, 120, 1452, 65507))))
        if self.chance.random() < 0.2:
            self.locals.pop(0).close()
            self.locals.append(self.ours.local())

    def reset_early(self):
        servers.reset(self.at.accept())

    def garble_tls(self):
        sock = self.at.accept()
        sock.recv(100)
        sock.sendall(os.urandom(self.chance.randrange(1, 600)))
        sock.close()

    def cut_handshake(self):
        link = stream.TlsStream(self.at.accept(), self.at.context, server_side=True)
        link.incoming.write(link.recv_raw())
        flight = link.hello()
        link.send_raw(flight[:self.chance.randrange(len(flight))])
        link.close()

    def answer_oddly(self):
        link, head, _ = self.at.request()
        answer = bytearray(http.switching(head.get('sec-websocket-key')))
        for _ in range(self.chance.randrange(4)):
            answer[self.chance.randrange(len(answer))] = self.chance.choice(b'\0\r\n :,;\xffAz09')
        link.send(bytes(answer) + self.chance.choice((b'', os.urandom(300), frames.frame(b'x', mask=None) * 50)))
        link.timeout(0.2)
        link.ends(0.2)
        link.close()

    def tunnel_oddly(self):
        with self.at.carrier() as carrier:
            for _ in range(self.chance.randrange(1, 15)):
                carrier.send(self.chance.choice((
                    frames.frame(os.urandom(self.chance.choice((0, 1, 1452, 65507))), mask=None),
                    frames.frame(b'p', frames.PING, None) * 30, b''.join(frames.fragments(bytes(500), (1, 2), None)),
                    frames.frame(b'f', fin=False, mask=None), frames.frame(b'o', frames.PONG, None))))
            carrier.link.timeout(0.2)
            carrier.next(0.2)
            carrier.send(self.chance.choice((frames.close(mask=None), os.urandom(50), frames.frame(b'', rsv=3, mask=None))))
            self.chance.choice((carrier.link.reset, carrier.link.finish, carrier.link.notify, lambda: None))()

    def ask_status(self):
        self.ours.status()

    def step(self):
        self.talk()
        try:
            self.chance.choice((self.reset_early, self.garble_tls, self.cut_handshake, self.answer_oddly, self.answer_oddly,
                                self.tunnel_oddly, self.tunnel_oddly, self.tunnel_oddly, self.ask_status))()
        except (OSError, ssl.SSLError):
            pass


def test_random_faults():
    """A server does anything in any order: the client lives on and uses the first good connection."""
    seed = int(os.environ.get('TORTURE_SEED') or int.from_bytes(os.urandom(3), 'big'))
    print('# seed', seed)
    with servers.Server(programs.certificate()) as at:
        with programs.Client(at.url, ca=programs.certificate('ca')) as ours:
            worker = ours.worker
            every = Torture(at, ours, random.Random(seed))
            for _ in range(ROUNDS):
                every.step()
                assert ours.worker == worker, f'the worker died (TORTURE_SEED={seed})'
            for local in every.locals:
                local.close()


def test_descriptors_settle():
    """Ten reconnects later the worker holds as many descriptors as after the first connection."""
    with servers.Server(programs.certificate()) as at:
        with programs.Client(at.url, ca=programs.certificate('ca')) as ours, ours.local() as local:
            counts = []
            for _ in range(10):
                local.send(b'go')
                carrier = at.carrier()
                carrier.datagram(b'down')
                local.expect(b'down')
                counts.append(ours.descriptors())
                carrier.link.reset()
            assert counts[-1] <= counts[0], counts


if __name__ == '__main__':
    claims.main(globals())
