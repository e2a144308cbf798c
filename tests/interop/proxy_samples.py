#!/usr/bin/python3
"""The files of deploy/proxies, each in its program and in front of our hub. Only ports, paths and the name are
replaced. Skipped where a program is not installed."""

import os
import shutil
import signal
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from peer import claims, programs, udp  # noqa: E402

LETSENCRYPT = '/etc/letsencrypt/live/vps.example.org/'
CERTIFICATE, KEY = LETSENCRYPT + 'fullchain.pem', LETSENCRYPT + 'privkey.pem'
PAGE = b'the web site beside the tunnel\n'
SIZES = (1, 1452, 16000, 65507)

NGINX = """daemon off;
error_log stderr;
pid {folder}/pid;
events {{ worker_connections 256; }}
"""
NGINX_HTTP = NGINX + """http {{
    access_log off;
    client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    include {folder}/sample;
}}
"""
NGINX_STREAM = 'load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n' + NGINX + 'include {folder}/sample;\n'
CADDY = """{{
    admin 127.0.0.1:{admin}
    auto_https disable_redirects
    storage file_system {folder}
}}
import {folder}/sample
"""
APACHE = """ServerRoot {folder}
ServerName localhost
PidFile {folder}/pid
ErrorLog {folder}/log
Listen 127.0.0.1:{port}
""" + ''.join(f'LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n' for name in (
    'mpm_event', 'authz_core', 'dir', 'ssl', 'socache_shmcb', 'http2', 'proxy', 'proxy_http')) + """
IncludeOptional {folder}/sample
"""


class Front(programs.Program):
    """A proxy with its sample in front of a hub. It ends by SIGTERM with whatever code it likes."""

    program = sample = wrapper = None
    reload_signal = signal.SIGHUP
    behind = 'ws://127.0.0.1:PORT'  # the hub's Listen
    options = {}                    # of our client's configuration

    def __init__(self, hub, changes=()):
        path = shutil.which(self.program) or shutil.which(self.program, path='/usr/sbin:/sbin')
        if not path:
            raise claims.Skip(f'{self.program} is not installed')
        self.path = path
        super().__init__(None)
        os.chmod(self.folder, 0o755)
        self.port, self.admin = programs.free_port(), programs.free_port()
        with open(os.path.join(self.folder, 'index.html'), 'wb') as file:
            file.write(PAGE)
        with open(os.path.join(programs.SOURCE, 'deploy', 'proxies', self.sample)) as file:
            text = file.read()
        for old, new in (*changes, *self.changes(hub)):
            assert old in text, f'{self.sample} has no {old}'
            text = text.replace(old, new)
        for name, part in (('sample', text), ('config', self.wrapper or text)):
            with open(os.path.join(self.folder, name), 'w') as file:
                file.write(part if part == text else part.format(folder=self.folder, port=self.port, admin=self.admin))
        self.config = os.path.join(self.folder, 'config')
        self.arguments = self.command()
        self.spawn()
        self.wait_ready(lambda: programs.is_listening(self.port), 'listening')

    def changes(self, hub):
        return [(CERTIFICATE, programs.certificate().path), (KEY, programs.certificate().key),
                ('/var/www/html', self.folder), ('127.0.0.1:8080', f'127.0.0.1:{hub.port}'), ('vps.example.org', 'localhost')]

    def reload(self):
        self.process.send_signal(self.reload_signal)

    def url(self):
        return f'wss://localhost:{self.port}'

    def close(self):
        if self.process and self.process.poll() is None:
            self.kill()
        self.process = None
        super().close()


class Nginx(Front):
    program, sample, wrapper = 'nginx', 'nginx.conf', NGINX_HTTP

    def changes(self, hub):
        return [*super().changes(hub), ('listen 443 ', f'listen 127.0.0.1:{self.port} ')]

    def command(self):
        return [self.path, '-c', self.config]


class NginxStream(Nginx):
    sample, wrapper = 'nginx-stream.conf', NGINX_STREAM
    behind = '127.0.0.1:PORT'

    def changes(self, hub):
        if not os.path.exists('/usr/lib/nginx/modules/ngx_stream_module.so'):
            raise claims.Skip("nginx's module for streams is not installed")
        return [('127.0.0.1:8443', f'127.0.0.1:{hub.port}'), ('127.0.0.1:9443', '127.0.0.1:9'), ('vps.example.org', 'localhost'),
                ('listen 443;', f'listen 127.0.0.1:{self.port};')]


