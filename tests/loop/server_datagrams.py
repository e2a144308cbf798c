#!/usr/bin/python3
"""The hub and datagrams: every size, framing and mask a peer may choose, both ways. Needs root for its sandbox."""

import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from peer import claims, frames, programs, tunnel, udp  # noqa: E402

SIZES = (1, 120, 125, 126, 127, 1452, 16000, 16384, 65507)


def send_and_compare(carrier, hub, payload):
    carrier.datagram(payload)
    hub.target.expect(payload)
    assert carrier.next_datagram() == payload, f'{len(payload)} bytes came back changed'


def test_every_size_goes_there_and_back():
    """Datagrams of 1 to 65,507 bytes arrive unchanged in both directions."""
    hub = programs.shared_hub()
    with tunnel.open_ours(hub) as carrier:
        for size in SIZES:
            send_and_compare(carrier, hub, os.urandom(size))


def test_library_client_carries_every_size():
    """The `websockets` library, with random masks, exchanges datagrams of every size with the hub."""
    hub = programs.shared_hub()
    with tunnel.LibraryClient(hub) as client:
        for size in SIZES:
            send_and_compare(client, hub, os.urandom(size))


def test_library_client_may_fragment():
    """A message that the `websockets` library sends in fragments reaches the target as one datagram."""
    hub = programs.shared_hub()
    with tunnel.LibraryClient(hub) as client:
        for size, cuts in ((100, (10, 20)), (65507, (1, 30000)), (5, (0, 0, 5))):
            payload = os.urandom(size)
            client.datagram(payload, cuts)
            hub.target.expect(payload)
            assert client.next_datagram() == payload


def test_every_mask_is_taken():
    """Unmasked, zero-key and random-key frames are told apart frame by frame."""
    hub = programs.shared_hub()
    with tunnel.open_ours(hub) as carrier:
        for mask in (None, frames.ZERO, frames.RANDOM, b'\xff\0\xff\0', None, frames.RANDOM):
            carrier.mask = mask
            send_and_compare(carrier, hub, os.urandom(333))


def test_hub_never_masks_nor_fragments():
    """The hub's frames are final, binary, unmasked, with the shortest form of the length."""
    hub = programs.shared_hub()
    with tunnel.open_ours(hub) as carrier:
        for size in SIZES:
            payload = os.urandom(size)
            carrier.datagram(payload)
            frame = carrier.next_control(frames.BINARY)
            assert frame.header + frame.payload == frames.frame(payload, mask=None)


def test_long_forms_of_length_are_taken():
    """A length in 16 or 64 bits where fewer would do is no error."""
    hub = programs.shared_hub()
    with tunnel.open_ours(hub) as carrier:
        for width in (16, 64):
            payload = os.urandom(50)
            carrier.send(frames.frame(payload, width=width))
            assert carrier.next_datagram() == payload


def test_text_message_is_a_datagram():
    """A text message is forwarded as a binary one is."""
    hub = programs.shared_hub()
    with tunnel.open_ours(hub) as carrier:
        carrier.send(frames.frame(b'text', frames.TEXT))
        assert carrier.next_datagram() == b'text'


def test_byte_by_byte_delivery():
    """Frames that come in TCP segments of one byte are put together."""
    hub = programs.shared_hub()
    with tunnel.open_ours(hub) as carrier:
        carrier.link.piece = 1
        for mask in (None, frames.RANDOM):
            carrier.mask = mask
            send_and_compare(carrier, hub, os.urandom(200))


def test_frames_cut_at_any_record_boundary():
    """A frame may be cut anywhere, also within its header, into TLS records of one byte."""
    hub = programs.shared_hub()
    with tunnel.open_ours(hub) as carrier:
        payloads = [os.urandom(size) for size in (1, 126, 300)]
        for byte in b''.join(frames.frame(payload, mask=frames.RANDOM) for payload in payloads):
            carrier.send(bytes([byte]))
        for payload in payloads:
            assert carrier.next_datagram() == payload


def test_many_frames_in_one_record():
    """200 datagrams in one TLS record arrive all and in order."""
    hub = programs.shared_hub()
    with tunnel.open_ours(hub) as carrier:
        payloads = [n.to_bytes(2, 'big') + os.urandom(n % 60) for n in range(200)]
        carrier.send(*[frames.frame(payload, mask=frames.RANDOM if n % 3 else None) for n, payload in enumerate(payloads)])
        assert [hub.target.next()[0] for _ in payloads] == payloads
        got = {carrier.next_datagram() for _ in payloads}
        assert got == set(payloads)


