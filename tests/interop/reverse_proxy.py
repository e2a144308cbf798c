#!/usr/bin/python3
"""nginx and haproxy in front of our hub: TLS ended there, and passed through. Skipped where they are not installed."""

import os
import shutil
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from peer import claims, http, programs, stock, tunnel, udp  # noqa: E402

SIZES = (1, 120, 1452, 16000, 65507)

NGINX = """daemon off;
worker_processes 1;
error_log stderr;
pid {folder}/pid;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    upstream hub {{ server 127.0.0.1:{hub}; keepalive 4; }}
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {certificate.path};
        ssl_certificate_key {certificate.key};
        location / {{
            proxy_pass http://hub;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_read_timeout 1h;
        }}
    }}
}}
"""

HAPROXY = """defaults
    timeout connect 5s
    timeout client 1h
    timeout server 1h
frontend front
    mode {mode}
    bind 127.0.0.1:{port}{tls}
    default_backend hub
backend hub
    mode {mode}
    server hub 127.0.0.1:{hub}{options}
"""


class Front(programs.Program):
    """A reverse proxy of Debian's in front of a hub. It ends by SIGTERM with whatever code it likes."""

    def __init__(self, program, text, hub, **values):
        path = shutil.which(program) or shutil.which(program, path='/usr/sbin:/sbin')
        if not path:
            raise claims.Skip(f'{program} is not installed')
        super().__init__(None)
        os.chmod(self.folder, 0o755)
        self.port = programs.free_port()
        self.target = hub.target
        config = os.path.join(self.folder, 'config')
        with open(config, 'w') as file:
            file.write(text.format(folder=self.folder, port=self.port, hub=hub.port, certificate=programs.certificate(),
                                   **values))
        self.arguments = [path, '-c', config] if program == 'nginx' else [path, '-db', '-f', config]
        self.spawn()
        self.wait_ready(lambda: programs.is_listening(self.port), 'listening')

    @property
    def url(self):
        return f'wss://127.0.0.1:{self.port}'

    def stop(self, timeout=15.0):
        if self.process and self.process.poll() is None:
            self.kill()
        self.process = None


def pem():
    """Certificate and key in one file, as haproxy wants them."""
    path = programs.certificate().path + '.both'
    with open(path, 'w') as file:
        for part in (programs.certificate().path, programs.certificate().key):
            with open(part) as source:
                file.write(source.read())
    return path


def cleartext_hub(target):
    return programs.Hub(target, listens=['ws://127.0.0.1:PORT'])


def nginx(hub):
    return Front('nginx', NGINX, hub)


def haproxy(hub):
    return Front('haproxy', HAPROXY, hub, mode='http', tls=f' ssl crt {pem()} alpn http/1.1', options='')


def passthrough(hub, options=''):
    return Front('haproxy', HAPROXY, hub, mode='tcp', tls='', options=options)


def carries(local):
    local.ping()
    for size in SIZES:
        payload = os.urandom(size)
        local.send(payload)
        local.expect(payload)


def ours_through(make_hub, make_front, **options):
    target = udp.Target()
    with make_hub(target) as hub, make_front(hub) as front:
        extra = [f'Target = 127.0.0.1:{target.port}']
        with programs.Client(front.url, extra=extra, **options) as client, client.local() as local:
            carries(local)
    target.close()


def stock_through(make_hub, make_front):
    stock.executable()
    target = udp.Target()
    with make_hub(target) as hub, make_front(hub) as front:
        options = ['--http-upgrade-path-prefix', programs.STOCK_PATH]
        with stock.Client(front.url, target, options) as client, client.local() as local:
            carries(local)
    target.close()


def test_our_client_through_nginx():
    """nginx ends TLS; our client comes in by its token, on the ws:// listener behind."""
    ours_through(cleartext_hub, nginx, ca=programs.certificate('ca'))


def test_our_client_through_haproxy():
    """haproxy ends TLS; our client comes in by its token, on the ws:// listener behind."""
    ours_through(cleartext_hub, haproxy, ca=programs.certificate('ca'))


def test_our_client_through_passthrough():
    """haproxy passes TLS through; the token's binding and the pin of the hub's certificate hold."""
    def hub(target):
        return programs.Hub(target, certificate=programs.certificate('alone'))
    ours_through(hub, passthrough, pin=programs.certificate('alone').pin)


def test_stock_client_through_nginx():
    """nginx ends TLS; a stock client comes in by its path."""
    stock_through(cleartext_hub, nginx)


def test_stock_client_through_haproxy():
    """haproxy ends TLS; a stock client comes in by its path."""
    stock_through(cleartext_hub, haproxy)


def test_page_then_upgrade_on_nginxs_connection():
    """nginx re-uses a connection to the hub for a page and then for an upgrade; both work."""
    target = udp.Target()
    with cleartext_hub(target) as hub, nginx(hub) as front:
        for _ in range(3):
            with tunnel.connect(front) as link:
                link.send(http.page_request('/'))
                head, body = http.read_answer(link, bytearray())
                assert head.status == 200 and body
            with tunnel.open_ours(front) as carrier:
                carrier.echo()
    target.close()


def test_refusals_through_nginx():
    """A wrong token through nginx is a visitor: the page that a plain request for the path gets."""
    target = udp.Target()
    with cleartext_hub(target) as hub, nginx(hub) as front:
        answers = []
        for make in (lambda link: http.page_request('/v1/events'),
                     lambda link: http.upgrade(tunnel.our_token(front, link, token='wrong-token-0123456789'))):
            with tunnel.connect(front) as link:
                link.send(make(link))
                head, body = http.read_answer(link, bytearray())
                answers.append((head.status, body))
        assert answers[0] == answers[1], answers
    target.close()


def is_seen_from_its_own_address(make_hub, make_front):
    """Behind this front the hub's status names the client's own address."""
    target = udp.Target()
    with make_hub(target) as hub, make_front(hub) as front:
        with tunnel.open_ours(front) as carrier:
            carrier.echo()
            seen, = [session['from'] for session in hub.status()['sessions']]
            own = carrier.link.sock.getsockname()[0]
            assert seen.rpartition(':')[0] in (own, '') and own in seen, (seen, own)
    target.close()


def test_visitors_address_by_proxy_protocol():
    """haproxy's PROXY protocol, versions 1 and 2, tells the hub whom it serves."""
    def hub(target):
        return programs.Hub(target, certificate=programs.certificate(), extra=['TrustedProxies = 127.0.0.1'])
    for options in (' send-proxy', ' send-proxy-v2'):
        is_seen_from_its_own_address(hub, lambda behind, options=options: passthrough(behind, options))


def test_visitors_address_by_forwarded_for():
    """nginx's X-Forwarded-For tells the hub whom it serves."""
    def hub(target):
        return programs.Hub(target, listens=['ws://127.0.0.1:PORT'], extra=['TrustedProxies = 127.0.0.1'])
    is_seen_from_its_own_address(hub, nginx)


if __name__ == '__main__':
    claims.main(globals())
