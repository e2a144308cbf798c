"""Starts the real programs from the build folder, each in a temporary folder of its own, and stops them.

TOWPATH_BUILD names the build folder (meson sets it); without it, `build` beside the sources. stop() asks for an orderly
end and then complains about every fault: an exit code, a process left over, a report of a sanitizer in the log.
"""

import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from . import certs, claims, udp

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
REPORTS = ('ERROR: AddressSanitizer', 'runtime error:', 'LeakSanitizer', 'MemorySanitizer', 'ThreadSanitizer')
TOKEN = 'laptop-token-0123456789'
STOCK_PATH = 'stock-word'
_reservations = []
_libc = ctypes.CDLL(None)


def build_folder():
    return os.environ.get('TOWPATH_BUILD') or os.path.join(SOURCE, 'build')


def executable(role):
    path = os.path.join(build_folder(), role, 'towpath-' + role)
    if not os.path.exists(path):
        raise AssertionError(f'{path} is not built; TOWPATH_BUILD names the build folder')
    return path


def free_port(kind=socket.SOCK_STREAM, host='127.0.0.1'):
    """A free port below the range from which connections take theirs, given out once.

    Other tests may run at the same moment: an abstract socket, held until this process ends, reserves the number among
    them.
    """
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    while True:
        port = 10000 + int.from_bytes(os.urandom(2), 'big') % 22000
        reservation = socket.socket(socket.AF_UNIX)
        try:
            reservation.bind(f'\0towpath-test-port-{port}')
            with socket.socket(family, kind) as sock:
                sock.bind((host, port))
        except OSError:
            reservation.close()
            continue
        _reservations.append(reservation)
        return port


def is_listening(port, host='127.0.0.1'):
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(2)
        return sock.connect_ex((host, port)) == 0


def has_udp_port(port):
    """True if a socket is bound to that UDP port."""
    for table in ('/proc/net/udp', '/proc/net/udp6'):
        with open(table) as file:
            if any(line.split()[1].endswith(f':{port:04X}') for line in file.readlines()[1:]):
                return True
    return False


def _fields(pid):
    """The fields of /proc/PID/stat from the state on; None where the process is gone."""
    try:
        with open(f'/proc/{pid}/stat') as file:
            return file.read().rpartition(')')[2].split()
    except OSError:
        return None


def children(pid):
    """The processes whose parent it is. Not from its `children`, which not every kernel has."""
    pids = [int(entry) for entry in os.listdir('/proc') if entry.isdigit()]
    return [found for found in pids if (fields := _fields(found)) and int(fields[1]) == pid]


def is_alive(pid):
    fields = _fields(pid)
    return fields is not None and fields[0] not in 'ZX'


def is_tracer(pid):
    try:
        with open(f'/proc/{pid}/comm') as file:
            return file.read() == 'strace\n'
    except OSError:
        return False


def of_session(session):
    """All processes of a session that still run."""
    found = []
    for entry in os.listdir('/proc'):
        fields = _fields(entry) if entry.isdigit() else None
        if fields and int(fields[3]) == session and fields[0] not in 'ZX':
            found.append(int(entry))
    return found


def _die_with_parent():
    """In the child: a test that is killed leaves nothing running."""
    _libc.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


class Program:
    """A process in a session of its own, its stderr in a file."""

    def __init__(self, arguments, environment=None):
        self.folder = tempfile.mkdtemp(prefix='towpath-test-')
        self.log_path = os.path.join(self.folder, 'log')
        self.process = None
        self.arguments = arguments
        self.environment = environment
        self.supervisors = set()
        claims.at_exit(self.close)

    def spawn(self):
        environment = {key: value for key, value in os.environ.items() if not key.lower().endswith('_proxy')}
        environment.update(self.environment or {})
        with open(self.log_path, 'ab') as log:
            self.process = subprocess.Popen(self.arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            start_new_session=True, env=environment,
                                            preexec_fn=_die_with_parent)
        self.supervisors.add(str(self.process.pid))

    @property
    def log(self):
        if not os.path.exists(self.log_path):
            return ''
        with open(self.log_path, errors='replace') as file:
            return file.read()

    def wait_log(self, pattern, timeout=15.0):
        return claims.wait_for(lambda: re.search(pattern, self.log), f'{pattern!r} in the log:\n{self.log[-3000:]}', timeout)

    def must_run(self):
        assert self.process.poll() is None, f'ended with {self.process.returncode}:\n{self.log[-3000:]}'

    def wait_ready(self, condition, what):
        def ready():
            self.must_run()
            return condition()
        claims.wait_for(ready, f'{what}:\n{self.log[-3000:]}', 20)

    def check_log(self):
        for report in REPORTS:
            assert report not in self.log, f'a sanitizer reports:\n{self.log[-6000:]}'

    def stop(self, timeout=15.0):
        """SIGTERM, and see that all is well and nothing left."""
        process, self.process = self.process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(claims.patience(timeout))
        except subprocess.TimeoutExpired:
            code = 'no end'
        left = of_session(process.pid)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        if code == 'no end':
            process.wait()
        self.check_log()
        assert code == 0, f'exit code {code} after SIGTERM:\n{self.log[-3000:]}'
        assert not left, f'left over: {left}'

    def kill(self):
        """SIGKILL to all of it: a crash."""
        process, self.process = self.process, None
        for pid in of_session(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.wait()
        claims.wait_for(lambda: not of_session(process.pid), 'the end of all its processes')
        self.check_log()

    def close(self):
        try:
            self.stop()
        finally:
            if os.environ.get('KEEP_LOGS'):
                print('# log:', self.log_path)
            else:
                shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _):
        if kind:
            print('# log of', next(word for word in self.arguments if 'towpath-' in word or 'sbin' in word or 'wstunnel' in word))
            for line in self.log.splitlines()[-25:]:
                print('#   ' + line)
        self.close()


