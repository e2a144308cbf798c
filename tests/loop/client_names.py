#!/usr/bin/python3
"""Our client and the server's name: the last address is kept and tried where the look-up is late, fails or
lies."""

import os
import stat
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from peer import claims, dns, programs, servers, stream  # noqa: E402

NAME = 'hub.example.org'
START_S = 4.0  # a start under a sanitizer on a busy machine, and a little; far below the ten seconds of any deadline


def server(host):
    return servers.Server(programs.certificate('other'), host=host, name=NAME)


class Client(programs.Client):
    """Asks the name server at `nameserver`; remembered: the file from the last run."""

    def __init__(self, at, nameserver, remembered=None, **options):
        pin = programs.certificate('other').pin
        super().__init__(at.url, pin=pin, start=False, **options)
        self.arguments = self.with_file('/etc/resolv.conf', f'nameserver {nameserver}\n') + self.arguments
        self.memory = os.path.join(self.state, self.name, 'addresses')
        if remembered is not None:
            os.makedirs(os.path.dirname(self.memory))
            with open(self.memory, 'w') as file:
                file.write(remembered)

    def remembers(self):
        if not os.path.exists(self.memory):
            return ''
        with open(self.memory) as file:
            return file.read()


def memory_of(name, *addresses):
    return f'{name} {",".join(addresses)}\n'


def needs():
    if os.geteuid() != 0:
        raise claims.Skip('a name server wants port 53')


def test_good_addresses_are_kept():
    """An address that has worked is on disk, for its owner only, and is all that a start needs while no
    name server answers."""
    host = stream.local_address()
    with server(host) as at:
        with dns.Server({NAME: [host]}) as names:
            ours = Client(at, names.host)
            with ours.start():
                at.carrier().close()
                claims.wait_for(lambda: ours.remembers() == f'{NAME} {host}\n', 'the file')
                assert stat.S_IMODE(os.stat(ours.memory).st_mode) == 0o600
        with dns.Server({}, is_silent=True) as silent:
            again = Client(at, silent.host, memory_of(NAME, host))
            with again.start():
                at.carrier(START_S).close()


def test_unreachable_addresses_are_not_kept():
    """An answer that leads nowhere is not remembered."""
    with dns.Server({NAME: [stream.local_address()]}) as names, server(stream.local_address()) as at:
        with Client(at, names.host).start() as ours:
            ours.wait_log('refused')
            assert ours.remembers() == ''


def test_late_answer_is_not_waited_for():
    """While the name server takes its time the remembered address is used."""
    host = stream.local_address()
    with server(host) as at, dns.Server({NAME: [host]}, delay=5) as names:
        with Client(at, names.host, memory_of(NAME, host)).start():
            at.carrier(START_S).close()


def test_old_address_does_not_delay():
    """A remembered address that takes connections and says nothing does not hold up the right one."""
    old, new = stream.local_address(), stream.local_address()
    with server(new) as at, servers.Server(None, host=old, port=at.port) as stranger:
        with dns.Server({NAME: [new]}, delay=0.6) as names:
            with Client(at, names.host, memory_of(NAME, old)).start() as ours:
                with stream.Stream(stranger.accept()):
                    at.carrier(START_S).close()
                claims.wait_for(lambda: ours.remembers() == memory_of(NAME, new), 'the new address')


def test_stranger_at_the_old_address():
    """Another host that has the old address now, and speaks TLS, does not pass for the server."""
    old, new = stream.local_address(), stream.local_address()
    with server(new) as at, dns.Server({NAME: [new]}, delay=1.5) as names:
        with servers.Server(programs.certificate('alone'), host=old, port=at.port) as stranger:
            with Client(at, names.host, memory_of(NAME, old)).start():
                stranger.link()
                at.carrier(START_S).close()


def test_false_answer():
    """Where the name server lies the remembered address is tried in its turn."""
    good, false = stream.local_address(), stream.local_address()
    with server(good) as at, dns.Server({NAME: [false]}) as names:
        with Client(at, names.host, memory_of(NAME, good)).start():
            at.carrier(START_S).close()
    with server(good) as at, servers.Server(None, host=false, port=at.port), dns.Server({NAME: [false]}) as names:
        with Client(at, names.host, memory_of(NAME, good)).start():
            at.carrier(START_S + 2).close()


def test_answer_comes_before_memory():
    """Where the name server answers in time the remembered address is left alone."""
    old, new = stream.local_address(), stream.local_address()
    with server(new) as at, servers.Server(None, host=old, port=at.port) as before:
        with dns.Server({NAME: [new]}) as names, Client(at, names.host, memory_of(NAME, old)).start():
            carrier = at.carrier()
            assert before.is_quiet(1)
            carrier.close()


def test_garbage_is_passed_over():
    """Malformed lines of the file are passed over; the rest serves."""
    host = stream.local_address()
    garbage = f'\n \n{NAME}\n{NAME} nonsense\n{NAME} 1.2.3.4,\n{"x" * 300} 1.2.3.4\n{NAME} {host}\n{NAME} 192.0.2.1\n'
    with server(host) as at, dns.Server({}, is_silent=True) as names:
        with Client(at, names.host, garbage).start():
            at.carrier(START_S).close()


def test_nothing_is_asked_while_up():
    """Names are asked for while the link is down, and no other name than the server's."""
    host = stream.local_address()
    with server(host) as at, dns.Server({NAME: [host]}) as names:
        with Client(at, names.host, extra=['PingInterval = 1s']).start():
            carrier = at.carrier()
            asked = names.count
            programs.pause(2)
            assert names.count == asked and names.asked == {NAME}, (names.count, names.asked)
            carrier.close()


if __name__ == '__main__':
    claims.main(globals(), needs)
