#!/usr/bin/python3
"""Our client's way to the server: deadlines, back-off, coming back by itself, proxies, address families."""

import contextlib
import os
import signal
import socket
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from peer import claims, frames, programs, servers, stream, tokens, udp  # noqa: E402


def server(**options):
    return servers.Server(programs.certificate(), **options)


def client(at, **options):
    return programs.Client(at if isinstance(at, str) else at.url, ca=programs.certificate('ca'), **options)


def goes_through(at, local):
    """The client has, or makes, a carrier that works both ways."""
    local.send(b'go')
    carrier = at.carrier()
    carrier.datagram(b'down')
    local.expect(b'down')
    return carrier


# --- deadlines and failures at every stage ---

def fall_silent(at, stage):
    """Meet the next connection and go no further than this stage. Return: what has to be closed."""
    if stage == 'connected':
        return stream.Stream(at.accept())
    if stage == 'secured':
        return at.link()
    link, _, _ = at.request()
    link.send(b'HTTP/1.1 101 Switching Protocols\r\nupgr')
    return link


def test_silence_at_every_stage():
    """A server that falls silent after TCP, after TLS or within its answer is given up; the next attempt succeeds."""
    with contextlib.ExitStack() as stack:
        tries = []
        for stage in ('connected', 'secured', 'answered'):
            at = stack.enter_context(server())
            ours = stack.enter_context(client(at))
            local = stack.enter_context(ours.local())
            tries.append((at, ours, local))
            stack.enter_context(fall_silent(at, stage))
        for at, ours, local in tries:
            goes_through(at, local).close()
            ours.wait_log('(?i)timed? ?out|deadline|no answer|silent')


def ends_at_every_stage(end):
    """Wherever the server ends the connection, before, within and after TLS, within its answer, or later, the client
    comes again."""
    with server() as at, client(at) as ours, ours.local() as local:
        end(stream.Stream(at.accept()))
        link = stream.TlsStream(at.accept(), at.context, server_side=True)
        link.recv_raw()
        end(link)
        end(at.link())
        link, _, _ = at.request()
        link.send(b'HTTP/1.1 101 Sw')
        end(link)
        end(at.carrier().link)
        goes_through(at, local).close()


def test_ends_at_every_stage():
    """Wherever the server closes the connection, the client comes again."""
    ends_at_every_stage(lambda link: link.close())


def test_resets_at_every_stage():
    """Wherever the server resets the connection, the client comes again."""
    ends_at_every_stage(lambda link: link.reset())


def test_garbage_instead_of_tls():
    """Random bytes in place of a TLS answer are a failure like any other."""
    with server() as at, client(at) as ours, ours.local() as local:
        local.send(b'go')
        for _ in range(3):
            sock = at.accept()
            sock.recv(4096)
            sock.sendall(os.urandom(500))
            sock.close()
        goes_through(at, local).close()


def test_random_frames_from_a_server():
    """Random bytes in place of frames end the carrier, never the client."""
    with server() as at, client(at) as ours, ours.local() as local:
        worker = ours.worker
        for _ in range(4):
            local.send(b'go')
            with at.carrier(then=os.urandom(400)) as carrier:
                carrier.link.finish()
                carrier.link.ends()
        goes_through(at, local).close()
        assert ours.worker == worker


def attempts(meet, seconds=6):
    with server() as at, client(at) as ours, ours.local() as local:
        for _ in range(5):
            local.send(b'go')
        return at.count(seconds, meet)


def test_back_off_after_resets():
    """A server that resets every connection sees a handful of attempts in six seconds, and not just one."""
    number = attempts(servers.reset)
    assert 3 <= number <= 12, f'{number} attempts'


def test_back_off_after_refusals():
    """A server that refuses every upgrade sees a handful of attempts in six seconds."""
    context = servers.Server(programs.certificate())

    def refuse(sock):
        with stream.TlsStream(sock, context.context, server_side=True).handshake() as link:
            link.recv()
            link.send(b'HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n')
    number = attempts(refuse)
    context.close()
    assert 3 <= number <= 12, f'{number} attempts'


def test_nobody_listening():
    """While no server listens the client says so, counts what it drops, and connects once there is one."""
    port = programs.free_port()
    with client(f'wss://127.0.0.1:{port}') as ours, ours.local() as local:
        local.send(b'go')
        ours.wait_log(f'127.0.0.1:{port}.*(?i:refused)')
        with server(port=port) as at:
            goes_through(at, local).close()


def test_the_same_failure_is_not_repeated():
    """A failure that comes again and again is told with the next step, then as still going on, then counted."""
    with client(f'wss://127.0.0.1:{programs.free_port()}') as ours, ours.local() as local:
        local.send(b'go')
        ours.wait_log('refused; next try in')
        ours.wait_log('refused; still trying')
        programs.pause(4)
        assert ours.log.count('refused;') == 2, ours.log


