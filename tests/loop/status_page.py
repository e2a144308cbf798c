#!/usr/bin/python3
"""The status page over real sockets: what it answers, to whom, how it is bounded, and how a reload moves it."""

import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from peer import claims, programs, tunnel, udp  # noqa: E402

TYPE = 'text/plain; version=0.0.4; charset=utf-8'
OPEN_TYPE = 'application/openmetrics-text; version=1.0.0; charset=utf-8'
_page = {}


def page():
    """A hub with a page, and its port: one for all claims of this file."""
    if not _page:
        target = udp.Target()
        claims.at_exit(target.close)
        _page['port'] = programs.free_port()
        _page['hub'] = programs.Hub(target, extra=[f'Status = 127.0.0.1:{_page["port"]}'])
        claims.wait_for(lambda: programs.is_listening(_page['port']), 'the page')
    _page['hub'].must_run()
    return _page['hub'], _page['port']


def ask(port, path='/', method='GET', host='127.0.0.1', at='127.0.0.1', body=None, **headers):
    """Return: status, headers, body."""
    connection = http.client.HTTPConnection(at, port, timeout=10)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    connection.putheader('Host', host)
    for name, value in headers.items():
        connection.putheader(name.replace('_', '-'), value)
    if body is not None:
        connection.putheader('Content-Length', str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, answer.headers, text


def send_raw(port, raw, at='127.0.0.1'):
    """What comes back until the end, as it comes."""
    with socket.create_connection((at, port), timeout=20) as sock:
        sock.sendall(raw)
        return b''.join(iter(lambda: sock.recv(65536), b''))


def test_page_is_html_of_its_own():
    """The page is one HTML file without anything from elsewhere, and its policy allows its own script alone."""
    _, port = page()
    status, headers, body = ask(port)
    assert status == 200 and headers['Content-Type'] == 'text/html; charset=utf-8'
    assert body.startswith(b'<!doctype html>') and not re.search(rb'(src|href)="?(https?:)?//', body)
    policy = headers['Content-Security-Policy']
    assert policy.startswith("default-src 'none'; script-src 'sha256-") and 'unsafe' not in policy
    assert "frame-ancestors 'none'" in policy and headers['X-Content-Type-Options'] == 'nosniff'
    assert headers['Cross-Origin-Resource-Policy'] == 'same-origin' and headers['Cache-Control'] == 'no-store'
    assert not any(name.lower().startswith('access-control') for name in headers)


def test_status_json_is_the_status():
    """/status.json is the object of `status --json`."""
    hub, port = page()
    with tunnel.open_ours(hub) as carrier:
        carrier.echo()
        assert ask(port, '/status.json')[1]['Content-Type'] == 'application/json'

        def is_same():  # soon: an answer is fresh for a while
            shown, told = json.loads(ask(port, '/status.json')[2]), hub.status()
            return shown == told and shown['sessions'][0]['client'] == 'laptop'

        claims.wait_for(is_same, 'the same status', 15, 0.3)


def test_metrics_have_both_formats():
    """/metrics is plain text of version 0.0.4, and OpenMetrics where Accept asks for it."""
    _, port = page()
    status, headers, body = ask(port, '/metrics')
    assert status == 200 and headers['Content-Type'] == TYPE
    samples = [line for line in body.decode().splitlines() if not line.startswith('#')]
    assert samples and all(line.startswith('towpath_') for line in samples), samples
    status, headers, body = ask(port, '/metrics', Accept='application/openmetrics-text; version=1.0.0')
    assert status == 200 and headers['Content-Type'] == OPEN_TYPE and body.endswith(b'# EOF\n')


def test_promtool_has_nothing_to_say():
    """Prometheus' own check of names, types and help finds nothing, with a session or without."""
    if not shutil.which('promtool'):
        raise claims.Skip('promtool, of the package prometheus, is not installed')
    hub, port = page()
    with tunnel.open_ours(hub) as carrier:
        carrier.echo()
        sample = b'\ntowpath_session_sent_bytes_total{client="laptop",from="127.'
        claims.wait_for(lambda: sample in ask(port, '/metrics')[2], 'the session', 15, 0.3)
        text = ask(port, '/metrics')[2]
        checked = subprocess.run(['promtool', 'check', 'metrics'], input=text, capture_output=True)
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, b'', b''), checked


