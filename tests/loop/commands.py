#!/usr/bin/python3
"""The command lines of both programs: verbs, options, exit codes, what is printed where."""

import concurrent.futures
import fcntl
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from peer import claims, programs, udp  # noqa: E402

KEY = 'yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk='
TOKEN = programs.TOKEN
OTHER_TOKEN = 'another-token-0123456789'


class Folder:
    """A folder with configuration files, and the folders a program is told to use."""

    def __init__(self, **files):
        self.path = tempfile.mkdtemp(prefix='towpath-test-')
        claims.at_exit(lambda: shutil.rmtree(self.path))
        for name, text in files.items():
            self.write(name + '.conf', text)

    def write(self, name, text, mode=0o600):
        path = os.path.join(self.path, name)
        with open(path, 'w') as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    def run(self, role, *words, environment=None):
        """Run a program that ends by itself."""
        clean = {name: value for name, value in os.environ.items()
                 if 'proxy' not in name.lower() and name != 'JOURNAL_STREAM' and not name.startswith('TOWPATH_')}
        return subprocess.run([programs.executable(role), *words, '--config-dir', self.path, '--runtime-dir',
                               os.path.join(self.path, 'run'), '--state-dir', os.path.join(self.path, 'state')],
                              capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL,
                              env={**clean, **(environment or {})})


def expect(done, code, stderr='', stdout=''):
    assert done.returncode == code, f'exit {done.returncode}, not {code}: {done.stdout!r} {done.stderr!r}'
    assert stderr in done.stderr, done.stderr
    assert stdout in done.stdout, done.stdout


def expect_usage(done, line):
    """Exit 2, exactly one line."""
    expect(done, 2)
    assert done.stderr == line + '\n' and not done.stdout, (done.stdout, done.stderr)


def test_usage_is_one_line_with_the_nearest_word():
    """A wrong verb or option is exit 2 and one line."""
    folder = Folder()
    hint = 'see towpath-client --help'
    cases = {
        ('rum', 'home'): 'rum: unknown command; did you mean run?',
        ('fly', 'home'): f'fly: unknown command; {hint}',
        ('doctor', 'home'): f'doctor: not known to this version; {hint}',
        (): f'a command is missing: run, up, down, status, reload or check; {hint}',
        ('run',): f'run: which tunnel? NAME, FILE or wss://HOST is missing; {hint}',
        ('up',): f'up: which tunnel? NAME, FILE or wss://HOST is missing; {hint}',
        ('down',): f'down: which tunnel? NAME or FILE is missing; {hint}',
        ('check',): f'check: which tunnel? NAME or FILE is missing; {hint}',
        ('check', 'a', 'b'): f'check: one tunnel at a time; {hint}',
        ('check', 'wss://a'): f'check: needs NAME or FILE; a tunnel from a URL is named after its host; {hint}',
        ('check', 'a', '--pin', 'x'): f'check: takes no key of the configuration; those go with run and up; {hint}',
        ('down', 'a', '--timeout', '5s'): f'--timeout: goes with what brings a tunnel up only; {hint}',
        ('up', 'a', '--timeout', 'soon'): f'--timeout: not a time; expected for example 30s or 5min; {hint}',
        ('run', 'a', '--json'): f'--json: goes with status only; {hint}',
        ('up', 'a', '--hooks'): f'--hooks: goes with down only; {hint}',
        ('run', 'wss://a', '--tokn-file=s3cret'): '--tokn-file: unknown option; did you mean --token-file?',
        ('run', 'wss://a', '--zzzzzz'): f'--zzzzzz: unknown option; {hint}',
        ('run', 'wss://a', '-x'): f'-x: unknown option; {hint}',
        ('status', '--json=yes'): f'--json: takes no value; {hint}',
        ('check', 'a', '-v', '-q'): f'--verbose: does not go with --quiet; {hint}',
    }
    for words, line in cases.items():
        expect_usage(folder.run('client', *words), 'towpath-client: ' + line)
    expect_usage(subprocess.run([programs.executable('client'), 'run', 'a', '--pin'], capture_output=True, text=True),
                 f'towpath-client: --pin: needs a value; {hint}')


def test_the_hub_knows_no_keys_as_options():
    """The server's keys stand in its file only."""
    expect(Folder().run('server', 'run', 'hub', '--listen', '0.0.0.0:443'), 2, '--listen: unknown option')
    expect(Folder().run('server', 'run', 'wss://hub'), 2, 'run: needs NAME or FILE, not a URL')


def test_help_and_version():
    """They go to stdout, exit 0; help begins with the commonest example."""
    for role in ('server', 'client'):
        done = Folder().run(role, '--help')
        expect(done, 0, stdout=f'towpath-{role} up ')
        assert done.stdout.startswith(f'towpath-{role} up ') and not done.stderr
        expect(Folder().run(role, '--version'), 0, stdout=f'towpath-{role} 0.')


def test_check_says_valid():
    """A NAME is a file of the configuration folder, a word with a slash or ending in .conf is a file."""
    folder = Folder(hub=f'[Server]\n[Peer]\nToken = {TOKEN}\n', home=f'[Client]\nServer = wss://a\nToken = {TOKEN}\n')
    expect(folder.run('server', 'check', 'hub'), 0, stdout=f'{folder.path}/hub.conf: valid\n')
    expect(folder.run('client', 'check', f'{folder.path}/home.conf'), 0, stdout='valid')
    done = folder.run('client', 'check', 'home', '--quiet')
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')
    assert sorted(os.listdir(folder.path)) == ['home.conf', 'hub.conf'], 'check has changed something'


def test_the_samples_are_valid():
    """Each file under deploy/samples is accepted without a warning, once it is as private as it has to be."""
    samples = os.path.join(programs.SOURCE, 'deploy', 'samples')
    for name in sorted(name for name in os.listdir(samples) if name.endswith('.conf')):
        text = open(os.path.join(samples, name)).read()
        folder = Folder(**{name.removesuffix('.conf'): text})
        role = 'server' if '\n[Server]\n' in text else 'client'
        done = folder.run(role, 'check', name.removesuffix('.conf'))
        expect(done, 0, stdout='valid')
        assert not done.stderr, f'{name}: {done.stderr}'


