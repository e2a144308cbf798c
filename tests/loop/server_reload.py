#!/usr/bin/python3
"""The hub reads its file again while it serves: admission changes, and other clients notice nothing."""

import hashlib
import json
import os
import shutil
import signal
import socket
import ssl
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from peer import certs, claims, http, programs, tunnel, udp  # noqa: E402

PHONE = 'phone-token-0123456789'
OTHER = 'another-token-0123456789'


def ask(hub, word):
    """The supervisor's answer to a word on its control socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(claims.patience(10))
        sock.connect(os.path.join(hub.runtime, hub.name + '.server'))
        sock.sendall(word.encode() + b'\n')
        return json.loads(b''.join(iter(lambda: sock.recv(65536), b'')))


def reload(hub, lines, restart='', error=''):
    """Write the file and have it read: no more errors and no more for a restart than that."""
    hub.write('\n'.join(lines) + '\n')
    answer = ask(hub, 'reload')
    assert answer['restart'] == restart, answer
    assert error in answer['error'] and bool(error) == bool(answer['error']), answer


def without(hub, name):
    """The file's lines without the [Peer] of that name."""
    at = hub.lines.index(f'Name = {name}') - 1
    end = next((n for n in range(at + 1, len(hub.lines)) if hub.lines[n] == '[Peer]'), len(hub.lines))
    return hub.lines[:at] + hub.lines[end:]


def peer(name, token):
    return ['[Peer]', f'Name = {name}', f'Token = {token}']


def source_of(hub, carrier):
    mark = os.urandom(16)
    carrier.datagram(mark)
    return hub.target.expect(mark)


def is_refused(hub, open_it):
    """A client that comes in this way is a visitor of the web site."""
    try:
        open_it().close()
    except AssertionError as error:
        assert b'HTTP/1.1 404' in error.args[0], error
        return
    raise AssertionError('came in')


class Traffic:
    """A client that echoes datagrams all the time, and counts."""

    def __init__(self, hub, **options):
        self.carrier = tunnel.open_ours(hub, **options)
        self.source = source_of(hub, self.carrier)
        self.sent = 0
        self.error = None
        self.stops = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        try:
            while not self.stops.is_set():
                payload = b'%08d' % self.sent + os.urandom(100)
                self.carrier.echo(payload)
                self.sent += 1
        except Exception as error:  # told by stop()
            self.error = error

    def stop(self):
        self.stops.set()
        self.thread.join()
        self.carrier.close()
        assert not self.error, self.error
        return self.sent


def test_revoked_session_ends_and_others_lose_nothing():
    """A client taken out of the file gets WebSocket close 1008 and is a visitor from then on; another, in mid-traffic,
    loses no datagram and keeps its connection and its address."""
    target = udp.Target()
    with programs.Hub(target, peers=[('phone', PHONE, None)]) as hub:
        traffic = Traffic(hub, token=PHONE)
        with tunnel.open_ours(hub) as laptop, tunnel.open_stock(hub) as stock:
            source_of(hub, laptop)
            source_of(hub, stock)
            reload(hub, without(hub, 'laptop'))
            assert laptop.close_code() == 1008 and stock.close_code() == 1008
        is_refused(hub, lambda: tunnel.open_ours(hub))
        is_refused(hub, lambda: tunnel.open_stock(hub))
        sent = traffic.sent
        claims.wait_for(lambda: traffic.sent > sent + 20 or traffic.error, 'traffic that goes on')
        traffic.stop()
        assert [session['client'] for session in hub.status()['sessions']] in ([], ['phone'])
    target.close()


