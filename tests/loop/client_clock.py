#!/usr/bin/python3
"""Our client on a host whose clock is wrong. Sets the clock, so only inside the test kernel."""

import os
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from peer import claims, programs, servers  # noqa: E402

LONG_AGO = 50000.0  # 1970; the kernel refuses a time that is less than it has been up


class WrongClock:
    def __enter__(self):
        self.right = time.time()
        time.clock_settime(time.CLOCK_REALTIME, LONG_AGO)
        return self

    def mend(self):
        time.clock_settime(time.CLOCK_REALTIME, self.right)

    def __exit__(self, *_):
        self.mend()


def test_pin_needs_no_clock():
    """With a pin a client of 1970 comes up at once, and says its time."""
    pin = programs.certificate().pin
    with servers.Server(programs.certificate()) as at, WrongClock(), programs.Client(at.url, pin=pin):
        at.carrier(10).close()


def test_without_a_pin_it_waits_for_the_time():
    """Without a pin the log says that the clock is wrong, its time and the remedy; once it is set the client
    connects, long before its next try would have come."""
    ca = programs.certificate('ca')
    with servers.Server(programs.certificate()) as at, WrongClock() as clock, programs.Client(at.url, ca=ca) as ours:
        for _ in range(7):  # the waits are seconds by now
            try:
                at.carrier(20).close()
            except OSError:
                pass
        ours.wait_log("clock is wrong, it says 1970-01-01.*waiting for the time to be set.*Pin = ")
        clock.mend()
        began = time.monotonic()
        at.carrier(5).close()
        assert time.monotonic() - began < claims.patience(3), time.monotonic() - began


if __name__ == '__main__':
    claims.main(globals(), claims.need_test_kernel)