def test_runs_of_equal_and_odd_sizes_keep_their_edges():
    """Datagrams of equal size with odd ones between them are neither merged nor split on their way out."""
    hub = programs.shared_hub()
    with tunnel.open_ours(hub) as carrier:
        sizes = [1200] * 9 + [700] + [1200] * 3 + [1300] + [1] + [1200] * 2 + [64] * 5
        payloads = [bytes([n]) + os.urandom(size - 1) for n, size in enumerate(sizes)]
        carrier.send(*map(frames.frame, payloads))
        assert [hub.target.next()[0] for _ in payloads] == payloads
        assert sorted(carrier.next_datagram() for _ in payloads) == sorted(payloads)


def test_fragments_with_control_frames_between():
    """A ping between the fragments of a message is answered at once; the message arrives whole."""
    hub = programs.shared_hub()
    with tunnel.open_ours(hub) as carrier:
        payload = os.urandom(3000)
        first, second, third = frames.fragments(payload, (1, 2000), frames.RANDOM)
        carrier.send(first, frames.frame(b'inside', frames.PING), second)
        assert carrier.next_control(frames.PONG).payload == b'inside'
        carrier.send(frames.frame(b'', frames.PONG), third)
        assert carrier.next_datagram() == payload


def test_empty_messages_are_not_forwarded():
    """An empty message, whole or in fragments, is passed on to nothing and ends nothing."""
    hub = programs.shared_hub()
    with tunnel.open_ours(hub) as carrier:
        carrier.datagram(b'')
        carrier.send(*frames.fragments(b'', (0, 0)))
        carrier.datagram(b'after')
        assert hub.target.next()[0] == b'after'
        assert carrier.next_datagram() == b'after'


def test_empty_datagram_of_the_target_ends_nothing():
    """An empty datagram that the target sends is not forwarded; the session goes on."""
    hub = programs.shared_hub()
    with tunnel.open_ours(hub) as carrier:
        carrier.datagram(b'who')
        source = hub.target.expect(b'who')
        assert carrier.next_datagram() == b'who'
        hub.target.send(b'', source)
        hub.target.send(b'', source)
        hub.target.send(b'after', source)
        assert carrier.next_datagram() == b'after'


def test_burst_from_the_target_arrives_in_order():
    """60 datagrams that the target sends at once come in order, each in a frame of its own."""
    hub = programs.shared_hub()
    with tunnel.open_ours(hub) as carrier:
        carrier.datagram(b'who')
        source = hub.target.expect(b'who')
        payloads = [bytes([n]) * 1452 for n in range(60)]
        for payload in payloads:
            hub.target.send(payload, source)
        assert carrier.next_datagram() == b'who'
        assert [carrier.next_datagram() for _ in payloads] == payloads


def test_target_sees_the_session_from_127_64():
    """The target sees each session under an address of its own in 127.64.0.0/10."""
    hub = programs.shared_hub()
    with tunnel.open_ours(hub) as carrier:
        carrier.datagram(b'from')
        first, second = map(int, hub.target.expect(b'from')[0].split('.')[:2])
        assert first == 127 and 64 <= second <= 127, (first, second)


def test_closed_target_ends_nothing():
    """While the target's port is closed datagrams are lost; opened again, they flow in the same session."""
    target = udp.Target()
    with programs.Hub(target) as hub, tunnel.open_ours(hub) as carrier:
        carrier.echo()
        target.close()
        for n in range(5):
            carrier.datagram(b'lost %d' % n)
            programs.pause(0.05)
        carrier.send(frames.frame(b'alive', frames.PING))
        assert carrier.next_control(frames.PONG).payload == b'alive'
        target.open()
        carrier.echo()
        target.close()


def test_strangers_cannot_answer_for_the_target():
    """A datagram from another port than the target's does not get into the session."""
    hub = programs.shared_hub()
    with tunnel.open_ours(hub) as carrier:
        carrier.datagram(b'who')
        source = hub.target.expect(b'who')
        assert carrier.next_datagram() == b'who'
        stranger = udp.Target(echo=False)
        stranger.send(b'stranger', source)
        stranger.close()
        hub.target.send(b'target', source)
        assert carrier.next_datagram() == b'target'


if __name__ == '__main__':
    claims.main(globals())
