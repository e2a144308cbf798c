#!/usr/bin/python3
"""Our client on the real stock wstunnel server, or its Go port's (WSTUNNEL names the program; skipped otherwise)."""

import os
import signal
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from peer import claims, programs, servers, stock, udp  # noqa: E402

SIZES = (1, 120, 1452, 16000)


def options(target):
    return {'ca': programs.certificate('ca'), 'token': None, 'extra': ['Path = v1', f'Target = 127.0.0.1:{target.port}']}


class Setup:
    """A stock server, a target behind it, our client in front."""

    def __init__(self, extra=(), server_options=(), path='v1', cleartext=False, echo=True):
        self.target = udp.Target(echo)
        self.server = stock.Server(None if cleartext else programs.certificate(), options=server_options)
        wanted = options(self.target)
        wanted['extra'] = [f'Path = {path}', wanted['extra'][1], *extra]
        self.client = programs.Client(self.server.url, **wanted)
        self.local = self.client.local()

    def __enter__(self):
        self.client.__enter__()
        return self

    def __exit__(self, *error):
        self.local.close()
        try:
            self.client.__exit__(*error)
        finally:
            self.server.close()
            self.target.close()


def every_size(setup):
    setup.local.ping()
    for size in (*SIZES, stock.longest_datagram()):
        payload = os.urandom(size)
        setup.local.send(payload)
        setup.local.expect(payload)


def test_every_size():
    """Datagrams from 1 byte to the largest go there and back, unharmed by masks."""
    with Setup() as setup:
        every_size(setup)


def test_unmasked():
    """The same without masks, as stock itself does."""
    with Setup(['Mask = none']) as setup:
        every_size(setup)


def test_random_masks_need_the_servers_option():
    """The same with random masks at a server with its mask option."""
    with Setup(['Mask = random'], ['--websocket-mask-frame']) as setup:
        every_size(setup)


def test_cleartext():
    """The same over ws://."""
    with Setup(cleartext=True) as setup:
        every_size(setup)


def test_restricted_path():
    """A server that admits one path prefix only admits ours when it is that one."""
    with Setup(path='secret', server_options=stock.only_path('secret')) as setup:
        every_size(setup)


def test_refused():
    """A server that admits another path prefix is named with its status, and not hammered."""
    with Setup(path='wrong', server_options=stock.only_path('secret')) as setup:
        setup.local.send(b'knock')
        setup.client.wait_log('status 40[034]')
        programs.pause(3)
        setup.client.must_run()


def test_many_in_flight():
    """60 datagrams sent at once, which a socket of default size holds, come back, each once."""
    with Setup() as setup:
        setup.local.ping()
        setup.local.drain()
        payloads = [n.to_bytes(2, 'big') + os.urandom(1200) for n in range(60)]
        for payload in payloads:
            setup.local.send(payload)
        assert sorted(setup.local.recv() for _ in payloads) == payloads


def test_target_speaks_first():
    """Datagrams that the target sends unasked reach the local application, in order."""
    with Setup() as setup:
        setup.local.ping()
        setup.local.drain()
        mark = os.urandom(16)
        setup.local.send(mark)
        source = setup.target.expect(mark)
        setup.local.expect(mark)
        payloads = [bytes([n]) * 1000 for n in range(60)]
        for payload in payloads:
            setup.target.send(payload, source)
        assert [setup.local.recv() for _ in payloads] == payloads


def test_empty_local_datagrams_end_nothing():
    """Empty local datagrams do not reach, and so do not end, a stock server's tunnel."""
    with Setup() as setup:
        setup.local.ping()
        source = setup.target.next()[1]
        for _ in range(3):
            setup.local.send(b'')
        mark = os.urandom(16)
        setup.local.send(mark)
        assert setup.target.expect(mark) == source, 'the tunnel was opened anew'


def test_idle_with_pings_of_both():
    """A session without data outlives several pings of both ends: each is answered once."""
    with Setup(['PingInterval = 1s'], ['--websocket-ping-frequency', '1s']) as setup:
        setup.local.ping()
        mark = os.urandom(16)
        setup.local.send(mark)
        source = setup.target.expect(mark)
        programs.pause(12)
        mark = os.urandom(16)
        setup.local.send(mark)
        assert setup.target.expect(mark) == source, 'the tunnel was opened anew'
        assert setup.client.status()['link']['connects'] == 1


def test_target_closed_and_opened():
    """A stock server ends the tunnel when its target is closed; ours comes back and flows once it is open."""
    with Setup() as setup:
        setup.local.ping()
        setup.target.close()
        for _ in range(6):
            setup.local.send(b'lost')
            programs.pause(0.2)
        setup.target.open()
        setup.local.ping(30)


def test_server_restart():
    """After the server was killed and started traffic flows again by itself."""
    with Setup() as setup:
        setup.local.ping()
        setup.server.kill()
        programs.pause(0.5)
        setup.server.spawn()
        setup.local.ping(30)


def test_clients_worker_killed():
    """After our worker was killed traffic flows again by itself."""
    with Setup() as setup:
        setup.local.ping()
        os.kill(setup.client.worker, signal.SIGKILL)
        setup.local.ping(30)


def test_newest_initiation_first():
    """An initiation sent while the server is away is what the target gets first once it is back."""
    with Setup(echo=False) as setup:
        setup.client.wait_log(': up, ')  # only initiations wait for that
        mark = os.urandom(16)
        setup.local.send(mark)
        setup.target.expect(mark)
        setup.server.kill()
        programs.pause(1)
        sent = udp.initiation()
        setup.local.send(sent)
        setup.server.spawn()
        assert setup.target.next(30)[0] == sent


def test_through_a_proxy():
    """The same through an HTTP proxy with a password."""
    target = udp.Target()
    with servers.Proxy('user:word') as proxy, stock.Server(programs.certificate()) as server:
        wanted = options(target)
        wanted['extra'] = [*wanted['extra'], f'Proxy = http://user:word@127.0.0.1:{proxy.port}']
        with programs.Client(server.url, **wanted) as client, client.local() as local:
            local.ping()
    target.close()


if __name__ == '__main__':
    claims.main(globals(), needs=stock.executable)
