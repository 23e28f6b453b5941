#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Moves with dirty rings: nothing is lost, and who writes is known by it."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '../lib'))
from godwit import FINAL, Skip, main, moved, one_runs, sound, until

MIB = 1 << 20


def booted(host, guest, append, *words, dirty='ring'):
    """A VM with rings. Without: its claim is skipped."""
    try:
        vm = host.boot(guest, append, '--dirty', dirty, *words)
    except AssertionError as why:
        if 'has no dirty ring' in str(why):
            raise Skip('this KVM has no dirty ring') from why
        raise
    vm.alive()
    return vm


def a_verifier_survives_moves_with_rings_and_without(host):
    """Small rings, so that they are often full; and what tracks pages is each
    host's own business."""
    vm = booted(host, 'verifier', 'mode=verify ws=16 rate=100 hb=50',
                dirty='ring,entries=1024')
    for how in ('ring,entries=1024', 'bitmap', 'ring', 'auto',
                'ring,entries=1024', 'ring'):
        there = host.listen('--dirty', how)
        moved(vm, there)
        there.alive()
        sound(there)
        host.drop(vm)
        vm = there


def two_writers_survive_moves_with_rings(host):
    vm = booted(host, 'pair', 'writer=2 ws=4 hb=50', '--cpus', '2')
    for _ in range(4):
        there = host.listen('--dirty', 'ring,entries=4096')
        moved(vm, there, downtime_limit=400, auto_converge=True)
        there.alive()
        sound(there)
        host.drop(vm)
        vm = there


def a_saved_vm_comes_back_with_rings(host):
    vm = booted(host, 'verifier', 'mode=verify ws=8 rate=50 hb=50')
    path = host.path('saved')
    vm.qmp('x-save', file=path)
    assert vm.outcome()['status'] == 'completed'
    host.drop(vm)
    back = host.restore(path, '--dirty', 'ring')
    back.alive()
    there = host.listen()
    moved(back, there)
    there.alive()
    sound(there)


class Calm(Exception):
    """It got across before it was slowed down: the host has no time for it."""


def throttled(vm, least):
    def look():
        report = vm.qmp('query-migrate')
        if report['status'] == 'completed':
            raise Calm
        assert report['status'] not in FINAL, report
        return report['cpu-throttle-percentage'] >= least and report
    return until(look, f'it is throttled by {least} %')


def speed(vm, n):
    """What the guest's CPUs do in a second of its clock's ticks, over n beats:
    (pages or counts of CPU 0, of CPU 1)."""
    start = len(vm.beats())
    beats = until(lambda: vm.beats()[start:] if
                  len(vm.beats()) > start + n else None, 'its heart beats')
    first, last = beats[0], beats[-1]
    ticks = last['t'] - first['t']
    return [sum(last[k] - first[k] for k in keys) / ticks for keys in
            (('pages', 'count'), ('pages1', 'count1'))]


def slowed(host, writer, dirty):
    """How much of its speed each CPU keeps while the move is throttled by 80 %:
    (writer, quiet), and the report."""
    a = booted(host, 'pair', f'writer={writer} ws=8 hb=20', '--cpus', '2',
               dirty=dirty)
    b = host.listen()
    free = speed(a, 20)
    a.migrate(b.uri, wait=False, max_bandwidth=8 * MIB, downtime_limit=10,
              auto_converge=True)
    report = throttled(a, 80)
    now = speed(a, 4)       # each may take seconds now
    a.qmp('migrate_cancel')
    assert a.outcome()['status'] == 'cancelled'
    assert one_runs(a, b) is a
    a.alive()
    sound(a)
    kept = [n / f for n, f in zip(now, free)]
    host.drop(a)
    host.drop(b)
    return kept[writer], kept[1 - writer], report


def tried(host, *args):
    """slowed(), with a new guest where this one was not busy."""
    for _ in range(6):
        try:
            return slowed(host, *args)
        except Calm:
            for vm in list(host.vms):
                host.drop(vm)
    raise Skip('this host is too loaded for a guest to be busy')


def only_the_writer_is_slowed(host):
    """Other load slows both: so it is what they keep that is compared."""
    for writer in (0, 1):
        busy, quiet, report = tried(host, writer, 'ring')
        print(f'# CPU {writer} writes and keeps {busy:.0%} of its speed, '
              f'the other {quiet:.0%}')
        assert quiet > 2 * busy, f'quiet: {quiet:.0%}, writer: {busy:.0%}'
        rates = report['x-vcpu-dirty-rate']
        assert [r['id'] for r in rates] == [0, 1], rates
        wrote, idle = rates[writer], rates[1 - writer]
        assert wrote['dirty-pages-rate'] > 10 * idle['dirty-pages-rate'], rates
        assert wrote['throttle-percentage'] >= 70, rates
        assert idle['throttle-percentage'] <= 10, rates


def with_bitmaps_all_are_slowed_alike(host):
    busy, quiet, report = tried(host, 0, 'bitmap')
    print(f'# who writes keeps {busy:.0%} of its speed, the other {quiet:.0%}')
    assert quiet < .7, f'quiet: {quiet:.0%}, writer: {busy:.0%}'
    assert 'x-vcpu-dirty-rate' not in report, report


sys.exit(main([
    a_verifier_survives_moves_with_rings_and_without,
    two_writers_survive_moves_with_rings,
    a_saved_vm_comes_back_with_rings,
    only_the_writer_is_slowed,
    with_bitmaps_all_are_slowed_alike,
]))
