#!/usr/bin/python3
"""The real stock wstunnel client, or its Go port's, on our hub (WSTUNNEL names the program; skipped otherwise)."""

import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from peer import claims, programs, stock, tunnel, udp  # noqa: E402

SIZES = (1, 120, 1452, 16000, 65507)


def stock_client(hub, word=programs.STOCK_PATH, url=None, **options):
    return stock.Client(url or hub.url, hub.target, ['--http-upgrade-path-prefix', word], **options)


def test_every_size():
    """Datagrams of 1 to 65,507 bytes go there and back."""
    hub = programs.shared_hub()
    with stock_client(hub) as theirs, theirs.local() as local:
        local.ping()
        for size in SIZES:
            payload = os.urandom(size)
            local.send(payload)
            local.expect(payload)


def test_many_in_flight():
    """60 datagrams sent at once, which a socket of default size holds, come back, each once."""
    hub = programs.shared_hub()
    with stock_client(hub) as theirs, theirs.local() as local:
        local.ping()
        local.drain()
        payloads = [n.to_bytes(2, 'big') + os.urandom(1200) for n in range(60)]
        for payload in payloads:
            local.send(payload)
        assert sorted(local.recv() for _ in payloads) == payloads


def test_target_speaks_first():
    """Datagrams that the target sends unasked reach the local application, in order."""
    hub = programs.shared_hub()
    with stock_client(hub) as theirs, theirs.local() as local:
        local.ping()
        local.drain()
        mark = os.urandom(16)
        local.send(mark)
        source = hub.target.expect(mark)
        local.expect(mark)
        payloads = [bytes([n]) * 1000 for n in range(60)]
        for payload in payloads:
            hub.target.send(payload, source)
        assert [local.recv() for _ in payloads] == payloads


def test_empty_datagrams_end_nothing():
    """Empty datagrams of the target do not reach, and so do not end, a stock tunnel."""
    hub = programs.shared_hub()
    with stock_client(hub) as theirs, theirs.local() as local:
        local.ping()
        mark = os.urandom(16)
        local.send(mark)
        source = hub.target.expect(mark)
        for _ in range(3):
            hub.target.send(b'', source)
        mark = os.urandom(16)
        local.send(mark)
        assert hub.target.expect(mark) == source, 'the tunnel was opened anew'


def test_two_local_sources():
    """Two local applications have a session each and get their own answers."""
    hub = programs.shared_hub()
    with stock_client(hub) as theirs, theirs.local() as one, theirs.local() as two:
        one.ping()
        two.ping()
        for local in (one, two):
            payload = os.urandom(99)
            local.send(payload)
            local.expect(payload)


def test_idle_longer_than_its_pings():
    """A session without data outlives several of the client's pings, and ours: pongs are answered once each."""
    target = udp.Target()
    with programs.Hub(target, extra=['PingInterval = 1s']) as hub:
        client = stock.Client(hub.url, target, ['--http-upgrade-path-prefix', programs.STOCK_PATH,
                                                '--websocket-ping-frequency', '1s'])
        with client, client.local() as local:
            local.ping()
            local.drain()
            mark = os.urandom(16)
            local.send(mark)
            source = target.expect(mark)
            programs.pause(12)
            mark = os.urandom(16)
            local.send(mark)
            assert target.expect(mark) == source, 'the session was opened anew'
    target.close()


def test_hub_restart():
    """After a restart of the hub the client's next datagrams open a new session."""
    target = udp.Target()
    with programs.Hub(target) as hub, stock_client(hub) as theirs, theirs.local() as local:
        local.ping()
        hub.stop()
        hub.start()
        local.ping(40)
    target.close()


def test_hubs_worker_killed():
    """After the death of the hub's worker the client's next datagrams open a new session."""
    target = udp.Target()
    with programs.Hub(target) as hub, stock_client(hub) as theirs, theirs.local() as local:
        local.ping()
        os.kill(hub.worker, 9)
        local.ping(40)
    target.close()


def test_closed_target():
    """While the target is closed the session stays; opened again, datagrams flow."""
    target = udp.Target()
    with programs.Hub(target) as hub, stock_client(hub) as theirs, theirs.local() as local:
        local.ping()
        source = target.next()[1]
        target.close()
        for _ in range(5):
            local.send(b'lost')
            programs.pause(0.05)
        target.open()
        target.drain()
        local.ping()
        assert target.next()[1] == source, 'the session was opened anew'
    target.close()


def test_refused_client_hurts_nobody():
    """A refused stock client, which comes again at once and for ever, neither hurts others nor costs much."""
    hub = programs.shared_hub()

    def ticks():
        with open(f'/proc/{hub.worker}/stat') as file:
            fields = file.read().rpartition(')')[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')
    with stock_client(hub, 'wrong-word') as theirs, theirs.local() as local, tunnel.open_ours(hub) as ours:
        local.send(b'knock')
        programs.pause(3)  # more than 30 connections by now
        before = ticks()
        for _ in range(20):
            ours.echo()
            programs.pause(0.2)
        assert ticks() - before < 2, f'{ticks() - before:.1f} s of CPU in 4 s'
        assert all(data != b'knock' for data, _ in list(hub.target.got.queue))


def test_cleartext():
    """A stock client on a ws:// listener."""
    target = udp.Target()
    with programs.Hub(target, listens=['ws://127.0.0.1:PORT']) as hub:
        with stock_client(hub, url=f'ws://127.0.0.1:{hub.port}') as theirs, theirs.local() as local:
            local.ping()
    target.close()


def test_masking_client():
    """A stock client with its mask option, which uses random keys."""
    hub = programs.shared_hub()
    client = stock.Client(hub.url, hub.target, ['--http-upgrade-path-prefix', programs.STOCK_PATH,
                                                '--websocket-mask-frame'])
    with client, client.local() as local:
        local.ping()
        for size in SIZES:
            payload = os.urandom(size)
            local.send(payload)
            local.expect(payload)


if __name__ == '__main__':
    claims.main(globals(), needs=stock.executable)
