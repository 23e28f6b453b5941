#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Dry runs: what they say beforehand, and how it was in the end."""
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '../lib'))
from godwit import GODWIT, free, main, moved, one_runs, until

CALM = 'mode=dirty ws=16 rate=4 hb=50 fill=rand'
# more than 8 MiB/s carry, and no more than throttling can hold back
BUSY = 'mode=dirty ws=32 rate=64 hb=50 fill=rand'
MIB = 1 << 20


def booted(host, append):
    vm = host.boot('dirtier', append)
    vm.wait_output(r'F \d+')
    vm.alive()
    return vm


def dry_run(a, b, **params):
    """The forecast; the VM was never stopped."""
    a.qmp.pump()
    seen = len(a.qmp.events)
    report = a.migrate(b.uri, x_dry_run=True, **params)
    assert report['status'] == 'cancelled', report
    assert 'dry run' in report['error-desc'], report
    a.qmp.pump()
    assert 'STOP' not in [e['event'] for e in a.qmp.events[seen:]]
    assert one_runs(a, b) is a
    free(b)
    return report['x-forecast']


def busy(said):
    """On a loaded host a guest may stand still for a second."""
    return said if said['end'] == 'does not converge' else None


def godwit_migrate(host, a, b, *words):
    return subprocess.run([GODWIT, 'migrate', '--quiet', '--dry-run', *words,
                           a.control, b.uri], env=host.env, text=True,
                          capture_output=True, check=False)


def a_dry_run_moves_nothing_and_the_vm_can_move_after_it(host):
    a = booted(host, CALM)
    b = host.listen()
    for _ in range(2):
        said = dry_run(a, b, max_bandwidth=64 * MIB)
        assert said['by'] == 'dry run' and said['end'] == 'converges', said
        a.alive()
    report = moved(a, b, max_bandwidth=64 * MIB)
    assert report['x-forecast'] == said, report['x-forecast']
    b.alive()


def what_was_foreseen_comes_about(host):
    a = booted(host, CALM)
    b = host.listen()
    said = dry_run(a, b, max_bandwidth=16 * MIB)
    # 16 MiB and what is dirtied meanwhile, at 16 MiB/s
    assert 0.2 < said['bandwidth'] / (16 * MIB) < 1.2, said
    assert 16 * MIB < said['bytes'] < 32 * MIB, said
    report = moved(a, b, max_bandwidth=16 * MIB)
    was = report['total-time'] - report['setup-time']
    assert was / 4 < said['total-time'] < was * 4, (said, was)


def a_move_without_a_dry_run_is_foreseen_by_its_first_round(host):
    a = booted(host, CALM)
    b = host.listen()
    said = moved(a, b, max_bandwidth=64 * MIB)['x-forecast']
    assert said['by'] == 'first round' and said['end'] == 'converges', said


def a_guest_that_is_too_busy_is_told_what_it_takes(host):
    a = booted(host, BUSY)
    b = host.listen()
    limits = {'max_bandwidth': 8 * MIB, 'downtime_limit': 100}
    said = until(lambda: busy(dry_run(a, b, **limits)), 'it is too busy')
    needs = said['needs']
    assert 20 <= needs['throttle'] <= 99, said
    assert needs['bandwidth'] > 8 * MIB, said
    # no more than all that it has ever touched
    assert 20 < needs['downtime-limit'] < 10000, said
    said = dry_run(a, b, auto_converge=True, **limits)
    assert said['end'] == 'converges', said
    a.alive()


def a_dry_run_names_every_reason_against_the_move(host):
    a = booted(host, CALM)
    b = host.listen('--net', 'passt,id=missing', '--disk',
                    host.path('none') + ',id=gone')
    said = godwit_migrate(host, a, b)
    assert said.returncode == 1, said
    assert 'would not move' in said.stdout, said
    assert 'id=missing' in said.stdout and 'id=gone' in said.stdout, said
    a.alive()


def the_command_says_it_in_words_and_in_json(host):
    a = booted(host, CALM)
    b = host.listen()
    said = godwit_migrate(host, a, b)
    assert said.returncode == 0 and 'converges' in said.stdout, said
    said = godwit_migrate(host, a, b, '--json')
    assert said.returncode == 0, said
    assert json.loads(said.stdout)['x-forecast']['end'] == 'converges'
    wild = booted(host, BUSY)

    def told():
        said = godwit_migrate(host, wild, b, '--bandwidth', '8M',
                              '--downtime', '20')
        return said.returncode == 1 and '--auto-converge' in said.stdout
    until(told, 'it says what it takes')
    assert one_runs(a, b) is a
    wild.alive()


CLAIMS = [
    a_dry_run_moves_nothing_and_the_vm_can_move_after_it,
    what_was_foreseen_comes_about,
    a_move_without_a_dry_run_is_foreseen_by_its_first_round,
    a_guest_that_is_too_busy_is_told_what_it_takes,
    a_dry_run_names_every_reason_against_the_move,
    the_command_says_it_in_words_and_in_json,
]

if __name__ == '__main__':
    sys.exit(main(CLAIMS))
