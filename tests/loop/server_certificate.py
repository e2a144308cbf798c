#!/usr/bin/python3
"""Another program renews the hub's certificate: new connections get it by themselves, and open ones do not notice."""

import contextlib
import os
import shutil
import ssl
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from peer import certs, claims, programs, tunnel, udp  # noqa: E402

SEEN_S = 25     # the hub looks every 15 s; a busy machine takes longer
WARNED_S = 100  # a minute after the look that saw it


class Renewed:
    """A hub with an open session, and its certificate's files as certbot keeps them: links into another folder."""

    def __init__(self, target):
        self.hub = programs.Hub(target, start=False)
        self.live, self.archive = (os.path.join(self.hub.folder, name) for name in ('live', 'archive'))
        os.mkdir(self.live)
        os.mkdir(self.archive)
        self.first = self.make('first')
        self.files = certs.Certificate(self.live, 'hub')
        self.link(self.first)
        at = self.hub.lines.index('[Peer]')
        self.hub.lines[at:at] = [f'Certificate = {self.files.path}', f'CertificateKey = {self.files.key}']
        self.hub.write('\n'.join(self.hub.lines) + '\n')
        self.hub.start()
        self.before = self.served()
        self.session = tunnel.open_ours(self.hub)
        self.error = None
        self.stops = threading.Event()
        self.traffic = threading.Thread(target=self.echo)
        self.traffic.start()

    def echo(self):
        try:
            while not self.stops.wait(0.2):
                self.session.echo()
        except Exception as error:  # told by check()
            self.error = error

    def make(self, name, **options):
        return certs.self_signed(self.archive, name, **options)

    def link(self, certificate):
        """As certbot does: the links are turned one after the other."""
        for old, new in ((self.files.path, certificate.path), (self.files.key, certificate.key)):
            os.symlink(new, old + '.new')
            os.rename(old + '.new', old)

    def served(self):
        """DER of the certificate that new connections get."""
        return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(self.hub.address))

    def serves(self, certificate):
        """True for the first one in that file."""
        with open(certificate.path) as file:
            text, end, _ = file.read().partition(ssl.PEM_FOOTER)
        return self.served() == ssl.PEM_cert_to_DER_cert(text + end)

    def check(self):
        """The session of the beginning goes on, and a new one opens."""
        self.hub.must_run()
        assert not self.error, self.error
        with tunnel.open_ours(self.hub) as another:
            another.echo()

    def close(self):
        self.stops.set()
        self.traffic.join()
        self.session.close()
        self.hub.close()


@contextlib.contextmanager
def renewed(count):
    target = udp.Target()
    with contextlib.ExitStack() as stack:
        stack.callback(target.close)
        hubs = []
        for _ in range(count):
            hubs.append(Renewed(target))
            stack.callback(hubs[-1].close)
        yield hubs


def test_renewed_pair_is_taken_however_it_was_written():
    """Links that turn; the key in place and seconds later the certificate with its chain, of another kind; a rename of
    a certificate with the same key. A new pin is told where there is one. A file that was only touched is not told at
    all."""
    with renewed(4) as (linked, in_place, moved, touched):
        second = linked.make('second')
        linked.link(second)

        rsa = in_place.make('rsa', new_key=('rsa:2048',))
        with open(rsa.path, 'a') as chain, open(in_place.first.path) as issuer:
            chain.write(issuer.read())
        shutil.copy(rsa.key, in_place.files.key)

        again = certs.signed(moved.archive, 'again', moved.first, key=moved.first.key)
        os.rename(again.path, moved.files.path)
        again.path = moved.files.path

        os.utime(touched.files.path)
        programs.pause(2)
        assert in_place.served() == in_place.before
        shutil.copy(rsa.path, in_place.files.path)

        for hub, certificate in ((linked, second), (in_place, rsa), (moved, again)):
            claims.wait_for(lambda: hub.serves(certificate), certificate.path, SEEN_S, 0.5)
            assert hub.hub.log.count(f'config: {hub.files.path}: a new certificate, valid until ') == 1, hub.hub.log
        for hub, certificate in ((linked, second), (in_place, rsa)):
            hub.hub.wait_log(f'has a new key; clients that pin the old one need: Pin = {certificate.pin}'
                             .replace('+', r'\+'))
        assert 'has a new key' not in moved.hub.log
        assert touched.served() == touched.before and 'certificate' not in touched.hub.log, touched.hub.log
        for hub in (linked, in_place, moved, touched):
            hub.check()


def test_pair_that_does_not_fit_is_never_taken_and_told_once():
    """A certificate without its key, DER, an empty file, a folder that is gone: the pair of before is served on. After
    a minute there is one warning with both names. An expired pair is taken, and warned of."""
    with renewed(5) as (half, der, empty, gone, old):
        second = half.make('second')
        shutil.copy(second.path, half.files.path)
        with open(der.files.path, 'wb') as file:
            file.write(der.before)
        open(empty.files.key, 'w').close()
        shutil.move(gone.live, gone.live + '-away')
        old.link(certs.signed(old.archive, 'old', old.first, until='20200201000000Z'))
        bad = (half, der, empty, gone)
        begin = time.monotonic()

        old.hub.wait_log('expired since 2020-02-01T00:00:00Z; clients without Pin refuse it', SEEN_S)
        for hub, why in zip(bad, ('the key does not belong to the certificate', 'hub.pem: not a text file',
                                  'hub.key: empty', 'hub.pem: No such file or directory')):
            files = f'Certificate {hub.files.path} and CertificateKey {hub.files.key}'
            hub.hub.wait_log(f'{files} are not taken: .*{why}', WARNED_S)
            assert time.monotonic() - begin > 60
        programs.pause(20)  # a look later
        for hub in bad:
            assert hub.hub.log.count('are not taken') == 1, hub.hub.log
            assert hub.served() == hub.before
            hub.check()
        shutil.copy(second.key, half.files.key)
        shutil.move(gone.live + '-away', gone.live)
        claims.wait_for(lambda: half.serves(second), 'the pair that fits now', SEEN_S, 0.5)
        half.check()
        assert gone.served() == gone.before


if __name__ == '__main__':
    claims.main(globals())
