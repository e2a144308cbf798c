#!/usr/bin/python3
"""Our client's upgrade: what it asks, what it waits for, which answers it takes and how it bears refusals."""

import os
import re
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from peer import claims, frames, http, programs, servers, tokens  # noqa: E402

NAMES = ['host', 'upgrade', 'connection', 'sec-websocket-key', 'sec-websocket-version', 'sec-websocket-protocol']


def server():
    return servers.Server(programs.certificate())


def client(at, **options):
    return programs.Client(at.url, ca=programs.certificate('ca'), **options)


def jwt_of(head):
    return head.get('sec-websocket-protocol').partition(tokens.PROTOCOL)[2]


def first_request(extra=(), token=programs.TOKEN, certificate=True):
    """The request of a client that has a datagram to send: (link, head, server, client)."""
    at = servers.Server(programs.certificate() if certificate else None)
    ours = programs.Client(at.url, ca=programs.certificate('ca') if certificate else None, extra=extra, token=token)
    claims.at_exit(at.close)
    with ours, ours.local() as local:
        local.send(b'go')
        link, head, rest = at.request()
        assert not rest, 'frames before the 101'
        binding = link.binding() if certificate else None
        link.close()
    return head, binding, at


def test_request_line_and_headers():
    """The request has the stock client's line, names, order and values, and nothing else."""
    head, _, at = first_request()
    assert head.line == 'GET /v1/events HTTP/1.1'
    assert [name for name, _ in head.fields] == NAMES, head.raw
    assert head.get('host') == f'127.0.0.1:{at.port}'
    assert head.get('upgrade') == 'websocket' and head.get('connection') == 'upgrade'
    assert head.get('sec-websocket-version') == '13'
    assert re.fullmatch(r'[A-Za-z0-9+/]{22}==', head.get('sec-websocket-key'))
    assert head.get('sec-websocket-protocol') == f'v1, {tokens.PROTOCOL}{jwt_of(head)}'
    lines = [f'{name}: {value}' for name, value in head.fields]
    assert head.raw == '\r\n'.join([head.line, *lines, '', '']).encode(), 'blanks that stock does not send'


def test_claims_of_our_client():
    """The JWT says the target, who signs, which instance, the time, and the TLS session it is good for."""
    head, binding, _ = first_request()
    header, said, signed_by = tokens.read(jwt_of(head))
    assert header == {'typ': 'JWT', 'alg': 'HS256'}
    assert signed_by(programs.TOKEN), 'not signed with the token'
    assert list(said)[:4] == ['id', 'p', 'r', 'rp'], said
    assert re.fullmatch(r'[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}', said['id'])
    assert said['p'] == {'Udp': {'timeout': None}} and said['r'] == '127.0.0.1' and said['rp'] == 51820
    assert said['kid'] == tokens.kid(programs.TOKEN) and re.fullmatch('[0-9a-f]{32}', said['inst'])
    assert abs(said['iat'] - tokens.time.time()) < 60
    assert said['cb'] == tokens.base64url(binding), 'bound to another TLS session'


def test_target_is_asked_for():
    """Target of the client's file is what the JWT asks for."""
    head, _, _ = first_request(['Target = 127.0.0.1:4711'])
    said = tokens.read(jwt_of(head))[1]
    assert (said['r'], said['rp']) == ('127.0.0.1', 4711)


def test_without_a_target_any_is_right():
    """Only where the file has no Target, and only with a token: a stock server is asked for 127.0.0.1:51820."""
    for extra, token, any_target in (([], programs.TOKEN, True), (['Target = 127.0.0.1:51820'], programs.TOKEN, None),
                                     (['Path = v1'], None, None)):
        head, _, _ = first_request(extra, token=token)
        said = tokens.read(jwt_of(head))[1]
        assert (said.get('any'), said['r'], said['rp']) == (any_target, '127.0.0.1', 51820), said


def test_interception_leaves_the_binding_out():
    """With Interception = yes there is no binding; everything else stays."""
    head, _, _ = first_request(['Interception = yes'])
    assert 'cb' not in tokens.read(jwt_of(head))[1]


def test_cleartext_has_no_binding():
    """On ws:// there is no TLS session to bind to; the request is the same otherwise."""
    head, _, _ = first_request(certificate=False)
    assert [name for name, _ in head.fields] == NAMES
    said, signed_by = tokens.read(jwt_of(head))[1:]
    assert 'cb' not in said and signed_by(programs.TOKEN)


