#!/usr/bin/python3
"""Our client and datagrams: masks, sizes, frames of foreign servers, local applications that come and go."""

import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from peer import claims, frames, programs, servers, udp  # noqa: E402

SIZES = (1, 120, 125, 126, 127, 1452, 16000, 16384, 65507)


class Pair:
    """A client with a local application, and the foreign server's end of its carrier."""

    def __init__(self, extra=(), open_carrier=lambda at: at.carrier()):
        self.server = servers.Server(programs.certificate())
        self.client = programs.Client(self.server.url, ca=programs.certificate('ca'), extra=extra)
        self.local = self.client.local()
        self.open_carrier = open_carrier

    def __enter__(self):
        self.client.__enter__()
        self.local.send(b'hello')
        self.carrier = self.open_carrier(self.server)
        return self

    def __exit__(self, *error):
        self.local.close()
        try:
            self.carrier.close()
            self.client.__exit__(*error)
        finally:
            self.server.close()

    def up(self, payload):
        """The local application's datagram as the server's end gets it: its frame."""
        self.local.send(payload)
        while True:
            frame = self.carrier.next_control(frames.BINARY)
            assert frame, 'the stream ended'
            if frame.payload == payload:
                return frame


def test_every_size_goes_up_with_a_zero_key():
    """Each datagram is one final binary frame with mask bit, key zero and the shortest length."""
    with Pair() as pair:
        for size in SIZES:
            payload = os.urandom(size)
            frame = pair.up(payload)
            assert frame.header + frame.payload == frames.frame(payload, mask=frames.ZERO)


def test_every_size_comes_down():
    """Frames of every size reach the local application as one datagram each."""
    with Pair() as pair:
        for size in SIZES:
            payload = os.urandom(size)
            pair.carrier.datagram(payload)
            pair.local.expect(payload)


def test_random_mask():
    """With Mask = random each frame has a key of its own, which is not zero."""
    with Pair(['Mask = random']) as pair:
        keys = [pair.up(os.urandom(size)).mask for size in (1, 100, 1452, 65507, 5, 6)]
        assert len(set(keys)) == len(keys) and frames.ZERO not in keys, keys


def test_no_mask():
    """With Mask = none no frame is masked."""
    with Pair(['Mask = none']) as pair:
        for size in (1, 1452, 65507):
            frame = pair.up(os.urandom(size))
            assert frame.mask is None and frame.fin and frame.rsv == 0


def test_control_frames_follow_the_mask():
    """Pongs carry mask bit and key as data frames do: a strict server closes otherwise, a stock one misreads."""
    for mask, extra in ((frames.ZERO, ()), (None, ['Mask = none'])):
        with Pair(extra) as pair:
            pair.carrier.send(frames.frame(b'ping', frames.PING, None))
            pong = pair.carrier.next_control(frames.PONG)
            assert pong.payload == b'ping' and pong.mask == mask


def test_strict_library_server():
    """The `websockets` library as a server carries every size both ways, with a zero key and with random ones."""
    for extra in ((), ['Mask = random']):
        with Pair(extra, lambda at: servers.LibraryServer(at.link())) as pair:
            for size in SIZES:
                payload = os.urandom(size)
                pair.local.send(payload)
                while True:
                    frame = pair.carrier.next()
                    assert frame is not None, 'the library closed'
                    if frame.data == payload:
                        break
                back = os.urandom(size)
                pair.carrier.datagram(back)
                pair.local.expect(back)


def test_foreign_frames_come_down():
    """A server may mask, fragment, put control frames between, use long lengths, and text."""
    with Pair() as pair:
        whole = os.urandom(3000)
        first, second, third = frames.fragments(whole, (10, 1500), frames.RANDOM)
        pair.carrier.send(first, frames.frame(b'', frames.PING, None), second, third)
        pair.local.expect(whole)
        for raw in (frames.frame(b'masked', mask=frames.RANDOM), frames.frame(b'long', mask=None, width=64),
                    frames.frame(b'text', frames.TEXT, None)):
            pair.carrier.send(raw)
        for payload in (b'masked', b'long', b'text'):
            pair.local.expect(payload)


def test_many_frames_in_one_record():
    """200 frames in one record become 200 datagrams, in order."""
    with Pair() as pair:
        payloads = [n.to_bytes(2, 'big') + os.urandom(60) for n in range(200)]
        pair.carrier.send(*[frames.frame(payload, mask=None) for payload in payloads])
        assert [pair.local.recv() for _ in payloads] == payloads


def test_byte_by_byte_delivery():
    """Frames that come in TCP segments of one byte are put together."""
    with Pair() as pair:
        pair.carrier.link.piece = 1
        payload = os.urandom(200)
        pair.carrier.datagram(payload)
        pair.local.expect(payload)


def test_burst_goes_up_in_order():
    """60 datagrams that the local application sends at once arrive in order."""
    with Pair() as pair:
        pair.up(b'ready')
        payloads = [bytes([n]) * 1452 for n in range(60)]
        for payload in payloads:
            pair.local.send(payload)
        assert [pair.carrier.next_datagram() for _ in payloads] == payloads


def test_empty_local_datagram():
    """An empty local datagram is not sent, and ends nothing."""
    with Pair() as pair:
        pair.up(b'before')
        pair.local.send(b'')
        pair.local.send(b'after')
        assert pair.carrier.next_datagram() == b'after'


def test_empty_messages_from_the_server():
    """An empty message is not handed to the local application."""
    with Pair() as pair:
        pair.carrier.send(frames.frame(b'', mask=None), *frames.fragments(b'', (0,), None), frames.frame(b'after', mask=None))
        assert pair.local.recv() == b'after'


