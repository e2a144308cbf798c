#!/usr/bin/python3
"""The hub behind a reverse proxy that tells the visitor's address: PROXY protocol, X-Forwarded-For, and the
trust in each."""

import os
import socket
import struct
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from peer import certs, claims, http, programs, stream, tunnel  # noqa: E402

WORD = programs.STOCK_PATH
VERSION_1 = b'PROXY TCP4 192.0.2.50 203.0.113.10 4711 443\r\n'
VERSION_2 = (b'\r\n\r\n\0\r\nQUIT\n\x21\x11' + struct.pack('>H', 12) + socket.inet_aton('192.0.2.50') +
             socket.inet_aton('203.0.113.10') + struct.pack('>HH', 4711, 443))
_hubs = {}


def hub():
    """One hub with both kinds of listener, which trusts 127.0.0.9 only."""
    if not _hubs:
        target = programs.shared_hub().target
        _hubs['hub'] = programs.Hub(target, listens=['wss://127.0.0.1:PORT', 'ws://127.0.0.1:PORT'],
                                    extra=['TrustedProxies = 127.0.0.9'])
        claims.at_exit(_hubs['hub'].close)
    return _hubs['hub']


def dial(port, source='127.0.0.9', header=b'', piece=None):
    sock = stream.dial(('127.0.0.1', port), source=source)
    for start in range(0, len(header), piece or len(header) or 1):
        sock.sendall(header[start:start + (piece or len(header))])
        if piece:
            programs.pause(0.002)
    return sock


def session_from(link, request):
    """Open the tunnel with this request. Return: what the hub's status calls the place it comes from."""
    with tunnel.open_with(link, request) as carrier:
        carrier.echo()
        return hub().status()['sessions'][0]['from']


def request(**options):
    return http.upgrade(tunnel.stock_token(hub()), WORD, **options)


def tls(sock):
    return stream.TlsStream(sock, certs.client_context()).handshake()


def test_header_in_front_of_tls():
    """Both versions, whole and byte by byte, in front of TLS: the tunnel works and the visitor's address is known."""
    for header in (VERSION_1, VERSION_2):
        for piece in (None, 1):
            assert session_from(tls(dial(hub().port, header=header, piece=piece)), request()) == '192.0.2.50:4711'


def test_header_in_the_clear():
    """The header and the request in one segment on a ws:// listener."""
    for header in (VERSION_1, VERSION_2):
        link = stream.Stream(dial(hub().ports[1]))
        assert session_from(link, header + request()) == '192.0.2.50:4711'


def test_forwarded_for():
    """X-Forwarded-For of a trusted proxy: its last address."""
    link = stream.Stream(dial(hub().ports[1]))
    assert session_from(link, request(extra=['X-Forwarded-For: 6.6.6.6, 192.0.2.50'])) == '192.0.2.50'


def test_no_header_from_the_proxy():
    """A trusted proxy that sends none is served all the same, on both listeners."""
    assert session_from(tls(dial(hub().port)), request()).startswith('127.0.0.9:')
    assert session_from(stream.Stream(dial(hub().ports[1])), request()).startswith('127.0.0.9:')


def test_first_letters_of_a_header_that_is_none():
    """P and the rest of POST in another segment: an ordinary request."""
    sock = dial(hub().ports[1])
    sock.sendall(b'P')
    programs.pause(0.05)
    link = stream.Stream(sock)
    link.send(b'OST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n')
    assert http.read_answer(link, bytearray())[0].status in (200, 404, 405)


def test_strangers_are_not_believed():
    """From another address a PROXY header is neither TLS nor HTTP, and X-Forwarded-For is ignored."""
    link = stream.Stream(dial(hub().port, source='127.0.0.8', header=VERSION_1))
    assert link.ends()
    link = stream.Stream(dial(hub().ports[1], source='127.0.0.8'))
    assert session_from(link, request(extra=['X-Forwarded-For: 192.0.2.50'])).startswith('127.0.0.8:')


def answer_to(link, raw):
    link.send(raw)
    return http.read_answer(link, bytearray())


def lost(**replace):
    """A stock client's request as some proxies pass it on."""
    return http.upgrade(tunnel.stock_token(hub()), WORD, replace=replace)


def test_upgrade_lost_in_the_proxy():
    """A known client is told by 426, and the operator by the log, what a proxy has taken out of the request."""
    close = 'connection: close'
    cases = ((dict(upgrade=None, connection=close), 'Upgrade'), (dict(upgrade=None, connection=None), 'Upgrade'),
             (dict(connection=close), 'Connection'), (dict(upgrade=None), 'Upgrade'))
    for replace, word in cases:
        for listener, open_link in ((0, tls), (1, stream.Stream)):
            head, body = answer_to(open_link(dial(hub().ports[listener])), lost(**replace))
            assert head.status == 426 and head.get('upgrade') == 'websocket', head
            assert b'taken the upgrade out' in body
            hub().wait_log(f'laptop: not let in: its request has come through a reverse proxy without {word};.*proxy_set_header')
    for raw, word in ((lost(upgrade=None, connection=close), 'Upgrade'), (lost(), 'HTTP/1.1')):
        head, _ = answer_to(stream.Stream(dial(hub().ports[1])), raw.replace(b'HTTP/1.1', b'HTTP/1.0'))
        assert head.status == 426
        hub().wait_log(f'through a reverse proxy without {word};')


def test_a_visitor_learns_nothing_of_it():
    """With a wrong path, and where there is no proxy, such a request gets what any request for that path gets."""
    raw = lost(upgrade=None)
    page, _ = answer_to(stream.Stream(dial(hub().ports[1])), http.page_request(f'/{WORD}/events'))
    for link, request in ((stream.Stream(dial(hub().ports[1])), raw.replace(WORD.encode(), b'other')),
                          (tls(dial(hub().port, source='127.0.0.8')), raw)):
        head, _ = answer_to(link, request)
        assert head.status == page.status != 426, head


def test_bad_header():
    """A malformed PROXY header ends the connection; the hub goes on."""
    assert stream.Stream(dial(hub().port, header=b'PROXY TCP4 nonsense\r\n')).ends()
    assert session_from(tls(dial(hub().port, header=VERSION_1)), request()) == '192.0.2.50:4711'


if __name__ == '__main__':
    claims.main(globals())
