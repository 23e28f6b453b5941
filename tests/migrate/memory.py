#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest's memory, written all the while, arrives as it was."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '../lib'))
from godwit import Skip, beats, main, moved, sound, until

LOAD = 'mode=verify ws=16 rate=100 hb=50'


def verified(host, uri):
    """Move a verifier: it has seen all of its pages on the other side."""
    a = host.boot('verifier', LOAD)
    a.wait_output(r'V')
    a.alive()
    b = host.listen(uri=uri)
    moved(a, b)
    sweeps = a.beats()[-1]['sw']
    b.wait_output(rf'sw=(?!{sweeps}\b|{sweeps + 1}\b)\d+')
    sound(a)
    sound(b)


def a_verifier_moves_over_tcp_and_ipv4(host):
    verified(host, 'tcp:127.0.0.1:0')


def a_verifier_moves_over_tcp_and_ipv6(host):
    if not os.path.exists('/proc/net/if_inet6'):
        raise Skip('this kernel has no IPv6')
    verified(host, 'tcp:[::1]:0')


def a_verifier_moves_over_a_unix_socket(host):
    verified(host, None)


def a_verifier_moves_over_several_channels(host):
    a = host.boot('verifier', LOAD)
    a.wait_output('V')
    b = host.listen()
    moved(a, b, channels=4)
    b.alive()
    sound(b)


def a_verifier_survives_twenty_moves(host):
    vm = host.boot('verifier', LOAD)
    vm.wait_output('V')
    text = ''
    for _ in range(20):
        there = host.listen()
        moved(vm, there)
        there.alive()
        text += vm.output()
        host.drop(vm)
        vm = there
    # all that the guest ever printed, and each line once
    heard = beats(text + vm.output())
    assert [b['n'] for b in heard] == list(range(len(heard))), heard
    assert all(b['bad'] == 0 for b in heard), heard
    assert 'CORRUPT' not in text + vm.output()
    for last, first in zip(heard, heard[1:]):
        assert first['t'] > last['t'], 'the TSC went back'
        assert first['pages'] >= last['pages'], (last, first)


def a_fast_writer_moves(host):
    a = host.boot('dirtier', 'mode=dirty ws=64 rate=200 hb=50 fill=rand',
                  memory='128')
    a.wait_output(r'F \d+')
    a.alive()
    b = host.listen()
    moved(a, b)
    b.alive()
    sound(b)


def nices(vm):
    """{thread's name: its threads' nice values}"""
    out = {}
    for task in os.listdir(f'/proc/{vm.pid}/task'):
        with open(f'/proc/{vm.pid}/task/{task}/stat', encoding='ascii') as f:
            name, fields = f.read().split('(', 1)[1].rsplit(')', 1)
        out.setdefault(name, set()).add(int(fields.split()[16]))
    return out


def the_copy_steps_back_for_a_busy_guest(host):
    if len(os.sched_getaffinity(0)) < 2:
        raise Skip('the guest and the copy want a CPU each')
    a = host.boot('dirtier', 'mode=spin hb=50 fill=rand fillmb=64',
                  memory='128')
    a.wait_output(r'F \d+')
    a.alive()
    b = host.listen()
    a.migrate(b.uri, wait=False, max_bandwidth=32 << 20)
    usual = nices(a)['vcpu0']
    until(lambda: min(nices(a).get('source', usual)) > max(usual),
          'the thread that sends')
    until(lambda: min(nices(b).get('receive', usual)) > max(usual),
          'those that receive')
    assert nices(a)['vcpu0'] == nices(a)['godwit'] == usual, nices(a)
    assert a.outcome()['status'] == 'completed'
    b.alive()
    sound(b)


def a_large_empty_guest_costs_no_memory_there(host):
    a = host.boot('dirtier', 'mode=halt ws=1', memory='4G')
    a.wait_output(r'F \d+')
    b = host.listen()
    report = moved(a, b)
    assert report['ram']['total'] == 4 << 30
    with open(f'/proc/{b.pid}/status', encoding='ascii') as f:
        rss = int(f.read().split('VmRSS:')[1].split()[0])
    assert rss < 100 << 10, f'{rss} KiB resident for 1 MiB that was written'


CLAIMS = [
    a_verifier_moves_over_tcp_and_ipv4,
    a_verifier_moves_over_tcp_and_ipv6,
    a_verifier_moves_over_a_unix_socket,
    a_verifier_moves_over_several_channels,
    a_fast_writer_moves,
    the_copy_steps_back_for_a_busy_guest,
    a_large_empty_guest_costs_no_memory_there,
    a_verifier_survives_twenty_moves,
]

if __name__ == '__main__':
    sys.exit(main(CLAIMS))