def test_check_tells_all_mistakes():
    """Exit 2, one line each on stderr, and `run` says the same."""
    folder = Folder(home='[Client]\nServer = wss://a\nTokn = x\nMask = y\n', hub='[Server]\nTarget = 8.8.8.8:53\n')
    expected = [f'{folder.path}/home.conf:3: Tokn: not a key of [Client]; did you mean Token?',
                f"{folder.path}/home.conf:4: Mask: 'y': not one of the choices; expected one of none, zero, random",
                f"{folder.path}/home.conf:1: Token: missing; expected the one in this client's [Peer] on the hub, here or "
                'in TokenFile']
    for verb in ('check', 'run'):
        done = folder.run('client', verb, 'home')
        expect(done, 2)
        assert done.stderr.splitlines() == expected, done.stderr
        expect(folder.run('server', verb, 'hub'), 2, 'hub.conf:2: Target: ')
    expect(folder.run('server', 'check', 'nothing'), 2, f'{folder.path}/nothing.conf: No such file or directory')
    expect(folder.run('server', 'check', 'a b'), 2, 'a b: not a tunnel\'s name')
    expect(folder.run('server', 'check', folder.path + '/'), 2, 'Is a directory')


def test_check_reads_drop_ins():
    """Each message names the file that it is about, also where a key stands in two of them."""
    folder = Folder(hub=f'[Server]\nMaxClients = 9\n[Peer]\nName = laptop\nToken = {TOKEN}\n')
    os.mkdir(os.path.join(folder.path, 'hub.d'))
    first = folder.write('hub.d/10-limits.conf', '[Server]\nMaxClients = 8\nTargett = 1\n')
    second = folder.write('hub.d/20-pi.conf', f'\n[Peer]\nName = laptop\nToken = {OTHER_TOKEN}\n')
    third = folder.write('hub.d/30-pi.conf', f'[Peer]\nToken = {OTHER_TOKEN}\n[Peer]\nName = peer-30-pi-1\nToken = x\n')
    folder.write('hub.d/30-pi.conf~', 'nonsense\n')
    done = folder.run('server', 'check', 'hub')
    expect(done, 2)
    assert done.stderr.splitlines() == [
        f"{first}:2: MaxClients: '8': given already, in line 2 of {folder.path}/hub.conf; expected once",
        f'{first}:3: Targett: not a key of [Server]; did you mean Target?',
        f'{third}:5: Token: too short, 1 characters; expected 16 or more',
        f'{third}:2: Token: the same as the Token in line 4 of {second}; expected one of its own for every peer',
        f'{second}:3: Name: the same as the Name in line 4 of {folder.path}/hub.conf; expected one of its own for every '
        'peer',
        f'{third}:4: Name: the same as the Name in line 1; expected one of its own for every peer',
    ], done.stderr
    os.unlink(first)
    os.unlink(second)
    folder.write('hub.d/30-pi.conf', f'[Peer]\nToken = {OTHER_TOKEN}\n', 0o644)
    done = folder.run('server', 'check', 'hub')
    expect(done, 0, stdout=f'{folder.path}/hub.conf: valid')
    assert done.stderr.splitlines() == [
        f'config: {third} holds a secret, and others can read it; chmod 600 {third}'], done.stderr


def test_init_writes_a_hub():
    """The file is valid, root's alone, with keys and an IPv6 network that are others each time; it is never
    overwritten."""
    folder = Folder()
    seen = set()
    for name in ('hub', 'other'):
        done = folder.run('server', 'init', *([name] if name != 'hub' else []), '--address', 'vps.example.org',
                          '--network', '10.234.56.0/24')
        path = os.path.join(folder.path, name + '.conf')
        expect(done, 0, stdout=f"{path}: written; clients will reach it as wss://vps.example.org; 'towpath-server up {name}' ")
        assert not done.stderr, done.stderr
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        expect(folder.run('server', 'check', name), 0)
        text = open(path).read()
        match = re.search(r'^PrivateKey = (\S{44})\nAddress = 10\.234\.56\.1/24, (fd[0-9a-f:]+::1)/64$', text, re.M)
        assert match and 'Hidden' not in text and '[Gateway]' not in text, text
        seen |= set(match.groups())
        expect(folder.run('server', 'init', name, '--address', 'a'), 1, f'{path}: is there already, and is never overwritten')
        assert open(path).read() == text
    assert len(seen) == 4, seen
    assert sorted(os.listdir(folder.path)) == ['hub.conf', 'other.conf']
    expect(folder.run('server', 'init', 'udp', '--udp', '--network6', 'fd12:3456:789a:1::/64', '--address', '[2001:db8::1]:8443'),
           0, stdout='wss://[2001:db8::1]:8443')
    text = open(os.path.join(folder.path, 'udp.conf')).read()
    assert '\nHidden = no\n' in text and 'fd12:3456:789a:1::1/64\n' in text, text


def invited(folder, *words):
    """The invitation that `add` prints; with the hub not running."""
    done = folder.run('server', 'add', *words, '--quiet')
    expect(done, 0)
    assert not done.stderr and re.fullmatch(r'towpath://vps\.example\.org/#[A-Za-z0-9_-]+\n', done.stdout), done
    return done.stdout.strip()


def test_add_and_join_write_files_that_fit():
    """Each client has a file of its own and the next addresses; the file of the machine that joins is valid, has a key of
    its own and what the invitation says."""
    folder, home = Folder(), Folder()
    expect(folder.run('server', 'add', 'laptop'), 1, 'no hub has a file in ')
    expect(folder.run('server', 'init', '--address', 'vps.example.org', '--network', '10.234.56.0/24'), 0)
    expect(folder.run('server', 'add', 'laptop'), 0, 'hub does not run; the invitation takes effect at ', 'towpath://')
    link = invited(folder, 'pi', '--lan', '192.168.77.0/24')
    expect(folder.run('server', 'check', 'hub'), 0)
    clients = json.loads(folder.run('server', 'list', '--json').stdout)
    assert [(one['name'], one['addresses'][0], one['lan'], one['state'], one['joined_at'], one['seen_at'], one['from'])
            for one in clients] == [('laptop', '10.234.56.2', [], 'invited', None, None, None),
                                    ('pi', '10.234.56.3', ['192.168.77.0/24'], 'invited', None, None, None)], clients
    text = open(os.path.join(folder.path, 'hub.d', 'pi.conf')).read()
    assert 'PublicKey' not in text and 'AllowedIPs = 192.168.77.0/24\n' in text
    assert stat.S_IMODE(os.stat(os.path.join(folder.path, 'hub.d', 'pi.conf')).st_mode) == 0o600
    expect(home.run('client', 'join', link, 'away', '--no-up'), 0, stdout='away.conf: written; the hub learns of this machine at')
    expect(home.run('client', 'check', 'away'), 0)
    path = os.path.join(home.path, 'away.conf')
    text = open(path).read()
    assert re.search(r'^PrivateKey = \S{44}\nAddress = 10\.234\.56\.3/24\nAddress = fd\S+::3/64$', text, re.M), text
    assert '\n[Gateway]\nLan = 192.168.77.0/24\n' in text and 'Server = wss://vps.example.org\n' in text, text
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    expect(home.run('client', 'join', link, 'away', '--no-up'), 1, f'{path}: is there already')
    assert open(path).read() == text
    expect(home.run('client', 'join', invited(folder, 'phone', '--all-traffic'), '--no-up'), 0)
    assert 'AllowedIPs = 0.0.0.0/0\nAllowedIPs = ::/0\n' in open(os.path.join(home.path, 'hub.conf')).read()


