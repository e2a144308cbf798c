#!/usr/bin/python3
"""Races of revocation against a whole hub, and a storm of reloads, run on its host; see the stories `revoked`,
`hub_under_fire`.

usage: revoke.py FOLDER file|wg RUNS
       revoke.py FOLDER storm RELOADS   (FOLDER: the story's, with hub.conf in vps/etc and the control socket in vps/run)
Prints one line a failure; status 1 where there is one."""

import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from peer import tokens, tunnel  # noqa: E402

FOLDER, RACE, RUNS = sys.argv[1], sys.argv[2], int(sys.argv[3])
CONF = FOLDER + '/vps/etc/hub.conf'
HUB = SimpleNamespace(port=443, target=SimpleNamespace(port=51820))
LONG_AGO = {'iat': 1000}  # a clock at 1970
GROUP = 10  # clients revoked by one reload, each in a race of its own
PRIME = 2 ** 255 - 19
failures = []


def fail(text):
    failures.append(text)
    print(text, flush=True)


def public_key(private):
    """X25519 (RFC 7748 §5) of a private key; a thousand calls of wg(8) would take half a minute."""
    scalar = int.from_bytes(private, 'little') & ~7 & ((1 << 255) - 1) | 1 << 254
    x2, z2, x3, z3, swap = 1, 0, 9, 1, 0
    for bit in range(254, -1, -1):
        now = scalar >> bit & 1
        if swap ^ now:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = now
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a % PRIME, b * b % PRIME, d * a % PRIME, c * b % PRIME
        x3, z3 = (da + cb) ** 2 % PRIME, 9 * (da - cb) ** 2 % PRIME
        x2, z2 = aa * bb % PRIME, (aa - bb) * (aa + 121665 * (aa - bb)) % PRIME
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, PRIME - 2, PRIME) % PRIME).to_bytes(32, 'little')


class Guest:
    """A client that is to be revoked: a key, a token, an address, and its [Peer]."""

    def __init__(self, number):
        private = os.urandom(32)
        self.private = tokens.base64.b64encode(private).decode()
        self.public = tokens.base64.b64encode(public_key(private)).decode()
        self.token = f'guest-{number}-' + os.urandom(12).hex()
        self.address = f'10.10.{1 + number // 200}.{1 + number % 200}'
        self.section = (f'\n[Peer]\nName = guest{number}\nToken = {self.token}\nPublicKey = {self.public}\n'
                        f'AllowedIPs = {self.address}/32\n')


def ask(word):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(FOLDER + '/vps/run/hub.server')
        sock.sendall(word.encode() + b'\n')
        return json.loads(b''.join(iter(lambda: sock.recv(65536), b'')))


def reload(text):
    with open(CONF, 'w') as file:
        file.write(text)
    answer = ask('reload')
    if answer['error'] or answer['restart']:
        fail(f'reload: {answer}')


def wg(*words):
    return subprocess.run(['wg', *words], capture_output=True, text=True, check=True).stdout


def has_peer(guest):
    return guest.public in wg('show', 'hub', 'peers')


def come_in(guest, claims=None):
    """The guest's session, or None where it is a visitor."""
    link = tunnel.connect(HUB)
    request = tunnel.http.upgrade(tunnel.our_token(HUB, link, token=guest.token, claims=claims))
    head, rest = tunnel.ask(link, request)
    if head and head.status == 101:
        return tunnel.Carrier(link, rest)
    link.close()
    return None


class Comer(threading.Thread):
    """Comes in again and again, as a client does that has lost its session."""

    def __init__(self, guest):
        super().__init__(daemon=True)
        self.guest = guest
        self.stops = False
        self.came = 0
        self.start()

    def run(self):
        while not self.stops:
            try:
                carrier = come_in(self.guest)
                if carrier:
                    self.came += 1
                    carrier.datagram(b'\1\0\0\0' + os.urandom(144))
                    carrier.close()
            except OSError:
                pass  # revoked in the middle of it

    def end(self):
        self.stops = True
        self.join()


def race_of_the_file(guests, file, patience):
    """The file without their [Peer]s is read, while they come in. Return: how many had come in by then."""
    comers = [Comer(guest) for guest in guests]
    time.sleep(random.random() * patience)
    reload(file)
    for comer in comers:
        comer.end()
    peers = wg('show', 'hub', 'peers')
    for guest in guests:
        carrier = come_in(guest)
        if carrier:
            fail('it came in after the reload')
            carrier.close()
        if guest.public in peers:
            fail('its peer is there after the reload')
    return sum(comer.came > 0 for comer in comers)


