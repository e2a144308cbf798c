#!/usr/bin/python3
"""The hub before the tunnel: TLS hellos, request heads, connections re-used, garbage and silence at every stage."""

import os
import random
import socket
import ssl
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from peer import certs, claims, frames, http, programs, stream, tokens, tunnel  # noqa: E402

WORD = programs.STOCK_PATH


def stock_request(**options):
    return http.upgrade(tunnel.stock_token(programs.shared_hub()), WORD, **options)


def opens(request, link=None):
    """This request, as it stands, opens the tunnel."""
    with tunnel.open_with(link or tunnel.connect(programs.shared_hub()), request) as carrier:
        carrier.echo()


def page_status(link, buffer, path='/', **options):
    link.send(http.page_request(path, **options))
    return http.read_answer(link, buffer)[0].status


# --- TLS ---

def test_tls_versions():
    """TLS 1.3 and 1.2 work, 1.1 does not."""
    hub = programs.shared_hub()
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = certs.client_context()
        context.minimum_version = context.maximum_version = version
        opens(stock_request(), tunnel.connect(hub, context=context))
    context = certs.client_context()
    context.set_ciphers('ALL:@SECLEVEL=0')
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    try:
        tunnel.connect(hub, context=context)
    except (ssl.SSLError, ConnectionResetError):
        return
    raise AssertionError('TLS 1.1 was accepted')


def test_our_client_over_tls_1_2():
    """The token's binding works over TLS 1.2 as well."""
    hub = programs.shared_hub()
    context = certs.client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    link = tunnel.connect(hub, context=context)
    opens(http.upgrade(tunnel.our_token(hub, link)), link)


def test_alpn():
    """http/1.1 is taken out of any list; a client without ALPN is served without."""
    hub = programs.shared_hub()
    for offer, choice in ((('http/1.1',), 'http/1.1'), (('h2', 'http/1.1'), 'http/1.1'), (('x', 'http/1.1', 'h2'), 'http/1.1'),
                          ((), None)):
        link = tunnel.connect(hub, context=certs.client_context(offer))
        assert link.tls.selected_alpn_protocol() == choice
        opens(stock_request(), link)


def test_alpn_without_http_1_1():
    """A list that lacks http/1.1 gets the alert no_application_protocol."""
    try:
        tunnel.connect(programs.shared_hub(), context=certs.client_context(('h2',)))
    except ssl.SSLError as error:
        assert 'no application protocol' in str(error).replace('_', ' ').lower(), error
        return
    raise AssertionError('h2 alone was accepted')


def test_unknown_server_name():
    """An unknown SNI gets the default certificate."""
    hub = programs.shared_hub()
    link = stream.TlsStream(stream.dial(hub.address), certs.client_context(), name='no.such.name.example').handshake()
    opens(stock_request(), link)


def test_session_resumption():
    """A TLS session is resumed, and a token bound to the resumed one opens the tunnel."""
    hub = programs.shared_hub()
    context = certs.client_context()
    first = tunnel.connect(hub, context=context)
    with tunnel.open_with(first, stock_request()) as carrier:
        carrier.echo()  # by now the tickets have come
        session = first.tls.session
    second = tunnel.connect(hub, context=context, session=session)
    assert second.tls.session_reused, 'not resumed'
    opens(http.upgrade(tunnel.our_token(hub, second)), second)


def test_server_closes_with_close_notify():
    """After a close handshake the hub ends TLS in an orderly way, or at least its stream."""
    with tunnel.open_stock(programs.shared_hub()) as carrier:
        carrier.send(frames.close())
        assert carrier.link.ends() == 'end'


# --- heads a tunnel client may send ---

def test_names_in_any_case_and_order():
    """Names in any case and order, no blank or a tab after the colon, blanks at the end."""
    hub = programs.shared_hub()
    lines = [f'Sec-WebSocket-Protocol:v1,{tokens.PROTOCOL}{tunnel.stock_token(hub)}', 'SEC-WEBSOCKET-VERSION:\t13  ',
             f'Sec-webSocket-Key:   {http.new_key()}\t', 'CONNECTION: keep-alive, Upgrade', 'UPGRADE: WebSocket', 'HOST:x']
    for _ in range(5):
        random.shuffle(lines)
        opens('\r\n'.join([f'GET /{WORD}/events HTTP/1.1', *lines, '', '']).encode())