def test_changed_token_ends_its_sessions_only():
    """With another Token the sessions that came by the old one end, those by StockPath do not, and the new one
    opens."""
    target = udp.Target()
    with programs.Hub(target) as hub, tunnel.open_ours(hub) as ours, tunnel.open_stock(hub) as stock:
        ours.echo()
        stock.echo()
        reload(hub, [OTHER.join(line.split(programs.TOKEN)) for line in hub.lines])
        assert ours.close_code() == 1008
        stock.echo()
        is_refused(hub, lambda: tunnel.open_ours(hub))
        with tunnel.open_ours(hub, token=OTHER) as ours:
            ours.echo()
        reload(hub, [line.replace(programs.STOCK_PATH, 'other-word') for line in hub.lines])
        assert stock.close_code() == 1008
    target.close()


def test_drop_ins_are_read_again():
    """A drop-in that is added lets its client in, one that is changed or deleted ends its session; a mistake in one is
    told with its file, and changes nothing."""
    target = udp.Target()
    with programs.Hub(target) as hub, tunnel.open_ours(hub) as laptop:
        laptop.echo()
        folder = hub.config.removesuffix('.conf') + '.d'
        os.mkdir(folder)
        file = os.path.join(folder, 'phone.conf')

        def write(token):
            with open(file, 'w') as out:
                out.write('\n'.join(peer('phone', token)) + '\n')
            os.chmod(file, 0o600)

        write(PHONE)
        is_refused(hub, lambda: tunnel.open_ours(hub, token=PHONE))
        reload(hub, hub.lines)
        with tunnel.open_ours(hub, token=PHONE) as phone:
            phone.echo()
            write('short')
            reload(hub, hub.lines, error=f'{file}:3: Token: too short, 5 characters')
            phone.echo()
            write(OTHER)
            reload(hub, hub.lines)
            assert phone.close_code() == 1008
        with tunnel.open_ours(hub, token=OTHER) as phone:
            phone.echo()
            os.unlink(file)
            reload(hub, hub.lines)
            assert phone.close_code() == 1008
        is_refused(hub, lambda: tunnel.open_ours(hub, token=OTHER))
        laptop.echo()
    target.close()


def test_added_client_comes_in():
    """A client that is added, in front of the others, comes in; these keep their sessions, and their addresses also
    when they come again."""
    target = udp.Target()
    with programs.Hub(target) as hub:
        instance = os.urandom(16).hex()
        with tunnel.open_ours(hub, instance=instance) as laptop:
            before = source_of(hub, laptop)
            at = hub.lines.index('[Peer]')
            is_refused(hub, lambda: tunnel.open_ours(hub, token=PHONE))
            reload(hub, hub.lines[:at] + peer('phone', PHONE) + hub.lines[at:])
            with tunnel.open_ours(hub, token=PHONE) as phone:
                assert source_of(hub, phone)[0] != before[0]
                assert source_of(hub, laptop) == before
                by_client = {session['client']: session['source'] for session in hub.status()['sessions']}
                assert by_client == {'laptop': before[0], 'phone': source_of(hub, phone)[0]}, by_client
        hub.stop()
        hub.start()
        with tunnel.open_ours(hub, instance=instance) as laptop:
            assert source_of(hub, laptop) == before
    target.close()


def test_nameless_clients_keep_their_sessions_when_lines_move():
    """Clients without a Name are called after their line; when that changes, their sessions stay."""
    target = udp.Target()
    with programs.Hub(target, start=False) as hub:
        hub.lines = [line for line in hub.lines if not line.startswith('Name = ')] + ['[Peer]', f'Token = {PHONE}']
        hub.write('\n'.join(hub.lines) + '\n')
        hub.start()
        with tunnel.open_ours(hub) as first, tunnel.open_ours(hub, token=PHONE) as second:
            before = source_of(hub, second)
            source_of(hub, first)
            at = hub.lines.index('[Peer]')
            reload(hub, hub.lines[:at] + hub.lines[-2:])
            assert first.close_code() == 1008
            assert source_of(hub, second) == before
            assert hub.status()['sessions'][0]['client'] == f'peer-{at + 1}'
    target.close()