def test_what_add_and_join_refuse():
    """One line each, and no file more than before."""
    folder, home = Folder(), Folder()
    expect(folder.run('server', 'init', '--address', 'vps.example.org', '--network', '10.234.56.0/29'), 0)
    link = invited(folder, 'pi', '--lan', '192.168.77.0/24')
    before = sorted(os.listdir(os.path.join(folder.path, 'hub.d')))
    for words, code, line in ((('Pi',), 2, "add: 'Pi': not a client's name; expected up to 32 of a-z, 0-9 and -"),
                              (('a' * 33,), 2, "not a client's name"),
                              (('pi',), 1, "pi: is there already; 'towpath-server add --again pi' makes another invitation"),
                              (('x', '--again'), 1, 'x: no such client'),
                              (('x', '--lan', '192.168.77.128/25'), 1, 'has 192.168.77.0/24 already'),
                              (('x', '--lan', '10.234.0.0/16'), 1, 'has 10.234.56.1/29 already'),
                              (('x', '--lan', '192.168.1.1/24'), 2, 'expected for example 192.168.1.0/24'),
                              (('x', '--lan', 'x'), 2, "add: --lan: 'x': not a network"),
                              (('x', '--valid', 'soon'), 2, "add: --valid: 'soon': not a time"),
                              (('x', '--hub', 'nothing'), 2, 'nothing.conf: No such file or directory'),
                              ((), 2, 'add: a word is missing; expected towpath-server add CLIENT')):
        done = folder.run('server', 'add', *words)
        expect(done, code, line)
        assert len(done.stderr.splitlines()) == 1 and not done.stdout, done
    assert sorted(os.listdir(os.path.join(folder.path, 'hub.d'))) == before
    for name in ('b', 'c', 'd', 'e'):
        invited(folder, name)
    expect(folder.run('server', 'add', 'f'), 1, "the hub's network is full")
    for damaged, word in ((link[:-1], 'damaged'), (link + 'A', 'damaged'), (link.replace('example', 'exampel'), 'damaged'),
                          ('wss://vps.example.org', 'damaged'), ('', 'damaged'),
                          (invited(folder, 'b', '--again', '--valid', '1s'), None)):
        if not word:
            programs.pause(2.1)
        expect(home.run('client', 'join', damaged, '--no-up'), 1, f'the invitation is {word or "expired"}')
    assert os.listdir(home.path) == []
    expect(folder.run('server', 'revoke', 'nobody'), 1, 'nobody: no such client')
    expect(folder.run('server', 'revoke', 'pi'), 0, stdout='pi: revoked')
    assert not os.path.exists(os.path.join(folder.path, 'hub.d', 'pi.conf'))
    assert invited(folder, 'pi') != link
    folder.write('second.conf', '[Server]\n')
    expect(folder.run('server', 'list'), 2, 'there are 2 hubs: ')
    expect(folder.run('server', 'list', '--hub', 'hub'), 0, stdout='pi ')


