"""Network namespaces for tests that are root: the test's own, and others on the far side of a veth pair.

    nets.enter(); far = nets.Far('10.9.0.1', '10.9.0.2')
    with far: sock = socket.socket(…)      # this one is over there
"""

import ctypes
import os
import subprocess

from . import claims

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def ip(*words):
    subprocess.run(['ip', *words], check=True, timeout=20)


def enter():
    """From here on: a network namespace of our own with lo only, and a /run of our own. Raises Skip where that is
    refused."""
    if os.geteuid() != 0 or _libc.unshare(CLONE_NEWNET | CLONE_NEWNS) != 0:
        raise claims.Skip('namespaces are refused')
    claims.need_mounts()
    subprocess.run(['mount', '--make-rprivate', '/'], check=True)
    subprocess.run(['mount', '-t', 'tmpfs', 'run', '/run'], check=True)
    ip('link', 'set', 'lo', 'up')


class Far:
    """Another namespace, over a veth pair: `device` here with the address `near`, `far0` there with `far`."""

    def __init__(self, near, far, device='near0'):
        self.device = device
        self.holder = subprocess.Popen(['unshare', '--net', 'sleep', '600'])
        claims.at_exit(self.close)
        here = os.stat('/proc/self/ns/net').st_ino
        claims.wait_for(lambda: os.stat(f'/proc/{self.holder.pid}/ns/net').st_ino != here, 'the far namespace')
        self.there = os.open(f'/proc/{self.holder.pid}/ns/net', os.O_RDONLY)
        self.here = os.open('/proc/self/ns/net', os.O_RDONLY)
        ip('link', 'add', device, 'type', 'veth', 'peer', 'name', 'far0', 'netns', str(self.holder.pid))
        with self:
            ip('link', 'set', 'lo', 'up')
            ip('address', 'add', f'{far}/24', 'dev', 'far0')
            ip('link', 'set', 'far0', 'up')
        ip('address', 'add', f'{near}/24', 'dev', device)
        ip('link', 'set', device, 'up')

    def __enter__(self):
        assert _libc.setns(self.there, CLONE_NEWNET) == 0
        return self

    def __exit__(self, *_):
        assert _libc.setns(self.here, CLONE_NEWNET) == 0

    def close(self):
        if self.holder.poll() is None:
            self.holder.kill()
            self.holder.wait()
            os.close(self.there)
            os.close(self.here)
            subprocess.run(['ip', 'link', 'delete', self.device], stderr=subprocess.DEVNULL)