def test_bad_file_changes_nothing():
    """A file with errors is reported with its lines, and everything stays as it was."""
    target = udp.Target()
    with programs.Hub(target) as hub, tunnel.open_ours(hub) as carrier:
        carrier.echo()
        end = len(hub.lines) - 4
        reload(hub, without(hub, 'laptop') + ['[Peer]', 'Tocken = x', 'Token = short'], error=f'{hub.config}:{end + 2}: ')
        assert all(word in hub.log for word in ('Tocken', 'short')), hub.log
        carrier.echo()
        with tunnel.open_ours(hub) as second:
            second.echo()
    target.close()


def test_certificate_that_does_not_fit_changes_nothing():
    """A renewal that was caught half way, new certificate and old key, is reported; the old one goes on."""
    target = udp.Target()
    hub, folder = with_certificate(target, 'good')
    with hub, tunnel.open_ours(hub) as carrier:
        before = fingerprint(hub)
        shutil.copy(programs.certificate('alone').path, os.path.join(folder, 'hub.pem'))
        reload(hub, hub.lines, error='does not belong to the certificate')
        assert fingerprint(hub) == before
        carrier.echo()
    target.close()


def with_certificate(target, kind):
    """A hub whose certificate's files can be changed."""
    certificate = programs.certificate(kind)
    hub = programs.Hub(target, start=False)
    copy = certs.Certificate(hub.folder, 'hub')
    shutil.copy(certificate.path, copy.path)
    shutil.copy(certificate.key, copy.key)
    at = hub.lines.index('WireGuard = none')
    # A raw carrier answers no ping while it does not read, which on a busy machine may be long.
    hub.lines[at:at] = [f'Certificate = {copy.path}', f'CertificateKey = {copy.key}', 'PingInterval = 1h']
    hub.write('\n'.join(hub.lines) + '\n')
    return hub.start(), hub.folder


def fingerprint(hub):
    return hashlib.sha256(ssl.get_server_certificate(hub.address).encode()).hexdigest()


def test_renewed_certificate_is_taken():
    """The files hold another certificate: new connections get it, sessions go on."""
    target = udp.Target()
    hub, folder = with_certificate(target, 'good')
    with hub, tunnel.open_ours(hub) as carrier:
        before = fingerprint(hub)
        other = programs.certificate('alone')
        shutil.copy(other.path, os.path.join(folder, 'hub.pem'))
        shutil.copy(other.key, os.path.join(folder, 'hub.key'))
        reload(hub, hub.lines)
        assert fingerprint(hub) != before
        carrier.echo()
        with tunnel.open_ours(hub) as second:
            second.echo()
    target.close()


def test_own_certificate_is_renewed_with_its_key():
    """Our own certificate, grown old, is made anew by a reload; its pin stays."""
    target = udp.Target()
    with programs.Hub(target) as hub:
        own = certs.Certificate(os.path.join(hub.state, hub.name), 'certificate')
        pin, key = own.pin, os.path.join(hub.state, hub.name, 'key.pem')
        tomorrow = time.strftime('%Y%m%d%H%M%SZ', time.gmtime(time.time() + 86400))
        old = certs.signed(hub.folder, 'old', programs.certificate('ca'), until=tomorrow, key=key)
        assert old.pin == pin
        with tunnel.open_ours(hub) as carrier:  # not before: it answers no ping meanwhile
            shutil.copy(old.path, own.path)
            before = fingerprint(hub)
            reload(hub, hub.lines)
            assert fingerprint(hub) != before
            with open(old.path) as file:
                assert ssl.get_server_certificate(hub.address) != file.read()
            assert own.pin == pin
            carrier.echo()
    target.close()


def test_tls_sessions_are_resumed_across_a_reload():
    """While the certificate is the same, a client's TLS session of before the reload is resumed."""
    target = udp.Target()
    with programs.Hub(target) as hub:
        context = certs.client_context()
        with tunnel.connect(hub, context=context) as link:
            link.send(http.page_request())
            http.read_answer(link, bytearray())
            session = link.tls.session
        reload(hub, hub.lines)
        with tunnel.connect(hub, context=context, session=session) as link:
            assert link.tls.session_reused
    target.close()