class Towpath(Program):
    """One of ours: a configuration file, folders, a supervisor with its worker."""

    role = None

    def __init__(self, text, environment=None):
        super().__init__(None, environment)
        self.name = f't{os.getpid()}-{os.path.basename(self.folder)[-6:]}'
        self.config = os.path.join(self.folder, self.name + '.conf')
        self.runtime = os.path.join(self.folder, 'run')
        self.state = os.path.join(self.folder, 'state')
        self.write(text)
        self.arguments = [executable(self.role), 'run', self.config, '--config-dir', self.folder,
                          '--runtime-dir', self.runtime, '--state-dir', self.state, '--verbose']
        self.calls = os.path.join(self.folder, 'calls')
        if claims.is_traced():
            # The tracer is a child of the program, in a session of its own, and notes the calls that fail.
            self.arguments = ['strace', '-DDD', '-f', '-qq', '-Z', '-o', self.calls] + self.arguments

    def write(self, text):
        with open(self.config, 'w') as file:
            file.write(text)
        os.chmod(self.config, 0o600)

    @property
    def worker(self):
        """The worker's process id; None while there is none."""
        return next((pid for pid in children(self.process.pid) if not is_tracer(pid)), None)

    def check_log(self):
        """With TOWPATH_TRACE also: no call of a worker is refused by its list. Refusals in front of that are others'."""
        super().check_log()
        if not os.path.exists(self.calls):
            return
        with open(self.calls, errors='replace') as file:
            refused = [line for line in file if ' = -1 EPERM ' in line and not re.search(r' prctl\(| RLIMIT_NOFILE, \{', line)
                       and line.split()[0] not in self.supervisors]
        assert not refused, 'refused:\n' + ''.join(refused[:20])

    def status(self):
        """What `status` says. Traced programs on a slow machine may answer too late, or without the worker's part: they are
        asked again."""
        for left in range(19 if claims.is_traced() else 0, -1, -1):
            try:
                answer = self._status()
                if 'datagrams' in answer or not left:
                    return answer
            except AssertionError:
                if not left:
                    raise

    def _status(self):
        answer = subprocess.run([executable(self.role), 'status', self.config, '--json', '--runtime-dir', self.runtime],
                                capture_output=True, text=True, timeout=claims.patience(20))
        try:
            return json.loads(answer.stdout)
        except ValueError:
            raise AssertionError(f'status: exit {answer.returncode}: {answer.stdout!r} {answer.stderr!r}') from None

    def dropped(self, reason):
        return self.status()['dropped'].get(reason, 0)

    def descriptors(self):
        """How many descriptors the worker holds, UDP sockets aside: a flow outlives its carrier for a while."""
        with open('/proc/net/udp') as v4, open('/proc/net/udp6') as v6:
            datagram = {line.split()[9] for line in v4.readlines()[1:] + v6.readlines()[1:]}
        count = 0
        for entry in os.listdir(f'/proc/{self.worker}/fd'):
            try:
                link = os.readlink(f'/proc/{self.worker}/fd/{entry}')
            except OSError:
                continue
            count += link.removeprefix('socket:[').rstrip(']') not in datagram
        return count


class Hub(Towpath):
    """towpath-server in front of a target. listens: how each is written in the file, `PORT` standing for a free
    port."""

    role = 'server'

    def __init__(self, target, listens=('wss://127.0.0.1:PORT',), token=TOKEN, stock_path=STOCK_PATH, peers=(),
                 certificate=None, extra=(), target_text=None, start=True):
        self.hosts = [text.rpartition('://')[2].rpartition(':')[0].strip('[]') for text in listens]
        self.ports = [free_port(host=host) for host in self.hosts]
        self.listens = [text.replace('PORT', str(port)) for text, port in zip(listens, self.ports)]
        self.target = target
        self.lines = ['[Server]', 'Listen = ' + ', '.join(text.removeprefix('wss://') for text in self.listens),
                      'Target = ' + (target_text or f'127.0.0.1:{target.port}'), 'WireGuard = none', *extra]
        if certificate:
            self.lines += [f'Certificate = {certificate.path}', f'CertificateKey = {certificate.key}']
        for name, secret, path in [('laptop', token, stock_path), *peers]:
            self.lines += ['[Peer]', f'Name = {name}', f'Token = {secret}'] + ([f'StockPath = {path}'] if path else [])
        super().__init__('\n'.join(self.lines) + '\n')
        if start:
            self.start()

    def start(self):
        heard = self.log.count('listening on ')
        self.spawn()
        self.wait_ready(lambda: all(is_listening(port, host) for port, host in zip(self.ports, self.hosts)), 'listening')
        self.wait_ready(lambda: self.log.count('listening on ') > heard, 'a worker that is ready')
        return self

    @property
    def port(self):
        return self.ports[0]

    @property
    def address(self):
        return ('127.0.0.1', self.port)

    @property
    def url(self):
        return f'wss://127.0.0.1:{self.port}'