def test_connection_in_two_lines():
    """Connection may come in two lines."""
    opens(stock_request(replace={'connection': 'connection: keep-alive\r\nconnection: upgrade'}))


def test_only_the_first_subprotocol_line_counts():
    """As with stock, a second sub-protocol line is not asked for a token, nor does it disturb."""
    opens(stock_request(extra=['sec-websocket-protocol: other']))


def test_long_list_of_subprotocols():
    """3 KB of other sub-protocol names in front, with no blank after the commas."""
    jwt = tunnel.stock_token(programs.shared_hub())
    names = ','.join(f'proto{n}' for n in range(400))
    opens(stock_request(protocols=f'{names},v1,{tokens.PROTOCOL}{jwt}'))


def test_80_further_headers():
    """80 more headers, offered compression, cookies, origin and what proxies add do not matter."""
    extra = [f'x-header-{n}: {n}' for n in range(75)]
    extra += ['sec-websocket-extensions: permessage-deflate; client_max_window_bits', 'cookie: a=b; c=d',
              'origin: https://example.org', 'x-forwarded-for: 198.51.100.7', 'authorization: Basic dTpw']
    with tunnel.open_with(tunnel.connect(programs.shared_hub()), stock_request(extra=extra)) as carrier:
        assert carrier.head.get('sec-websocket-extensions') is None
        carrier.echo()


def test_head_in_one_byte_segments():
    """TLS hello, request and frames in TCP segments of one byte."""
    hub = programs.shared_hub()
    with tunnel.open_stock(hub, piece=1) as carrier:
        carrier.echo()


def test_head_in_one_byte_records():
    """The request in TLS records of one byte."""
    link = tunnel.connect(programs.shared_hub())
    request = stock_request()
    for byte in request[:-1]:
        link.send(bytes([byte]))
    opens(request[-1:], link)


def test_first_frames_together_with_the_request():
    """Frames that follow the request at once, as stock allows, are not lost."""
    hub = programs.shared_hub()
    link = tunnel.connect(hub)
    first = [b'first', b'second']
    with tunnel.open_with(link, stock_request() + b''.join(map(frames.frame, first))) as carrier:
        assert [carrier.next_datagram() for _ in first] == first


# --- one connection, several requests ---

def test_upgrade_behind_a_pipelined_page():
    """An upgrade pipelined behind a page request opens the tunnel after the page."""
    hub = programs.shared_hub()
    link = tunnel.connect(hub)
    link.send(http.page_request('/') + stock_request())
    buffer = bytearray()
    page, body = http.read_answer(link, buffer)
    assert page.status == 200 and body
    head = http.read_head(link, buffer)
    assert head and head.status == 101
    with tunnel.Carrier(link, buffer) as carrier:
        carrier.echo()


def test_upgrade_after_pages():
    """A connection that served pages, as nginx keeps them, serves an upgrade next."""
    link = tunnel.connect(programs.shared_hub())
    buffer = bytearray()
    for _ in range(3):
        assert page_status(link, buffer) == 200
    opens(stock_request(), link)


def test_upgrade_after_a_refused_one():
    """On a connection whose upgrade was refused once, the right one opens the tunnel."""
    hub = programs.shared_hub()
    link = tunnel.connect(hub)
    head, rest = tunnel.ask(link, http.upgrade(tunnel.stock_token(hub), 'wrong'))
    assert head.status != 101
    http.take(link, rest, int(head.get('content-length', 0)))
    opens(stock_request(), link)


def test_bodies_are_followed_to_their_end():
    """An upgrade behind a request with a body is found; a body that looks like one is not."""
    for body, extra in ((b'x' * 5000, ['content-length: 5000']),
                        (b'5\r\nhello\r\n3;ext=1\r\nabc\r\n0\r\ntrailer: 1\r\n\r\n', ['transfer-encoding: chunked'])):
        link = tunnel.connect(programs.shared_hub())
        link.send(http.page_request('/', method='POST', extra=extra, body=body))
        buffer = bytearray()
        head, _ = http.read_answer(link, buffer)
        assert head and head.status != 101
        if 'close' in (head.get('connection') or '').lower():
            link.close()
            continue
        opens(stock_request(), link)


