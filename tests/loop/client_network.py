#!/usr/bin/python3
"""Our client and the host's network: marks, a full tunnel that comes later, name servers under it, changes of the
network."""

import os
import re
import socket
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from peer import claims, dns, nets, programs, servers, udp  # noqa: E402

NEAR, FAR = '10.9.0.2', '10.9.0.1'
MARK = 0x77


def client(at, **options):
    return programs.Client(at.url, pin=programs.certificate('other').pin, **options)


def server(far, **options):
    with far:
        return servers.Server(programs.certificate('other'), host=FAR, **options)


def sockets(pid):
    """How many sockets a process holds."""
    count = 0
    for entry in os.listdir(f'/proc/{pid}/fd'):
        try:
            count += os.readlink(f'/proc/{pid}/fd/{entry}').startswith('socket:')
        except OSError:
            pass
    return count


def marks():
    """The marks of the TCP connections that are up."""
    lines = subprocess.run(['ss', '-tneOH', 'state', 'established'], capture_output=True, text=True, check=True).stdout
    return [int(found[1], 16) if (found := re.search(r'fwmark:(0x[0-9a-f]+)', line)) else 0
            for line in lines.splitlines() if f'{FAR}:' in line]


def bound():
    """The devices that the TCP connections that are up are bound to, '' for none."""
    lines = subprocess.run(['ss', '-tnOH', 'state', 'established'], capture_output=True, text=True, check=True).stdout
    return [found[1] if (found := re.search(r'%([^:]+):', line)) else '' for line in lines.splitlines()
            if f'{FAR}:' in line]


def ended(link):
    """Has TCP come to its end?"""
    link.sock.setblocking(False)
    try:
        while link.sock.recv(4096):
            pass
        return True
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


class FakeDevice:
    """A program that runs WireGuard, as it looks from outside: a device, and a socket that tells its configuration."""

    def __init__(self, name, port, mark, mtu):
        os.makedirs('/run/wireguard', exist_ok=True)
        self.name = name
        self.path = f'/run/wireguard/{name}.sock'
        self.text = f'private_key={"11" * 32}\nlisten_port=5\nfwmark={mark}\npublic_key={"22" * 32}\n' \
                    f'endpoint=127.0.0.1:{port}\nerrno=0\n\n'
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(self.path)
        self.sock.listen(8)
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()
        nets.ip('link', 'add', name, 'mtu', str(mtu), 'type', 'veth', 'peer', 'name', name + 'p')
        nets.ip('link', 'set', name, 'up')

    def _serve(self):
        while True:
            try:
                sock, _ = self.sock.accept()
            except OSError:
                return
            with sock:
                if sock.recv(64) == b'get=1\n\n':
                    sock.sendall(self.text.encode())

    def close(self):
        os.unlink(self.path)
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        self.thread.join(5)
        nets.ip('link', 'delete', self.name)


_far = []


def needs():
    nets.enter()
    _far.append(nets.Far(NEAR, FAR))


def test_mark_comes_later():
    """A full tunnel that comes up after us marks the connection that stands, and is gone from it afterwards; the MTU
    that wg-quick takes from loopback is named with the remedy, once."""
    with server(_far[0]) as at, client(at, mark='auto') as ours:
        carrier = at.carrier()
        claims.wait_for(lambda: marks() == [0], 'a connection without mark')
        device = FakeDevice('wgfake0', ours.port, MARK, 65456)
        claims.wait_for(lambda: marks() == [MARK], 'the mark')
        carrier.datagram(b'still there')
        ours.wait_log('wgfake0 has an MTU of 65456.*MTU = 1420.*/etc/wireguard/wgfake0.conf.*ip link set mtu 1420 dev wgfake0')
        nets.ip('link', 'set', 'lo', 'mtu', '60000')
        nets.ip('link', 'set', 'lo', 'mtu', '65536')
        programs.pause(0.3)
        assert ours.log.count('has an MTU') == 1
        device.close()
        claims.wait_for(lambda: marks() == [0], 'no mark any more')
        assert at.is_quiet(0.5), 'a second connection'
        carrier.close()


def test_routes_without_a_mark():
    """A tunnel without a mark whose routes take the server in: the connection that stands is bound past it, and so is
    one that is made while they are there; without them it is let go."""
    with server(_far[0]) as at, client(at, mark='auto') as ours:
        carrier = at.carrier()
        claims.wait_for(lambda: bound() == [''], 'a connection that is not bound')
        device = FakeDevice('wgfake2', ours.port, 0, 1420)
        nets.ip('route', 'add', '10.9.0.0/25', 'dev', device.name)
        claims.wait_for(lambda: bound() == [_far[0].device], 'bound past the tunnel')
        carrier.datagram(b'still there')
        ours.wait_log(f'the routes lead into wgfake2; the connection is bound to {_far[0].device}')
        assert at.is_quiet(0.5), 'a second connection'
        carrier.close()
        carrier = at.carrier()
        assert bound() == [_far[0].device]
        nets.ip('route', 'del', '10.9.0.0/25', 'dev', device.name)
        claims.wait_for(lambda: bound() == [''], 'not bound any more')
        carrier.datagram(b'still there')
        device.close()
        carrier.close()