def test_close_of_any_kind_reconnects():
    """After a close frame of any code, a bare FIN, a close_notify or a reset the client connects again."""
    with server() as at, client(at) as ours, ours.local() as local:
        for end in (lambda c: c.send(frames.close(1000, mask=None)), lambda c: c.send(frames.close(1001, mask=None)),
                    lambda c: c.send(frames.close(1013, mask=None) * 2), lambda c: c.link.finish(),
                    lambda c: c.link.notify(), lambda c: c.link.reset()):
            carrier = goes_through(at, local)
            end(carrier)
            carrier.close()


def instance_of(head):
    return tokens.read(head.get('sec-websocket-protocol').split(tokens.PROTOCOL)[1])[1]['inst']


def test_the_source_in_use_comes_back_first():
    """While the flow whose source spoke last is away, the one that was left behind does not try, for some seconds."""
    with server() as at, client(at) as ours, ours.local() as left, ours.local() as local:
        behind, recent = goes_through(at, left), goes_through(at, local)
        recent.close()
        behind.close()
        for _ in range(4):
            link, head, _ = at.request()
            link.close()
            assert instance_of(head) == instance_of(recent.head), 'the one left behind was first'
        back = [at.carrier(), at.carrier()]
        assert [instance_of(carrier.head) for carrier in back] == [instance_of(recent.head), instance_of(behind.head)]


def test_reset_is_told_as_one():
    """A connection that is reset while it is up is told as that."""
    with server() as at, client(at) as ours, ours.local() as local:
        carrier = goes_through(at, local)
        carrier.link.reset()
        ours.wait_log('lost: .*reset by peer')


def test_close_is_answered():
    """A close frame is answered by a close frame."""
    with server() as at, client(at) as ours, ours.local() as local:
        carrier = goes_through(at, local)
        carrier.send(frames.close(1000, mask=None))
        assert carrier.next_control(frames.CLOSE) is not None
        carrier.close()


def test_server_without_pongs_is_left():
    """A server that answers no ping is left for a new connection."""
    with server() as at, client(at, extra=['PingInterval = 1s']) as ours, ours.local() as local:
        first = goes_through(at, local)
        second = at.carrier(40)
        second.datagram(b'second')
        local.expect(b'second')
        first.close()
        second.close()


def test_stop_says_goodbye():
    """SIGTERM closes the carrier with a close frame."""
    with server() as at:
        ours = client(at)
        with ours.local() as local:
            carrier = goes_through(at, local)
            ours.stop()
            assert carrier.next_control(frames.CLOSE) is not None
            carrier.close()


# --- with our hub: coming back by itself ---

def hub_and_client(target, **options):
    hub = programs.Hub(target, certificate=programs.certificate())
    return hub, client(hub, extra=[f'Target = 127.0.0.1:{target.port}'], **options)


def test_both_ends_are_ours():
    """Our client and our hub carry datagrams of every size."""
    target = udp.Target()
    hub, ours = hub_and_client(target)
    with hub, ours, ours.local() as local:
        local.ping()
        for size in (1, 120, 1452, 16000, 65507):
            payload = os.urandom(size)
            local.send(payload)
            local.expect(payload)
    target.close()


def test_pin_of_the_hubs_own_certificate():
    """The pin that a hub prints at its first start is all a client needs."""
    target = udp.Target()
    with programs.Hub(target) as hub:
        pin = hub.wait_log(r'sha256//[A-Za-z0-9+/]{43}=')[0]
        ours = programs.Client(hub.url, pin=pin, extra=[f'Target = 127.0.0.1:{target.port}'])
        with ours, ours.local() as local:
            local.ping()
    target.close()


def test_hub_restart():
    """After the hub was stopped and started traffic flows again by itself."""
    target = udp.Target()
    hub, ours = hub_and_client(target)
    with hub, ours, ours.local() as local:
        local.ping()
        hub.stop()
        programs.pause(0.5)
        hub.start()
        local.ping()
    target.close()


def test_hub_crash():
    """After the hub was killed by SIGKILL and started traffic flows again by itself."""
    target = udp.Target()
    hub, ours = hub_and_client(target)
    with hub, ours, ours.local() as local:
        local.ping()
        hub.kill()
        programs.pause(0.5)
        hub.start()
        local.ping()
    target.close()


def test_hubs_worker_killed():
    """After the hub's worker was killed traffic flows again by itself."""
    target = udp.Target()
    hub, ours = hub_and_client(target)
    with hub, ours, ours.local() as local:
        local.ping()
        os.kill(hub.worker, signal.SIGKILL)
        local.ping()
    target.close()


