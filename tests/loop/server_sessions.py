#!/usr/bin/python3
"""The hub's sessions: replacement by instance, limits, slow readers, addresses that stay."""

import contextlib
import os
import signal
import socket
import ssl
import struct
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from peer import claims, frames, http, programs, stream, tokens, tunnel, udp  # noqa: E402


def source_of(hub, carrier):
    """The address and port under which the target sees this session."""
    mark = os.urandom(16)
    carrier.datagram(mark)
    return hub.target.expect(mark)


def test_same_instance_replaces():
    """A second carrier of the same client and instance takes the flow over; the first one is ended."""
    hub = programs.shared_hub()
    instance = os.urandom(16).hex()
    with tunnel.open_ours(hub, instance=instance) as first:
        before = source_of(hub, first)
        with tunnel.open_ours(hub, instance=instance) as second:
            assert source_of(hub, second) == before, 'the target sees another address'
            assert first.link.ends(15) in ('end', 'reset')
            hub.target.send(b'to the second', before)
            while second.next_datagram() != b'to the second':
                pass


def test_reconnect_keeps_the_source():
    """A carrier that comes after the old one was lost is seen by the target from the same address and port."""
    hub = programs.shared_hub()
    instance = os.urandom(16).hex()
    sources = set()
    for end in ('reset', 'close', 'reset'):
        carrier = tunnel.open_ours(hub, instance=instance)
        sources.add(source_of(hub, carrier))
        getattr(carrier.link, end)()
    assert len(sources) == 1, sources


def test_datagrams_for_a_lost_carrier_reach_the_next():
    """The target's first datagram after a reconnect goes to the new carrier."""
    hub = programs.shared_hub()
    instance = os.urandom(16).hex()
    first = tunnel.open_ours(hub, instance=instance)
    source = source_of(hub, first)
    first.link.reset()
    with tunnel.open_ours(hub, instance=instance) as second:
        second.echo()
        hub.target.send(b'news', source)
        while second.next_datagram() != b'news':
            pass


def test_handshake_for_a_dead_carrier_reaches_the_next():
    """The flow of a client that answers no ping stays, and with it the target's newest handshake initiation."""
    target = udp.Target()
    initiation = b'\1\0\0\0' + os.urandom(144)
    with programs.Hub(target, extra=['PingInterval = 1s']) as hub:
        instance = os.urandom(16).hex()
        with tunnel.open_ours(hub, instance=instance) as first:
            source = source_of(hub, first)
            hub.wait_log('down from', 30)
            target.send(initiation, source)
            programs.pause(1)
            with tunnel.open_ours(hub, instance=instance) as second:
                assert second.next_datagram() == initiation
                assert source_of(hub, second) == source
    target.close()


def open_first(hub, instance, **options):
    """A connection of a client that knows second ones, and its id."""
    ident = tokens.uuid7()
    return tunnel.open_ours(hub, instance=instance, claims={'id': ident, 'beside': ''}, **options), ident


def open_beside(hub, instance, other, **options):
    """One that is to stand beside the one with the id @other, and its id."""
    ident = tokens.uuid7()
    return tunnel.open_ours(hub, instance=instance, claims={'id': ident, 'beside': other}, **options), ident


def connections_of(hub):
    return [session['connections'] for session in hub.status()['sessions']]


def expect_by(carrier, target, source, *payloads):
    for payload in payloads:
        target.send(payload, source)
        while carrier.next_datagram() != payload:
            pass


def test_second_connection_stands_beside():
    """It is told so, has the same source, takes what is short and leaves the rest to the first one."""
    hub = programs.shared_hub()
    instance = os.urandom(16).hex()
    first, ident = open_first(hub, instance)
    with first:
        before = source_of(hub, first)
        assert first.head.get('beside') == 'yes'
        second, _ = open_beside(hub, instance, ident)
        with second:
            assert second.head.get('beside') == 'yes'
            assert source_of(hub, second) == before, 'the target sees another address'
            expect_by(second, hub.target, before, b'short')
            expect_by(first, hub.target, before, b'long' * 200)
            programs.pause(6)  # a carrier that is replaced is ended after five seconds
            assert source_of(hub, first) == before


