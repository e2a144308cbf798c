#!/usr/bin/python3
"""Guests with an invitation: the first machine that shows its token is written down, and every other one hears why not."""

import base64
import json
import os
import re
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from peer import claims, http, programs, tokens, tunnel, udp  # noqa: E402

TOKEN = 'invitation-token-0123456789'
OTHER = 'another-invitation-0123456789'


def moment(seconds):
    return time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(time.time() + seconds))


class Invited(programs.Hub):
    """A hub with one invited client, `guest`, in a file of its own."""

    def __init__(self, valid=3600, more=''):
        self.udp = udp.Target()
        super().__init__(self.udp, start=False)
        self.dropins = self.config.removesuffix('.conf') + '.d'
        self.file = os.path.join(self.dropins, 'guest.conf')
        os.mkdir(self.dropins)
        self.invite(valid, more)
        self.start()

    def invite(self, valid=3600, more=''):
        with open(self.file, 'w') as file:
            file.write(f'[Peer]\nName = guest\nAllowedIPs = 10.10.0.2/32\nToken = {TOKEN}\nInvited = {moment(-10)}\n'
                       f'InvitedUntil = {moment(valid)}\n{more}')
        os.chmod(self.file, 0o600)

    @property
    def text(self):
        with open(self.file) as file:
            return file.read()

    def reload(self):
        self.process.send_signal(1)

    def close(self):
        super().close()
        self.udp.close()


def key():
    return os.urandom(32)


def open_guest(hub, public_key, token=TOKEN):
    return tunnel.open_ours(hub, token=token, claims={'pub': tokens.base64url(public_key)})


def refusal(hub, public_key, token=TOKEN, signed_by=None):
    """The status, and the word of the answer."""
    link = tunnel.connect(hub)
    said = tokens.our_claims(hub.target.port, token, link.binding())
    if public_key is not None:
        said['pub'] = public_key if isinstance(public_key, str) else tokens.base64url(public_key)
    head, _ = tunnel.ask(link, http.upgrade(tokens.sign(said, signed_by or token)))
    link.close()
    return (head.status, head.get('invitation')) if head else (None, None)  # a reload came between


def in_file(public_key):
    return f'PublicKey = {base64.b64encode(public_key).decode()}\n'


def test_the_first_machine_is_written_down():
    """Once, with from where and when; it stays in and comes again, another one is told that it is too late."""
    mine = key()
    with Invited() as hub:
        with open_guest(hub, mine) as guest:
            guest.echo()
            claims.wait_for(lambda: in_file(mine) in hub.text, 'the key in the file')
            assert re.search(r'\nJoined = 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ\nJoinedFrom = 127\.[0-9.]+\n', hub.text), hub.text
            assert f'Token = {TOKEN}\n' in hub.text and 'AllowedIPs = 10.10.0.2/32\n' in hub.text
            assert 'InvitedUntil' not in hub.text and os.stat(hub.file).st_mode & 0o777 == 0o600
            claims.wait_for(lambda: refusal(hub, key()) == (403, 'used'), 'a refusal')
            guest.echo()
        text = hub.text
        with open_guest(hub, mine) as guest:
            guest.echo()
        assert hub.text == text and os.listdir(hub.dropins) == ['guest.conf']


def test_networks_are_told_once_and_to_the_guest_only():
    """Those of this moment, to a machine that shows the token and no key yet: that uses nothing up. Not to one that
    brings its key, not to a client that is in, not to a stock client."""
    mine = key()

    def networks(**how):
        with tunnel.open_ours(hub, **how) as carrier:
            return carrier.head.get('networks')
    with Invited() as hub:
        assert networks(token=TOKEN) == '10.10.0.2/32'
        with open(os.path.join(hub.dropins, 'pi.conf'), 'w') as file:
            file.write(f'[Peer]\nName = pi\nToken = {OTHER}\nInvited = {moment(0)}\nAllowedIPs = 192.168.7.0/24, ::/0\n')
        hub.reload()
        claims.wait_for(lambda: networks(token=TOKEN) == '10.10.0.2/32,192.168.7.0/24', 'the new network')
        assert 'PublicKey' not in hub.text
        assert networks() is None and tunnel.open_stock(hub).head.get('networks') is None
        assert networks(token=TOKEN, claims={'pub': tokens.base64url(mine)}) is None
        claims.wait_for(lambda: in_file(mine) in hub.text, 'the key in the file')
        claims.wait_for(lambda: networks(token=TOKEN) is None, 'silence')


