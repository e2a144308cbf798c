#!/usr/bin/python3
"""The hub and control frames, violations of RFC 6455, and every way in which a connection may end."""

import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from peer import claims, frames, programs, tunnel, udp  # noqa: E402


def test_ping_is_answered_once():
    """Each ping has exactly one pong with its payload, of 0 to 125 bytes, whatever its mask."""
    hub = programs.shared_hub()
    with tunnel.open_ours(hub) as carrier:
        for size, mask in ((0, None), (4, frames.ZERO), (125, frames.RANDOM)):
            payload = os.urandom(size)
            carrier.send(frames.frame(payload, frames.PING, mask))
            pong = carrier.next_control(frames.PONG)
            assert pong.payload == payload and pong.mask is None
        carrier.datagram(b'end')
        while (frame := carrier.next()).payload != b'end':
            assert frame.opcode != frames.PONG, 'a second pong'


def test_200_pings_at_once_are_answered_in_order():
    """200 pings in one record get 200 pongs, in order."""
    hub = programs.shared_hub()
    with tunnel.open_ours(hub) as carrier:
        payloads = [b'%03d' % n for n in range(200)]
        carrier.send(*[frames.frame(payload, frames.PING) for payload in payloads])
        assert [carrier.next_control(frames.PONG).payload for _ in payloads] == payloads


def test_pings_pass_waiting_data():
    """A ping among a burst of datagrams is answered although the answers to these are queued."""
    hub = programs.shared_hub()
    with tunnel.open_ours(hub) as carrier:
        burst = [frames.frame(os.urandom(1400)) for _ in range(100)]
        carrier.send(*burst[:50], frames.frame(b'mid', frames.PING), *burst[50:])
        assert carrier.next_control(frames.PONG).payload == b'mid'


def test_unsolicited_pongs_are_tolerated():
    """Pongs without a ping change nothing."""
    hub = programs.shared_hub()
    with tunnel.open_ours(hub) as carrier:
        carrier.send(*[frames.frame(os.urandom(n % 126), frames.PONG) for n in range(300)])
        carrier.echo()


def violation(code, *raw):
    """These bytes are answered by a close frame with that code, and nothing reaches the target."""
    hub = programs.shared_hub()
    with tunnel.open_ours(hub) as carrier:
        carrier.echo()
        hub.target.drain()
        carrier.send(*raw)
        got = carrier.close_code()
        assert got == code, f'close {got} instead of {code}'
        assert carrier.link.ends() in ('end', 'reset')
        assert hub.target.is_quiet()


def test_reserved_bits_close_1002():
    """A frame with any of the reserved bits is a protocol error."""
    for rsv in (1, 2, 4, 7):
        violation(1002, frames.frame(b'x', rsv=rsv))


def test_reserved_opcodes_close_1002():
    """A reserved opcode is a protocol error."""
    for opcode in (3, 7, 11, 15):
        violation(1002, frames.frame(b'x', opcode))


def test_long_control_frame_closes_1002():
    """A control frame over 125 bytes is a protocol error."""
    violation(1002, frames.frame(bytes(126), frames.PING))
    violation(1002, frames.frame(bytes(5), frames.PONG, width=16))


def test_fragmented_control_frame_closes_1002():
    """A control frame that is not final is a protocol error."""
    violation(1002, frames.frame(b'x', frames.PING, fin=False))
    violation(1002, frames.frame(b'\x03\xe8', frames.CLOSE, fin=False))


def test_continuation_of_nothing_closes_1002():
    """A continuation without a message is a protocol error."""
    violation(1002, frames.frame(b'x', frames.CONTINUATION))


def test_message_within_a_message_closes_1002():
    """A new message before the last fragment of the one before is a protocol error."""
    violation(1002, frames.frame(b'x', fin=False), frames.frame(b'y'))


def test_too_long_frame_closes_1009():
    """A frame over 65,507 bytes is refused as soon as its header shows it."""
    violation(1009, frames.frame(b'', length=65508, width=64))
    violation(1009, frames.frame(b'', length=1 << 62, width=64))


def test_length_with_its_highest_bit_is_refused():
    """A 64-bit length with the highest bit, which RFC 6455 forbids, ends the session as a wrong or a too long one."""
    hub = programs.shared_hub()
    with tunnel.open_ours(hub) as carrier:
        carrier.send(frames.frame(b'', length=(1 << 64) - 1, width=64))
        assert carrier.close_code() in (1002, 1009)


def test_too_long_message_closes_1009():
    """Fragments that add up to more than 65,507 bytes are refused."""
    half = bytes(40000)
    violation(1009, frames.frame(half, fin=False), frames.frame(half, frames.CONTINUATION))


def test_too_many_fragments_close_1009():
    """A message of more than 1,024 fragments is refused."""
    violation(1009, frames.frame(b'x', fin=False), *[frames.frame(b'', frames.CONTINUATION, fin=False)] * 1100)


