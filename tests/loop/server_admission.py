#!/usr/bin/python3
"""Admission to the hub. Every client that is not admitted sees exactly what a visitor of the web site sees."""

import json
import os
import ssl
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from peer import certs, claims, http, programs, stream, tokens, tunnel, udp  # noqa: E402


def without_date(head, body):
    lines = [line for line in head.raw.split(b'\r\n') if not line.lower().startswith(b'date:')]
    return b'\r\n'.join(lines) + body


def visit(hub, request, link=None):
    """The answer to this request: its bytes without the date."""
    with link or tunnel.connect(hub) as link:
        link.send(request)
        head, body = http.read_answer(link, bytearray())
        assert head, 'the hub hung up instead of answering'
        return without_date(head, body)


def plain_page(hub, path='/v1/events'):
    return visit(hub, http.page_request(path))


def is_visitor(jwt=None, path='/v1/events', request=None, link=None):
    """A request with this token gets the very bytes that a plain request for the same path gets."""
    hub = programs.shared_hub()
    prefix = path.strip('/').removesuffix('events').rstrip('/')
    got = visit(hub, request or http.upgrade(jwt, prefix), link)
    assert got == plain_page(hub, path), got
    assert not got.startswith(b'HTTP/1.1 101')
    assert hub.target.is_quiet(0.05)


def with_claims(binding=True, token=None, **changes):
    """A fresh connection, and the token of our client for it with these changes."""
    hub = programs.shared_hub()
    link = tunnel.connect(hub)
    return link, tunnel.our_token(hub, link, token, binding, changes)


def is_visitor_with(**changes):
    link, jwt = with_claims(**changes)
    is_visitor(jwt, link=link)


def is_admitted(jwt, link, prefix='v1'):
    with tunnel.open_with(link, http.upgrade(jwt, prefix)) as carrier:
        carrier.echo()


def test_the_token_opens_the_tunnel():
    """Our client's JWT is answered with the 101 of the wire format and carries datagrams."""
    link, jwt = with_claims()
    key = http.new_key()
    with tunnel.open_with(link, http.upgrade(jwt, key=key)) as carrier:
        head = carrier.head
        assert head.get('sec-websocket-accept') == http.accept_of(key)
        assert head.get('connection').lower() == 'upgrade' and head.get('upgrade') == 'websocket'
        assert head.get('sec-websocket-protocol') == 'v1' and head.get('date')
        assert len(head.fields) == 5, head.raw
        carrier.echo()


def test_the_stock_path_opens_the_tunnel():
    """A stock client comes in by the path prefix that is its word, whatever signs its JWT."""
    hub = programs.shared_hub()
    for key in ('', 'champignonfrais'):
        jwt = tokens.sign(tokens.stock_claims(hub.target.port), key)
        is_admitted(jwt, tunnel.connect(hub), programs.STOCK_PATH)


def test_stock_token_may_have_any_form():
    """A stock client's JWT may have other claims, another order, a timeout, a foreign signature or an empty one."""
    hub = programs.shared_hub()
    port = hub.target.port
    texts = [
        f'{{ "rp" : {port}, "r":"127.0.0.1",\n "p":{{"Udp":{{"timeout":{{"secs":30,"nanos":0}}}}}},"id":"{tokens.uuid7()}"}}',
        f'{{"id":"{tokens.uuid7()}","p":{{"Udp":{{}}}},"r":"localhost","rp":{port}}}',
        f'{{"id":"{tokens.uuid7()}","p":{{"Udp":{{"timeout":{{"secs":0,"nanos":0}}}}}},"r":"127.0.0.1","rp":{port},'
        f'"more":"{"x" * 3000}"}}',
    ]
    for text in texts:
        is_admitted(tokens.sign(text, 'any', {'alg': 'HS256', 'typ': 'JWT'}), tunnel.connect(hub), programs.STOCK_PATH)
    empty = tunnel.stock_token(hub).rpartition('.')[0] + '.'
    is_admitted(empty, tunnel.connect(hub), programs.STOCK_PATH)


