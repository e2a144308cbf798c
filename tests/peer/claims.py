"""Runs the test functions of a file and prints TAP.

A claim holds when its function returns, fails when it raises, is skipped when it raises Skip. At the end of the file
everything handed to at_exit() is closed in reverse, and that is a claim, too: what complains while closing fails.
Run one claim alone by naming it: `tests/loop/server_control.py test_ping_is_answered_once`.
"""

import os
import signal
import subprocess
import sys
import time
import traceback

_closers = []


class Skip(Exception):
    """This claim cannot be tried here; the text says why."""


def at_exit(close):
    """Have close() called after the last claim."""
    _closers.append(close)


def need_mounts():
    """Raise Skip where nothing may be mounted: without root, or in a chroot whose root is no mount point."""
    if subprocess.run(['unshare', '--mount', 'true'], stderr=subprocess.DEVNULL).returncode != 0:
        raise Skip('nothing may be mounted')


def need_test_kernel():
    """Raise Skip where clock, addresses and limits are not ours to change: outside of a machine that is there for tests."""
    if not os.environ.get('IN_TEST_KERNEL'):
        raise Skip('this is no test kernel')


def is_traced():
    """True if our programs run with strace beside them, which makes each of their system calls several times as long."""
    return bool(os.environ.get('TOWPATH_TRACE'))


_slowness = []


def slowness(again=False):
    """How many times as long as usual things take here, at least 1: measured by starting programs, once, and once more
    where a limit seems to be over. In the test kernel on an idle machine a program takes up to 15 ms to start."""
    if again or not _slowness:
        began = time.monotonic()
        for _ in range(10):
            subprocess.run(['/bin/true'], check=True)
        took = time.monotonic() - began
        _slowness[:] = [max(1, took / 0.15) * (5 if is_traced() else 1)]
    return _slowness[0]


def patience(seconds):
    """A limit for what hangs: as many seconds of this machine as it is of a usual one."""
    return seconds * slowness()


def wait_for(condition, what, timeout=10.0, pause=0.02):
    """Wait until condition() is true and return what it returned."""
    began = time.monotonic()
    while True:
        value = condition()
        if value:
            return value
        took = time.monotonic() - began
        if took > patience(timeout) and took > timeout * slowness(again=True):
            raise AssertionError(f'waited {timeout} s in vain: {what}')
        time.sleep(pause)


def _diagnose(text):
    for line in text.rstrip().splitlines():
        print('#', line)


def _try(number, name, function):
    """One TAP line, and the reasons below it. Return: did it hold?"""
    words = name.removeprefix('test_').replace('_', ' ')
    try:
        function()
    except Skip as skip:
        print(f'ok {number} - {words} # SKIP {skip}', flush=True)
        return True
    except Exception:
        print(f'not ok {number} - {words}')
        _diagnose((function.__doc__ or '') + '\n' + traceback.format_exc())
        sys.stdout.flush()
        return False
    print(f'ok {number} - {words}', flush=True)
    return True


def _close_all():
    errors = []
    while _closers:
        try:
            _closers.pop()()
        except Exception:
            errors.append(traceback.format_exc())
    if errors:
        raise AssertionError('\n'.join(errors))


def _interrupt(_, __):
    raise KeyboardInterrupt('terminated')


def main(namespace, needs=lambda: None):
    """Try every test function of the file, or those named on the command line; exit 0 or 1. needs() raises Skip where
    none of them can be tried."""
    try:
        needs()
    except Skip as skip:
        print(f'1..0 # SKIP {skip}')
        sys.exit(0)
    names = [name for name in namespace if name.startswith('test_')]
    names = [name for name in names if not sys.argv[1:] or name in sys.argv[1:]]
    signal.signal(signal.SIGTERM, _interrupt)  # a runner's timeout
    print(f'1..{len(names) + 1}', flush=True)
    slowness()  # now, and not within a claim
    held = []
    try:
        for number, name in enumerate(names, 1):
            held.append(_try(number, name, namespace[name]))
    finally:
        held.append(_try(len(names) + 1, 'nothing_is_left_behind', _close_all))
    sys.exit(0 if all(held) else 1)
