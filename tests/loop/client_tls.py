#!/usr/bin/python3
"""Our client and certificates: verified always, by CA, name, date or pin; a wrong one never sees a token."""

import os
import ssl
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from peer import certs, claims, http, programs, servers, stream  # noqa: E402


def connects(kind, name=None, **options):
    """With this certificate the client connects and a datagram goes through."""
    with servers.Server(programs.certificate(kind), name=name) as at:
        with programs.Client(at.url, **options) as ours, ours.local() as local:
            local.send(b'go')
            with at.carrier() as carrier:
                carrier.datagram(b'through')
                local.expect(b'through')


def refuses(kind, log, **options):
    """With this certificate the client sends not a byte inside TLS, says why, and goes on trying."""
    with servers.Server(programs.certificate(kind)) as at:
        with programs.Client(at.url, **options) as ours, ours.local() as local:
            local.send(b'go')
            for _ in range(2):
                try:
                    with stream.TlsStream(at.accept(), at.context, server_side=True).handshake() as link:
                        data = link.recv()
                        assert not data, f'it spoke to a stranger: {data[:60]!r}'
                except (ssl.SSLError, ConnectionResetError):
                    pass
            ours.wait_log(log)


def test_right_ca():
    """A certificate of the given CA for the URL's address is good."""
    connects('good', ca=programs.certificate('ca'))


def test_right_name():
    """A certificate of the given CA for the URL's name is good."""
    connects('good', name='localhost', ca=programs.certificate('ca'))


def test_server_name():
    """ServerName is the name to verify, and what is sent as SNI."""
    names = []
    certificate = programs.certificate('other')
    with servers.Server(certificate) as at:
        at.context.sni_callback = lambda _, name, __: names.append(name)
        with programs.Client(at.url, ca=programs.certificate('ca'), extra=['ServerName = other.example.org']) as ours:
            with ours.local() as local:
                local.send(b'go')
                at.carrier().close()
    assert names and names[0] == 'other.example.org', names


def test_no_sni_for_an_address():
    """For an address in the URL there is no SNI."""
    names = []
    with servers.Server(programs.certificate()) as at:
        at.context.sni_callback = lambda _, name, __: names.append(name)
        with programs.Client(at.url, ca=programs.certificate('ca')) as ours, ours.local() as local:
            local.send(b'go')
            at.carrier().close()
    assert names and names[0] is None, names


def test_system_cas_are_the_default():
    """Without CA and pin a certificate of an unknown CA is refused."""
    refuses('good', r'(?i)certificate|issuer')


def test_self_signed():
    """A self-signed certificate is refused without a pin."""
    refuses('alone', r'(?i)self.signed|certificate')


def test_expired():
    """An expired certificate is refused, and the log says so."""
    refuses('expired', r'(?i)expired', ca=programs.certificate('ca'))


def test_other_name():
    """A certificate for another name is refused, and the log names that other name."""
    refuses('other', r'other\.example\.org', ca=programs.certificate('ca'))


def test_right_pin():
    """A pinned key needs neither CA nor name nor date."""
    for kind in ('alone', 'other', 'expired'):
        connects(kind, pin=programs.certificate(kind).pin)


def test_second_pin():
    """Any one of several pins will do."""
    connects('alone', pin=programs.certificate('good').pin + ', ' + programs.certificate('alone').pin)


def test_wrong_pin():
    """Another key than the pinned one is refused, whoever signed it."""
    refuses('alone', r'(?i)pin', pin=programs.certificate('good').pin)
    refuses('good', r'(?i)pin', pin=programs.certificate('alone').pin, ca=None)


def test_alpn_and_versions():
    """The client offers http/1.1 alone, TLS 1.3 first, and lives with 1.2."""
    for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
        with servers.Server(programs.certificate()) as at:
            at.context.maximum_version = version
            at.context.set_alpn_protocols(['h2', 'http/1.1'])
            with programs.Client(at.url, ca=programs.certificate('ca')) as ours, ours.local() as local:
                local.send(b'go')
                with at.carrier() as carrier:
                    assert carrier.link.tls.selected_alpn_protocol() == 'http/1.1'
                    assert carrier.link.tls.version() == version.name.replace('_', '.')
                    carrier.datagram(b'through')
                    local.expect(b'through')


def test_old_tls_is_refused():
    """A server that knows only TLS 1.1 is refused."""
    certificate = programs.certificate()
    with servers.Server(certificate) as at:
        at.context.minimum_version = ssl.TLSVersion.TLSv1
        at.context.set_ciphers('ALL:@SECLEVEL=0')
        at.context.maximum_version = ssl.TLSVersion.TLSv1_1
        with programs.Client(at.url, ca=programs.certificate('ca')) as ours, ours.local() as local:
            local.send(b'go')
            try:
                at.link()
            except (ssl.SSLError, ConnectionResetError):
                ours.wait_log('TLS')
                return
    raise AssertionError('TLS 1.1 was accepted')


def test_sessions_are_resumed():
    """The second connection resumes the first one's TLS session."""
    with servers.Server(programs.certificate()) as at:
        with programs.Client(at.url, ca=programs.certificate('ca')) as ours, ours.local() as local:
            reused = []
            for _ in range(2):
                local.send(b'go')
                carrier = at.carrier()
                carrier.datagram(b'through')  # the tickets came before it
                local.expect(b'through')
                reused.append(carrier.link.tls.session_reused)
                carrier.close()
    assert reused == [False, True], reused


def test_client_certificate():
    """ClientCertificate and ClientKey are shown to a server that asks for them."""
    mine = certs.signed(os.path.dirname(programs.certificate().path), 'mine', programs.certificate('ca'), ['laptop'])
    with servers.Server(programs.certificate()) as at:
        at.context.verify_mode = ssl.CERT_REQUIRED
        at.context.load_verify_locations(programs.certificate('ca').path)
        extra = [f'ClientCertificate = {mine.path}', f'ClientKey = {mine.key}']
        with programs.Client(at.url, ca=programs.certificate('ca'), extra=extra) as ours, ours.local() as local:
            local.send(b'go')
            with at.carrier() as carrier:
                assert carrier.link.tls.getpeercert()['subject'] == ((('commonName', 'laptop'),),)


def test_plain_http_server():
    """A server that speaks plain HTTP where TLS is due is told apart from a wrong certificate."""
    with servers.Server(programs.certificate()) as at:
        with programs.Client(at.url, ca=programs.certificate('ca')) as ours, ours.local() as local:
            local.send(b'go')
            sock = at.accept()
            sock.recv(4096)
            sock.sendall(b'HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n')
            sock.close()
            ours.wait_log('does not speak TLS')
            at.carrier().close()


def test_secrets_stay_out_of_the_log():
    """Neither the token nor a JWT is in the log, however verbose."""
    with servers.Server(programs.certificate()) as at:
        with programs.Client(at.url, ca=programs.certificate('ca')) as ours, ours.local() as local:
            local.send(b'go')
            link, head, _ = at.request()
            link.send(b'HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n')
            link.close()
            ours.wait_log('403')
            jwt = head.get('sec-websocket-protocol').split('bearer.')[1]
            for secret in (programs.TOKEN, jwt, jwt.split('.')[2]):
                assert secret not in ours.log
            assert http.GUID not in ours.log


if __name__ == '__main__':
    claims.main(globals())
