#!/usr/bin/python3
"""The hub's cleartext listener on a private network: for TrustedProxies, in a network namespace."""

import os
import re
import signal
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from peer import claims, http, nets, programs, stream, tunnel, udp  # noqa: E402

HUB, PROXY, STRANGER = '172.18.0.1', '172.18.0.2', '172.19.0.2'
HUB_6, PROXY_6, STRANGER_6 = 'fd18::1', 'fd18::2', 'fd19::2'
_hubs = {}


def needs():
    nets.enter()
    for address in (HUB, PROXY, STRANGER, HUB_6, PROXY_6, STRANGER_6):
        nets.ip('address', 'add', address, 'dev', 'lo', *(['nodad'] if ':' in address else []))


def hub():
    if not _hubs:
        target = udp.Target()
        claims.at_exit(target.close)
        _hubs['hub'] = programs.Hub(target, listens=[f'ws://{HUB}:PORT', f'ws://[{HUB_6}]:PORT', 'ws://127.0.0.1:PORT'],
                                    extra=['TrustedProxies = 172.18.0.0/24, fd18::/64'])
        claims.at_exit(_hubs['hub'].close)
    return _hubs['hub']


def link_from(source, listener=0):
    return stream.Stream(stream.dial((hub().hosts[listener], hub().ports[listener]), source=source))


def open_by(link):
    request = http.upgrade(tunnel.stock_token(hub()), programs.STOCK_PATH, extra=['X-Forwarded-For: 192.0.2.50'])
    return tunnel.open_with(link, request)


def works(link):
    """The tunnel opens, and the hub knows the visitor's address from the proxy."""
    with open_by(link) as carrier:
        carrier.echo()
        return hub().status()['sessions'][0]['from']


def is_closed(link):
    """Without a byte, whatever is asked, and long before a visitor's time is over."""
    link.timeout(3)
    return link.ends()


def test_a_network_of_proxies_is_let_in():
    """Each address of the network in TrustedProxies, in both families."""
    assert works(link_from(PROXY)) == '192.0.2.50'
    assert works(link_from(PROXY_6, 1)) == '192.0.2.50'
    assert works(link_from(HUB)) == '192.0.2.50'


def test_others_are_closed_at_once():
    """Any other source is told nothing. The log counts such connections; it does not have a line for each."""
    for _ in range(5):
        assert is_closed(link_from(STRANGER))
        assert is_closed(link_from(STRANGER_6, 1))
    lines = re.findall('.*not let in.*', hub().log)
    assert len(lines) == 1 and f'ws://{HUB}:{hub().port}: not let in: {STRANGER}:' in lines[0], lines
    assert 'none of TrustedProxies (1 connection' in lines[0], lines
    assert works(link_from(PROXY)) == '192.0.2.50'


def test_loopback_is_open_to_this_host():
    """A listener on a loopback address needs no trusted proxy; without one no header is believed."""
    assert works(link_from('127.0.0.1', 2)).startswith('127.0.0.1:')


def trust(proxies):
    """Reload with other TrustedProxies."""
    lines = [f'TrustedProxies = {proxies}' if 'TrustedProxies' in line else line for line in hub().lines]
    hub().write('\n'.join(lines) + '\n')
    os.kill(hub().process.pid, signal.SIGHUP)


def test_reload_ends_what_removed_proxies_have_brought():
    """Tunnels and visitors of a proxy that is not trusted any more end at the reload; others notice nothing."""
    visitor, waiting = link_from(HUB), link_from(HUB)
    visitor.send(b'GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    assert visitor.recv()
    with open_by(link_from(PROXY)) as stays, open_by(link_from(PROXY_6, 1)) as stays_6, \
            open_by(link_from('127.0.0.1', 2)) as local, open_by(link_from(HUB)) as goes:
        for carrier in (stays, stays_6, local, goes):
            carrier.echo()
        trust(f'{PROXY}, 172.19.0.2, fd18::/64')
        assert goes.close_code() == 1008
        assert is_closed(visitor) and is_closed(waiting)
        for carrier in (stays, stays_6, local):
            carrier.echo()
        assert len(re.findall('laptop: ended from 192.0.2.50: its proxy is none of TrustedProxies', hub().log)) == 1
        trust('fd18::/64, 172.19.0.2')
        assert stays.close_code() == 1008
        stays_6.echo()
        local.echo()


def test_reload_takes_other_proxies():
    """After a reload other proxies are let in, and those of before are not."""
    trust('172.19.0.2')
    claims.wait_for(lambda: not is_closed_now(STRANGER), 'the new proxy to be let in')
    assert works(link_from(STRANGER)) == '192.0.2.50'
    assert is_closed(link_from(PROXY))


def is_closed_now(source):
    link = link_from(source)
    link.send(b'GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    try:
        return not link.recv()
    except OSError:
        return True


if __name__ == '__main__':
    claims.main(globals(), needs)