def test_clients_worker_killed():
    """After the client's worker was killed it comes back, and traffic flows again by itself."""
    target = udp.Target()
    hub, ours = hub_and_client(target)
    with hub, ours, ours.local() as local:
        local.ping()
        old = ours.worker
        os.kill(old, signal.SIGKILL)
        claims.wait_for(lambda: ours.worker not in (None, old), 'another worker', 5)
        local.ping()
    target.close()


def test_newest_initiation_is_sent_first():
    """Of the handshake initiations sent while there is no carrier the newest arrives, first of all, and no older one of its
    sender, but that of another sender."""
    with server() as at, client(at) as ours, ours.local() as local:
        link = at.accept() if not at.is_quiet(1) else None  # an attempt at start, held up
        old, new, other = udp.initiation(b'hub old'), udp.initiation(b'hub new'), udp.initiation(b'phone')
        local.send(old)
        local.send(other)
        programs.pause(0.1)
        local.send(udp.transport())
        local.send(new)
        programs.pause(2.5)
        if link:
            link.close()
        carrier = at.carrier()
        assert carrier.next_datagram() == new, 'something else came first'
        assert carrier.next_datagram() == other, 'the initiation of another peer is lost'
        local.send(b'mark')
        got = []
        while not got or got[-1] != b'mark':
            got.append(carrier.next_datagram())
        assert old not in got, 'an old initiation was sent'
        carrier.close()


def test_initiation_outlives_an_outage():
    """An initiation sent while the server is away arrives first once it is back."""
    port = programs.free_port()
    with client(f'wss://127.0.0.1:{port}') as ours, ours.local() as local:
        sent = udp.initiation()
        local.send(sent)
        programs.pause(3)
        with server(port=port) as at:
            carrier = at.carrier()
            assert carrier.next_datagram() == sent
            carrier.close()


def test_status_tells_the_state():
    """status says connecting with the reason while there is no server, up with its address afterwards."""
    port = programs.free_port()
    with client(f'wss://127.0.0.1:{port}') as ours, ours.local() as local:
        local.send(b'go')
        ours.wait_log('(?i)refused')
        status = ours.status()
        assert status['state'] == 'connecting' and 'refused' in status['link']['last_error'].lower(), status
        with server(port=port) as at:
            carrier = goes_through(at, local)
            local.send(b'up')
            carrier.next_datagram()
            status = claims.wait_for(lambda: ours.status()['state'] == 'up' and ours.status(), 'up')
            assert status['server']['address'] == f'127.0.0.1:{port}' and status['server']['tls'] == 'TLSv1.3', status
            assert status['datagrams']['sent'] >= 1 and status['datagrams']['received'] >= 1, status
            carrier.close()


# --- several servers, families, names ---

def test_second_server():
    """While the first server of the list is dead the second one is used."""
    dead = programs.free_port()
    with server() as at, client(f'wss://127.0.0.1:{dead}, {at.url}') as ours, ours.local() as local:
        goes_through(at, local).close()


def test_ipv6():
    """A server at [::1] is reached; the Host header has the brackets."""
    with server(host='::1') as at, client(at) as ours, ours.local() as local:
        carrier = goes_through(at, local)
        assert carrier.head.get('host') == f'[::1]:{at.port}'
        carrier.close()


def test_name_with_a_refusing_family():
    """For a name with both families, whichever refuses, the other is used."""
    for host in ('127.0.0.1', '::1'):
        with server(host=host, name='hub.test') as at, client(at, hosts=['127.0.0.1', '::1']) as ours, ours.local() as local:
            carrier = goes_through(at, local)
            assert carrier.head.get('host') == f'hub.test:{at.port}'
            carrier.close()


def silent_listener(port):
    """A port of ::1 that answers no SYN: its backlog is full. Return: what has to be closed."""
    silent = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    silent.bind(('::1', port))
    silent.listen(0)
    fillers = []
    for _ in range(4):
        filler = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        filler.setblocking(False)
        filler.connect_ex(('::1', port))
        fillers.append(filler)
    return [silent, *fillers]


def test_name_with_a_silent_family():
    """For a name whose IPv6 address does not even answer, IPv4 is used within seconds."""
    with server(name='hub.test') as at:
        sockets = silent_listener(at.port)
        with client(at, hosts=['127.0.0.1', '::1']) as ours, ours.local() as local:
            local.send(b'go')
            carrier = at.carrier(8)  # less than the ten seconds of a dial that would wait for IPv6
            carrier.datagram(b'down')
            local.expect(b'down')
            carrier.close()
        for sock in sockets:
            sock.close()


def test_silent_name_servers():
    """Name servers that never answer do not hold an attempt for longer than ten seconds."""
    silent = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
    ours = programs.Client('wss://hub.example.org', start=False)
    for sock in silent:
        sock.bind((stream.local_address(), 53))
    servers = ''.join(f'nameserver {sock.getsockname()[0]}\n' for sock in silent)
    ours.arguments = ours.with_file('/etc/resolv.conf', servers) + ours.arguments
    with ours.start():
        ours.wait_log('hub.example.org: resolve: .*; next try', 14)
    for sock in silent:
        sock.close()


