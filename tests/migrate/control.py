#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a client of the control socket asks of a migration, and is told."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '../lib'))
from godwit import FINAL, Skip, free, main, moved, one_runs, sound, until

LOAD = 'mode=verify ws=16 rate=50 hb=50'
RANDOM = 'mode=dirty ws=32 rate=20 hb=50 fill=rand'
MIB = 1 << 20


def booted(host, append=LOAD, guest='verifier', *words):
    vm = host.boot(guest, append, *words)
    vm.wait_output(r'F \d+')
    vm.alive()
    return vm


def slow(host, a, b, **params):
    """A migration that takes its time, seen at work."""
    a.migrate(b.uri, wait=False, max_bandwidth=2 * MIB, **params)
    until(lambda: a.qmp('query-migrate').get('status') == 'active',
          'it copies')


def cancelled_in_pre_copy_it_runs_on_and_can_move_again(host):
    a = booted(host, RANDOM, 'dirtier')
    b = host.listen()
    slow(host, a, b)
    a.qmp('migrate_cancel')
    assert a.outcome()['status'] == 'cancelled'
    assert one_runs(a, b) is a
    a.alive()
    free(b)
    moved(a, b)
    b.alive()


def a_guest_faster_than_the_link_is_told_so_and_runs_on(host):
    a = booted(host, 'mode=dirty ws=8 rate=400 hb=50 fill=rand', 'dirtier')
    b = host.listen()
    report = a.migrate(b.uri, max_bandwidth=64 * MIB, downtime_limit=1)
    assert report['status'] == 'failed', report
    assert 'converge' in report['error-desc'], report['error-desc']
    assert one_runs(a, b) is a
    a.alive()


BUSY = 'mode=dirty ws=4 hb=50 fill=rand'     # all of it, again and again


class Calm(Exception):
    """The guest stood still for a second: the host has no time for it."""


def needs_busy(claim):
    """A guest on a loaded host may not be busy: then, try with a new one."""
    def again(host):
        for _ in range(8):
            try:
                return claim(host)
            except Calm:
                for vm in list(host.vms):
                    host.drop(vm)
        raise Skip('this host is too loaded for a guest to be busy')
    again.__name__ = claim.__name__
    return again


def throttled(vm, least=20):
    """Wait for auto-converge to have asked for that much."""
    def look():
        report = vm.qmp('query-migrate')
        if report['status'] == 'completed':
            raise Calm
        assert report['status'] not in FINAL, report
        return report['cpu-throttle-percentage'] >= least
    until(look, f'it is throttled by {least} %')


@needs_busy
def a_guest_slowed_by_auto_converge_gets_across(host):
    a = booted(host, BUSY, 'dirtier')
    b = host.listen()
    a.migrate(b.uri, wait=False, max_bandwidth=4 * MIB, auto_converge=True,
              downtime_limit=100)
    throttled(a)
    report = a.outcome()
    assert report['status'] == 'completed', report
    assert one_runs(a, b) is b
    assert report['cpu-throttle-percentage'] == 0
    assert report['x-job']['most-throttle'] >= 20, report
    b.alive()


@needs_busy
def a_throttled_guest_that_stays_is_free_again(host):
    a = booted(host, BUSY, 'dirtier')
    b = host.listen()
    a.qmp('migrate-set-capabilities', capabilities=[
        {'capability': 'auto-converge', 'state': True}])
    a.migrate(b.uri, wait=False, max_bandwidth=4 * MIB, downtime_limit=10)
    throttled(a, 30)
    assert 'throttle' in threads(a)
    a.qmp('migrate_cancel')
    report = a.outcome()
    assert report['status'] == 'cancelled'
    assert report['cpu-throttle-percentage'] == 0
    assert 'throttle' not in threads(a)
    a.alive()


def threads(vm):
    tasks = f'/proc/{vm.pid}/task'
    return [open(f'{tasks}/{task}/comm', encoding='ascii').read().strip()
            for task in os.listdir(tasks)]


@needs_busy
def at_its_timeout_a_guest_is_left_in_peace(host):
    a = booted(host, BUSY, 'dirtier')
    b = host.listen()
    report = a.migrate(b.uri, max_bandwidth=4 * MIB, downtime_limit=10,
                       timeout=2, on_timeout='abort')
    if report['total-time'] < 2000:
        raise Calm
    assert report['status'] == 'failed', report
    assert '--timeout' in report['error-desc'], report['error-desc']
    assert one_runs(a, b) is a
    a.alive()


@needs_busy
def at_its_timeout_a_guest_is_stopped_if_told_so(host):
    a = booted(host, BUSY, 'dirtier')
    b = host.listen()
    report = a.migrate(b.uri, max_bandwidth=4 * MIB, downtime_limit=10,
                       max_pause=100, timeout=2, on_timeout='pause')
    if report['total-time'] < 2000 or report['downtime'] <= 100:
        raise Calm
    assert report['status'] == 'completed', report
    assert one_runs(a, b) is b
    b.alive()


def the_bandwidth_limit_is_kept(host):
    a = host.boot('dirtier', 'mode=halt ws=1 fill=rand fillmb=24')
    a.wait_output(r'F \d+')
    b = host.listen()
    report = moved(a, b, max_bandwidth=24 * MIB)
    seconds = report['total-time'] / 1000
    sent = report['ram']['transferred'] / MIB
    assert sent > 20, report
    assert sent / seconds < 24 * 1.25, f'{sent} MiB in {seconds} s'


