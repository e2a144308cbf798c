#!/usr/bin/python3
"""A real bash completes the command lines of both programs, as they say themselves what they know."""

import os
import pty
import select
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from peer import claims, programs  # noqa: E402

SCRIPT = os.path.join(programs.SOURCE, 'deploy/completion/towpath')
PATH = os.pathsep.join(os.path.join(programs.build_folder(), role) for role in ('server', 'client'))


def typed(line):
    """What an interactive bash shows after LINE and the tab key twice."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve('/bin/bash', ['bash', '--norc', '--noprofile', '-i'],
                  {'PATH': PATH + ':/usr/bin:/bin', 'PS1': '> ', 'TERM': 'dumb', 'COLUMNS': '200', 'INPUTRC': '/dev/null',
                   'HISTFILE': ''})
    os.write(terminal, f'stty cols 200; . {SCRIPT}; echo rea""dy\n'.encode())
    seen = b''

    def read_until(done):
        nonlocal seen
        deadline = time.monotonic() + 20
        while not done() and time.monotonic() < deadline:
            if select.select([terminal], [], [], 0.1)[0]:
                seen += os.read(terminal, 4096)
    read_until(lambda: b'\nready' in seen)
    seen = b''
    os.write(terminal, line.encode() + b'\t\t')
    quiet = time.monotonic() + 1.5

    def is_quiet():
        return time.monotonic() > quiet
    read_until(is_quiet)
    os.write(terminal, b'\x03')
    os.kill(pid, 9)
    os.close(terminal)
    os.waitpid(pid, 0)
    return seen.decode(errors='replace').replace('\x07', '')


def words(role, *line):
    """What the function proposes for the last word of the line."""
    script = (f'. {SCRIPT}; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _towpath "$1" "${{@: -1}}" "${{@: -2:1}}"; '
              'printf "%s\\n" "${COMPREPLY[@]}"')
    answer = subprocess.run(['bash', '-c', script, 'bash', f'towpath-{role}', *line], capture_output=True, text=True,
                            env={'PATH': PATH + ':/usr/bin:/bin'}, timeout=20)
    assert not answer.stderr, answer.stderr
    return answer.stdout.split()


def expect(found, has, lacks=()):
    assert set(has) <= set(found), f'{found}: expected {has}'
    assert not set(lacks) & set(found), f'{found}: not expected {lacks}'


def test_a_command_is_completed_on_a_terminal():
    """The tab key ends the word that only one command begins with."""
    assert 'towpath-client reload ' in typed('towpath-client rel'), typed('towpath-client rel')
    assert 'towpath-server check ' in typed('towpath-server che')


def test_commands_are_those_of_the_program():
    expect(words('server', ''), ['run', 'up', 'down', 'status', 'reload', 'check', 'init', 'add'])
    expect(words('client', ''), ['run', 'up', 'down', 'status', 'reload', 'check', 'join'], ['init'])
    assert words('server', 'ini') == ['init']


def test_options_go_with_their_command():
    expect(words('client', 'status', '--'), ['--json', '--verbose', '--runtime-dir'], ['--hooks', '--server-name'])
    expect(words('client', 'down', '--'), ['--hooks'], ['--json', '--timeout'])
    expect(words('client', 'up', '--'), ['--timeout', '--server-name', '--token-file', '--pin'], ['--servername', '--json'])
    expect(words('server', 'init', '--'), ['--address', '--network6', '--udp'], ['--pin', '--json', '--timeout'])
    expect(words('server', 'up', '--'), ['--timeout'], ['--address'])
    expect(words('server', 'list', '--'), ['--json', '--hub'], ['--lan'])
    assert words('client', '--verbose', 'run', '--prox') == ['--proxy']


def test_a_value_is_left_to_the_shell():
    """A file, as a rule: bash's default completes those where nothing is proposed."""
    assert words('client', 'up', '--token-file', '') == []
    assert words('client', 'up', '--token-file', '=', '/et') == []


def test_every_option_of_help_is_known():
    """What --help names is completed somewhere."""
    for role in ('server', 'client'):
        text = subprocess.run([programs.executable(role), '--help'], capture_output=True, text=True).stdout
        named = {word.strip(',;:()') for word in text.split() if word.startswith('--') and len(word) > 3}
        known = set()
        for verb in words(role, ''):
            known |= set(words(role, verb, '--'))
        assert named <= known, f'{role}: {named - known}'


def test_nothing_is_said_of_an_unknown_command():
    assert words('client', 'frobnicate', '--')  # the general options
    answer = subprocess.run([programs.executable('client'), '--complete', 'frobnicate'], capture_output=True, text=True)
    assert answer.stdout == '', answer.stdout


if __name__ == '__main__':
    claims.main(globals())
