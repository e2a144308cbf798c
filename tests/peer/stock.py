"""The real stock wstunnel, or its Go port, where the environment variable WSTUNNEL names the program."""

import os
import socket

from . import claims, programs, udp


def executable():
    path = os.environ.get('WSTUNNEL')
    if not path:
        raise claims.Skip('WSTUNNEL names no stock wstunnel')
    return path


def is_go_port():
    """kad/wstunnel-go, by its program's name."""
    return 'wstunnel-go' in os.path.basename(executable())


def longest_datagram():
    """The part of a datagram that its server passes on: its port reads 32 KiB, the rest is lost."""
    return 32768 if is_go_port() else 65507


def only_path(word):
    """The options that make its server admit this path prefix and no other."""
    return ['-P' if is_go_port() else '--restrict-http-upgrade-path-prefix', word]


class Stock(programs.Program):
    """Either role. It ends by SIGTERM with whatever code it likes."""

    def __init__(self, *arguments):
        super().__init__([executable(), *arguments], {'NO_COLOR': 'true', 'TOKIO_WORKER_THREADS': '2'})
        self.spawn()

    def stop(self, timeout=15.0):
        if self.process and self.process.poll() is None:
            self.kill()
        self.process = None


class Server(Stock):
    """wstunnel server; certificate None: ws://."""

    def __init__(self, certificate=None, port=None, options=()):
        self.port = port or programs.free_port()
        scheme = 'wss' if certificate else 'ws'
        self.url = f'{scheme}://127.0.0.1:{self.port}'
        tls = ['--tls-certificate', certificate.path, '--tls-private-key', certificate.key] if certificate else []
        super().__init__('server', *tls, *options, self.url)
        self.wait_ready(lambda: programs.is_listening(self.port), 'listening')


class Client(Stock):
    """wstunnel client with one UDP forward to target."""

    def __init__(self, url, target, options=(), timeout=0):
        self.port = programs.free_port(socket.SOCK_DGRAM)
        forward = f'udp://127.0.0.1:{self.port}:127.0.0.1:{target.port}?timeout_sec={timeout}'
        super().__init__('client', '-L', forward, *options, url)
        self.wait_ready(lambda: programs.has_udp_port(self.port), 'the local port')

    def local(self, **options):
        return udp.Local(self.port, **options)