def test_upgrade_within_a_body_is_a_body():
    """A right upgrade request inside another request's body opens nothing."""
    hub = programs.shared_hub()
    inner = stock_request()
    link = tunnel.connect(hub)
    link.send(http.page_request('/', method='POST', extra=[f'content-length: {len(inner)}'], body=inner))
    head, _ = http.read_answer(link, bytearray())
    assert head.status != 101
    link.finish()
    rest = b''
    try:
        while data := link.recv():
            rest += data
    except (OSError, ssl.SSLError):
        pass
    assert b'101 Switching' not in rest


def test_last_answer_is_not_lost_to_a_reset():
    """A peer that goes on sending behind a request that ends the connection still gets the answer, and an orderly
    end."""
    with tunnel.connect(programs.shared_hub()) as link:
        link.send(b'GET / HTTP/1.1\r\nbad line\r\n\r\n')
        for _ in range(20):
            link.send(b'x' * 16384)
            programs.pause(0.005)
        head, _ = http.read_answer(link, bytearray())
        assert head.status == 400, head
        assert link.ends() == 'end'


def test_doubtful_heads_get_400():
    """A request whose end is in doubt is answered 400 and closed, whatever it asks for."""
    good = stock_request()

    def with_line(line):
        return good.replace(b'\r\n\r\n', b'\r\n' + line + b'\r\n\r\n')
    for request in (with_line(b'content-length: 3\r\ntransfer-encoding: chunked'),
                    with_line(b'content-length: 3\r\ncontent-length: 4'), with_line(b'content-length: 3, 4'),
                    with_line(b'content-length: -1'), with_line(b'content-length: 0x10'),
                    with_line(b'content-length: 99999999999999999999'), with_line(b'transfer-encoding: gzip'),
                    with_line(b'x : y'), with_line(b'x: y\r\n folded'), with_line(b'x: a\rb'), with_line(b'x: a\0b'),
                    with_line(b': nameless'), with_line(b'no colon'), good.replace(b'\r\n', b'\n'),
                    good.replace(b'HTTP/1.1', b'HTTP/2.0', 1), good.replace(b'GET ', b'GET  ', 1)):
        with tunnel.connect(programs.shared_hub()) as link:
            link.send(request)
            buffer = bytearray()
            head, _ = http.read_answer(link, buffer)
            assert head and head.status in (400, 501, 505), (request[-80:], head and head.line)
            assert link.ends() in ('end', 'reset')


def test_too_large_heads():
    """A head over 16 KiB, or of too many lines, gets 431 or 400 and the end."""
    for extra in (['x: ' + 'y' * 20000], [f'x{n}: y' for n in range(1000)], ['x' * 70000 + ': y']):
        with tunnel.connect(programs.shared_hub()) as link:
            try:
                link.send(stock_request(extra=extra))
                head, _ = http.read_answer(link, bytearray())
                assert head is None or head.status in (400, 414, 431), head.line
            except (ConnectionResetError, BrokenPipeError):
                pass


# --- garbage, truncation, silence ---

def still_serves():
    with tunnel.open_stock(programs.shared_hub()) as carrier:
        carrier.echo()


def test_garbage_before_tls():
    """Anything but a TLS hello ends the connection."""
    for raw in (b'GET / HTTP/1.1\r\nHost: x\r\n\r\n', os.urandom(500), b'\0' * 200, b'\x16\x03\x01\xff\xff' + bytes(300),
                b'SSH-2.0-x\r\n', b'\x16\x03\x01\0\0', b'\x80\x2e\x01\0\2', b'\xff'):
        with stream.Stream(stream.dial(programs.shared_hub().address)) as link:
            link.send(raw)
            link.finish()
            link.ends()
    still_serves()


def client_hello():
    hub = programs.shared_hub()
    return stream.TlsStream(stream.dial(hub.address), certs.client_context())


def test_truncated_hello():
    """A hello that ends after any number of bytes ends the connection."""
    for _ in range(25):
        with client_hello() as link:
            hello = link.hello()
            link.send_raw(hello[:random.randrange(len(hello))])
            link.finish()
            link.ends()
    still_serves()


def test_changed_hello():
    """A hello with a byte changed is answered or refused, never more."""
    for _ in range(40):
        with client_hello() as link:
            hello = bytearray(link.hello())
            hello[random.randrange(len(hello))] ^= 1 << random.randrange(8)
            link.send_raw(bytes(hello))
            link.finish()
            link.ends()
    still_serves()


