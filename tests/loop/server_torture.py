#!/usr/bin/python3
"""The hub under a few hundred random acts of its peers and its target, in one order and another. A failure names its
seed; TORTURE_SEED repeats it."""

import os
import random
import ssl
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from peer import certs, claims, frames, http, programs, stream, tunnel  # noqa: E402

INSTANCES = [os.urandom(16).hex() for _ in range(4)]
STEPS = 400
OPEN_MAX = 12


class Torture:
    """The connections that are open, and the steps that are possible next."""

    def __init__(self, hub, chance):
        self.hub = hub
        self.chance = chance
        self.carriers = []
        self.links = []

    def open_ours(self):
        self.carriers.append(tunnel.open_ours(self.hub, instance=self.chance.choice(INSTANCES)))

    def open_stock(self):
        self.carriers.append(tunnel.open_stock(self.hub))

    def open_link(self):
        self.links.append(tunnel.connect(self.hub))

    def open_half(self):
        link = stream.TlsStream(stream.dial(self.hub.address), certs.client_context())
        hello = link.hello()
        link.send_raw(hello[:self.chance.randrange(len(hello))])
        self.links.append(link)

    def carrier(self):
        return self.chance.choice(self.carriers) if self.carriers else tunnel.open_stock(self.hub)

    def send_datagrams(self):
        sizes = [self.chance.choice((0, 1, 120, 1452, 1452, 9000, 65507)) for _ in range(self.chance.randrange(1, 30))]
        self.carrier().send(*[frames.frame(bytes(size), mask=self.chance.choice((None, frames.ZERO, frames.RANDOM)))
                              for size in sizes])

    def send_pings(self):
        self.carrier().send(*[frames.frame(os.urandom(8), frames.PING)] * self.chance.randrange(1, 100))

    def send_fragments(self):
        parts = frames.fragments(bytes(5000), (1, 2000, 2000), frames.RANDOM)
        self.carrier().send(*parts[:self.chance.randrange(1, 5)])

    def send_garbage(self):
        self.carrier().send(os.urandom(self.chance.randrange(1, 3000)))

    def send_close(self):
        self.carrier().send(frames.close(self.chance.choice((1000, 1001, 1002, 4000))))

    def flood_from_target(self):
        for data, source in list(self.hub.target.got.queue)[-3:]:
            for _ in range(self.chance.randrange(1, 200)):
                self.hub.target.send(data[:1452], source)

    def read_some(self):
        link = self.carrier().link
        link.timeout(0.02)
        while link.recv():
            pass

    def ask_for_page(self):
        if self.links:
            self.chance.choice(self.links).send(http.page_request('/', extra=['x: y'] * self.chance.randrange(60)))

    def ask_for_tunnel(self):
        if self.links:
            request = http.upgrade(tunnel.stock_token(self.hub), programs.STOCK_PATH)
            self.chance.choice(self.links).send(request[:self.chance.randrange(len(request) + 1)])

    def end(self):
        held = self.chance.choice([self.carriers, self.links])
        if held:
            one = held.pop(self.chance.randrange(len(held)))
            link = getattr(one, 'link', one)
            getattr(link, self.chance.choice(('reset', 'close')))()

    def finish(self):
        self.carrier().link.finish()

    def notify(self):
        self.carrier().link.notify()

    def ask_status(self):
        assert self.hub.status()['state'] == 'up'

    def toggle_target(self):
        if self.hub.target.sock:
            self.hub.target.close()
        else:
            self.hub.target.open()

    def step(self):
        acts = [self.open_ours, self.open_stock, self.open_link, self.open_half, self.send_datagrams, self.send_pings,
                self.send_fragments, self.send_garbage, self.send_close, self.read_some, self.ask_for_page,
                self.ask_for_tunnel, self.end, self.finish, self.notify, self.toggle_target, *[self.send_datagrams] * 6]
        if self.hub.target.sock:
            acts.append(self.flood_from_target)
        if self.chance.random() < 0.02:
            acts = [self.ask_status]
        try:
            self.chance.choice(acts)()
        except (OSError, ssl.SSLError):
            pass  # the other side had ended, or does not read
        except AssertionError:
            if self.hub.process.poll() is not None or self.hub.worker is None:
                raise
        while len(self.carriers) + len(self.links) > OPEN_MAX:
            self.end()

    def close(self):
        for one in self.carriers + self.links:
            one.close()


def torture(seed):
    hub = programs.shared_hub()
    every = Torture(hub, random.Random(seed))
    for _ in range(STEPS):
        every.step()
    every.close()
    if not hub.target.sock:
        hub.target.open()

    def serves():
        try:
            with tunnel.open_ours(hub) as carrier:
                carrier.echo(timeout=2)
            return True
        except (OSError, AssertionError):
            return False
    claims.wait_for(serves, f'the hub serves (TORTURE_SEED={seed})', 20, 0.2)
    programs.shared_hub()


def test_random_acts():
    """Peers and target do anything in any order: the hub lives on and serves the next client."""
    given = os.environ.get('TORTURE_SEED')
    for seed in [int(given)] if given else [1, int.from_bytes(os.urandom(3), 'big')]:
        print('# seed', seed)
        torture(seed)


if __name__ == '__main__':
    claims.main(globals())
