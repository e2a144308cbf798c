#!/usr/bin/python3
"""The status page in a real browser: what a person sees, and what another web site gets."""

import contextlib
import http.server
import json
import os
import re
import sys
import threading
import urllib.request

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from peer import browser, claims, programs, tunnel, udp  # noqa: E402

EVIL = '<img src=x onerror="document.title=1"><b>'
LONG = 'x' * 120
FULL = {
    'name': 'hub', 'role': 'server', 'state': 'up', 'since': '2026-11-21T02:45:00Z', 'pid': 1,
    'warnings': ['the port is closed from outside ' + EVIL], 'bytes': {'sent': 123456789, 'received': 4096},
    'datagrams': {'sent': 1000, 'received': 2000}, 'queue': {'delay_ms': 0.4, 'depth': 3},
    'dropped': {'queue-late': 7, 'too-large': 0},
    'sessions': [{'client': name, 'from': '[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535', 'since': '2026-11-21T02:45:00Z',
                  'stock': False, 'rtt_ms': 41.2, 'bytes': {'sent': 1, 'received': 2},
                  'datagrams': {'sent': 1, 'received': 2}, 'dropped': {'queue-full': 2}} for name in ('laptop', EVIL, LONG)],
    'wireguard': {'interface': 'hub', 'peers': [
        {'public_key': 'yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=', 'name': 'pi', 'endpoint': None, 'in_file': True,
         'allowed_ips': ['10.10.0.2/32', '192.168.1.0/24'], 'latest_handshake': '2026-11-21T02:45:00Z',
         'received_bytes': 5, 'sent_bytes': 6},
        {'public_key': 'xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=', 'endpoint': None, 'in_file': False, 'allowed_ips': [],
         'latest_handshake': None, 'received_bytes': 0, 'sent_bytes': 0}]},
    'publish': [{'port': 'tcp/80', 'to': '192.168.1.30:8080', 'connections': {'now': 1, 'total': 9},
                 'bytes': {'sent': 1, 'received': 2}, 'last_error': None},
                {'server_names': ['home.example.org', '*.home.example.org'], 'to': '192.168.1.30:8443',
                 'connections': {'now': 0, 'total': 0}, 'bytes': {'sent': 0, 'received': 0}, 'last_error': 'refused ' + EVIL}],
    'claims': [{'interface': 'wg0', 'container': 'wg-easy', 'public_key': 'k=', 'allowed_ips': ['192.168.1.0/24'],
                'state': 'left-alone', 'reason': 'undone five times', 'put_right': 5, 'last_at': '2026-11-21T02:45:00Z'}],
    'events': [{'at': '2026-11-21T02:45:00Z', 'level': 'warning', 'text': 'session: ' + EVIL},
               {'at': '2026-11-21T02:46:00Z', 'level': 'info', 'text': 'session: the newest'}],
}
_shared = {}


def tab():
    """The browser of this file."""
    if not _shared:
        _shared['browser'] = browser.Browser()
    _shared['browser'].look()
    _shared['browser'].go('about:blank')  # the page before may still ask a tunnel that has ended, and complain
    _shared['browser'].complaints()
    return _shared['browser']


@contextlib.contextmanager
def hub_with_page(**options):
    """A hub with a page, and the page's address."""
    port = programs.free_port()
    with contextlib.closing(udp.Target()) as target:
        with programs.Hub(target, extra=[f'Status = 127.0.0.1:{port}'], **options) as hub:
            yield hub, f'http://127.0.0.1:{port}/'