def test_mark_of_a_device_that_is_there():
    """A tunnel that was there before us: the first packet has its mark, and an MTU that fits is no warning."""
    with server(_far[0]) as at:
        ours = client(at, mark='auto', start=False)
        device = FakeDevice('wgfake1', ours.port, MARK, 1420)
        nets.ip('rule', 'add', 'not', 'fwmark', str(MARK), 'blackhole')
        try:
            with ours.start():
                at.carrier().close()
                assert 'MTU' not in ours.log
        finally:
            nets.ip('rule', 'del', 'not', 'fwmark', str(MARK), 'blackhole')
            device.close()


def test_duplicates_hold_nothing_up():
    """The server sees the end of a connection at once, although the supervisor can still mark it; and the supervisor
    lets go of it soon."""
    with server(_far[0]) as at, client(at, mark='auto') as ours:
        first = at.carrier()
        held = sockets(ours.process.pid)
        for _ in range(5):
            first.datagram(b'x')
            first.send(b'\xff' * 40)  # no frame: the client ends it
            began = time.monotonic()
            while first.link.recv():
                pass
            assert time.monotonic() - began < 2.5, 'the end came late'
            first.close()
            first = at.carrier()
        claims.wait_for(lambda: sockets(ours.process.pid) <= held, 'the supervisor lets go', 6)
        os.kill(ours.worker, 9)
        claims.wait_for(lambda: ended(first.link), 'the end of a connection whose worker was killed', 3)
        first.close()


def test_name_servers_under_a_full_tunnel():
    """With a mark the name is asked for, by marked sockets, at the physical links' name server, also by TCP where the
    answer was cut short; no other name is."""
    far = _far[0]
    name = 'hub.example.org'
    nets.ip('rule', 'add', 'not', 'fwmark', str(MARK), 'to', '10.9.0.0/24', 'blackhole')
    try:
        for is_cut in (False, True):
            with server(far, name=name) as at:
                with far:
                    names = dns.Server({name: [FAR]}, host=FAR, is_cut=is_cut)
                with names:
                    ours = client(at, mark=str(MARK), start=False)
                    resolver = f'search lan.test\nnameserver {FAR}\n'
                    ours.arguments = ours.with_file('/etc/resolv.conf', resolver) + ours.arguments
                    with ours.start():
                        at.carrier().close()
                        assert names.asked == {name}, names.asked
                        assert (names.tcp_count > 0) == is_cut
    finally:
        nets.ip('rule', 'del', 'not', 'fwmark', str(MARK), 'to', '10.9.0.0/24', 'blackhole')


def test_network_comes_back():
    """A client that waits for its next try tries at once when the network comes."""
    far = _far[0]
    with server(far) as at:
        nets.ip('link', 'set', far.device, 'down')
        with client(at) as ours:
            ours.wait_log('unreachable; still trying')
            programs.pause(8)  # the next try would come after eleven seconds
            nets.ip('link', 'set', far.device, 'up')
            came = time.monotonic()
            at.carrier(3).close()
            assert time.monotonic() - came < 1.5, time.monotonic() - came


def test_address_changes():
    """When our own address is another one the connection is known to be dead within seconds, and made anew."""
    far = _far[0]
    with server(far) as at, client(at, extra=['PingInterval = 60s']) as ours:
        old = at.carrier()
        nets.ip('address', 'del', f'{NEAR}/24', 'dev', far.device)
        nets.ip('address', 'add', '10.9.0.3/24', 'dev', far.device)
        try:
            at.carrier(15).close()
            ours.wait_log('lost: no answer to a ping')
        finally:
            nets.ip('address', 'del', '10.9.0.3/24', 'dev', far.device)
            nets.ip('address', 'add', f'{NEAR}/24', 'dev', far.device)
            old.close()


def test_busy_network_breaks_nothing():
    """Devices that come and go all the time neither end a connection nor keep one from being made."""
    def churn():
        while not stopped.is_set():
            nets.ip('link', 'add', 'churn0', 'type', 'veth', 'peer', 'name', 'churn1')
            nets.ip('link', 'set', 'churn0', 'up')
            nets.ip('link', 'delete', 'churn0')
    stopped = threading.Event()
    thread = threading.Thread(target=churn)
    thread.start()
    try:
        with server(_far[0]) as at, client(at) as ours, ours.local() as local:
            carrier = at.carrier()
            answering = threading.Thread(target=carrier.next_datagram, args=(8,))  # answers pings
            answering.start()
            assert at.is_quiet(4), 'a second connection'
            local.send(b'end')
            answering.join()
            carrier.close()
    finally:
        stopped.set()
        thread.join()


def test_datagrams_before_the_worker_reads():
    """A datagram that WireGuard sends before our worker reads waits in the socket, and arrives."""
    with server(_far[0]) as at, client(at) as ours, ours.local() as local:
        os.kill(ours.worker, 19)
        sent = udp.initiation()
        local.send(sent)
        programs.pause(0.3)
        os.kill(ours.worker, 18)
        carrier = at.carrier()
        assert carrier.next_datagram() == sent
        carrier.close()


if __name__ == '__main__':
    claims.main(globals(), needs)