def test_unknown_claims_are_ignored():
    """Unknown claims change nothing."""
    link, jwt = with_claims(future={'a': [1, 2, {'b': None}]}, padding='x' * 1000)
    is_admitted(jwt, link)


def test_a_wrong_clock_is_no_reason():
    """A client at 1970, or in a far future, is admitted."""
    for when in (0, 42, 9999999999):
        link, jwt = with_claims(iat=when)
        is_admitted(jwt, link)


def test_bad_signature():
    """A token signed with another secret makes a visitor."""
    link, jwt = with_claims()
    is_visitor(tokens.sign(tokens.read(jwt)[1], 'another-secret-0123456789'), link=link)


def test_changed_signature():
    """A signature that is cut, changed in one bit or not there makes a visitor."""
    for change in (lambda s: s[:-4], lambda s: ('A' if s[0] != 'A' else 'B') + s[1:], lambda s: '', lambda s: '!' + s[1:]):
        link, jwt = with_claims()
        body, _, signature = jwt.rpartition('.')
        is_visitor(body + '.' + change(signature), link=link)


def test_other_algorithm():
    """A header that names no or another algorithm makes a visitor."""
    hub = programs.shared_hub()
    for algorithm in ('none', 'HS512', 'RS256'):
        link = tunnel.connect(hub)
        header, wanted, _ = tokens.read(tunnel.our_token(hub, link))
        is_visitor(tokens.sign(wanted, programs.TOKEN, {**header, 'alg': algorithm}), link=link)


def test_unknown_key_id():
    """A request with a kid of no client is a visitor's."""
    is_visitor_with(kid='0123456789abcdef')


def test_missing_key_id():
    """A signature without kid makes a visitor."""
    is_visitor_with(kid=None)


def test_malformed_claims():
    """Claims of ours in a wrong form make a visitor."""
    for changes in ({'kid': 7}, {'inst': 'xyz'}, {'inst': 12}, {'cb': '####'}, {'cb': 1}):
        is_visitor_with(**changes)


def test_other_target():
    """Another port, host, or a name that would resolve to the target makes a visitor."""
    port = programs.shared_hub().target.port
    for changes in ({'rp': port + 1}, {'rp': 22}, {'r': '127.0.0.2'}, {'r': '192.0.2.1'}, {'r': '127.1'}, {'r': ''},
                    {'r': 'localhost.'}, {'r': '127.0.0.1 '}, {'rp': str(port)}, {'rp': port + 65536}, {'rp': float(port) + .5},
                    {'rp': None}, {'r': None}, {'r': ['127.0.0.1']}, {'rp': -port}):
        is_visitor_with(**changes)


def test_ipv6_target():
    """A target on ::1 is asked for with or without brackets, and reached; its IPv4 namesake is a visitor's."""
    target = udp.Target(host='::1')
    with programs.Hub(target, target_text=f'[::1]:{target.port}') as hub:
        for host in ('::1', '[::1]', 'localhost'):
            with tunnel.open_ours(hub, host=host) as carrier:
                carrier.echo()
        with tunnel.connect(hub) as link:
            head, _ = tunnel.ask(link, http.upgrade(tunnel.our_token(hub, link, host='127.0.0.1')))
            assert head.status != 101
    target.close()


def test_other_protocols():
    """A request for anything but a UDP forward is a visitor's."""
    for wish in ({'Tcp': {'proxy_protocol': False}}, {'ReverseUdp': {'timeout': None}}, {'ReverseTcp': {}}, 'Socks5', {}, None,
                 {'Socks5': {'timeout': None}}, 7):
        is_visitor_with(p=wish)


def test_stock_target_is_checked_too():
    """A stock client that asks for another target is a visitor, also on the right path."""
    hub = programs.shared_hub()
    for wanted in (tokens.stock_claims(22), tokens.stock_claims(hub.target.port, '127.0.0.2')):
        is_visitor(tokens.sign(wanted, ''), f'/{programs.STOCK_PATH}/events')