class Haproxy(Front):
    program, sample = 'haproxy', 'haproxy.cfg'
    reload_signal = signal.SIGUSR2

    def changes(self, hub):
        both = os.path.join(self.folder, 'both.pem')
        with open(both, 'w') as file:
            for part in (programs.certificate().path, programs.certificate().key):
                with open(part) as source:
                    file.write(source.read())
        self.site = programs.Program([sys.executable, '-m', 'http.server', '--bind', '127.0.0.1', '--directory', self.folder,
                                      str(self.admin)])
        self.site.spawn()
        claims.at_exit(self.site.kill)
        return [('/etc/haproxy/vps.example.org.pem', both), ('bind :443 ', f'bind 127.0.0.1:{self.port} '),
                ('127.0.0.1:8080', f'127.0.0.1:{hub.port}'), ('127.0.0.1:8000', f'127.0.0.1:{self.admin}')]

    def command(self):
        return [self.path, '-W', '-db', '-f', self.config]


class Caddy(Front):
    program, sample, wrapper = 'caddy', 'Caddyfile', CADDY

    def changes(self, hub):
        return [('# tls ', 'tls '), ('vps.example.org:443', f'localhost:{self.port}'),
                *super().changes(hub)[:-1]]

    def command(self):
        self.environment = {'HOME': self.folder}
        return [self.path, 'run', '--config', self.config, '--adapter', 'caddyfile']

    def reload(self):
        subprocess.run([self.path, 'reload', '--force', '--config', self.config, '--adapter', 'caddyfile', '--address',
                        f'127.0.0.1:{self.admin}'], check=True, capture_output=True, timeout=30)


class Apache(Front):
    program, sample, wrapper = 'apache2', 'apache.conf', APACHE
    reload_signal = signal.SIGUSR1

    def changes(self, hub):
        return [*super().changes(hub), ('*:443', f'127.0.0.1:{self.port}')]

    def command(self):
        return [self.path, '-DFOREGROUND', '-f', self.config]


FRONTS = (Nginx, NginxStream, Haproxy, Caddy, Apache)


class World:
    """A target, the hub, the proxy and our client with its local application."""

    def __init__(self, front, changes=(), extra=()):
        self.parts = []
        self.target = self.add(udp.Target())
        self.hub = self.add(programs.Hub(self.target, listens=[front.behind], extra=['TrustedProxies = 127.0.0.1'],
                                         certificate=None if front.behind.startswith('ws:') else programs.certificate()))
        self.front = self.add(front(self.hub, changes))
        self.client = self.add(programs.Client(self.front.url(), ca=programs.certificate('ca'),
                                               extra=[f'Target = 127.0.0.1:{self.target.port}', *extra]))
        self.local = self.add(self.client.local())

    def add(self, part):
        self.parts.append(part)
        return part

    def carries(self):
        self.local.ping()
        for size in SIZES:
            payload = os.urandom(size)
            self.local.send(payload)
            self.local.expect(payload)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for part in reversed(self.parts):
            part.close()


def carries(front):
    with World(front) as world:
        world.carries()
        seen, = [session['from'] for session in world.hub.status()['sessions']]
        assert seen.startswith('127.0.0.1'), seen
        assert 'none of TrustedProxies' not in world.hub.log


def test_nginx():
    """Datagrams of all sizes through nginx, by HTTP."""
    carries(Nginx)


def test_nginx_stream():
    """The same, where nginx passes TLS on by its name."""
    carries(NginxStream)


def test_haproxy():
    """The same through HAProxy."""
    carries(Haproxy)


def test_caddy():
    """The same through Caddy."""
    carries(Caddy)


def test_apache():
    """The same through Apache."""
    carries(Apache)


def installed(fronts):
    """Those of the proxies that are there. Skip where none is."""
    found = [front for front in fronts if shutil.which(front.program) or shutil.which(front.program, path='/usr/sbin:/sbin')]
    if not found:
        raise claims.Skip('no proxy is installed')
    return found