@contextlib.contextmanager
def served(answers):
    """A web server: path to (type, further headers, body). Yields its address."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            kind, headers, body = answers.get(self.path, ('text/plain', {}, b''))
            self.send_response(200 if self.path in answers else 404)
            for name, value in {'Content-Type': kind, **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words):
            pass

    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f'http://127.0.0.1:{server.server_port}/'
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def full_page():
    """The page as a hub sends it, with a status that has everything."""
    with hub_with_page() as (_, url):
        with urllib.request.urlopen(url) as answer:
            policy, html = answer.headers['Content-Security-Policy'], answer.read()
    with served({'/': ('text/html; charset=utf-8', {'Content-Security-Policy': policy}, html),
                 '/status.json': ('application/json', {}, json.dumps(FULL).encode())}) as url:
        yield url


def test_hub_shows_who_is_there_and_refreshes_itself():
    """The hub's page names the clients as they come and go, without a reload of the page."""
    tab_, phone = tab(), ('phone', 'phone-token-0123456789', None)
    with hub_with_page(peers=[phone]) as (hub, url):
        tab_.go(url)
        tab_.sees(hub.name, 'hub', 'up', 'Sessions: 0', 'No client is connected.', 'listening on')
        tab_.run('window.mark = "the same page"')
        with tunnel.open_ours(hub) as carrier:
            carrier.echo()
            tab_.sees('Sessions: 1', 'laptop', 'From', '127.', 'Dropped', 'none', 'session: laptop: up from')
            with tunnel.open_ours(hub, token=phone[1]):
                tab_.sees('Sessions: 2', 'phone')
        tab_.sees('Sessions: 0')
        assert tab_.run('return window.mark') == 'the same page'
        assert tab_.complaints() == []
        tab_.picture('hub')


def test_page_says_when_nobody_answers():
    """A page whose tunnel has ended says so, and is fresh again when it is back."""
    tab_ = tab()
    with hub_with_page() as (hub, url):
        tab_.go(url)
        tab_.sees('up')
        hub.stop()
        tab_.sees('The tunnel does not answer')
        tab_.picture('silent')
        hub.start()
        claims.wait_for(lambda: 'does not answer' not in tab_.text(), 'a fresh page', 30, 0.3)


def test_client_shows_its_link_with_pictures():
    """The client's page has the link's state, its server, and pictures of round trip and rate; then why it is down."""
    tab_, port = tab(), programs.free_port()
    with contextlib.closing(udp.Target()) as target, programs.Hub(target) as hub:
        with programs.Client(hub.url, pin=hub.status()['pin'], extra=[f'Status = 127.0.0.1:{port}']) as ours:
            claims.wait_for(lambda: programs.is_listening(port), 'the page')
            tab_.go(f'http://127.0.0.1:{port}/')
            tab_.sees(ours.name, 'client', 'up', hub.url, 'by its pin', 'Round trip, the last', 'received')
            claims.wait_for(lambda: tab_.run('return document.querySelectorAll("svg polyline").length') >= 3, 'the lines', 30, 0.3)
            points = tab_.run('return document.querySelector("svg polyline").getAttribute("points")')
            assert len(points.split()) >= 1 and all(len(point.split(',')) == 2 for point in points.split()), points
            label = tab_.run('return document.querySelector("svg").getAttribute("aria-label")')
            assert label.startswith('Round trip, the last 5 minutes: ') and label.endswith(' ms'), label
            with ours.local() as local:
                def sends():
                    for _ in range(100):
                        local.send(bytes(500))
                    return re.search(r'received [0-9.]+ KiB/s sent [0-9.]+ KiB/s', tab_.text().replace('\n', ' '))

                claims.wait_for(sends, 'rates above nothing', 30, 0.2)
            assert tab_.complaints() == []
            tab_.picture('client')
            hub.stop()
            tab_.sees('connecting', 'Last error', 'Connection refused')
            tab_.picture('connecting')