def test_of_two_at_a_time_one_is_in():
    """Many machines at the same moment: one key is in the file, its session lives, the others are closed."""
    with Invited() as hub:
        keys, sessions = [key() for _ in range(8)], {}

        def come(public_key):
            try:
                sessions[public_key] = open_guest(hub, public_key)
            except AssertionError:
                pass  # too late already
        threads = [threading.Thread(target=come, args=[one]) for one in keys[:8]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        claims.wait_for(lambda: hub.text.count('PublicKey') == 1, 'a key in the file')
        winner = next(one for one in keys if in_file(one) in hub.text)
        for one, session in sessions.items():
            if one != winner:
                assert session.close_code() == 1008
        sessions[winner].echo()
        assert all(refusal(hub, one) == (403, 'used') for one in keys if one != winner)
        sessions[winner].close()


def test_an_expired_invitation_is_told():
    with Invited(valid=-1) as hub:
        text = hub.text
        assert refusal(hub, key()) == (403, 'expired')
        assert refusal(hub, key(), signed_by=OTHER) == (404, None), 'told to a stranger'
        assert hub.text == text


def test_a_revoked_client_is_told():
    """By the list of 30 days; a stranger who knows no token sees the web site."""
    with Invited() as hub:
        folder = os.path.join(hub.state, hub.name)
        with open(os.path.join(folder, 'revoked'), 'w') as file:
            json.dump({TOKEN: int(time.time()), OTHER: int(time.time()) - 31 * 86400}, file)
        os.unlink(hub.file)
        hub.reload()
        claims.wait_for(lambda: refusal(hub, key()) == (403, 'revoked'), 'the word')
        assert refusal(hub, None) == (403, 'revoked')
        assert refusal(hub, key(), signed_by=OTHER) == (404, None)
        assert refusal(hub, key(), token=OTHER) == (404, None), 'forgotten after 30 days'


def test_wrong_keys_use_nothing_up():
    """A key that is none, or another peer's, is not written; the invitation stays good."""
    other = key()
    with Invited() as hub:
        with open(os.path.join(hub.dropins, 'other.conf'), 'w') as file:
            file.write(f'[Peer]\nName = other\nToken = {OTHER}\n{in_file(other)}')
        hub.reload()
        claims.wait_for(lambda: hub.log.count('reloaded'), 'the reload')
        text = hub.text
        for bad in ('', 'AAAA', tokens.base64url(key()) + '=', tokens.base64url(key()) + 'AA'):
            assert refusal(hub, bad) == (404, None), bad
        for bad in (bytes(32), other):
            open_guest(hub, bad).close()
        claims.wait_for(lambda: hub.log.count('guest: does not join: ') == 2, 'two refusals')
        assert hub.text == text
        mine = key()
        with open_guest(hub, mine) as guest:
            guest.echo()
            claims.wait_for(lambda: in_file(mine) in hub.text, 'the key in the file')


def test_a_key_that_cannot_be_written_down():
    """The machine hears so, and the invitation stays good."""
    mine, words = key(), 'good, but the hub cannot write the key down'
    with Invited() as hub:
        os.rename(hub.file, hub.file + '.away')
        os.mkdir(hub.file)
        assert refusal(hub, mine) == (403, words)
        claims.wait_for(lambda: hub.log.count('guest: its public key cannot be written down: ') == 1, 'a line')
        os.rmdir(hub.file)
        os.rename(hub.file + '.away', hub.file)
        assert refusal(hub, mine) == (403, words), 'the machine may have given its key up'
        assert 'PublicKey' not in hub.text
        claims.wait_for(lambda: refusal(hub, mine) == (101, None), 'an end of it')
        claims.wait_for(lambda: in_file(mine) in hub.text, 'the key in the file')


def test_the_machine_before_is_out_when_the_new_one_comes():
    """`add --again`: both are in one file until the new token is used; then the new one has the client's addresses."""
    old, new = key(), key()
    again = f'\n[Peer]\nName = guest+\nToken = {OTHER}\nInvited = {moment(0)}\nInvitedUntil = {moment(3600)}\n'
    with Invited() as hub:
        with open_guest(hub, old) as before:
            claims.wait_for(lambda: in_file(old) in hub.text, 'the old key in the file')
            with open(hub.file, 'a') as file:
                file.write(again)
            hub.reload()
            claims.wait_for(lambda: hub.log.count('reloaded') >= 2, 'the reload')
            before.echo()
            open_guest(hub, new, OTHER).close()
            claims.wait_for(lambda: in_file(new) in hub.text, 'the new key in the file')
            assert before.close_code() == 1008
        assert in_file(old) not in hub.text and TOKEN not in hub.text and hub.text.count('[Peer]') == 1, hub.text
        assert 'Name = guest\nAllowedIPs = 10.10.0.2/32\n' in hub.text
        with open_guest(hub, new, OTHER) as guest:
            guest.echo()


if __name__ == '__main__':
    claims.main(globals())