def test_client_that_knows_no_second_connections_is_told_nothing():
    """Its answer is the same as ever."""
    hub = programs.shared_hub()
    with tunnel.open_ours(hub) as ours, tunnel.open_stock(hub) as stock:
        assert ours.head.get('beside') is None and stock.head.get('beside') is None


def test_second_connection_takes_over():
    """When the first connection is lost the second carries the flow alone; when the second is lost, the first does."""
    target = udp.Target()
    with programs.Hub(target) as hub:
        for lost in (0, 1):
            instance = os.urandom(16).hex()
            first, ident = open_first(hub, instance)
            pair = [first, open_beside(hub, instance, ident)[0]]
            assert connections_of(hub) == [2]
            source = source_of(hub, pair[0])
            pair.pop(lost).link.reset()
            claims.wait_for(lambda: connections_of(hub) == [1], 'the end of one', 10, 0.1)
            left, = pair
            left.echo()
            expect_by(left, target, source, b'short', b'long' * 200)
            left.close()
            claims.wait_for(lambda: connections_of(hub) == [], 'the end of both', 10, 0.1)
    target.close()


def test_second_connection_outlives_a_first_that_the_client_gave_up():
    """The client opens a third beside the second while the hub still waits for the first: that one is replaced."""
    hub = programs.shared_hub()
    instance = os.urandom(16).hex()
    first, ident = open_first(hub, instance)
    second, second_ident = open_beside(hub, instance, ident)
    third, _ = open_beside(hub, instance, second_ident)
    with first, second, third:
        source = source_of(hub, second)
        expect_by(third, hub.target, source, b'short')
        expect_by(second, hub.target, source, b'long' * 200)
        assert first.link.ends(15) in ('end', 'reset')
        assert source_of(hub, second) == source


def test_second_connections_are_bounded():
    """A client that opens one second connection after the other has two, and at most one more that ends."""
    target = udp.Target()
    with programs.Hub(target) as hub:
        instance = os.urandom(16).hex()
        first, ident = open_first(hub, instance)
        with first:
            seconds = [open_beside(hub, instance, ident)[0] for _ in range(6)]
            assert connections_of(hub) == [2]
            seconds[-1].echo()
            for second in seconds[:-2]:
                assert second.link.ends(3) in ('end', 'reset')
            assert seconds[-2].link.ends(15) in ('end', 'reset')
            seconds[-1].close()
    target.close()


def test_second_connection_beside_none_is_the_first():
    """It is told that it stands alone; nothing waits for another one, and the next connection takes the flow over."""
    hub = programs.shared_hub()
    instance = os.urandom(16).hex()
    second, _ = open_beside(hub, instance, tokens.uuid7())
    with second:
        assert second.head.get('beside') is None
        second.echo()
        second.echo(b'long' * 200)
        with tunnel.open_ours(hub, instance=instance) as first:
            first.echo()
            first.echo(b'long' * 200)
            assert second.link.ends(15) in ('end', 'reset')


def test_second_connection_is_of_the_same_client():
    """A second connection that another client asks for, with the instance and the id of the first one, touches nothing."""
    target = udp.Target()
    other = 'phone-token-0123456789'
    instance = os.urandom(16).hex()
    with programs.Hub(target, peers=[('phone', other, None)]) as hub:
        first, ident = open_first(hub, instance)
        second, _ = open_beside(hub, instance, ident, token=other)
        with first, second:
            assert second.head.get('beside') is None
            assert source_of(hub, first) != source_of(hub, second)
            expect_by(first, target, source_of(hub, first), b'short', b'long' * 200)
            second.echo()
    target.close()


def test_other_instance_stands_beside():
    """Another instance of the same client has a session of its own; both live."""
    hub = programs.shared_hub()
    with tunnel.open_ours(hub) as first, tunnel.open_ours(hub) as second:
        one, two = source_of(hub, first), source_of(hub, second)
        assert one != two
        hub.target.send(b'one', one)
        hub.target.send(b'two', two)
        while first.next_datagram() != b'one':
            pass
        while second.next_datagram() != b'two':
            pass


def test_same_instance_of_another_client_stands_beside():
    """The instance of one client does not replace the same instance of another."""
    target = udp.Target()
    other = 'phone-token-0123456789'
    instance = os.urandom(16).hex()
    with programs.Hub(target, peers=[('phone', other, None)]) as hub:
        with tunnel.open_ours(hub, instance=instance) as first, tunnel.open_ours(hub, token=other, instance=instance) as second:
            first.echo()
            second.echo()
            first.echo()
            assert source_of(hub, first) != source_of(hub, second)
    target.close()