def test_close_is_answered():
    """A close frame is answered by a close frame, then by the end of the stream."""
    hub = programs.shared_hub()
    for raw in (frames.close(1000), frames.close(1001, b'going'), frames.frame(b'', frames.CLOSE), frames.close(4321)):
        with tunnel.open_ours(hub) as carrier:
            carrier.echo()
            carrier.send(raw)
            assert carrier.next_control(frames.CLOSE) is not None
            assert carrier.link.ends() in ('end', 'reset')


def test_nothing_counts_after_a_close():
    """Datagrams behind a close frame are not forwarded."""
    hub = programs.shared_hub()
    with tunnel.open_ours(hub) as carrier:
        carrier.send(frames.close(), frames.frame(b'late'))
        assert carrier.link.ends() in ('end', 'reset')
        assert hub.target.is_quiet()


def hub_survives(end):
    """However one connection ends, the next one works and the hub lets go of the old one."""
    hub = programs.shared_hub()
    carrier = tunnel.open_stock(hub)
    carrier.echo()
    end(carrier)
    carrier.close()
    with tunnel.open_stock(hub) as carrier:
        carrier.echo()


def test_end_without_close_notify():
    """A bare FIN ends the session quietly."""
    hub_survives(lambda carrier: (carrier.link.finish(), carrier.link.ends()))


def test_end_with_close_notify():
    """A close_notify ends the session quietly."""
    hub_survives(lambda carrier: (carrier.link.notify(), carrier.link.ends()))


def test_end_by_reset():
    """A reset ends the session quietly."""
    hub_survives(lambda carrier: carrier.link.reset())


def test_end_within_a_frame():
    """A stream that ends within a frame forwards nothing of it."""
    hub = programs.shared_hub()

    def end(carrier):
        hub.target.drain()
        carrier.send(frames.frame(b'half of it')[:-3])
        carrier.link.finish()
        assert carrier.link.ends()
        assert hub.target.is_quiet()
    hub_survives(end)


def test_end_within_a_record():
    """A stream that ends within a TLS record ends the session."""
    def end(carrier):
        carrier.link.send_raw(carrier.link.seal(frames.frame(b'x' * 100))[:-1])
        carrier.link.finish()
        assert carrier.link.ends()
    hub_survives(end)


def test_garbage_instead_of_a_record():
    """Bytes that are no TLS record end the session."""
    def end(carrier):
        carrier.link.send_raw(b'GET / HTTP/1.1\r\n\r\n' * 3)
        assert carrier.link.ends()
    hub_survives(end)


def test_random_bytes_after_the_upgrade():
    """Random bytes in place of frames never kill the hub."""
    hub = programs.shared_hub()
    for _ in range(20):
        with tunnel.open_stock(hub) as carrier:
            carrier.send(os.urandom(300))
            carrier.link.finish()
            carrier.link.ends()
    with tunnel.open_stock(hub) as carrier:
        carrier.echo()


def test_hub_pings_and_measures():
    """With a short PingInterval the hub pings, and goes on as long as pongs come."""
    target = udp.Target()
    with programs.Hub(target, extra=['PingInterval = 1s']) as hub, tunnel.open_ours(hub) as carrier:
        for _ in range(3):
            ping = carrier.next_control(frames.PING)
            assert ping and ping.fin and ping.mask is None and len(ping.payload) <= 125
            carrier.send(frames.frame(ping.payload, frames.PONG))
        carrier.echo()
    target.close()


def test_peer_without_pongs_is_dropped():
    """A peer that answers no ping loses its session within seconds of the deadline, data or not."""
    target = udp.Target()
    with programs.Hub(target, extra=['PingInterval = 1s']) as hub, tunnel.open_ours(hub) as carrier:
        def has_ended():
            carrier.datagram(b'data')
            frame = carrier.next(5)
            return frame is None or frame.opcode == frames.CLOSE
        try:
            claims.wait_for(has_ended, 'the end of the session', 40, 0.5)
        except (ConnectionResetError, BrokenPipeError):
            pass
    target.close()


def test_orderly_stop_closes_sessions():
    """SIGTERM tells every session 1001 before the hub ends."""
    target = udp.Target()
    hub = programs.Hub(target)
    carriers = [tunnel.open_ours(hub) for _ in range(3)]
    for carrier in carriers:
        carrier.echo()
    hub.stop()
    for carrier in carriers:
        assert carrier.close_code() == 1001
        carrier.close()
    target.close()


def test_worker_killed_comes_back():
    """A worker that dies is replaced at once; the next client comes in."""
    target = udp.Target()
    with programs.Hub(target) as hub:
        carrier = tunnel.open_ours(hub)
        carrier.echo()
        old = hub.worker
        os.kill(old, 9)
        assert carrier.link.ends() in ('end', 'reset')
        carrier.close()
        claims.wait_for(lambda: hub.worker not in (None, old), 'another worker', 5)
        with tunnel.open_ours(hub) as carrier:
            carrier.echo()
    target.close()


if __name__ == '__main__':
    claims.main(globals())