def test_stock_options():
    """Path, BasicAuth and Header appear as a stock client sends them: after the sub-protocol, or replacing."""
    head, _, _ = first_request(['Path = some/prefix', 'BasicAuth = user:pa:ss', 'Header = X-Extra: 1',
                                'Header = Host: front.example.org'])
    assert head.line == 'GET /some/prefix/events HTTP/1.1'
    assert head.get('authorization') == 'Basic dXNlcjpwYTpzcw=='
    assert head.get('x-extra') == '1'
    assert head.all('host') == ['front.example.org']
    names = [name.lower() for name, _ in head.fields]
    assert names.index('authorization') > names.index('sec-websocket-protocol')


def test_stock_mode_needs_no_token():
    """With Path and no Token the request has a stock client's lines and claims, signed with JwtKey, and no key id."""
    head, _, _ = first_request(['Path = v1', 'JwtKey = champignonfrais', 'Target = 127.0.0.1:51820'], token=None)
    assert [name for name, _ in head.fields] == NAMES
    said, signed_by = tokens.read(jwt_of(head))[1:]
    assert signed_by('champignonfrais') and 'kid' not in said and 'cb' not in said
    assert said['p'] == {'Udp': {'timeout': None}} and (said['r'], said['rp']) == ('127.0.0.1', 51820)


def test_keys_and_ids_are_fresh():
    """Each attempt has its own key and id; the instance stays."""
    with server() as at, client(at) as ours, ours.local() as local:
        seen = []
        for _ in range(3):
            local.send(b'go')
            link, head, _ = at.request()
            seen.append((head.get('sec-websocket-key'), tokens.read(jwt_of(head))[1]))
            link.close()
    assert len({key for key, _ in seen}) == 3
    assert len({said['id'] for _, said in seen}) == 3
    assert len({said['inst'] for _, said in seen}) == 1


def test_no_frame_before_the_101():
    """The client waits for the 101, whatever it has to send, and loses nothing of the last handshake by it."""
    with server() as at, client(at) as ours, ours.local() as local:
        local.send(b'early')
        link, head, rest = at.request()
        link.timeout(1)
        try:
            data = link.recv()
            raise AssertionError(f'sent before the 101: {data!r}')
        except TimeoutError:
            pass
        assert not rest
        link.timeout(10)
        link.send(http.switching(head.get('sec-websocket-key')))
        carrier = servers.Carrier(link, mask=None)
        local.send(b'late')
        while carrier.next_datagram() != b'late':
            pass
        carrier.close()


def test_frames_in_the_segment_of_the_101():
    """Frames in a record of their own, in the same TCP segment as the 101's, are read without anything coming after."""
    with server() as at, client(at) as ours, ours.local() as local:
        local.send(b'go')
        link, head, _ = at.request()
        local.send(b'again')
        link.send_raw(link.seal(http.switching(head.get('sec-websocket-key'))) +
                      link.seal(frames.frame(b'news', mask=None)))
        local.expect(b'news')
        link.close()


def test_answer_in_records_of_one_byte():
    """A head of thousands of bytes, each in a record of its own and all in one segment, is an answer like another."""
    with server() as at, client(at) as ours, ours.local() as local:
        local.send(b'go')
        link, head, _ = at.request()
        answer = http.switching(head.get('sec-websocket-key'))
        padding = b''.join(b'x-%d: %s\r\n' % (n, b'y' * 100) for n in range(120))
        answer = answer[:-2] + padding + answer[-2:]
        link.send_raw(b''.join(link.seal(answer[n:n + 1]) for n in range(len(answer))))
        carrier = servers.Carrier(link, mask=None)
        ours.wait_log('up, TLS')  # what waits for longer than a tenth of a second is dropped
        local.send(b'late')
        while carrier.next_datagram() != b'late':
            pass
        carrier.close()


def test_frames_in_the_record_of_the_101():
    """Frames that share the 101's record are read: datagrams go out, pings are answered."""
    with server() as at, client(at) as ours, ours.local() as local:
        local.send(b'go')
        with at.carrier(then=frames.frame(b'early', mask=None) + frames.frame(b'p', frames.PING, None)) as carrier:
            local.expect(b'early')
            assert carrier.next_control(frames.PONG).payload == b'p'


def answer_in_pieces(piece):
    with server() as at, client(at) as ours, ours.local() as local:
        local.send(b'go')
        link, head, _ = at.request()
        link.piece = piece
        link.send(http.switching(head.get('sec-websocket-key')))
        with servers.Carrier(link, mask=None) as carrier:
            carrier.datagram(b'through')
            local.expect(b'through')