def scan(picture):
    """What zbar reads in a PNG or PBM file."""
    done = subprocess.run(['zbarimg', '--quiet', '--raw', '-Sdisable', '-Sqrcode.enable', picture], capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0, done
    return done.stdout.rstrip('\n')


def draw(lines, path, is_inverted=False):
    """The half blocks of a terminal as a picture, four pixels a square; a block is light unless it is inverted."""
    halves = {'\u2588': '00', '\u2580': '01', '\u2584': '10', ' ': '11'}
    rows = []
    for line in lines:
        for half in (0, 1):
            row = ''.join(halves[one][half] * 4 for one in line)
            rows += [row.translate({48: 49, 49: 48}) if is_inverted else row] * 4
    with open(path, 'w') as file:
        file.write(f'P1\n{len(rows[0])} {len(rows)}\n' + '\n'.join(rows) + '\n')
    return path


def test_join_asks_the_hub():
    """With --no-up it takes the networks of this moment; where no hub answers, those of the invitation, and says so.
    Without, a hub that does not answer is one line with the reason and one with what helps; nothing is left, and the link is
    good as before. Two at once under one name: one writes."""
    folder, at_work, home = Folder(), Folder(), Folder()
    port = programs.free_port()
    expect(folder.run('server', 'init', '--address', f'127.0.0.1:{port}', '--network', '10.234.56.0/24'), 0)
    link = folder.run('server', 'add', 'laptop', '--quiet').stdout.strip()
    done = home.run('client', 'join', link, '--timeout', '3s')
    expect(done, 1, f'no traffic after 3 s: still connecting to wss://127.0.0.1:{port}: 127.0.0.1:{port}: connect: Connection refused')
    assert 'laptop has not joined, and nothing of it is left; ' in done.stderr and 'the same link works' in done.stderr, done
    assert not [name for name in os.listdir(home.path) if name.endswith('.conf')], os.listdir(home.path)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        twice = list(pool.map(lambda _: home.run('client', 'join', link, 'twice', '--no-up'), range(2)))
    assert sorted(done.returncode for done in twice) == [0, 1], twice
    assert 'the hub cannot be asked now (' in ''.join(done.stderr for done in twice), twice

    laptop = open(os.path.join(folder.path, 'hub.d', 'laptop.conf')).read()
    at_work.write('hub.conf', f'[Server]\nListen = 127.0.0.1:{port}\n{laptop}\n'
                  f'[Peer]\nName = pi\nToken = {OTHER_TOKEN}\nAllowedIPs = 192.168.77.0/24\n')
    hub = subprocess.Popen([programs.executable('server'), 'run', 'hub', '--config-dir', at_work.path, '--runtime-dir',
                            os.path.join(at_work.path, 'run'), '--state-dir', os.path.join(folder.path, 'state')],
                           stderr=subprocess.DEVNULL)
    try:
        claims.wait_for(lambda: at_work.run('server', 'status', 'hub').returncode == 0, 'a hub that is up', 30)
        done = home.run('client', 'join', link, '--no-up')
        expect(done, 0)
        assert not done.stderr, done
    finally:
        hub.terminate()
        hub.wait()
    text = open(os.path.join(home.path, 'hub.conf')).read()
    assert '\nAllowedIPs = 192.168.77.0/24\n' in text and 'has not come to its end' not in text, text


def test_a_full_disk_and_a_person_who_is_not_root():
    """One line that says so; no file is half written, and the same command works when that is mended."""
    if os.geteuid() != 0:
        raise claims.Skip('not root: no mount')
    script = """set -e
        mount -t tmpfs -o size=400k full "$1" && cd "$1" && mkdir etc home run state
        places() { echo --config-dir "$1/$2" --runtime-dir "$1/run" --state-dir "$1/state"; }
        server() { "$server" "$@" $(places "$PWD" etc); }
        client() { "$client" "$@" $(places "$PWD" home); }
        fill() { dd if=/dev/zero of=rest bs=4096 2>/dev/null || true; }
        server init --address 127.0.0.1 --network 10.234.56.0/24 --quiet >/dev/null
        link=$(server add first --quiet)
        fill
        if server add second; then exit 3; fi
        if server add first --again; then exit 4; fi
        if client join "$link" --no-up; then exit 5; fi
        for pages in 1 2 3 4; do
            truncate -s "-4096" rest
            if client join "$link" --no-up; then
                [ "$pages" -gt 1 ] && rm home/hub.conf
                echo "room for a join: $pages pages" >&2
            fi
            [ -z "$(ls home)" ]
        done
        rm rest
        [ -z "$(ls home)" ] && [ "$(ls etc/hub.d)" = first.conf ]
        server check hub
        server add second --quiet >/dev/null && client join "$link" --no-up --quiet
        chmod 755 . etc
        setpriv --reuid=65534 --regid=65534 --clear-groups "$server" add third $(places "$PWD" etc) || echo "exit $?" >&2"""
    folder = Folder()
    done = subprocess.run(['unshare', '--mount', 'bash', '-c', script, 'bash', folder.path], capture_output=True, text=True,
                          check=False, env={**os.environ, 'server': programs.executable('server'),
                                            'client': programs.executable('client')})
    full = 'the disk is full, and the file is as it was; expected room for it'
    said = [line for line in done.stderr.splitlines() if full in line]
    assert 'room for a join' in done.stderr, done.stderr
    assert done.returncode == 0 and [name for name in ('second.conf', 'first.conf', 'home/hub.conf')
                                     if not any(name in line for line in said)] == [], done
    assert 'add: ' in done.stderr and 'only root may read what is there, sudo helps\nexit 1\n' in done.stderr, done.stderr


def test_list_pages_on_a_terminal():
    """By PAGER, and without one that is missing; not into a pipe, not as JSON."""
    folder = Folder()
    expect(folder.run('server', 'init', '--address', 'vps.example.org', '--network', '10.234.56.0/24'), 0)
    invited(folder, 'laptop')

    def on_terminal(words, pager):
        return subprocess.run(['script', '-qec', f'PAGER={pager} {programs.executable("server")} list {words} --config-dir '
                               f'{folder.path} --runtime-dir {folder.path} --state-dir {folder.path}', '/dev/null'],
                              capture_output=True, text=True, check=False).stdout
    assert 'paged 2' in on_terminal('', "'echo paged $(wc -l)'") and 'laptop ' in on_terminal('', 'cat')
    assert 'paged' not in on_terminal('--json', "'echo paged $(wc -l)'")
    expect(folder.run('server', 'list'), 0, stdout='laptop ')


def test_add_draws_pictures():
    """zbar reads the printed line in the terminal's picture and in the file; a terminal gets colours unless NO_COLOR."""
    folder = Folder()
    expect(folder.run('server', 'init', '--address', 'vps.example.org', '--network', '10.234.56.0/24'), 0)
    done = folder.run('server', 'add', 'a', '--qr', '--quiet')
    expect(done, 0)
    link, *lines = done.stdout.splitlines()
    assert link.startswith('towpath://') and len({len(line) for line in lines}) == 1 and len(lines[0]) <= 80, done.stdout
    assert scan(draw(lines, os.path.join(folder.path, 'a.pbm'))) == link
    picture = os.path.join(folder.path, 'b.png')
    done = folder.run('server', 'add', 'b', f'--qr={picture}', '--quiet')
    expect(done, 0)
    assert scan(picture) == done.stdout.strip() and stat.S_IMODE(os.stat(picture).st_mode) == 0o600
    expect(folder.run('server', 'add', 'c', '--qr=/nowhere/c.png'), 1, '/nowhere/c.png')
    assert not os.path.exists(os.path.join(folder.path, 'hub.d', 'c.conf'))
    for name, variable, colours in (('d', '', True), ('e', 'NO_COLOR=1', False)):
        done = subprocess.run(['script', '-qec', f'{variable} {programs.executable("server")} add {name} --qr --quiet '
                               f'--config-dir {folder.path} --runtime-dir {folder.path} --state-dir {folder.path}',
                               '/dev/null'], capture_output=True, text=True, check=False)
        link, *lines = done.stdout.splitlines()
        assert all(line.startswith('\x1b[38;5;231;48;5;16m') and line.endswith('\x1b[0m') for line in lines) == colours
        plain = [re.sub(r'\x1b\[[0-9;]*m', '', line) for line in lines]
        assert scan(draw(plain, os.path.join(folder.path, name + '.pbm'))) == link


def test_add_for_an_app():
    """A wg-quick configuration with a key that is not kept; only where WireGuard's port answers."""
    folder = Folder()
    expect(folder.run('server', 'init', '--address', 'vps.example.org:8443', '--network', '10.234.56.0/24'), 0)
    expect(folder.run('server', 'add', 'phone', '--app'), 1, 'expected Hidden = no in [Server]')
    expect(folder.run('server', 'add', 'phone', '--app', '--lan', '192.168.1.0/24'), 2, 'add: --lan: does not go with --app')
    path = os.path.join(folder.path, 'hub.conf')
    text = open(path).read()
    open(path, 'w').write(text.replace('[Server]\n', '[Server]\nHidden = no\n'))
    picture = os.path.join(folder.path, 'phone.png')
    done = folder.run('server', 'add', 'phone', '--app', f'--qr={picture}', '--quiet')
    expect(done, 0)
    assert re.fullmatch(r'\[Interface\]\nPrivateKey = \S{44}\nAddress = 10\.234\.56\.2/24, fd\S+/64\n\n'
                        r'\[Peer\]\nPublicKey = \S{44}\nAllowedIPs = 10\.234\.56\.0/24, fd\S+/64\n'
                        r'Endpoint = vps\.example\.org:51820\nPersistentKeepalive = 25\n', done.stdout), done.stdout
    assert scan(picture) == done.stdout.rstrip('\n')
    private = re.search('PrivateKey = (.*)', done.stdout)[1]
    public = subprocess.run(['wg', 'pubkey'], input=private, capture_output=True, text=True, check=True).stdout.strip()
    written = open(os.path.join(folder.path, 'hub.d', 'phone.conf')).read()
    assert f'PublicKey = {public}\n' in written and private not in written
    expect(folder.run('server', 'check', 'hub'), 0)
    again = folder.run('server', 'add', 'phone', '--app', '--again', '--quiet').stdout
    assert 'Address = 10.234.56.2/24' in again and private not in again
    expect(folder.run('server', 'list'), 0, stdout='phone                joined ')
    phone = json.loads(folder.run('server', 'list', '--json').stdout)[0]
    assert phone['joined_at'] and phone['seen_at'] is None and phone['from'] is None, phone


def test_init_refuses():
    """A wrong value is exit 2 and one line; nothing is written."""
    folder = Folder()
    address = ('--address', 'a')
    cases = {
        ('--address', 'x y'): "init: --address: 'x y': neither a name nor an address; expected one that leads to this host, as in "
                              'vps.example.org',
        ('--network', 'x', *address): "init: --network: 'x': not an IPv4 network; expected one such as 10.10.0.0/24",
        ('--network', '10.1.1.1/24', *address): "init: --network: '10.1.1.1/24': has bits behind its length; expected 10.1.1.0/24",
        ('--network', '10.1.1.0/30', *address): "init: --network: '10.1.1.0/30': has another length; expected /8 to /29",
        ('--network', '8.8.8.0/24', *address): "init: --network: '8.8.8.0/24': not a private network; expected one in 10.0.0.0/8, "
                                               '172.16.0.0/12 or 192.168.0.0/16',
        ('--network6', '10.1.1.0/24', *address): "init: --network6: '10.1.1.0/24': not an IPv6 network; expected one such as "
                                                 'fd10:20:30::/64',
        ('--network6', 'fd00::/48', *address): "init: --network6: 'fd00::/48': has another length; expected a /64",
        ('a-name-of-17-long', *address): "init: 'a-name-of-17-long': the device is called so, and that is too long; expected up to 15 "
                                         'characters',
        ('a', 'b'): 'towpath-server: init: a word too many; expected towpath-server init [NAME]',
        ('--json',): 'towpath-server: --json: goes with status only; see towpath-server --help',
        ('--enable', *address): 'init: --enable: the unit reads /etc/towpath/hub.conf and has the usual folders; expected no other ones',
    }
    for words, line in cases.items():
        expect_usage(folder.run('server', 'init', *words), line)
    expect_usage(folder.run('server', 'check', 'hub', '--udp'), 'towpath-server: --udp: goes with init; see towpath-server --help')
    expect(folder.run('client', 'init'), 2, 'init: unknown command')
    assert os.listdir(folder.path) == []
    os.mkdir(os.path.join(folder.path, 'hub.d'))
    left = folder.write('hub.d/old.conf', 'nonsense\n')
    expect(folder.run('server', 'init', *address), 2, f'{left}:1: the line has no "="')
    assert os.listdir(folder.path) == ['hub.d']


def test_a_section_may_stand_in_a_drop_in():
    """A client's [Client] and the rest may be in files of their own."""
    folder = Folder(home='# see home.d\n')
    os.mkdir(os.path.join(folder.path, 'home.d'))
    folder.write('home.d/a.conf', '[Client]\nServer = wss://a\n')
    expect(folder.run('client', 'check', './home.conf'), 2)
    expect(folder.run('client', 'check', 'home'), 2, f'{folder.path}/home.d/a.conf:1: Token: missing; ')
    folder.write('home.d/b.conf', f'[Client]\nToken = {TOKEN}\n')
    expect(folder.run('client', 'check', 'home'), 0)
    expect(folder.run('client', 'status', 'home'), 3)


def test_check_opens_what_the_file_points_at():
    """Certificate and key that do not match, a CA that is none, a token file that is not there: exit 2, with its
    line."""
    folder = Folder()
    good, other = programs.certificate('good'), programs.certificate('other')
    folder.write('hub.conf', f'[Server]\nCertificate = {good.path}\nCertificateKey = {good.key}\n[Peer]\nToken = {TOKEN}\n')
    expect(folder.run('server', 'check', 'hub'), 0)
    folder.write('hub.conf', f'[Server]\nCertificate = {good.path}\nCertificateKey = {other.key}\n[Peer]\nToken = {TOKEN}\n')
    expect(folder.run('server', 'check', 'hub'), 2, f'{folder.path}/hub.conf:2: Certificate: ')
    begin = f'[Client]\nServer = wss://a\nToken = {TOKEN}\n'
    junk = folder.write('junk.pem', 'not PEM\n')
    for keys, line in ((f'CA = {junk}', '4: CA: '), (f'CA = {folder.path}', '4: CA: '),
                       (f'ClientCertificate = {good.path}\nClientKey = {other.key}', '4: ClientCertificate: '),
                       (f'ClientCertificate = {good.path}', '1: ClientKey: missing')):
        folder.write('home.conf', begin + keys + '\n')
        done = folder.run('client', 'check', 'home')
        expect(done, 2, f'{folder.path}/home.conf:{line}')
        assert len(done.stderr.splitlines()) == 1, done.stderr
    folder.write('home.conf', begin + f'CA = {programs.certificate("ca").path}\nClientCertificate = {good.path}\n'
                 f'ClientKey = {good.key}\n')
    expect(folder.run('client', 'check', 'home'), 0)


def test_secrets_are_refused_among_arguments():
    """They come from files or the environment; what was typed is not repeated."""
    for words in (('--token', 's3cret'), ('--basic-auth', 'a:s3cret'), ('--jwt-key', 's3cret'),
                  ('--proxy', 'http://a:s3cret@b:1')):
        done = Folder().run('client', 'run', 'wss://a', *words)
        expect(done, 2, f'{words[0]}: everybody can see a ')
        assert 's3cret' not in done.stderr


def test_status_without_anything_running():
    """4: no such tunnel; 3: configured, but not running; one object a tunnel with --json."""
    folder = Folder(hub='[Server]\n', home='[Client]\n', away='[Client]\n')
    expect(folder.run('client', 'status', 'nothing'), 4, 'nothing: no such tunnel')
    expect(folder.run('client', 'status', 'hub'), 4, 'no such tunnel')
    expect(folder.run('client', 'status', './nothing.conf'), 4, 'no such tunnel')
    expect(folder.run('client', 'status', 'home'), 3, stdout='client: home\n  state: stopped\n')
    done = folder.run('client', 'status', '--json')
    expect(done, 3)
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {'name': name, 'role': 'client', 'state': 'stopped'} for name in ('away', 'home')]
    expect(Folder().run('server', 'status'), 4, 'no tunnel')