def test_two_sources_are_two_carriers():
    """Each local source address has a carrier of its own, with an instance of its own; answers go to the right one."""
    with Pair() as pair, pair.client.local() as other:
        other.send(b'other')
        with pair.server.carrier() as second:
            assert second.next_datagram() == b'other'
            pair.carrier.datagram(b'to the first')
            second.datagram(b'to the second')
            assert pair.local.recv() == b'to the first'
            assert other.recv() == b'to the second'
            assert pair.up(b'still') and pair.carrier.head.raw != second.head.raw


def test_local_application_vanishes():
    """While the local application is gone (ICMP) the carrier stays; back on the same port, datagrams flow again."""
    with Pair() as pair:
        port = pair.local.port
        pair.up(b'here')
        pair.local.close()
        for n in range(5):
            pair.carrier.datagram(b'lost %d' % n)
            programs.pause(0.05)
        pair.carrier.send(frames.frame(b'alive', frames.PING, None))
        assert pair.carrier.next_control(frames.PONG).payload == b'alive'
        pair.local = pair.client.local(source_port=port)
        pair.up(b'back')
        pair.carrier.datagram(b'welcome')
        pair.local.expect(b'welcome')


def test_local_application_from_another_port():
    """An application that comes back from another port is another flow, with its own carrier."""
    with Pair() as pair:
        pair.up(b'here')
        pair.local.close()
        pair.local = pair.client.local()
        pair.local.send(b'moved')
        with pair.server.carrier() as second:
            assert second.next_datagram() == b'moved'
            second.datagram(b'welcome')
            pair.local.expect(b'welcome')


def test_strangers_do_not_get_in():
    """A datagram of one source never comes out at another's carrier."""
    with Pair() as pair, pair.client.local() as other:
        pair.up(b'mine')
        other.send(b'foreign')
        with pair.server.carrier() as second:
            assert second.next_datagram() == b'foreign'
            pair.up(b'mine again')


def test_pings_are_answered_once_and_in_order():
    """200 pings at once get 200 pongs, in order."""
    with Pair() as pair:
        payloads = [b'%03d' % n for n in range(200)]
        pair.carrier.send(*[frames.frame(payload, frames.PING, None) for payload in payloads])
        assert [pair.carrier.next_control(frames.PONG).payload for _ in payloads] == payloads
        frame = pair.up(b'end')
        assert frame.payload == b'end'


def test_client_pings_and_measures():
    """With a short PingInterval the client pings, and status shows the round trip."""
    with Pair(['PingInterval = 1s']) as pair:
        for _ in range(2):
            ping = pair.carrier.next_control(frames.PING)
            assert ping.fin and len(ping.payload) <= 125 and ping.mask == frames.ZERO
            pair.carrier.send(frames.frame(ping.payload, frames.PONG, None))
        claims.wait_for(lambda: pair.client.status()['link'].get('rtt_ms'), 'a round trip')
        status = pair.client.status()
        assert status['state'] == 'up' and status['role'] == 'client', status
        assert 0 < status['link']['rtt_ms'] < 5000


def violation(code, *raw):
    """These bytes of a server are answered with that close code, and the client connects anew."""
    with Pair() as pair:
        pair.up(b'up')
        pair.carrier.send(*raw)
        got = pair.carrier.close_code()
        assert got == code, f'close {got} instead of {code}'
        pair.carrier.close()
        pair.local.send(b'again')
        pair.carrier = pair.server.carrier()
        pair.up(b'up again')


def test_violations_close_1002():
    """Reserved bits, reserved opcodes and broken control frames of a server end the carrier with 1002."""
    violation(1002, frames.frame(b'x', mask=None, rsv=4))
    violation(1002, frames.frame(b'x', 3, None))
    violation(1002, frames.frame(bytes(126), frames.PING, None))


def test_too_long_frames_close_1009():
    """A frame of a server over 65,507 bytes ends the carrier with 1009."""
    violation(1009, frames.frame(b'', mask=None, length=65508, width=64))


def test_server_that_stops_reading():
    """While the server does not read, the client drops what is late, counts it, and goes on afterwards."""
    with Pair() as pair:
        pair.up(b'up')
        for _ in range(10000):
            pair.local.send(bytes(1452))
        claims.wait_for(lambda: sum(pair.client.status()['dropped'].values()) > 0, 'counted drops', 10, 0.3)
        pair.up(b'after')


def test_blocked_flow_leaves_others_alone():
    """While one flow's carrier is blocked, another local source's datagrams go through."""
    with Pair() as pair, pair.client.local() as other:
        pair.up(b'up')
        other.send(b'other')
        with pair.server.carrier() as second:
            assert second.next_datagram() == b'other'
            for _ in range(20):
                for _ in range(300):
                    pair.local.send(bytes(1452))
                mark = os.urandom(20)
                other.send(mark)
                while second.next_datagram() != mark:
                    pass


def test_large_datagrams_from_ipv6():
    """Listening on ::1 the client serves IPv6 applications."""
    with servers.Server(programs.certificate()) as at:
        with programs.Client(at.url, ca=programs.certificate('ca'), host='::1') as ours:
            with udp.Local(ours.port, '::1') as local:
                payload = os.urandom(65507)
                local.send(b'go')
                with at.carrier() as carrier:
                    local.send(payload)
                    while carrier.next_datagram() != payload:
                        pass
                    carrier.datagram(payload)
                    local.expect(payload)


if __name__ == '__main__':
    claims.main(globals())
