#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory that is compressed takes less of the network, and arrives as it was."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '../lib'))
from certs import Authority
from godwit import GODWIT, Skip, main, moved, one_runs, sound

MIB = 1 << 20
# each word of the pattern stands 16 times in a row
LOAD = 'mode=verify ws=16 rate=20 hb=50 rep=16'


def verifier(host):
    a = host.boot('verifier', LOAD)
    a.wait_output('V')
    return a


def compressed(a, b, **params):
    """Move; the report, after the guest has seen all of its memory there."""
    try:
        report = moved(a, b, compress='zstd', **params)
    except RuntimeError as why:
        if 'zstd' in str(why) or 'CONFIG_ZSTD' in str(why):
            raise Skip(str(why)) from why
        raise
    sweeps = a.beats()[-1]['sw']
    b.wait_output(rf'sw=(?!{sweeps}\b|{sweeps + 1}\b)\d+')
    sound(a)
    sound(b)
    return report


def a_slow_link_carries_less_and_memory_is_whole(host):
    a, b = verifier(host), host.listen()
    report = compressed(a, b, max_bandwidth=16 * MIB)
    ram, small = report['ram'], report['compression']
    assert small['pages'] > 4000, report
    assert small['compression-rate'] > 4, report
    assert small['compressed-size'] < ram['transferred'], report
    assert ram['transferred'] < ram['normal-bytes'] / 3, report


def by_tls_too(host):
    authority = Authority(host.path('ca'))
    here, there = authority.host('here'), authority.host('there')
    a = verifier(host)
    b = host.listen('--tls', there, uri='tcp:127.0.0.1:0')
    report = compressed(a, b, x_tls=here, tls_hostname='there',
                        max_bandwidth=16 * MIB, channels=2)
    assert report['compression']['pages'] > 4000, report


def a_guest_too_busy_for_the_link_gets_across(host):
    """It writes 32 MiB/s, the link carries 16 MiB/s."""
    load = LOAD.replace('rate=20', 'rate=32')
    a, b = host.boot('verifier', load), host.listen()
    a.wait_output('V')
    compressed(a, b, max_bandwidth=16 * MIB)


def random_memory_costs_no_more_bytes(host):
    a = host.boot('dirtier', 'mode=halt ws=1 fill=rand fillmb=32')
    a.wait_output(r'F \d+')
    b = host.listen()
    report = moved(a, b, compress='zstd')
    ram = report['ram']
    assert ram['normal-bytes'] > 32 * MIB, report
    assert ram['transferred'] < ram['normal-bytes'] * 1.01, report


def the_command_line_compresses(host):
    a, b = verifier(host), host.listen()
    control = os.path.join(host.dir, 'godwit')
    os.makedirs(control, exist_ok=True)
    os.symlink(a.control, os.path.join(control, 'mover.sock'))
    done = subprocess.run([GODWIT, 'migrate', 'mover', b.uri, '--quiet',
                           '--compress', '--channels', 'auto', '--bandwidth',
                           '16M'], env=host.env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert '\ncompressed ' in done.stdout, done.stdout
    assert one_runs(a, b) is b
    b.alive()


CLAIMS = [
    a_slow_link_carries_less_and_memory_is_whole,
    by_tls_too,
    a_guest_too_busy_for_the_link_gets_across,
    random_memory_costs_no_more_bytes,
    the_command_line_compresses,
]

if __name__ == '__main__':
    sys.exit(main(CLAIMS))