def test_garbage_after_the_hello():
    """Garbage in place of the client's second flight ends the connection."""
    for _ in range(10):
        with client_hello() as link:
            link.send_raw(link.hello() + os.urandom(400))
            link.finish()
            link.ends()
    still_serves()


def test_truncated_head():
    """A request that ends after any number of bytes opens nothing and ends the connection."""
    request = stock_request()
    for _ in range(25):
        with tunnel.connect(programs.shared_hub()) as link:
            link.send(request[:random.randrange(1, len(request) - 1)])
            link.finish()
            link.ends()
    still_serves()


def test_random_bytes_as_a_head():
    """Random bytes inside TLS where a request should be never kill the hub."""
    for _ in range(20):
        with tunnel.connect(programs.shared_hub()) as link:
            link.send(os.urandom(random.randrange(1, 600)) + b'\r\n\r\n')
            link.finish()
            link.ends()
    still_serves()


def test_changed_head():
    """A request with a byte changed anywhere is answered by a page, a 400, the end, or the tunnel."""
    for _ in range(60):
        request = bytearray(stock_request())
        request[random.randrange(len(request) - 4)] = random.choice(b'\0\r\n :,;\x7f\xffAz0')
        with tunnel.connect(programs.shared_hub()) as link:
            link.send(bytes(request))
            link.finish()
            link.ends()
    still_serves()


def test_end_at_every_stage():
    """Resets before TLS, within it, before, within and behind the head leave nothing behind."""
    hub = programs.shared_hub()
    for _ in range(5):
        stream.Stream(stream.dial(hub.address)).reset()
        link = client_hello()
        link.send_raw(link.hello()[:60])
        link.reset()
        link = client_hello()
        link.send_raw(link.hello())
        link.reset()
        tunnel.connect(hub).reset()
        link = tunnel.connect(hub)
        link.send(stock_request()[:100])
        link.reset()
        link = tunnel.connect(hub)
        link.send(stock_request())
        link.reset()
        link = tunnel.connect(hub)
        link.send(http.page_request('/'))
        link.reset()
    still_serves()


def has_ended(link):
    """Has the hub ended this connection? Looks for a tenth of a second."""
    link.sock.settimeout(0.1)
    try:
        while link.recv_raw():
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


def test_silence_has_a_deadline_at_every_stage():
    """A peer that says nothing, or half, or a byte now and then, is ended: before TLS, within it, before and within
    the head. (nginx gives a visitor 60 s for a head; so does the hub.)"""
    hub = programs.shared_hub()
    stages = {'before TLS': stream.Stream(stream.dial(hub.address)), 'within the hello': client_hello(),
              'after the hello': client_hello(), 'before the head': tunnel.connect(hub),
              'within the head': tunnel.connect(hub), 'slowly within the head': tunnel.connect(hub)}
    stages['within the hello'].send_raw(stages['within the hello'].hello()[:60])
    stages['after the hello'].send_raw(stages['after the hello'].hello())
    stages['within the head'].send(stock_request()[:200])
    slow, rest = stages['slowly within the head'], iter(stock_request(extra=['x: ' + 'y' * 500]))
    deadline = time.monotonic() + 75
    while stages and time.monotonic() < deadline:
        time.sleep(0.5)
        try:
            slow.send(bytes([next(rest)]))
        except OSError:
            pass
        stages = {name: link for name, link in stages.items() if not has_ended(link)}
    assert not stages, f'still connected: {list(stages)}'
    still_serves()


def test_silent_connections_do_not_keep_others_out():
    """100 connections that say nothing do not keep a client out."""
    hub = programs.shared_hub()
    crowd = [stream.dial(hub.address) for _ in range(100)]
    still_serves()
    for sock in crowd:
        sock.close()


def test_ipv6_listener():
    """The hub listens on IPv6 as well, where its file says so."""
    if not socket.has_ipv6:
        raise claims.Skip('no IPv6 here')
    hub = programs.shared_hub()
    with programs.Hub(hub.target, listens=['wss://127.0.0.1:PORT', 'wss://[::1]:PORT']) as other:
        link = tunnel.connect(other, port=other.ports[1], host='::1')
        opens(stock_request(), link)


if __name__ == '__main__':
    claims.main(globals())