def test_a_stale_socket_is_no_tunnel():
    """A socket that no process serves any more, or a file in its place, does not make a tunnel."""
    folder = Folder()
    os.mkdir(os.path.join(folder.path, 'run'))
    with programs.socket.socket(programs.socket.AF_UNIX) as sock:
        sock.bind(os.path.join(folder.path, 'run', 'gone.client'))
    expect(folder.run('client', 'status', 'gone'), 4)
    expect(folder.run('client', 'status'), 4, 'no tunnel')


def test_run_from_a_url():
    """No file is needed; the tunnel is called after the host, and carries."""
    hub = programs.shared_hub()
    folder = Folder()
    token = folder.write('token', TOKEN + '\n')
    port = programs.free_port(programs.socket.SOCK_DGRAM)
    pin = next(line.split('Pin = ')[1].split()[0] for line in hub.log.splitlines() if 'Pin = ' in line)
    assert hub.status()['pin'] == pin, hub.status()
    words = [programs.executable('client'), 'run', hub.url, '--token-file', token, '--pin', pin,
             '--listen', f'127.0.0.1:{port}', '--target', f'127.0.0.1:{hub.target.port}', '--fwmark', 'off',
             '--proxy', 'none', '--runtime-dir', os.path.join(folder.path, 'run')]
    with open(os.path.join(folder.path, 'log'), 'w') as log:
        process = subprocess.Popen(words, stderr=log, stdin=subprocess.DEVNULL)
    try:
        claims.wait_for(lambda: programs.has_udp_port(port), 'the local port')
        with udp.Local(port) as local:
            local.ping()
        claims.wait_for(lambda: folder.run('client', 'status').returncode == 0, 'status: up')
        done = folder.run('client', 'status', '127.0.0.1', '--json')
        expect(done, 0)
        status = json.loads(done.stdout)
        assert (status['name'], status['state']) == ('127.0.0.1', 'up') and status['server']['verified'] == 'pin', status
        text = folder.run('client', 'status', '127.0.0.1')
        expect(text, 0, stdout=f'  server: {hub.url} (')
        assert '  state: up\n' in text.stdout and 'verified by pin' in text.stdout, text.stdout
    finally:
        process.terminate()
        assert process.wait(10) == 0, open(os.path.join(folder.path, 'log')).read()
    expect(folder.run('client', 'status', '127.0.0.1'), 4)