def test_key_twice():
    """A claim that is given twice makes a visitor, whichever of the two is right."""
    hub = programs.shared_hub()
    link = tunnel.connect(hub)
    wanted = json.dumps(tokens.our_claims(hub.target.port, programs.TOKEN, link.binding()))
    is_visitor(tokens.sign(wanted[:-1] + f',"rp":{hub.target.port}}}', programs.TOKEN), link=link)


def test_wrong_binding():
    """A token bound to another TLS session makes a visitor."""
    is_visitor_with(cb=tokens.base64url(os.urandom(32)))


def test_short_binding():
    """A binding of another length makes a visitor."""
    is_visitor_with(cb=tokens.base64url(os.urandom(16)))


def test_missing_binding():
    """A token without a binding is admitted: it comes from a client that was told of an intercepting proxy."""
    link, jwt = with_claims(binding=False)
    is_admitted(jwt, link)


def test_session_that_cannot_be_bound():
    """Where the TLS session has no binding (1.2 without extended master secret) a bound token makes a visitor."""
    hub = programs.shared_hub()
    context = certs.client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.options |= 1  # SSL_OP_NO_EXTENDED_MASTER_SECRET
    link = tunnel.connect(hub, context=context)
    wanted = tokens.our_claims(hub.target.port, programs.TOKEN, os.urandom(32))
    is_visitor(tokens.sign(wanted, programs.TOKEN), link=link)


def test_replayed_token():
    """A token that was good on one TLS session is a visitor's on the next, while the first still lives."""
    link, jwt = with_claims()
    with tunnel.open_with(link, http.upgrade(jwt)) as carrier:
        is_visitor(jwt)
        carrier.echo()


def test_our_token_on_other_paths():
    """Our signature counts on /v1/events only."""
    for path in ('/v2/events', '/v1/xevents', '/v1/events/', '/x/v1/events', '/v1/events?x=1'):
        hub = programs.shared_hub()
        link = tunnel.connect(hub)
        request = http.upgrade(tunnel.our_token(hub, link)).replace(b'/v1/events', path.encode(), 1)
        is_visitor(None, path, request, link)


def test_stock_word_is_compared_exactly():
    """A word that is longer, shorter, in other letters or escaped makes a visitor."""
    hub = programs.shared_hub()
    word = programs.STOCK_PATH
    for wrong in (word + 'x', word[:-1], word.upper(), word.replace('-', '%2d'), word + '/v1', 'v1'):
        is_visitor(tunnel.stock_token(hub), f'/{wrong}/events')


def test_token_is_no_path():
    """The token itself opens nothing as a path."""
    hub = programs.shared_hub()
    is_visitor(tunnel.stock_token(hub), f'/{programs.TOKEN}/events')


def test_two_different_clients_in_one_request():
    """One client's signature on another's stock path makes a visitor."""
    target = udp.Target()
    with programs.Hub(target, peers=[('phone', 'phone-token-0123456789', 'phone-word')]) as hub:
        link = tunnel.connect(hub)
        jwt = tunnel.our_token(hub, link)
        got = visit(hub, http.upgrade(jwt, 'phone-word'), link)
        assert got == plain_page(hub, '/phone-word/events')
    target.close()


def test_no_token_at_all():
    """An upgrade without any JWT, or with garbage for one, makes a visitor."""
    for protocol in ('sec-websocket-protocol: v1', 'sec-websocket-protocol: chat, superchat',
                     'sec-websocket-protocol: v1, authorization.bearer.',
                     'sec-websocket-protocol: v1, authorization.bearer.a.b.c',
                     'sec-websocket-protocol: v1, authorization.bearer.....', None):
        is_visitor(request=http.upgrade('', replace={'sec-websocket-protocol': protocol}))