_shared = {}


def shared_hub():
    """The hub with its echoing target that the claims of one file have in common. It has to survive all of them."""
    if not _shared:
        target = udp.Target()
        claims.at_exit(target.close)
        _shared['hub'] = Hub(target)
        _shared['worker'] = _shared['hub'].worker
        time.sleep(0.3)  # the connection that found it listening is gone
        _shared['descriptors'] = _shared['hub'].descriptors()
        claims.at_exit(_check_shared)
    hub = _shared['hub']
    hub.must_run()
    assert hub.worker == _shared['worker'], f'the worker died:\n{hub.log[-6000:]}'
    hub.target.drain()
    return hub


def _check_shared():
    hub = _shared['hub']
    hub.must_run()
    assert hub.worker == _shared['worker'], f'the worker died:\n{hub.log[-6000:]}'
    claims.wait_for(lambda: hub.descriptors() <= _shared['descriptors'],
                    f'descriptors of the worker: {_shared["descriptors"]} before, {hub.descriptors()} now', 40, 0.5)


class Client(Towpath):
    """towpath-client towards a URL; `port` is its local UDP port. hosts: the addresses of the name hub.test, in a file
    that lies over /etc/hosts in a mount namespace of its own."""

    role = 'client'

    def __init__(self, url, token=TOKEN, pin=None, ca=None, extra=(), environment=None, host='127.0.0.1', hosts=None,
                 start=True, mark='off'):
        self.port = free_port(socket.SOCK_DGRAM, host)
        shown = f'[{host}]' if ':' in host else host
        self.lines = ['[Client]', f'Server = {url}', f'Listen = {shown}:{self.port}', 'WireGuard = none',
                      f'FwMark = {mark}']
        self.lines += [f'Token = {token}'] if token else []
        self.lines += [f'Pin = {pin}'] if pin else []
        self.lines += [f'CA = {ca.path}'] if ca else []
        super().__init__('\n'.join([*self.lines, *extra]) + '\n', environment)
        if hosts:
            self.arguments = self.with_hosts(hosts) + self.arguments
        if start:
            self.start()

    def with_hosts(self, addresses):
        return self.with_file('/etc/hosts', ''.join(f'{address} hub.test\n' for address in addresses))

    def with_file(self, place, text):
        """The words in front of a command that put a file with `text` over `place` for it."""
        claims.need_mounts()
        path = os.path.join(self.folder, os.path.basename(place))
        with open(path, 'w') as file:
            file.write(text)
        os.chmod(self.folder, 0o755)
        return ['unshare', '--mount', '--propagation', 'private', 'sh', '-c',
                f'mount --bind "$0" {place} && exec "$@"', path]

    def start(self):
        self.spawn()
        self.wait_ready(lambda: has_udp_port(self.port) and self.worker, 'the local port')
        return self

    def local(self, **options):
        return udp.Local(self.port, **options)


_certificates = {}


def certificate(kind='good'):
    """One certificate of each kind for the whole file: ca, good, expired, other (name), alone (self-signed), portal
    (alone, and of a portal's name), company and staging (right names, unknown CAs)."""
    if not _certificates:
        folder = tempfile.mkdtemp(prefix='towpath-test-')
        claims.at_exit(lambda: shutil.rmtree(folder))
        ca = _certificates['ca'] = certs.self_signed(folder, 'ca', ['Test CA'])
        _certificates['good'] = certs.signed(folder, 'good', ca)
        _certificates['expired'] = certs.signed(folder, 'expired', ca, until='20200201000000Z')
        _certificates['other'] = certs.signed(folder, 'other', ca, ['other.example.org'])
        _certificates['alone'] = certs.self_signed(folder, 'alone')
        _certificates['portal'] = certs.self_signed(folder, 'portal', ['portal.hotel.example'])
        for name, subject in (('company', '/O=Company, Inc./CN=Test Proxy CA'),
                              ('staging', "/O=(STAGING) Let's Encrypt/CN=(STAGING) Riddling Rhubarb R12")):
            issuer = certs.self_signed(folder, name + '-ca', [name], subject=subject)
            _certificates[name] = certs.signed(folder, name, issuer)
    return _certificates[kind]


def pause(seconds):
    """For what must not happen meanwhile."""
    time.sleep(seconds)