def test_stock_sessions_stand_beside():
    """Stock sessions have no instance: they stand side by side."""
    hub = programs.shared_hub()
    with tunnel.open_stock(hub) as first, tunnel.open_stock(hub) as second:
        assert source_of(hub, first) != source_of(hub, second)
        first.echo()
        second.echo()


def test_sessions_of_a_client_are_limited():
    """One session more than MaxSessionsPerClient gets 503, which is no visitor's answer; a free place is given
    again."""
    target = udp.Target()
    with programs.Hub(target, extra=['MaxSessionsPerClient = 3']) as hub:
        carriers = [tunnel.open_stock(hub) for _ in range(3)]
        for opener in (lambda link: http.upgrade(tunnel.our_token(hub, link)),
                       lambda _: http.upgrade(tunnel.stock_token(hub), programs.STOCK_PATH)):
            with tunnel.connect(hub) as link:
                head, _ = tunnel.ask(link, opener(link))
                assert head.status == 503, head.line
        for carrier in carriers:
            carrier.echo()
        carriers.pop().close()

        def opens():
            with tunnel.connect(hub) as link:
                return tunnel.ask(link, http.upgrade(tunnel.stock_token(hub), programs.STOCK_PATH))[0].status == 101
        claims.wait_for(opens, 'a free place', 10, 0.2)
        for carrier in carriers:
            carrier.close()
    target.close()


def test_replacement_needs_no_free_place():
    """At either limit a carrier of a known instance still replaces its old one."""
    target = udp.Target()
    for limit in ('MaxSessionsPerClient = 2', 'MaxClients = 2'):
        with programs.Hub(target, extra=[limit]) as hub:
            instance = os.urandom(16).hex()
            with tunnel.open_ours(hub, instance=instance) as first, tunnel.open_stock(hub) as beside:
                first.echo()
                with tunnel.open_ours(hub, instance=instance) as second:
                    second.echo()
                    beside.echo()
    target.close()


def test_all_sessions_are_limited():
    """MaxClients bounds the sessions of all clients together; a second connection is none of its own."""
    target = udp.Target()
    with programs.Hub(target, extra=['MaxClients = 2']) as hub:
        instance = os.urandom(16).hex()
        first, ident = open_first(hub, instance)
        with first, open_beside(hub, instance, ident)[0], tunnel.open_stock(hub) as second, tunnel.connect(hub) as link:
            head, _ = tunnel.ask(link, http.upgrade(tunnel.stock_token(hub), programs.STOCK_PATH))
            assert head.status == 503, head.line
            first.echo(b'long' * 200)
            second.echo()
    target.close()


def test_peer_that_stops_reading_blocks_nobody():
    """While one peer does not read and the target floods it, another session flows, and its own comes back."""
    hub = programs.shared_hub()
    with tunnel.open_ours(hub) as lazy, tunnel.open_ours(hub) as other:
        source = source_of(hub, lazy)
        for _ in range(40):
            for _ in range(200):
                hub.target.send(bytes(1452), source)
            other.echo()
        lazy.link.timeout(10)
        lazy.echo(os.urandom(64), 30)


def test_peer_that_floods_without_reading_blocks_nobody():
    """A peer that sends for ever and reads nothing does not keep another from its echo."""
    hub = programs.shared_hub()
    with tunnel.open_ours(hub) as lazy, tunnel.open_ours(hub) as other:
        lazy.link.timeout(0.5)
        burst = [frames.frame(bytes(1400)) for _ in range(10)]
        for n in range(400):
            try:
                lazy.send(*burst)
            except TimeoutError:
                break
            if n % 40 == 0:
                other.echo()
        other.echo()