def test_status_of_the_hub():
    """Text in the manner of `wg show`, the same as JSON with --json, exit 0 while it listens."""
    hub = programs.shared_hub()
    words = [programs.executable('server'), 'status', hub.config, '--runtime-dir', hub.runtime]
    done = subprocess.run(words, capture_output=True, text=True, timeout=20)
    expect(done, 0, stdout=f'server: {hub.name}\n  state: up\n  since: 20')
    status = hub.status()
    for key in ('name', 'role', 'state', 'since', 'pid', 'sessions', 'datagrams', 'bytes', 'queue', 'dropped'):
        assert key in status, status


class Tunnel(Folder):
    """A client's file towards a hub, for the verbs that put it into the background. All is stopped at the end."""

    def __init__(self, server=None, extra=''):
        super().__init__()
        hub = programs.shared_hub()
        self.port = programs.free_port(programs.socket.SOCK_DGRAM)
        pin = next(line.split('Pin = ')[1].split()[0] for line in hub.log.splitlines() if 'Pin = ' in line)
        self.write('home.conf', f'[Client]\nServer = {server or hub.url}\nToken = {TOKEN}\nPin = {pin}\n'
                   f'Listen = 127.0.0.1:{self.port}\nTarget = 127.0.0.1:{hub.target.port}\nProxy = none\n'
                   f'FwMark = off\nWireGuard = none\n{extra}')
        claims.at_exit(lambda: expect(self.run('client', 'down', 'home'), 0))

    def client(self, *words):
        return self.run('client', *words)

    def status(self):
        done = self.client('status', 'home', '--json')
        return json.loads(done.stdout)

    def wait_gone(self, *pids):
        """No process has their numbers, their socket is gone; only files that are meant to stay are there."""
        for pid in pids:
            claims.wait_for(lambda pid=pid: not programs.is_alive(pid), f'process {pid} is gone')
        assert not os.path.exists(os.path.join(self.path, 'run', 'home.client'))
        claims.wait_for(lambda: not programs.has_udp_port(self.port), 'its port is free')
        assert sorted(os.listdir(self.path)) in (['home.conf'], ['home.conf', 'run'], ['home.conf', 'run', 'state']), \
            os.listdir(self.path)


def unreachable():
    return f'wss://127.0.0.1:{programs.free_port()}'


def test_up_returns_when_traffic_can_flow():
    """Exit 0, its log on stderr until then; down puts an end to it, a second down has nothing to do."""
    tunnel = Tunnel()
    done = tunnel.client('up', 'home')
    expect(done, 0, 'link: listening on ')
    assert 'link: 127.0.0.1' in done.stderr and 'up, TLS' in done.stderr, done.stderr
    status = tunnel.status()
    assert status['state'] == 'up', status
    with udp.Local(tunnel.port) as local:
        local.ping()
    expect(tunnel.client('down', 'home'), 0)
    tunnel.wait_gone(status['pid'], status['worker_pid'])
    expect(tunnel.client('down', 'home'), 0)
    expect(tunnel.client('status', 'home'), 3)