def test_openmetrics_is_strict():
    """The strict parser of OpenMetrics takes it."""
    try:
        from prometheus_client.openmetrics import parser
    except ImportError:
        raise claims.Skip('python3-prometheus-client is not installed') from None
    _, port = page()
    text = ask(port, '/metrics', Accept='application/openmetrics-text')[2].decode()
    families = {family.name: family.type for family in parser.text_string_to_metric_families(text)}
    assert families['towpath_build'] == 'info' and families['towpath_sent_bytes'] == 'counter', families


def test_dashboard_asks_for_metrics_that_exist():
    """Each metric of deploy/grafana/towpath.json is one of status_metrics.c, and none of these is forgotten there."""
    with open(os.path.join(programs.SOURCE, 'common/status/status_metrics.c')) as file:
        families = re.findall(r'\{\s*"([a-z_]+)", (GAUGE|COUNTER|INFO), "', file.read())
    ours = {f'towpath_{name}' + {'GAUGE': '', 'COUNTER': '_total', 'INFO': '_info'}[kind] for name, kind in families}
    with open(os.path.join(programs.SOURCE, 'deploy/grafana/towpath.json')) as file:
        dashboard = json.load(file)
    asked = {name for panel in dashboard['panels'] for target in panel['targets']
             for name in re.findall(r'towpath_\w+', target['expr'])}
    assert asked == ours and len(ours) > 20, asked ^ ours
    _, port = page()
    shown = set(re.findall(r'^towpath_\w+', ask(port, '/metrics')[2].decode(), re.MULTILINE))
    assert shown and shown <= ours, shown - ours


def test_head_has_the_head_alone():
    """HEAD has the same head and no body, on all three paths."""
    _, port = page()
    for path in ('/', '/metrics', '/status.json'):
        answer = send_raw(port, f'HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n'.encode())
        head, _, body = answer.partition(b'\r\n\r\n')
        assert head.startswith(b'HTTP/1.1 200 ') and not body
        assert int(re.search(rb'Content-Length: (\d+)', head)[1]) > 100


def test_other_methods_are_405():
    """Everything but GET and HEAD is 405, also with a body and also a method that nobody knows."""
    _, port = page()
    for method in ('POST', 'PUT', 'DELETE', 'OPTIONS', 'TRACE', 'PATCH', 'BREW', 'get'):
        status, headers, _ = ask(port, '/status.json', method)
        assert status == 405 and headers['Allow'] == 'GET, HEAD', (method, status)
    for size in (1, 100000, 3000000):
        assert ask(port, '/', 'POST', body=b'x' * size)[0] == 405, size


def test_foreign_hosts_are_403():
    """A Host that is not ours is 403 on each path: a browser was led here by a stranger's name."""
    _, port = page()
    for host in ('evil.example', f'evil.example:{port}', '127.0.0.1.evil.example', 'localhost.evil.example', '0.0.0.0',
                 '192.168.1.1', '[fd10::1]', '', 'x' * 300):
        for path in ('/', '/metrics', '/status.json', '/x'):
            status, _, body = ask(port, path, host=host)
            assert status == 403 and b'laptop' not in body and b'towpath_' not in body, (host, path, status)
    for host in ('localhost', f'LOCALHOST:{port}', '127.0.0.1', f'127.0.0.1:{port}', '[::1]', f'[::1]:{port}'):
        assert ask(port, '/status.json', host=host)[0] == 200, host


def test_other_paths_are_404():
    """Anything else is 404."""
    _, port = page()
    for path in ('/favicon.ico', '/index.html', '/metrics/', '/status', '//', '/../../etc/passwd', '/%2e%2e/etc/passwd',
                 '*', 'http://127.0.0.1/', '/' + 'x' * 8000):
        assert ask(port, path)[0] == 404, path