def test_answer_byte_by_byte():
    """A 101 and frames in TCP segments of one byte are understood."""
    answer_in_pieces(1)


def is_accepted(answer):
    """This answer, made from the key, opens the tunnel."""
    with server() as at, client(at) as ours, ours.local() as local:
        local.send(b'go')
        link, head, _ = at.request()
        link.send(answer(head.get('sec-websocket-key')))
        with servers.Carrier(link, mask=None) as carrier:
            carrier.datagram(b'through')
            local.expect(b'through')


def test_answer_with_a_list():
    """Connection is read as a list, in any case, with other headers around, as proxies in front make it."""
    is_accepted(lambda key: http.switching(key, connection='keep-alive, Upgrade', extra=['Server: nginx', 'x: y']))


def is_refused(answer, log=None, times=2, extra=()):
    """This answer opens nothing; the client says why and comes again by itself, and the right answer then opens."""
    with server() as at, client(at, extra=extra) as ours, ours.local() as local:
        local.send(b'go')
        for _ in range(times):
            link, head, _ = at.request()
            try:
                link.send(answer(head.get('sec-websocket-key')))
                carrier = servers.Carrier(link, mask=None)
                frame = carrier.next(20)
                assert frame is None or frame.opcode == frames.CLOSE, frame
            except ConnectionResetError:
                pass
            link.close()
        if log:
            ours.wait_log(log)
        with at.carrier() as carrier:
            carrier.datagram(b'through')
            local.expect(b'through')


def test_refusals():
    """A server refuses with any status: the client names it and comes again."""
    for status in ('400 Bad Request', '403 Forbidden', '404 Not Found', '200 OK', '503 Service Unavailable'):
        is_refused(lambda _, status=status: f'HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nno'.encode(), status[:3], 1)


def test_refusals_say_what_helps():
    """With a refusal the client names the keys to compare: those of our own server, or those of a stock one."""
    def refusal(_):
        return b'HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno'
    is_refused(refusal, 'status 404; .*compare Token and Target', 1)
    is_refused(refusal, 'status 404; compare Path, Target', 1, ['Path = v1'])
    for status, log in (('426 Upgrade Required', r'a reverse proxy .* takes the upgrade out of the request'),
                        ('502 Bad Gateway', r'a reverse proxy .* does not reach it'),
                        ('503 Service Unavailable', 'the server has too many sessions .*, or a reverse proxy'),
                        ('504 Gateway Timeout', r'a reverse proxy .* does not reach it'),
                        ('511 Network Authentication Required', 'a captive portal has answered')):
        answer = f'HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n'.encode()
        is_refused(lambda _, answer=answer: answer, f'status {status[:3]}; {log}', 1)


def test_redirects_are_not_followed():
    """A redirect is a refusal, wherever it points to."""
    with servers.Server() as elsewhere:
        is_refused(lambda _: f'HTTP/1.1 302 Found\r\nlocation: {elsewhere.url}/\r\ncontent-length: 0\r\n\r\n'.encode(), '302')
        assert elsewhere.is_quiet(0.1), 'the redirect was followed'


def test_wrong_accept_key():
    """A 101 with another key's accept value opens nothing."""
    is_refused(lambda _: http.switching(http.new_key()), '(?i)accept')


def test_incomplete_101():
    """A 101 without accept key, Upgrade or Connection opens nothing."""
    for name in (b'sec-websocket-accept', b'upgrade:', b'connection:'):
        is_refused(lambda key, name=name: b'\r\n'.join(
            line for line in http.switching(key).split(b'\r\n') if not line.startswith(name)), None, 1)


def test_garbage_as_an_answer():
    """An answer that is no HTTP, or too long, is refused."""
    for raw in (os.urandom(200) + b'\r\n\r\n', b'HTTP/1.1 101\n\n', b'HTTP/1.1 101 x\r\n' + b'a: b\r\n' * 5000, b'\0' * 30000):
        is_refused(lambda _, raw=raw: raw + b'\r\n\r\n', None, 1)


def test_endless_answer_has_a_deadline():
    """An answer that goes on byte by byte without an end does not hold the client for ever."""
    with server() as at, client(at) as ours, ours.local() as local:
        local.send(b'go')
        link, _, _ = at.request()

        def has_left():
            try:
                link.send(b'H')
                link.timeout(0.3)
                return not link.recv()
            except TimeoutError:
                return False
            except OSError:
                return True
        claims.wait_for(has_left, 'the client leaves', 40, 0.2)
        link.close()


if __name__ == '__main__':
    claims.main(globals())