def test_upgrade_that_is_not_quite_one():
    """A right token in a request that is no upgrade in form makes a visitor."""
    for replace in ({'upgrade': None}, {'upgrade': 'upgrade: h2c'}, {'connection': None},
                    {'connection': 'connection: keep-alive'},
                    {'sec-websocket-key': None}, {'sec-websocket-key': 'sec-websocket-key: dG9vIHNob3J0'},
                    {'sec-websocket-version': 'sec-websocket-version: 8'}, {'sec-websocket-version': None}):
        hub = programs.shared_hub()
        link = tunnel.connect(hub)
        is_visitor(request=http.upgrade(tunnel.our_token(hub, link), replace=replace), link=link)


def test_nothing_names_the_tunnel():
    """No page, error or header says what program answers."""
    hub = programs.shared_hub()
    answers = [plain_page(hub, path) for path in ('/', '/v1/events', '/no/such/page', '/index.html')]
    with tunnel.connect(hub) as link:
        link.send(b'NONSENSE\r\n\r\n')
        buffer = b''
        try:
            while data := link.recv():
                buffer += data
        except (OSError, TimeoutError):
            pass
        answers.append(buffer)
    for answer in answers:
        for word in (b'towpath', b'libwebsockets', b'lws', b'wstunnel', b'wireguard', b'tunnel'):
            assert word not in answer.lower(), answer


def test_token_in_a_cookie():
    """A bare JWT in Cookie counts where the sub-protocol has none; the sub-protocol wins."""
    hub = programs.shared_hub()
    word = programs.STOCK_PATH
    jwt = tunnel.stock_token(hub)
    for replace in ({'sec-websocket-protocol': None}, {'sec-websocket-protocol': 'sec-websocket-protocol: v1'}):
        request = http.upgrade('', word, replace=replace, extra=[f'cookie: {jwt}'])
        tunnel.open_with(tunnel.connect(hub), request).close()
    wrong = tokens.sign(tokens.stock_claims(22), '')
    is_visitor(path=f'/{word}/events', request=http.upgrade(wrong, word, extra=[f'cookie: {jwt}']))


def test_cleartext_listener_needs_no_binding():
    """On a ws:// listener a token without binding is admitted: TLS ends elsewhere."""
    target = udp.Target()
    with programs.Hub(target, listens=['ws://127.0.0.1:PORT']) as hub:
        with tunnel.open_ours(hub, tls=False) as carrier:
            carrier.echo()
        with tunnel.open_stock(hub, tls=False) as carrier:
            carrier.echo()
        link = tunnel.connect(hub, tls=False)
        assert isinstance(link, stream.Stream)
        assert b'200' in visit(hub, http.page_request('/'), link).split(b'\r\n')[0]
    target.close()


def test_log_holds_no_secret():
    """Neither tokens nor stock words nor JWTs are in the log, however verbose."""
    hub = programs.shared_hub()
    link, jwt = with_claims()
    is_admitted(jwt, link)
    link, jwt2 = with_claims(kid='0123456789abcdef')
    is_visitor(jwt2, link=link)
    for secret in (programs.TOKEN, programs.STOCK_PATH, jwt, jwt2, jwt.split('.')[2], jwt2.split('.')[1]):
        assert secret not in hub.log, 'a secret in the log'


def test_hasty_source_waits_for_its_answer():
    """A source that connects too often waits a second for each page, also for one asked for in several segments."""
    hub = programs.shared_hub()
    source = stream.local_address()

    def connect():
        return stream.TlsStream(stream.dial(hub.address, source=source), certs.client_context()).handshake()
    for _ in range(35):
        connect().close()
    for extra, later in (((), b''), (['content-length: 8'], b'8 bytes.')):
        with connect() as link:
            asked = time.monotonic()
            link.send(http.page_request(method='POST' if later else 'GET', extra=extra))
            if later:
                programs.pause(0.3)
                link.send(later)
            head = http.read_head(link, bytearray())
            assert head and head.status in (200, 405), head
            assert 0.9 < time.monotonic() - asked < 8, time.monotonic() - asked


if __name__ == '__main__':
    claims.main(globals())