def test_odd_heads_are_refused():
    """What is no request is 400, a head over 16 KB is 431, and after either the next request works."""
    _, port = page()
    for raw, code in ((b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n', 400), (b'GET / HTTP/1.1\r\n\r\n', 400),
                      (b'GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n', 400),
                      (b'GET / HTTP/2.0\r\nHost: localhost\r\n\r\n', 400),
                      (b'GET / HTTP/1.1\r\nHost: localhost\r\nX: ' + b'x' * 20000 + b'\r\n\r\n', 431)):
        assert send_raw(port, raw).startswith(b'HTTP/1.1 %d ' % code), raw[:40]
        assert ask(port)[0] == 200


def test_half_closed_client_is_answered():
    """A client that shuts its side behind the request gets the whole answer."""
    _, port = page()
    with socket.create_connection(('127.0.0.1', port), timeout=10) as sock:
        sock.sendall(b'GET /status.json HTTP/1.0\r\n\r\n')
        sock.shutdown(socket.SHUT_WR)
        answer = b''.join(iter(lambda: sock.recv(65536), b''))
    assert json.loads(answer.partition(b'\r\n\r\n')[2])['state'] == 'up'


def test_request_in_pieces():
    """A head that comes byte by byte is answered."""
    _, port = page()
    with socket.create_connection(('127.0.0.1', port), timeout=10) as sock:
        for byte in b'GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n':
            sock.sendall(bytes([byte]))
            time.sleep(0.005)
        assert sock.recv(100).startswith(b'HTTP/1.1 200 OK\r\n')


def test_silent_connections_keep_nobody_out():
    """40 connections that say nothing are ended after seconds, and others get their answer then."""
    hub, port = page()
    silent = [socket.create_connection(('127.0.0.1', port), timeout=20) for _ in range(40)]
    began = time.monotonic()
    assert len(os.listdir(f'/proc/{hub.worker}/fd')) < 100
    assert ask(port, '/metrics')[0] == 200  # after the first ones were ended
    assert time.monotonic() - began < 25
    for sock in silent:
        sock.close()


def test_slow_reader_is_ended():
    """A client that does not read is ended, and costs nobody else anything meanwhile."""
    hub, port = page()
    before = len(os.listdir(f'/proc/{hub.worker}/fd'))
    slow = []
    for _ in range(10):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        sock.connect(('127.0.0.1', port))
        sock.sendall(b'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
        slow.append(sock)
    assert ask(port)[0] == 200
    claims.wait_for(lambda: len(os.listdir(f'/proc/{hub.worker}/fd')) <= before, 'the end of all', 30)
    for sock in slow:
        sock.close()


def test_many_who_ask_are_asked_for_once():
    """200 requests within a second get one and the same text: the supervisor is asked once or twice."""
    hub, port = page()
    began = time.monotonic()
    texts = {ask(port, '/status.json')[2] for _ in range(200)}
    assert len(texts) <= 2 + (time.monotonic() - began), len(texts)
    hub.must_run()


def test_worker_that_died_comes_back_with_the_page():
    """The next worker answers at the same socket."""
    hub, port = page()
    worker = hub.worker
    os.kill(worker, 9)
    claims.wait_for(lambda: hub.worker not in (None, worker), 'another worker')
    claims.wait_for(lambda: json.loads(ask(port, '/status.json')[2])['worker_restarts'] == 1, 'its answer', pause=0.3)


def reload(ours, lines):
    """The verb: its exit code and its output."""
    ours.write('\n'.join(lines) + '\n')
    answer = subprocess.run([programs.executable(ours.role), 'reload', ours.config, '--runtime-dir', ours.runtime],
                            capture_output=True, text=True, timeout=30)
    return answer.returncode, answer.stdout + answer.stderr


def answers(port):
    try:
        return ask(port)[0] == 200
    except OSError:
        return False


def check_reload(ours, is_alive):
    """A reload adds, moves and removes the page; nothing else is touched, and what cannot be had changes nothing."""
    first, second = programs.free_port(), programs.free_port()
    with_page = [ours.lines[0], f'Status = 127.0.0.1:{first}', *ours.lines[1:]]
    moved = [ours.lines[0], f'Status = [::1]:{second}', *ours.lines[1:]]
    assert reload(ours, with_page)[0] == 0
    claims.wait_for(lambda: answers(first), 'the page', pause=0.1)
    is_alive()
    assert reload(ours, with_page)[0] == 0  # the same once more
    claims.wait_for(lambda: answers(first), 'the page', pause=0.1)
    with socket.create_server(('127.0.0.1', second)):
        taken = [ours.lines[0], f'Status = 127.0.0.1:{second}', *ours.lines[1:]]
        code, said = reload(ours, taken)
        assert code == 1 and re.search(rf"\.conf:2: Status: '127\.0\.0\.1:{second}': Address already in use by python3, "
                                       rf'process {os.getpid()}; stop the other program', said), said
        assert answers(first)
    assert reload(ours, moved)[0] == 0
    claims.wait_for(lambda: not answers(first), 'the end of the first', pause=0.1)
    claims.wait_for(lambda: ask(second, '/metrics', host='[::1]', at='::1')[0] == 200, 'the page elsewhere', pause=0.1)
    code, said = reload(ours, [ours.lines[0], 'Status = 192.0.2.1:80', *ours.lines[1:]])
    assert code == 2 and "Status: '192.0.2.1:80': everybody could read it there; expected" in said, said
    assert ask(second, at='::1')[0] == 200
    assert reload(ours, ours.lines)[0] == 0
    claims.wait_for(lambda: not programs.is_listening(second, '::1'), 'the end of the page', pause=0.1)
    is_alive()


def test_hub_reloads_it():
    """On a hub: added, moved, removed, and the session does not notice."""
    extra = ['PingInterval = 1h']  # the carrier answers no ping meanwhile, which on a busy machine may be long
    with contextlib.closing(udp.Target()) as target, programs.Hub(target, extra=extra) as hub:
        with tunnel.open_ours(hub) as carrier:
            check_reload(hub, carrier.echo)


def test_client_reloads_it():
    """On a client likewise; its link stays up."""
    with contextlib.closing(udp.Target()) as target, programs.Hub(target) as hub:
        with programs.Client(hub.url, pin=hub.status()['pin']) as ours:
            claims.wait_for(lambda: ours.status()['state'] == 'up', 'the link', pause=0.2)

            def keeps_its_link():
                assert ours.status()['link']['connects'] == 1

            check_reload(ours, keeps_its_link)


def test_client_shows_its_link():
    """A client's page has its link: in JSON and as metrics."""
    with contextlib.closing(udp.Target()) as target, programs.Hub(target) as hub:
        port = programs.free_port()
        with programs.Client(hub.url, pin=hub.status()['pin'], extra=[f'Status = 127.0.0.1:{port}']) as ours:
            claims.wait_for(lambda: ours.status()['state'] == 'up', 'the link', pause=0.2)
            claims.wait_for(lambda: b'\ntowpath_link_rtt_seconds ' in ask(port, '/metrics')[2], 'its round trip', 30, 0.3)
            text = ask(port, '/metrics')[2]
            assert b'\ntowpath_up 1\n' in text and b'\ntowpath_link_connects_total 1\n' in text, text
            claims.wait_for(lambda: any(json.loads(ask(port, '/status.json')[2])['history']['rtt_ms']), 'its history', 30, 0.5)
            status = json.loads(ask(port, '/status.json')[2])
            assert status['role'] == 'client', status
            assert any(re.match('link: .*: up, TLS', event['text']) for event in status['events']), status['events']
            assert any(event['text'].startswith('link: listening on') for event in status['events']), status['events']


def test_no_secret_is_on_any_page():
    """Neither the token, nor the stock path, nor a key."""
    hub, port = page()
    with tunnel.open_ours(hub):
        everything = b''.join(ask(port, path)[2] for path in ('/', '/metrics', '/status.json'))
    for secret in (programs.TOKEN, programs.STOCK_PATH, 'PRIVATE KEY'):
        assert secret.encode() not in everything, secret


def test_taken_port_is_told_at_the_start():
    """A port in use: the program ends with 1 and names place, owner and remedy."""
    with socket.create_server(('127.0.0.1', 0)) as taken, contextlib.closing(udp.Target()) as target:
        port = taken.getsockname()[1]
        hub = programs.Hub(target, extra=[f'Status = 127.0.0.1:{port}'], start=False)
        answer = subprocess.run(hub.arguments, capture_output=True, text=True, timeout=30)
        assert answer.returncode == 1, answer
        assert re.search(rf"\.conf:5: Status: '127\.0\.0\.1:{port}': Address already in use by python3, process "
                         rf"{os.getpid()}; stop the other program \(ss -ltnp", answer.stderr), answer.stderr


if __name__ == '__main__':
    claims.main(globals())
