#!/usr/bin/python3
"""Our client and our hub together: a datagram that goes in at one end comes out at the other, or is counted."""

import os
import sys
import zlib

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from peer import claims, programs, udp  # noqa: E402

COUNT = 6000


class Pair:
    """A target, a hub, a client, a local application; the tunnel is up and nothing has been sent. The client's file has
    no Target, and the hub's has a port of its own."""

    def __init__(self, echo=False, extra=()):
        self.target = udp.Target(echo)
        self.hub = programs.Hub(self.target, certificate=programs.certificate())
        self.client = programs.Client(self.hub.url, ca=programs.certificate('ca'), extra=extra)
        self.local = self.client.local()

    def __enter__(self):
        self.client.__enter__()
        claims.wait_for(lambda: self.client.status()['state'] == 'up', 'up')
        return self

    def __exit__(self, *error):
        self.local.close()
        try:
            self.client.__exit__(*error)
            self.hub.close()
        finally:
            self.target.close()

    def settled(self):
        """Both ends' status once no counter moves any more: (client's, hub's)."""
        def counters():
            return [(end['datagrams'], end['dropped'], end['queue']['depth']) for end in (self.client.status(), self.hub.status())]

        def is_quiet():
            before = counters()
            programs.pause(0.5)
            return before == counters() and all(depth == 0 for _, _, depth in before)
        claims.wait_for(is_quiet, 'counters that stand still', 30)
        return self.client.status(), self.hub.status()


def dropped(status):
    return sum(status['dropped'].values())


def nothing_vanishes_upwards(size):
    with Pair() as pair:
        for _ in range(COUNT):
            pair.local.send(bytes(size))
        client, hub = pair.settled()
        assert client['datagrams']['sent'] + dropped(client) == COUNT, client
        assert hub['datagrams']['received'] == client['datagrams']['sent'], (client, hub)
        arrived = pair.target.got.qsize() + pair.target.overflow()
        assert arrived + dropped(hub) == hub['datagrams']['received'], (arrived, hub)
        assert client['bytes']['sent'] == size * client['datagrams']['sent'], client


def test_nothing_vanishes_upwards():
    """Each datagram of a flood towards the target arrives or is counted under a reason."""
    for size in (120, 1452):
        nothing_vanishes_upwards(size)


def test_nothing_vanishes_downwards():
    """Each datagram of a flood from the target comes out of the client or is counted under a reason."""
    with Pair() as pair:
        pair.local.send(b'who')
        source = pair.target.expect(b'who')
        for _ in range(COUNT):
            pair.target.send(bytes(1452), source)
        client, hub = pair.settled()
        assert hub['datagrams']['sent'] + dropped(hub) == COUNT, hub
        assert client['datagrams']['received'] == hub['datagrams']['sent'], (client, hub)


def test_order_is_kept():
    """Datagrams of one size arrive in the order in which they were sent, whatever is dropped between them."""
    with Pair() as pair:
        for n in range(COUNT):
            pair.local.send(b'\x04\0\0\0' + n.to_bytes(4, 'big') + bytes(1000))
        pair.settled()
        numbers = [int.from_bytes(data[4:8], 'big') for data, _ in list(pair.target.got.queue)]
        assert numbers and numbers == sorted(numbers), 'out of order'


def test_content_is_kept():
    """Under load no payload is changed: each carries its own checksum."""
    with Pair() as pair:
        for n in range(COUNT // 2):
            body = os.urandom(20 + n * 7919 % 1400)
            pair.local.send(zlib.crc32(body).to_bytes(4, 'big') + body)
        pair.settled()
        got = [data for data, _ in list(pair.target.got.queue)]
        assert got
        for data in got:
            assert zlib.crc32(data[4:]) == int.from_bytes(data[:4], 'big'), 'a payload was changed'


def test_masks_change_nothing():
    """With random masks the same datagrams arrive."""
    with Pair(echo=True, extra=['Mask = random']) as pair:
        for size in (1, 3, 4, 5, 7, 8, 9, 63, 64, 65, 1452, 65507):
            payload = os.urandom(size)
            pair.local.send(payload)
            pair.local.expect(payload)


def test_bytes_are_counted():
    """Both ends count the same datagrams and bytes."""
    with Pair(echo=True) as pair:
        total = 0
        for size in (1, 100, 1452, 65507):
            pair.local.send(bytes(size))
            pair.local.expect(bytes(size))
            total += size
        client, hub = pair.settled()
        assert client['datagrams'] == {'sent': 4, 'received': 4} and client['bytes'] == {'sent': total, 'received': total}
        assert hub['datagrams'] == {'sent': 4, 'received': 4} and hub['bytes'] == {'sent': total, 'received': total}
        assert dropped(client) == dropped(hub) == 0


if __name__ == '__main__':
    claims.main(globals())