def races_of_the_file(before):
    came, group, patience = 0, [], 0.2
    for first in range(0, RUNS + GROUP, GROUP):
        following = [Guest(number) for number in range(first, first + GROUP)]
        comers = race_of_the_file(group, before + ''.join(guest.section for guest in following), patience)
        came += comers
        patience *= 1.2 if comers < GROUP / 3 else 1 / 1.2 if comers > GROUP * 2 / 3 else 1  # as fast as the machine is
        group = following
    reload(before)
    print(f'{came} of {RUNS} had come in before they were revoked')
    if came < RUNS / 5:
        fail('they hardly came in: no race')


def shake_hands(guest):
    """The laptop becomes this guest; a keepalive makes it shake hands."""
    hub = wg('show', 'hub', 'public-key').strip()
    with open(FOLDER + '/guest.key', 'w') as file:
        file.write(guest.private)
    subprocess.run(['ip', 'netns', 'exec', 'laptop', 'wg', 'set', 'wg0', 'private-key', FOLDER + '/guest.key', 'peer', hub,
                    'remove', 'peer', hub, 'endpoint', '127.0.0.1:51820', 'allowed-ips', '10.10.0.0/24',
                    'persistent-keepalive', '25'], check=True)
    for _ in range(1000):
        at = [line.split()[1] for line in wg('show', 'hub', 'latest-handshakes').splitlines() if guest.public in line]
        if at and at != ['0']:
            return
        time.sleep(0.02)
    raise AssertionError('no handshake')


def visit(guest):
    carrier = come_in(guest, LONG_AGO)
    if carrier:
        carrier.close()


def race_of_wg(guest, lead):
    """An operator takes the peer out with wg(8), while the guest comes in with a clock at 1970, for which the hub takes
    its peer out and in again, and while a route of the device's is gone, which the hub repairs. The guest has this
    lead, in seconds."""
    shake_hands(guest)
    time.sleep(0.12)  # the hub looks at its device ten times a second at most: now it looks at once
    comer = threading.Timer(max(0, -lead), visit, (guest,))
    comer.start()
    subprocess.run(['ip', 'route', 'del', '10.77.0.0/24', 'dev', 'hub'], capture_output=True, check=False)
    time.sleep(max(0, lead))
    wg('set', 'hub', 'peer', guest.public, 'remove')
    comer.join()


def count_revivals():
    with open(FOLDER + '/hub.log') as log:
        return log.read().count('clock is behind')


def races_of_wg(before):
    guests = [Guest(number) for number in range(RUNS)]
    reload(before + ''.join(guest.section for guest in guests))
    lead, revivals = 0, 0
    for guest in guests:
        race_of_wg(guest, lead + random.uniform(-0.01, 0.01))
        time.sleep(0.02)  # until it stands in the log
        seen = count_revivals()
        lead += 0.005 if seen == revivals else -0.005  # until each of the two is first in half of the races, however fast the machine is
        revivals = seen
    time.sleep(1.5)  # what a repair takes at most
    print(f'the hub took {revivals} of {RUNS} peers anew')
    if not RUNS / 5 < revivals < RUNS * 9 / 10:
        fail('one was always first: no race')
    back = [guest for guest in guests if has_peer(guest)]
    if back:
        fail(f'{len(back)} peers came back')


def rewrite(text):
    """As an editor does that is slow: for a moment there is half of the file."""
    with open(CONF, 'w') as file:
        file.write(text[:len(text) // 2])
        file.flush()
        time.sleep(0.02)
        file.write(text[len(text) // 2:])


def storm(before):
    """Four ask for reloads, while guests come in and another program writes the file again and again: each is
    answered."""
    guests = [Guest(number) for number in range(2 * GROUP)]
    text = before + ''.join(guest.section for guest in guests)
    reload(text)
    comers = [Comer(guest) for guest in guests]
    askers = [threading.Thread(target=lambda: [ask('reload') or fail('no answer') for _ in range(RUNS // 4)])
              for _ in range(4)]
    for asker in askers:
        asker.start()
    while any(asker.is_alive() for asker in askers):
        rewrite(text)
        time.sleep(0.02)
    for comer in comers:
        comer.end()
    reload(text)
    if not come_in(guests[0]):
        fail('a client is not let in')
    if set(wg('show', 'hub', 'peers').split()) < {guest.public for guest in guests}:
        fail('a peer is missing')


def main():
    with open(CONF) as file:
        before = file.read()
    {'file': races_of_the_file, 'wg': races_of_wg, 'storm': storm}[RACE](before)


main()
sys.exit(1 if failures else 0)