def test_everything_is_shown_as_text():
    """Sessions, peers, services, claims, warnings and events are there; what looks like HTML is text and does nothing."""
    tab_ = tab()
    with full_page() as url:
        tab_.go(url)
        tab_.sees('Sessions: 3', 'laptop', '41 ms', '2 queue-full', '7 queue-late', '117.7 MiB', 'WireGuard hub', 'pi', 'never',
                  'not in the file', 'tcp/80', '1 now, 9 in all', 'home.example.org, *.home.example.org', 'wg0 in wg-easy',
                  'left-alone', 'undone five times', EVIL, 'refused ' + EVIL, 'session: ' + EVIL)
        text = tab_.text()
        assert text.index('session: the newest') < text.index('session: ' + EVIL), 'the newest event is not the first'
        assert tab_.run('return document.querySelectorAll("img, b").length') == 0
        assert tab_.run('return document.title') == 'hub: up'
        assert tab_.complaints() == []


LUMINANCE = '''
const light = text => text.match(/[0-9]+/g).slice(0, 3).map(part => part / 255)
    .map(part => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0);
const ground = light(getComputedStyle(document.querySelector(".card")).backgroundColor);
return [light(getComputedStyle(document.body).backgroundColor), ...[...document.querySelectorAll(
    "h1, h2, h3, dt, dd, li, #state, #since, a")].map(element => light(getComputedStyle(element).color))
    .map(text => (Math.max(text, ground) + 0.05) / (Math.min(text, ground) + 0.05))];
'''


def test_light_and_dark():
    """The page is light or dark as the system prefers, and each text stands out from its ground (WCAG: 4.5 to 1)."""
    tab_ = tab()
    with full_page() as url:
        for scheme in ('light', 'dark'):
            tab_.look(scheme=scheme)
            tab_.go(url)
            tab_.sees('Sessions: 3')
            ground, *contrasts = tab_.run(LUMINANCE)
            assert (ground > 0.5) == (scheme == 'light'), (scheme, ground)
            assert min(contrasts) >= 4.5, (scheme, min(contrasts))
            tab_.picture(scheme)


def test_narrow_screen_has_nothing_beside_it():
    """At 360 pixels nothing has to be scrolled sideways, with the longest names and addresses."""
    tab_ = tab()
    with full_page() as url:
        for width in (360, 320, 1400):
            tab_.look(width=width)
            tab_.go(url)
            tab_.sees('Sessions: 3')
            shown = tab_.run('return [document.documentElement.scrollWidth, innerWidth, '
                             'Math.max(...[...document.querySelectorAll("*")].map(e => e.getBoundingClientRect().right))]')
            assert shown[0] <= width and shown[1] == width and shown[2] <= width, shown
            tab_.picture(f'width-{width}')


def test_another_site_reads_nothing():
    """A page of another origin can neither fetch, embed nor run it; a name of its own that leads here gets 403."""
    tab_ = tab()
    with hub_with_page() as (_, url), served({'/': ('text/html', {}, b'<!doctype html><title>evil</title><body>')}) as evil:
        tab_.go(evil)
        for path in ('', 'status.json', 'metrics'):
            for mode in ('cors', 'no-cors'):
                got = tab_.run(f'''return fetch("{url}{path}", {{mode: "{mode}"}})
                    .then(answer => answer.text()).catch(error => "nothing: " + error)''')
                assert got == '' or got.startswith('nothing: TypeError'), (path, mode, got)
        framed = tab_.run(f'''return new Promise(done => {{
            const frame = document.createElement("iframe");
            frame.onload = () => done([frame.contentDocument === null, frame.contentWindow.length]);
            frame.src = "{url}";
            document.body.append(frame);
        }})''')
        assert framed[0] is True, framed
        assert any('frame-ancestors' in line or 'X-Frame-Options' in line for line in tab_.complaints())
        for path in ('', 'status.json', 'metrics'):
            tab_.go(url.replace('127.0.0.1', 'www.evil.example') + path)
            assert tab_.text().startswith('403 Forbidden: ask by localhost'), tab_.text()
        tab_.go(url.replace('127.0.0.1', 'localhost'))
        tab_.sees('Sessions: 0')


if __name__ == '__main__':
    claims.main(globals())