def test_limits_are_taken():
    """MaxClients is the new file's."""
    target = udp.Target()
    with programs.Hub(target) as hub, tunnel.open_ours(hub) as carrier:
        at = hub.lines.index('WireGuard = none')
        reload(hub, hub.lines[:at] + ['MaxClients = 1'] + hub.lines[at:])
        carrier.echo()
        with tunnel.connect(hub) as link:
            head, _ = tunnel.ask(link, http.upgrade(tunnel.our_token(hub, link)))
            assert head.status == 503, head.raw
        reload(hub, hub.lines)
        with tunnel.open_ours(hub) as second:
            second.echo()
    target.close()


def test_what_needs_a_restart_is_named():
    """Another Listen and Target are named, not taken; the rest of the file is."""
    target = udp.Target()
    with programs.Hub(target) as hub:
        lines = [line.replace(f':{hub.port}', f':{programs.free_port()}').replace(f':{target.port}', ':9')
                 for line in hub.lines]
        reload(hub, lines + peer('phone', PHONE), restart='Listen, Target')
        with tunnel.open_ours(hub, token=PHONE) as carrier:
            carrier.echo()
    target.close()


def test_next_worker_has_the_new_settings():
    """A worker that is started anew after the reload knows the new clients, and not the old ones."""
    target = udp.Target()
    with programs.Hub(target) as hub:
        reload(hub, without(hub, 'laptop') + peer('phone', PHONE))
        old = hub.worker
        os.kill(old, signal.SIGKILL)
        claims.wait_for(lambda: hub.worker not in (None, old), 'another worker', 5)
        with tunnel.open_ours(hub, token=PHONE) as carrier:
            carrier.echo()
        is_refused(hub, lambda: tunnel.open_ours(hub))
    target.close()


def test_reload_while_a_worker_starts_reaches_it():
    """Revoked between the death of a worker and the next one's first connection: never comes in again."""
    target = udp.Target()
    with programs.Hub(target, peers=[('phone', PHONE, None)]) as hub:
        for _ in range(10):
            reload(hub, hub.lines)
            old = hub.worker
            os.kill(old, signal.SIGKILL)
            claims.wait_for(lambda: hub.worker not in (None, old), 'another worker', 5)
            reload(hub, without(hub, 'laptop'))
            with tunnel.open_ours(hub, token=PHONE) as carrier:
                carrier.echo()
            is_refused(hub, lambda: tunnel.open_ours(hub))
    target.close()


def test_requests_that_cross_a_reload_get_no_other_address():
    """While clients come in, others are added and removed in front of them again and again: each is seen from its own
    address only."""
    target = udp.Target()
    with programs.Hub(target, peers=[('phone', PHONE, None)]) as hub:
        at = hub.lines.index('[Peer]')
        extra = [line for n in range(40) for line in peer(f'extra{n}', f'extra-{n}-token-0123456789')]
        longer = hub.lines[:at] + extra + hub.lines[at:]
        seen = {programs.TOKEN: set(), PHONE: set()}
        stops = threading.Event()

        def come_and_go():
            while not stops.is_set():
                for token, addresses in seen.items():
                    with tunnel.open_ours(hub, token=token) as carrier:
                        addresses.add(source_of(hub, carrier)[0])
        thread = threading.Thread(target=come_and_go)
        thread.start()
        try:
            for n in range(30):
                reload(hub, longer if n % 2 == 0 else hub.lines)
        finally:
            stops.set()
            thread.join()
        assert all(len(addresses) == 1 for addresses in seen.values()), seen
        assert seen[programs.TOKEN] != seen[PHONE]
    target.close()


if __name__ == '__main__':
    claims.main(globals())
