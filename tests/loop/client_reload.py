#!/usr/bin/python3
"""Our client takes a changed file without cutting the connection that stands."""

import os
import signal
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from peer import claims, programs, servers, udp  # noqa: E402


def server(**options):
    return servers.Server(programs.certificate(), **options)


def client(url, **options):
    return programs.Client(url, ca=programs.certificate('ca'), **options)


def change(ours, old, new):
    with open(ours.config) as file:
        text = file.read()
    assert old in text
    ours.write(text.replace(old, new))


def reload(ours):
    """The verb: its exit code and its output."""
    answer = subprocess.run([programs.executable('client'), 'reload', ours.config, '--runtime-dir', ours.runtime],
                            capture_output=True, text=True, timeout=claims.patience(20))
    return answer.returncode, answer.stdout + answer.stderr


def works(carrier, local):
    carrier.datagram(b'down')
    local.expect(b'down')


def test_next_connect_takes_it():
    """New settings are for the next connect; the connection that stands goes on until then."""
    with server() as at, client(at.url, extra=['Header = X-Word: before']) as ours, ours.local() as local:
        local.send(b'go')
        carrier = at.carrier()
        assert carrier.head.get('x-word') == 'before'
        change(ours, 'X-Word: before', 'X-Word: after')
        code, said = reload(ours)
        assert code == 0 and 'restart' not in said, said
        assert at.is_quiet(1), 'a second connection'
        works(carrier, local)
        carrier.close()
        with at.carrier() as again:
            assert again.head.get('x-word') == 'after'
            works(again, local)


def test_who_waits_takes_it_at_once():
    """A client that cannot connect takes another server at once."""
    with server() as at, client(f'wss://127.0.0.1:{programs.free_port()}') as ours:
        ours.wait_log('still trying')
        programs.pause(4)
        with open(ours.config) as file:
            url = next(line for line in file if line.startswith('Server')).split()[2]
        change(ours, url, at.url)
        assert reload(ours)[0] == 0
        at.carrier(1.5).close()


def test_unchanged_file():
    """A file that says the same changes nothing, also while the client is on its way."""
    with server() as at, client(at.url) as ours:
        sock = at.accept()
        os.kill(ours.process.pid, signal.SIGHUP)
        ours.wait_log('config: reloaded$')
        assert at.is_quiet(1), 'it began anew'
        sock.close()
        at.carrier().close()


def test_broken_file():
    """A file with a mistake is refused with its line, and everything stays."""
    with server() as at, client(at.url) as ours, ours.local() as local:
        local.send(b'go')
        carrier = at.carrier()
        change(ours, 'WireGuard = none', 'WireGuard = none\nPingIntervall = 5s')
        code, said = reload(ours)
        assert code == 2 and ':' in said and 'PingIntervall' in said, (code, said)
        works(carrier, local)
        carrier.close()
        at.carrier().close()


def test_ca_that_is_gone():
    """A file that names a certificate which cannot be read is refused."""
    with server() as at, client(at.url) as ours:
        carrier = at.carrier()
        change(ours, f'CA = {programs.certificate("ca").path}', 'CA = /nonexistent/ca.pem')
        code, said = reload(ours)
        assert code == 2 and '/nonexistent/ca.pem' in said, (code, said)
        carrier.close()
        at.carrier().close()


def test_what_needs_a_restart_is_named():
    """Another local port is named; the old one goes on, and the rest is taken."""
    with server() as at, client(at.url) as ours, ours.local() as local:
        local.send(b'go')
        carrier = at.carrier()
        port = programs.free_port()
        change(ours, f'Listen = 127.0.0.1:{ours.port}', f'Listen = 127.0.0.1:{port}\nHeader = X-Word: after')
        _, said = reload(ours)
        assert 'Listen' in said and 'Header' not in said, said
        works(carrier, local)
        carrier.close()
        with at.carrier() as again:
            assert again.head.get('x-word') == 'after'


def test_next_worker_takes_it():
    """A worker that is started anew after a reload has the new settings."""
    with server() as at, client(at.url) as ours:
        first = at.carrier()
        change(ours, 'WireGuard = none', 'WireGuard = none\nHeader = X-Word: after')
        assert reload(ours)[0] == 0
        os.kill(ours.worker, signal.SIGKILL)
        with at.carrier() as again:
            assert again.head.get('x-word') == 'after'
        first.close()


def test_removed_token():
    """With our hub: a token that the hub does not know any more is changed in the client's file, and it comes in
    again."""
    target = udp.Target()
    with programs.Hub(target, certificate=programs.certificate(), token='another-token-012345') as hub:
        ours = client(hub.url, extra=[f'Target = 127.0.0.1:{target.port}'])
        with ours, ours.local() as local:
            ours.wait_log('takes us for a visitor')
            change(ours, programs.TOKEN, 'another-token-012345')
            assert reload(ours)[0] == 0
            local.ping()
    target.close()


if __name__ == '__main__':
    claims.main(globals())