def a_second_source_is_told_that_the_destination_is_busy(host):
    a = booted(host, RANDOM, 'dirtier')
    b = host.listen()
    c = booted(host)
    slow(host, a, b)
    report = c.migrate(b.uri)
    assert report['status'] == 'failed', report
    assert 'busy' in report['error-desc'], report
    assert a.qmp('query-migrate')['status'] == 'active'
    c.alive()
    a.qmp('migrate_cancel')
    assert a.outcome()['status'] == 'cancelled'
    moved(c, b)


def a_paused_vm_arrives_paused_and_goes_on_when_told(host):
    a = booted(host)
    a.qmp('stop')
    assert a.status() == 'paused'
    b = host.listen()
    report = a.migrate(b.uri)
    assert report['status'] == 'completed', report
    assert b.status() == 'paused' and not a.running()
    before = b.output()
    b.qmp('cont')
    b.alive()
    assert b.output().startswith(before)
    sound(b)


def a_paused_vm_that_could_not_move_stays_paused(host):
    a = booted(host)
    a.qmp('stop')
    report = a.migrate('unix:' + host.path('nobody'))
    assert report['status'] == 'failed', report
    assert a.status() == 'paused'
    a.qmp('cont')
    a.alive()


def the_report_has_every_figure(host):
    a = booted(host)
    b = host.listen()
    report = moved(a, b)
    job = report['x-job']
    for name in ('type', 'time-elapsed-us', 'setup-time-us', 'data-processed',
                 'data-remaining', 'data-total', 'memory-processed',
                 'memory-remaining', 'memory-total', 'memory-bandwidth',
                 'dirty-rate', 'constant-pages', 'normal-pages',
                 'normal-data', 'iteration', 'expected-downtime-us',
                 'downtime-us'):
        assert name in job, name
    assert job['memory-total'] == 64 * MIB and job['memory-remaining'] == 0
    assert job['normal-data'] == job['normal-pages'] * 4096
    assert job['normal-pages'] + job['constant-pages'] >= 16 * MIB // 4096
    assert job['downtime-us'] < job['time-elapsed-us']
    steps = job['pause-us']
    # parts of another step have its name before a slash
    whole = sum(us for name, us in steps.items() if '/' not in name)
    assert 0.5 * job['downtime-us'] < whole <= 1.01 * job['downtime-us'], job


def progress_never_goes_back(host):
    a = booted(host, RANDOM, 'dirtier')
    b = host.listen()
    a.migrate(b.uri, wait=False, max_bandwidth=64 * MIB)
    seen = []
    while not seen or seen[-1]['status'] not in ('completed', 'failed'):
        seen.append(a.qmp('query-migrate'))
    assert seen[-1]['status'] == 'completed', seen[-1]
    assert len(seen) > 10
    order = ['setup', 'active', 'device', 'completed']
    at = [order.index(s['status']) for s in seen]
    assert at == sorted(at), at
    for figure in ('memory-processed', 'iteration', 'time-elapsed-us',
                   'normal-pages', 'constant-pages'):
        values = [s['x-job'][figure] for s in seen]
        assert values == sorted(values), (figure, values)


def names(vm, upto):
    vm.qmp.wait_event(upto)
    return [e['event'] if e['event'] != 'MIGRATION' else e['data']['status']
            for e in vm.qmp.events]


def over(event):
    return event['event'] == 'MIGRATION' and 'x-report' in event['data']


def events_come_in_their_order_on_both_sides(host):
    a = booted(host)
    b = host.listen()
    a.qmp('migrate', uri=b.uri)
    said = names(a, over)
    assert said.count('STOP') == 1 and 'RESUME' not in said[1:], said
    assert said.index('active') < said.index('STOP') < \
        said.index('completed'), said
    there = names(b, over)
    assert there.count('RESUME') == 1 and 'STOP' not in there, there


def a_failed_migration_says_stop_and_resume(host):
    a = booted(host, RANDOM, 'dirtier')
    b = host.listen()
    a.qmp('migrate', uri=b.uri, max_pause=1, downtime_limit=2000,
          max_bandwidth=32 * MIB)
    said = names(a, over)
    assert said[-1] == 'failed', said
    assert said.count('STOP') == said.count('RESUME') - \
        (1 if said[0] == 'RESUME' else 0), said


def a_second_migration_at_once_is_refused(host):
    a = booted(host, RANDOM, 'dirtier')
    b = host.listen()
    slow(host, a, b)
    try:
        a.qmp('migrate', uri=b.uri)
        raise AssertionError('accepted')
    except RuntimeError as why:
        assert 'under way' in str(why), why
    a.qmp('migrate_cancel')
    assert a.outcome()['status'] == 'cancelled'


CLAIMS = [
    cancelled_in_pre_copy_it_runs_on_and_can_move_again,
    a_guest_faster_than_the_link_is_told_so_and_runs_on,
    a_guest_slowed_by_auto_converge_gets_across,
    a_throttled_guest_that_stays_is_free_again,
    at_its_timeout_a_guest_is_left_in_peace,
    at_its_timeout_a_guest_is_stopped_if_told_so,
    the_bandwidth_limit_is_kept,
    a_second_source_is_told_that_the_destination_is_busy,
    a_paused_vm_arrives_paused_and_goes_on_when_told,
    a_paused_vm_that_could_not_move_stays_paused,
    the_report_has_every_figure,
    progress_never_goes_back,
    events_come_in_their_order_on_both_sides,
    a_failed_migration_says_stop_and_resume,
    a_second_migration_at_once_is_refused,
]

if __name__ == '__main__':
    sys.exit(main(CLAIMS))