def test_nothing_old_after_a_stall():
    """A client that stands still for four seconds and reads on gets what was in TCP's buffers and then what is young,
    nothing of the time between. Fifteen others get every datagram meanwhile, in order."""
    target, numbers, got = udp.Target(echo=False), range(80), [[] for _ in range(15)]

    def datagram(number):
        return struct.pack('>Id', number, time.monotonic()).ljust(1400)

    def listen(carrier, list_of_got):
        while not list_of_got or list_of_got[-1] < numbers[-1]:
            list_of_got.append(struct.unpack_from('>I', carrier.next_datagram(30))[0])

    def send():
        for number in numbers:
            for other in others:
                target.send(datagram(number), other)
            for _ in range(50):
                target.send(datagram(number), stalled_source)
                time.sleep(0.001)

    with programs.Hub(target, extra=['MaxSessionsPerClient = 16']) as hub, contextlib.ExitStack() as stack:
        stalled, *carriers = [stack.enter_context(tunnel.open_ours(hub)) for _ in range(16)]
        stalled_source, *others = [source_of(hub, carrier) for carrier in (stalled, *carriers)]
        stalled.link.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        target.send(b'so that the first ping is answered', stalled_source)
        stalled.next_datagram()
        threads = [threading.Thread(target=listen, args=pair, daemon=True) for pair in zip(carriers, got)]
        threads.append(threading.Thread(target=send, daemon=True))
        stopped = time.monotonic()
        for thread in threads:
            thread.start()
        programs.pause(4)
        resumed, stamp, old = time.monotonic(), 0, 0
        while stamp < resumed:
            stamp = struct.unpack_from('>Id', stalled.next_datagram())[1]
            old += stamp < resumed - 1
            assert not stopped + 1.5 < stamp < resumed - 1, f'it is {resumed - stamp} s old'
        assert old * 1400 < 1 << 20, f'{old} datagrams were in buffers'
        assert hub.status()['dropped']['queue-late'] > 0
        for thread in threads:
            thread.join(60)
        assert all(list_of_got == list(numbers) for list_of_got in got), got
    target.close()


def test_pings_without_reading_stay_bounded():
    """A peer that pings without reading the pongs is not read any more, instead of filling memory."""
    hub = programs.shared_hub()

    def memory():
        with open(f'/proc/{hub.worker}/statm') as file:
            return int(file.read().split()[1]) * 4096
    with tunnel.open_ours(hub) as lazy:
        lazy.link.timeout(1)
        before = memory()
        burst = [frames.frame(bytes(125), frames.PING) for _ in range(120)]
        try:
            for _ in range(3000):
                lazy.send(*burst)
        except TimeoutError:
            pass
        assert memory() - before < 30 << 20, f'{(memory() - before) >> 20} MB more'
        with tunnel.open_ours(hub) as other:
            other.echo()


def test_dropped_datagrams_are_counted():
    """Datagrams that a slow reader loses are counted under a reason."""
    target = udp.Target()
    with programs.Hub(target) as hub, tunnel.open_ours(hub) as lazy:
        source = source_of(hub, lazy)
        for _ in range(20000):
            target.send(bytes(1452), source)
        claims.wait_for(lambda: sum(hub.status()['dropped'].values()) > 0, 'a datagram that is counted as dropped', 20, 0.2)
    target.close()


def test_every_datagram_is_sent_or_counted():
    """Each of the target's datagrams was sent on or counted as dropped, also when the session ends in between."""
    target = udp.Target()
    for opener in (tunnel.open_ours, tunnel.open_stock):
        with programs.Hub(target) as hub:
            with opener(hub) as lazy:
                source = source_of(hub, lazy)
                assert lazy.next_datagram()
                before = hub.status()
                for n in range(20000):
                    target.send(bytes(1452 if n % 3 else 100), source)
                lazy.link.reset()
            count = 20000

            def difference():
                now = hub.status()
                dropped = sum(now['dropped'].values()) - sum(before['dropped'].values())
                return now['datagrams']['sent'] - before['datagrams']['sent'] + dropped - count
            claims.wait_for(lambda: difference() == 0, f'every datagram accounted for; {difference()} too many', 10, 0.2)
            assert hub.status()['bytes']['sent'] <= hub.status()['datagrams']['sent'] * 1452
    target.close()


def test_status_shows_sessions():
    """status --json names each session's client and its peer's address."""
    target = udp.Target()
    with programs.Hub(target) as hub:
        with tunnel.open_ours(hub) as carrier:
            carrier.echo()
            status = hub.status()
            assert status['role'] == 'server' and status['state'] == 'up', status
            session, = status['sessions']
            host, port = carrier.link.sock.getsockname()
            assert session['client'] == 'laptop' and session['from'] == f'{host}:{port}', session
        claims.wait_for(lambda: not hub.status()['sessions'], 'no session', 10, 0.2)
    target.close()