def test_web_site_beside_it():
    """Browsers get the proxy's own web site, by HTTP/2 and by HTTP/1.1, while the tunnel is up."""
    for front in installed((Nginx, Haproxy, Caddy, Apache)):
        with World(front) as world:
            world.carries()
            for version, option in ((b'2', '--http2'), (b'1', '--http1.1')):
                done = subprocess.run(['curl', '-sk', option, '-w', '%{http_version}', f'https://localhost:{world.front.port}/'],
                                      capture_output=True, timeout=30)
                assert done.stdout.startswith(PAGE + version), (front.program, option, done.stdout)
            world.local.ping()


def test_prefix_that_the_proxy_strips():
    """Below a path of the proxy's own, with Path = tunnel/v1 at the client."""
    for front, old, new in ((Nginx, 'location = /v1/events', 'location = /tunnel/v1/events'),
                            (Apache, 'ProxyPass /v1/events', 'ProxyPass /tunnel/v1/events'),
                            (Caddy, 'reverse_proxy /v1/events 127.0.0.1:8080',
                             'handle_path /tunnel/* {\n reverse_proxy 127.0.0.1:8080\n }'),
                            (Haproxy, 'path /v1/events }', 'path /tunnel/v1/events }')):
        changes = [(old, new)]
        if front is Haproxy:
            changes.append(('server hub ', 'http-request set-path /v1/events\n    server hub '))
        if front in installed((Nginx, Apache, Caddy, Haproxy)):
            with World(front, changes, ['Path = tunnel/v1']) as world:
                world.carries()


def test_upgrade_that_the_proxy_takes_out():
    """Without the lines that pass the upgrade on, both ends say that it is the proxy that takes it out, and not the
    token."""
    headers = ('        proxy_set_header Upgrade $http_upgrade;\n', '        proxy_set_header Connection upgrade;\n')
    http_11 = '        proxy_http_version 1.1;     # without these three lines nginx takes the upgrade out of the request\n'
    for front, lines, word in ((Nginx, [http_11, *headers], 'Upgrade'), (Nginx, headers, 'Upgrade'),
                               (Nginx, headers[:1], 'Upgrade'), (Nginx, headers[1:], 'Connection'), (Nginx, [http_11], 'HTTP/1.1'),
                               (Apache, [' upgrade=websocket\n'], 'Upgrade')):
        if front not in installed((Nginx, Apache)):
            continue
        with World(front, [(line, '\n') for line in lines]) as world:
            world.local.send(b'go')
            world.client.wait_log('status 426; a reverse proxy .* takes the upgrade out')
            world.hub.wait_log(f'laptop: not let in: its request has come through a reverse proxy without {word};')


def test_hub_that_the_proxy_does_not_reach():
    """While the hub is down the client says that the proxy does not reach it; once it is up the tunnel works."""
    for front in installed((Nginx, Haproxy, Caddy, Apache)):
        with World(front) as world:
            world.hub.stop()
            world.local.send(b'go')
            world.client.wait_log('status 50[234]; .*a reverse proxy in front of .* does not reach it')
            world.hub.start()
            world.local.ping()


def test_reload_under_traffic():
    """The proxy reads its file again while datagrams flow: they flow on, at the worst by a new connection."""
    for front in installed(FRONTS):
        with World(front) as world:
            world.carries()
            for _ in range(3):
                world.front.reload()
                for _ in range(10):
                    world.local.send(os.urandom(1000))
                    programs.pause(0.03)
                claims.wait_for(lambda: answers(world.local), f'traffic behind {front.program}, reloaded')
            assert world.client.status()['link']['connects'] <= 4, world.client.status()


def answers(local):
    try:
        local.ping(timeout=1)
    except AssertionError:
        return False
    return True


def test_a_minute_of_silence():
    """A tunnel that is idle for longer than the proxies' 60 s is still the same connection, kept by its pings."""
    worlds = []
    try:
        for front in installed(FRONTS):
            worlds.append(World(front))
            worlds[-1].carries()
        programs.pause(66)
        for world in worlds:
            world.local.ping()
            status = world.client.status()
            assert status['link']['connects'] == 1 and status['state'] == 'up', (world.front.program, status)
    finally:
        for world in worlds:
            world.__exit__()


if __name__ == '__main__':
    claims.main(globals())