def test_its_log_goes_on():
    """Without a journal the log is a file for its owner only, with lines from before and after `up` returned."""
    if os.path.exists('/run/systemd/journal/stdout'):
        raise claims.Skip('there is a journal')
    tunnel = Tunnel()
    expect(tunnel.client('up', 'home'), 0)
    path = os.path.join(tunnel.path, 'run', 'home.log')
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    before = open(path).read()
    assert 'link: listening on ' in before, before
    os.kill(tunnel.status()['worker_pid'], signal.SIGKILL)
    claims.wait_for(lambda: 'the worker ended' in open(path).read(), 'the log to go on')
    claims.wait_for(lambda: open(path).read().count(': up, TLS') == 2, "the second worker's lines", 20)
    expect(tunnel.client('down', 'home'), 0)


def test_up_of_one_that_runs():
    """Exit 1 and the state it is in; it goes on."""
    tunnel = Tunnel()
    expect(tunnel.client('up', 'home'), 0)
    status = tunnel.status()
    for verb in ('up', 'run'):
        done = tunnel.client(verb, 'home')
        expect(done, 1)
        assert 'runs already' in done.stderr, done.stderr
    done = tunnel.client('up', 'home')
    expect(done, 1, f"home: runs already, state: up, process {status['pid']}; 'towpath-client down home --config-dir ")
    assert tunnel.status()['pid'] == status['pid']
    typed = done.stderr.split("'")[1].split()
    assert subprocess.run([programs.executable('client'), *typed[1:]], timeout=30).returncode == 0, typed
    tunnel.wait_gone()


def test_up_from_a_url():
    """Keys are options, as with run; the tunnel is called after the host."""
    tunnel = Tunnel()
    hub = programs.shared_hub()
    pin = next(line.split('Pin = ')[1].split()[0] for line in hub.log.splitlines() if 'Pin = ' in line)
    token = tunnel.write('token', TOKEN + '\n')
    expect(tunnel.client('up', hub.url, '--token-file', token, '--pin', pin, '--listen', f'127.0.0.1:{tunnel.port}',
                         '--target', f'127.0.0.1:{hub.target.port}', '--fwmark', 'off', '--proxy', 'none'), 0)
    expect(tunnel.client('status', '127.0.0.1'), 0, stdout='client: 127.0.0.1\n  state: up\n')
    expect(tunnel.client('down', '127.0.0.1'), 0)
    os.remove(token)
    tunnel.wait_gone()


def test_up_gives_up():
    """At the time limit: exit 1, nothing left, the last line says the state and what helps."""
    tunnel = Tunnel(unreachable())
    done = tunnel.client('up', 'home', '--timeout', '1s')
    expect(done, 1, 'link: 127.0.0.1')
    last = done.stderr.splitlines()[-1]
    assert last.startswith('home: stopped, no traffic after 1 s: still connecting to wss://127.0.0.1:'), last
    assert 'Connection refused' in last and '--timeout 5min waits longer' in last, last
    expect(tunnel.client('status', 'home'), 3)
    tunnel.wait_gone()


def test_up_does_not_need_its_reader():
    """`up … 2>&1 | head -1`: its output goes nowhere then; it gives up in time all the same, nothing left."""
    tunnel = Tunnel(unreachable())
    process = up_of(tunnel, more=['--timeout', '1s'])
    process.stderr.close()
    assert process.wait(20) == 1, process.returncode
    tunnel.wait_gone()


def test_up_says_why_it_cannot():
    """The supervisor's exit code and last line are those of `up`; a file that is wrong touches nothing."""
    tunnel = Tunnel(unreachable())
    with programs.socket.socket(programs.socket.AF_INET, programs.socket.SOCK_DGRAM) as other:
        other.bind(('127.0.0.1', tunnel.port))
        done = tunnel.client('up', 'home')
        expect(done, 1)
        last = done.stderr.splitlines()[-1]
        assert f"{tunnel.path}/home.conf:5: Listen: '127.0.0.1:{tunnel.port}': Address already in use; " in last, last
    tunnel.wait_gone()
    tunnel = Tunnel(unreachable(), 'Mask = y\n')
    expect(tunnel.client('up', 'home'), 2, 'Mask: ')
    tunnel.wait_gone()
    assert os.listdir(tunnel.path) == ['home.conf'], os.listdir(tunnel.path)


def up_of(tunnel, more=(), **options):
    words = [programs.executable('client'), 'up', 'home', '--config-dir', tunnel.path, '--runtime-dir',
             os.path.join(tunnel.path, 'run'), '--state-dir', os.path.join(tunnel.path, 'state'), *more]
    return subprocess.Popen(words, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, **options)


def interrupted(tunnel, number, undo=None):
    with up_of(tunnel) as process:
        claims.wait_for(lambda: tunnel.client('status', 'home').stdout.find('connecting') > 0, 'connecting')
        pid = tunnel.status()['pid']
        if undo:
            os.makedirs(os.path.join(tunnel.path, 'state', 'home'), exist_ok=True)
            tunnel.write('state/home/undo', json.dumps({'kind': 'command', 'text': undo, 'outlives_boot': True}) + '\n')
        os.kill(process.pid if number != signal.SIGKILL else pid, number)
        return process.wait(20), process.stderr.read(), pid


def test_up_is_interrupted():
    """Ctrl-C and SIGTERM stop what was begun; so does the death of the supervisor. Exit 1, nothing left."""
    for number, text in ((signal.SIGINT, 'stopped by Ctrl-C'), (signal.SIGTERM, 'stopped by Terminated'),
                         (signal.SIGKILL, 'the supervisor was killed by signal 9')):
        tunnel = Tunnel(unreachable())
        code, said, pid = interrupted(tunnel, number)
        assert code == 1 and text in said.splitlines()[-1], (code, said)
        tunnel.wait_gone(pid)


def test_up_undoes_what_a_killed_supervisor_has_left():
    """Also where that takes a program, whose end `up` has to hear of."""
    tunnel = Tunnel(unreachable())
    mark = os.path.join(tunnel.path, 'state', 'undone')
    code, said, pid = interrupted(tunnel, signal.SIGKILL, f'touch {mark}')
    assert code == 1 and 'the supervisor was killed by signal 9' in said and os.path.exists(mark), (code, said)
    tunnel.wait_gone(pid)