def test_no_answer_for_those_that_have_gone():
    """A hub that is behind begins no handshake with a client that has given up meanwhile, but with the others. One that
    is not behind answers those, too, as any web server does."""
    target = udp.Target()
    with programs.Hub(target) as hub:
        hellos = [ssl.MemoryBIO() for _ in range(3)]
        for hello in hellos:
            client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname='localhost')
            with contextlib.suppress(ssl.SSLWantReadError):
                client.do_handshake()
        os.kill(hub.worker, signal.SIGSTOP)
        gone, waits = (stream.dial(hub.address) for _ in range(2))
        gone.sendall(hellos[0].read())
        gone.shutdown(socket.SHUT_WR)
        waits.sendall(hellos[1].read())
        programs.pause(1.5)
        os.kill(hub.worker, signal.SIGCONT)
        for sock in (gone, waits):
            sock.settimeout(10)
        assert waits.recv(1) == b'\x16', 'no hello of the hub'
        assert gone.recv(1) == b'', 'an answer'
        hasty = stream.dial(hub.address)
        hasty.sendall(hellos[2].read())
        hasty.shutdown(socket.SHUT_WR)
        hasty.settimeout(10)
        assert hasty.recv(1) == b'\x16', 'no hello of the hub'
        for sock in (gone, waits, hasty):
            sock.close()
    target.close()


def limit_of_descriptors(pid):
    with open(f'/proc/{pid}/limits') as file:
        return next(int(line.split()[4]) for line in file if line.startswith('Max open files'))


def test_visitors_leave_descriptors_for_the_tunnel():
    """However many visitors come, sessions flow, status answers, and the next tunnel opens when some have gone."""
    target = udp.Target()
    hub = programs.Hub(target, start=False)
    hub.arguments = ['prlimit', '--nofile=160:160', *hub.arguments]
    with hub.start(), tunnel.open_ours(hub) as carrier:
        worker = hub.worker
        if limit_of_descriptors(worker) > 1000:
            raise claims.Skip('a privileged hub raises its limit')
        carrier.echo()
        crowd = [stream.dial(hub.address) for _ in range(200)]
        for sock in crowd:
            sock.sendall(b'GET')
        programs.pause(1)
        assert len(hub.status()['sessions']) == 1
        carrier.echo()
        for sock in crowd:
            sock.close()
        with tunnel.open_ours(hub) as other:
            other.echo()
        carrier.echo()
        assert hub.worker == worker, hub.log
    target.close()


def test_limit_of_open_files():
    """A tunnel takes two descriptors, not what a visitor may need; where none is left, the log says what helps, also
    before, if there are more clients than can be there at a time."""
    target = udp.Target()
    peers = [(f'client-{n}', f'token-of-client-{n}-0123456789', None) for n in range(60)]
    hub = programs.Hub(target, peers=peers, extra=['MaxSessionsPerClient = 100'], start=False)
    hub.arguments = ['prlimit', '--nofile=160:160', *hub.arguments]
    with hub.start(), contextlib.ExitStack() as stack:
        if limit_of_descriptors(hub.worker) > 1000:
            raise claims.Skip('a privileged hub raises its limit')
        assert '61 clients, but 160 open files, which are enough for 49; raise the limit' in hub.log, hub.log
        carriers = [stack.enter_context(tunnel.open_ours(hub)) for _ in range(40)]
        for sock in [stream.dial(hub.address) for _ in range(20)]:
            stack.enter_context(sock)
        claims.wait_for(lambda: 'new connections wait: too many open files; raise the limit: LimitNOFILE=' in hub.log,
                        'a line with the remedy', 10, 0.2)
        for carrier in carriers:
            carrier.echo()
    target.close()


def test_port_in_use():
    """A port that is taken ends the hub with 1 and a line that names it."""
    target = udp.Target()
    with programs.Hub(target) as hub:
        other = programs.Hub(target, start=False)
        other.write(open(other.config).read().replace(str(other.port), str(hub.port)))
        other.spawn()
        assert other.process.wait(15) == 1
        assert str(hub.port) in other.log and 'in use' in other.log, other.log
        other.process = None
    target.close()


if __name__ == '__main__':
    claims.main(globals())
