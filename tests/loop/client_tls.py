#!/usr/bin/python3
"""Our client and certificates: verified always, by CA, name, date or pin; a wrong one never sees a token."""

import os
import signal
import ssl
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from peer import certs, claims, http, programs, servers, stream  # noqa: E402


told = []  # the log of each refusal


def connects(kind, name=None, **options):
    """With this certificate the client connects and a datagram goes through."""
    with servers.Server(programs.certificate(kind), name=name) as at:
        with programs.Client(at.url, **options) as ours, ours.local() as local:
            local.send(b'go')
            with at.carrier() as carrier:
                carrier.datagram(b'through')
                local.expect(b'through')


def is_refused(at):
    """The next connection ends without a byte inside TLS."""
    try:
        with stream.TlsStream(at.accept(), at.context, server_side=True).handshake() as link:
            data = link.recv()
            assert not data, f'it spoke to a stranger: {data[:60]!r}'
    except (ssl.SSLError, ConnectionResetError):
        pass


def refuses(kind, log, **options):
    """With this certificate the client sends not a byte inside TLS, says why, and goes on trying."""
    with servers.Server(programs.certificate(kind)) as at:
        with programs.Client(at.url, **options) as ours, ours.local() as local:
            local.send(b'go')
            is_refused(at)
            is_refused(at)
            ours.wait_log(log)
            told.append(ours.log)


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


STATUS = 'the Pin that towpath-server status shows there'
PORTAL = 'a captive portal .* or a proxy that opens TLS'


def refuses_without_a_key(kind, log, **options):
    """The same, and the log does not offer the key that was seen."""
    refuses(kind, log, **options)
    assert 'Pin = sha256//' not in told[-1], told[-1]


def test_system_cas_are_the_default():
    """Without CA and pin a certificate of an unknown CA is refused: it is named, and its key is not offered."""
    refuses_without_a_key('good', f'certificate is for localhost, .*signed by "Test CA", an unknown authority.*CA = .*{PORTAL}')


def test_company_ca_issues_for_our_name():
    """A proxy that opens TLS makes certificates for any name: its CA is named, with its company, and the key that would
    let it."""
    refuses_without_a_key('company', r'signed by "Test Proxy CA" of "Company, Inc\.", an unknown.*Interception = yes')
    refuses_without_a_key('company', 'unknown authority', ca=programs.certificate('ca'))


def test_staging_certificate():
    """A certificate of Let's Encrypt's test authority is no reason to add a CA."""
    refuses_without_a_key('staging', r'signed by "\(STAGING\) Riddling .*test authority: have the server')
    assert 'CA = ' not in told[-1]


def test_self_signed():
    """A new hub's own certificate is refused without a pin; its pin is told, to be compared at the hub."""
    for kind in ('alone', 'portal'):
        pin = programs.certificate(kind).pin.replace('+', r'\+')
        refuses(kind, f'self-signed; if towpath-server status shows the same pin there, add Pin = {pin}; else {PORTAL}')
    assert 'is for portal.hotel.example, self-signed' in told[-1]


def test_expired():
    """An expired certificate is refused, and the log says so."""
    refuses_without_a_key('expired', r'expired on 2020-02-01; have the server renew it', ca=programs.certificate('ca'))


def test_other_name():
    """A certificate for another name is refused, and the log names that other name."""
    refuses_without_a_key('other', rf'is for other\.example\.org, signed by "Test CA"; .* ServerName = other\.example\.org '
                                   f'or {STATUS}; else {PORTAL}', ca=programs.certificate('ca'))


def test_another_answers_than_before():
    """After the server was verified by its CA, no other key or name becomes advice: not by a self-signed
    certificate, nor by one of an unknown CA or for another name; also not after a reload."""
    good = programs.certificate()
    with servers.Server(good) as at, programs.Client(at.url, ca=programs.certificate('ca')) as ours, ours.local() as local:
        local.send(b'go')
        at.carrier().close()
        for kind in ('portal', 'company', 'other', 'alone'):
            at.context = certs.server_context(programs.certificate(kind))
            is_refused(at)
            name = {'portal': r'portal\.hotel\.example', 'other': r'other\.example\.org'}.get(kind, 'localhost')
            ours.wait_log(f'is for {name}.*the server was reached before, so {PORTAL} may have answered; .*{STATUS}')
            if kind == 'company':
                ours.write('\n'.join(ours.lines) + '\nPingInterval = 20s\n')
                os.kill(ours.process.pid, signal.SIGHUP)
        assert 'Pin = sha256//' not in ours.log and 'ServerName' not in ours.log, ours.log
        at.context = certs.server_context(good)
        at.carrier().close()


def test_a_name_is_known_after_a_restart():
    """A name that was reached is known at the next start, too."""
    ca = programs.certificate('ca')
    with programs.Client('wss://hub.test:1', ca=ca, hosts=['127.0.0.1'], start=False) as ours:
        with servers.Server(programs.certificate()) as at:
            ours.write('\n'.join(ours.lines).replace('hub.test:1', f'hub.test:{at.port}') + '\n')
            ours.start()
            with ours.local() as local:
                local.send(b'go')
                at.carrier().close()
                ours.stop()
                ours.start()
                at.context = certs.server_context(programs.certificate('portal'))
                local.send(b'go')
                is_refused(at)
                ours.wait_log('the server was reached before')
        assert 'Pin = sha256//' not in ours.log, ours.log


def test_trusted_proxy_that_opens_tls():
    """Where its CA is trusted, the token's binding is what fails: the message names it and the key that allows it. Not
    where a pin, or that key, leaves no doubt."""
    good, ca, hint = programs.certificate(), programs.certificate('ca'), 'signed by "Test CA": if that is a proxy that opens TLS'
    for options, has_hint in ((dict(ca=ca), True), (dict(pin=good.pin), False), (dict(ca=ca, extra=['Interception = yes']), False)):
        with servers.Server(good) as at, programs.Client(at.url, **options) as ours, ours.local() as local:
            local.send(b'go')
            link, _, _ = at.request()
            link.send(b'HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n')
            link.close()
            ours.wait_log('compare Token and Target')
            assert (hint in ours.log) == has_hint, ours.log


def test_http_proxy_that_opens_tls():
    """A proxy that answers CONNECT and shows a certificate of its own is named."""
    with servers.Server(programs.certificate('company')) as at, servers.Proxy() as proxy:
        with programs.Client(at.url, extra=[f'Proxy = http://127.0.0.1:{proxy.port}']) as ours, ours.local() as local:
            local.send(b'go')
            is_refused(at)
            ours.wait_log('Test Proxy CA.*else the proxy, which opens TLS, has answered')
            assert 'Pin = ' not in ours.log


def test_right_pin():
    """A pinned key needs neither CA nor name nor date."""
    for kind in ('alone', 'other', 'expired'):
        connects(kind, pin=programs.certificate(kind).pin)


def test_second_pin():
    """Any one of several pins will do."""
    connects('alone', pin=programs.certificate('good').pin + ', ' + programs.certificate('alone').pin)


def test_wrong_pin():
    """Another key than the pinned one is refused, whoever signed it."""
    for seen, pinned in ('alone', 'good'), ('good', 'alone'), ('portal', 'alone'):
        refuses_without_a_key(seen, f'public key is not the Pin: certificate is for .*{PORTAL} has answered.*set up anew.*{STATUS}',
                              pin=programs.certificate(pinned).pin)


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