def test_up_is_stopped_by_down():
    """An `up` that waits for it is told: exit 1, nothing left."""
    tunnel = Tunnel(unreachable())
    with up_of(tunnel) as process:
        claims.wait_for(lambda: tunnel.client('status', 'home').stdout.find('connecting') > 0, 'connecting')
        expect(tunnel.client('down', 'home'), 0)
        assert process.wait(20) == 1
        last = process.stderr.read().splitlines()[-1]
    assert last == 'home: stopped by another process before traffic could flow', last
    tunnel.wait_gone()


def test_up_keeps_nothing_of_its_caller():
    """A lock or a pipe that a script has open does not live as long as the tunnel."""
    tunnel = Tunnel()
    ours, theirs = os.pipe()
    with up_of(tunnel, pass_fds=[theirs]) as process:
        os.close(theirs)
        assert process.wait(20) == 0, process.stderr.read()
    os.set_blocking(ours, False)
    assert os.read(ours, 1) == b'', 'it is still open somewhere'
    os.close(ours)
    expect(tunnel.client('down', 'home'), 0)


def test_down_after_a_crash():
    """Exit 0, the socket is gone, and up works again."""
    tunnel = Tunnel()
    expect(tunnel.client('up', 'home'), 0)
    status = tunnel.status()
    os.kill(status['pid'], signal.SIGKILL)
    expect(tunnel.client('down', 'home'), 0)
    tunnel.wait_gone(status['pid'], status['worker_pid'])
    expect(tunnel.client('up', 'home'), 0)
    expect(tunnel.client('down', 'home'), 0)


def test_up_right_after_a_crash():
    """The killed one's worker still holds the local port for a moment: up waits for it."""
    tunnel = Tunnel()
    expect(tunnel.client('up', 'home'), 0)
    status = tunnel.status()
    os.kill(status['worker_pid'], signal.SIGSTOP)
    os.kill(status['pid'], signal.SIGKILL)
    release = threading.Timer(0.4, os.kill, (status['worker_pid'], signal.SIGCONT))
    release.start()
    expect(tunnel.client('up', 'home'), 0)
    release.join()
    expect(tunnel.client('down', 'home'), 0)
    tunnel.wait_gone(status['pid'], status['worker_pid'])


def test_down_beside_the_other_program():
    """A running tunnel of the same name holds the undo list: clean-up does not wait for it, and the list stays."""
    hub = programs.shared_hub()
    folder = Folder(**{hub.name: '[Client]\n'})
    os.symlink(hub.runtime, os.path.join(folder.path, 'run'))
    undo = os.path.join(folder.path, 'state', hub.name, 'undo')
    os.makedirs(os.path.dirname(undo))
    with open(undo, 'w', opener=lambda path, flags: os.open(path, flags, 0o600)) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        expect(folder.run('client', 'down', hub.name), 0)
    assert os.path.exists(undo)


def test_a_tunnel_that_hangs():
    """It is left alone; the message names its process and the remedy, and the remedy works."""
    tunnel = Tunnel()
    expect(tunnel.client('up', 'home'), 0)
    pid = tunnel.status()['pid']
    os.kill(pid, signal.SIGSTOP)
    expect(tunnel.client('down', 'home'), 1, f'home: process {pid} does not answer; ')
    os.kill(pid, signal.SIGKILL)
    expect(tunnel.client('down', 'home'), 0)
    tunnel.wait_gone(pid)


def test_down_and_reload_of_what_is_not_there():
    """4 where there is neither file nor socket; reload of one that does not run is 1."""
    folder = Folder(hub='[Server]\n', home='[Client]\n')
    for verb in ('down', 'reload'):
        expect(folder.run('client', verb, 'nothing'), 4, 'nothing: no such tunnel; ')
        expect(folder.run('client', verb, 'hub'), 4, 'hub: no such tunnel; ')
        expect(folder.run('client', verb, 'a b'), 2, "a b: not a tunnel's name")
    expect(folder.run('client', 'down', 'home'), 0)
    expect(folder.run('client', 'reload', 'home'), 1, 'home: it does not run')


def test_a_user_hears_of_roots_tunnel():
    """Without root, a tunnel of root's is neither stopped nor called gone: exit 1, and root is named. So it is where the
    file may not be read."""
    if os.geteuid() != 0:
        raise claims.Skip('needs root')
    claims.need_mounts()
    folder = Folder(home='[Client]\n')
    os.chmod(folder.path, 0o755)
    script = ('mount -t tmpfs -o mode=755 tmpfs /run && mkdir /run/towpath && '
              '/usr/bin/python3 -c "import socket; socket.socket(socket.AF_UNIX).bind(\'/run/towpath/home.client\')" && '
              'chmod 600 /run/towpath/home.client && exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@"')
    for words, status, line in ((['status', 'home'], 1, 'Permission denied; root may ask'),
                                (['status'], 1, '; root may ask'),
                                (['down', 'home'], 1, 'home: it runs as another user; root may stop it'),
                                (['reload', 'home'], 1, 'home: it runs as another user; root may reload it'),
                                (['check', 'home'], 2, 'Permission denied; its owner or root may read it, as by sudo')):
        done = subprocess.run(['unshare', '--mount', 'sh', '-ec', script, 'sh', programs.executable('client'), *words,
                               '--config-dir', folder.path], capture_output=True, text=True, timeout=30,
                              env={**os.environ, 'XDG_RUNTIME_DIR': '/nowhere'})
        expect(done, status, line)


def test_reload_takes_or_refuses():
    """0, also where something needs a restart, which is named; a wrong file is 2, its lines are told, nothing
    changes."""
    tunnel = Tunnel()
    expect(tunnel.client('up', 'home'), 0)
    worker = tunnel.status()['worker_pid']
    expect(tunnel.client('reload', 'home'), 0)
    path = os.path.join(tunnel.path, 'home.conf')
    text = open(path).read()
    tunnel.write('home.conf', text + 'Mask = y\nColour = red\n')
    done = tunnel.client('reload', 'home')
    expect(done, 2, f'{path}:10: Mask: ')
    assert f'{path}:11: Colour: ' in done.stderr and done.stderr.endswith(
        'home: not reloaded, everything stays as it was\n'), done.stderr
    tunnel.write('home.conf', text.replace(f'127.0.0.1:{tunnel.port}', f'127.0.0.1:{programs.free_port()}'))
    expect(tunnel.client('reload', 'home'), 0, 'home: reloaded; what needs a restart: Listen')
    tunnel.write('home.conf', text)
    status = tunnel.status()
    assert (status['state'], status['worker_pid']) == ('up', worker), status
    expect(tunnel.client('down', 'home'), 0)


if __name__ == '__main__':
    claims.main(globals())