def test_unknown_name():
    """A name that does not exist is named in the log, and tried again; the client lives on."""
    with client('wss://no-such-host.invalid') as ours, ours.local() as local:
        local.send(b'go')
        ours.wait_log('no-such-host.invalid', 25)
        ours.must_run()


# --- proxies ---

def through_proxy(login=None, environment=None, given=None):
    """The head that was sent through a proxy."""
    with servers.Proxy(login) as proxy, server(name='hub.test') as at:
        user = f'{given}@' if given else ''
        url = f'http://{user}127.0.0.1:{proxy.port}'
        extra = [] if environment else [f'Proxy = {url}']
        environment = {environment: url} if environment else None
        with client(at, extra=extra, environment=environment, hosts=['127.0.0.1']) as ours, ours.local() as local:
            goes_through(at, local).close()
        head = proxy.heads[0]
        assert head.line in (f'CONNECT hub.test:{at.port} HTTP/1.1', f'CONNECT hub.test:{at.port} HTTP/1.0'), head.line
        assert head.get('host') == f'hub.test:{at.port}'
        return head


def test_proxy():
    """Through a proxy without password nothing but CONNECT and Host is sent."""
    head = through_proxy()
    assert [name.lower() for name, _ in head.fields] == ['host'], head.raw


def test_proxy_with_password():
    """Credentials go along at once, decoded from the URL."""
    through_proxy('user:p@ss:word', given='user:p%40ss%3Aword')


def test_proxy_of_the_environment():
    """https_proxy of the environment is used where the file says nothing."""
    through_proxy(environment='https_proxy')


def test_no_proxy_of_the_environment():
    """Hosts and domains of no_proxy, and loopback addresses, are reached directly."""
    for url_name, exempt in (('hub.test', 'example.org,hub.test'), ('hub.test', '.test'), ('127.0.0.1', '')):
        with servers.Proxy() as proxy, server(name=url_name) as at:
            environment = {'https_proxy': f'http://127.0.0.1:{proxy.port}', 'no_proxy': exempt}
            with client(at, environment=environment, hosts=['127.0.0.1']) as ours, ours.local() as local:
                goes_through(at, local).close()
            assert not proxy.heads


def test_proxy_none_overrides_the_environment():
    """Proxy = none goes straight out whatever the environment says."""
    with servers.Proxy() as proxy, server(name='hub.test') as at:
        environment = {'https_proxy': f'http://127.0.0.1:{proxy.port}'}
        with client(at, extra=['Proxy = none'], environment=environment, hosts=['127.0.0.1']) as ours, ours.local() as local:
            goes_through(at, local).close()
        assert not proxy.heads


def test_proxy_refuses():
    """A proxy that wants a password, or refuses, is named with its answer; the client tries again and lives on."""
    forbidden = b'HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n'
    for answer, said in ((None, '407'), (forbidden, '403'), (os.urandom(100) + b'\r\n\r\n', ''), (b'', '')):
        with servers.Proxy('user:word', answer) as proxy, server() as at:
            with client(at, extra=[f'Proxy = http://127.0.0.1:{proxy.port}']) as ours, ours.local() as local:
                local.send(b'go')
                ours.wait_log('(?i)proxy.*' + said)
                claims.wait_for(lambda: len(proxy.heads) >= 2, 'a second attempt')
                ours.must_run()


def test_proxy_password_stays_out_of_the_log():
    """The proxy's password is in no log line."""
    with servers.Proxy('user:other') as proxy, server() as at:
        extra = [f'Proxy = http://user:secretword@127.0.0.1:{proxy.port}']
        with client(at, extra=extra) as ours, ours.local() as local:
            local.send(b'go')
            ours.wait_log('407')
            assert 'secretword' not in ours.log


def test_proxys_answer_in_pieces():
    """A proxy's answer of many lines, cut in two, is read to its end before TLS begins."""
    answer = b'HTTP/1.0 200 OK\r\n' + b'X-Line: y\r\n' * 50 + b'\r\n'
    with server() as at, servers.Server() as proxy:
        with client(at, extra=[f'Proxy = http://127.0.0.1:{proxy.port}']) as ours, ours.local() as local:
            local.send(b'go')
            link, head, _ = proxy.request()
            assert head.line.startswith('CONNECT ')
            link.send(answer[:30])
            programs.pause(0.1)
            link.send(answer[30:])
            secured = stream.TlsStream(link.sock, at.context, server_side=True).handshake()
            assert secured.tls.version() == 'TLSv1.3'
            secured.close()


if __name__ == '__main__':
    claims.main(globals())
