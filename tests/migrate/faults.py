#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A fault in each state of a migration, with real processes: a guest writes
numbered records to a disk, and checks them and its memory, while it is moved
and something breaks.

faults.py                  a sample, as TAP
faults.py --all [WORD...]  every fault at every point, as a table

Afterwards one copy runs and writes on, or none, and that was said. No record
is lost or written twice. The image is locked by who runs, and by no other.
Who runs can be moved again. When all processes have ended, nothing is left of
them but what tells of an end that nobody saw.
"""
import collections
import fcntl
import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '../lib'))
import inject as i
from godwit import GODWIT, Host, Skip, main, sound, until


class Lost(Exception):
    """A record that the guest wrote, or its memory, is not there."""


class Doubled(Exception):
    """Two ran, or a record was written by two."""


class Silent(Exception):
    """Nobody runs, and nobody was told."""


class Left(Exception):
    """Something was left behind."""


def godwit(case, *words):
    return subprocess.run([GODWIT, *words], env=case.host.env, text=True,
                          capture_output=True, check=False, timeout=60)


def left_records(case):
    return sorted(os.listdir(case.host.path('state/godwit')))


def rest(case):
    """Wait until neither side does anything more by itself."""
    if case.a not in case.killed:
        case.report = case.a.outcome()
    if case.b not in case.killed:
        until(lambda: case.b.running() or
              case.b.qmp('query-migrate').get('status', 'none') in
              ('none', 'failed'), 'the destination rests')


def who_runs(case):
    """'source', 'destination', or how it was said that nobody does."""
    running = [vm for vm in (case.a, case.b) if vm.running()]
    if len(running) == 2:
        raise Doubled('both run')
    if running:
        return 'source' if running[0] is case.a else 'destination'
    if case.a in case.killed:
        return 'it was killed'
    outcome = case.report['x-job']['outcome']
    if case.b in case.killed and outcome == 'completed':
        return 'it was killed'
    text = case.report.get('error-desc', '')
    if outcome == 'unknown' and 'godwit resolve web' in text:
        return 'nobody: unknown, said'
    if 'stays paused here' in text:
        return 'nobody: paused, said'
    raise Silent(f'nobody runs: {outcome}: {text}')


def settle(case, who):
    """Do what the user was told to; who runs then."""
    if case.lock >= 0:
        os.close(case.lock)
    if hasattr(case, 'put_back'):
        case.put_back()
    if who == 'nobody: paused, said':
        case.a.qmp('cont')
        return case.a
    if who == 'nobody: unknown, said':
        case.proxy.blocked = False
        here = godwit(case, 'resolve', 'web', '--here')
        assert here.returncode == 0, here
        return case.a
    if case.a in case.killed and case.point not in i.EARLY:
        # it may have been given away: it is not booted before that is known
        # (with BYE it is)
        if any(r.endswith('.source') for r in left_records(case)):
            side = '--there' if who == 'destination' else '--here'
            done = godwit(case, 'resolve', 'web', side)
            assert done.returncode == 0, done
        elif who != 'destination' and case.point != 'BYE':
            raise Silent('killed, and no record of it')
    if case.report and case.report['x-job']['outcome'] == 'unknown':
        there = godwit(case, 'resolve', 'web', '--there')
        assert there.returncode == 0, there
    return {'source': case.a, 'destination': case.b}.get(who)


def is_locked(path):
    fd = os.open(path, os.O_RDWR)
    answer = fcntl.fcntl(fd, i.F_OFD_GETLK,
                         i.FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    os.close(fd)
    return i.FLOCK.unpack(answer)[0] != fcntl.F_UNLCK


def slots(image):
    """The number of the record in each slot."""
    with open(image, 'rb') as f:
        data = f.read(64 * 4096)
    return [int.from_bytes(data[s * 4096 + 8:s * 4096 + 16], 'little')
            for s in range(64)]


def check_records(case, vms):
    text = ''.join(vm.output() for vm in vms)
    seen = [int(n) for n in re.findall(r'^R (\d+) bad=', text, re.M)]
    if len(set(seen)) != len(seen):
        raise Doubled(f'records {seen[-12:]}')
    if seen != list(range(0, 8 * len(seen), 8)) or 'BAD' in text or \
       re.search('bad=[1-9]', text):
        raise Lost(f'records {seen[-12:]}, {text[-300:]}')
    # each has its last record, or one that was begun since
    last = seen[-1]
    for slot, number in enumerate(slots(case.image)):
        if number == 0 and slot > last:
            continue            # not written yet
        if number % 64 != slot or not last - 64 < number <= last + 9:
            raise Lost(f'slot {slot} has {number}, the last was {last}')


def writes_on(vm):
    vm.wait_output(r'(R \d+ bad=0[^\n]*\n[^R]*){2}', len(vm.output()))
    sound(vm)


def move_again(case, vm):
    """The survivor goes to a third process; that one runs then."""
    c = case.host.listen('--disk', case.disk + ',id=d')
    report = vm.migrate(c.uri, max_pause=5000, downtime_limit=5000)
    if report['status'] != 'completed' or not c.running() or vm.running():
        raise Silent(f'it can\'t be moved again: {report}')
    writes_on(c)
    return c


def check_nothing_left(case, survived):
    """All end; what may stay are our own files, and sockets of the killed."""
    dead = {vm.control for vm in case.killed}
    dead |= {vm.uri[5:] for vm in case.killed if hasattr(vm, 'uri')}
    for vm in case.host.vms:
        if vm.proc.poll() is None:
            vm.qmp('quit')
        vm.qmp.close()
    for vm in case.host.vms:
        if vm not in case.killed and vm.proc.wait(60):
            raise Left(f'a process ended with {vm.proc.returncode}: '
                       + vm.said()[-300:])
    mine = re.compile(r'/(disk\.img|nbd\.(sock|there)|(log|serial)\d+)$')
    found = [os.path.join(d, f) for d, _, files in os.walk(case.host.dir)
             for f in files]
    found = [f for f in found if f not in dead and not mine.search(f)]
    # what was killed may be asked for by name until it moves again
    if case.a in case.killed or not survived:
        found = [f for f in found if '/state/' not in f]
    if found:
        raise Left(', '.join(os.path.basename(f) for f in found))


def inject(host, fault, point):
    """What became of it, in words, and how long that took."""
    case = i.Case(host, point, fault)
    start = time.monotonic()
    case.migrate(max_pause=2000)
    rest(case)
    took = time.monotonic() - start
    who = who_runs(case)
    vms = [case.a, case.b]
    vm = settle(case, who)
    if vm:
        writes_on(vm)
        assert fault in (i.refuse_disk, i.lose_disk) or \
            is_locked(case.image), 'it runs without a lock'
        if fault is not i.fill_disk:
            vms.append(move_again(case, vm))
    check_nothing_left(case, vm is not None)
    until(lambda: not is_locked(case.image), 'the lock is given up')
    check_records(case, vms)
    return who, took


def name_of(fault):
    return fault.__name__.replace('_', ' ')


def table(words):
    count = collections.Counter()
    print(f'{"point":9}{"source":12}{"destination":13}{"fault":17}'
          f'{"then it runs":22} seconds')
    for fault, point in i.all_cases():
        if not all(w in (point, fault.__name__) for w in words):
            continue
        host = Host()
        try:
            who, took = inject(host, fault, point)
            count['injected'] += 1
        except Skip as why:
            who, took = f'SKIP {why}', 0
            count['skipped'] += 1
        except Exception as why:
            count['injected'] += 1
            count[type(why).__name__] += 1
            who, took = f'{type(why).__name__}: {why}', 0
            for vm in host.vms:
                print('# ' + vm.said()[-900:].replace('\n', '\n# '))
        finally:
            host.close()
        _, here, there, _ = i.POINTS[point]
        print(f'{point:9}{here:12}{there:13}{name_of(fault):17}{who:22}'
              f'{took:6.1f}', flush=True)
    known = {'injected', 'skipped', 'Lost', 'Doubled', 'Silent'}
    print(f'faults: {count["injected"]} injected, {count["Lost"]} lost, '
          f'{count["Doubled"]} doubled, {count["Silent"]} silent'
          + ''.join(f', {count[w]} {w}' for w in sorted(set(count) - known))
          + (f', {count["skipped"]} skipped' if count['skipped'] else ''))
    return 1 if set(count) - {'injected', 'skipped'} else 0


SAMPLE = ((i.kill_source, 'PAGES'), (i.kill_source, 'PREPARED'),
          (i.kill_destination, 'STATE'), (i.kill_both, 'GO'),
          (i.kill_destination, 'GO'), (i.cut, 'QUERY'), (i.cut, 'GO'),
          (i.corrupt, 'STATE'), (i.repeat, 'GO'), (i.hold, 'STATE'),
          (i.hang_destination, 'PAGES'), (i.hang_source, 'ROUND'),
          (i.lock_image, 'STATE'), (i.fill_disk, 'HELLO'),
          (i.starve, 'HELLO'), (i.refuse_disk, 'HELLO'))


def claims():
    for fault, point in SAMPLE:
        def claim(host, fault=fault, point=point):
            print('# ' + inject(host, fault, point)[0])
        claim.__name__ = f'{fault.__name__}_at_{point}_costs_no_record'
        yield claim


if __name__ == '__main__':
    if '--all' in sys.argv and os.access('/dev/kvm', os.R_OK | os.W_OK):
        sys.exit(table(sys.argv[2:]))
    sys.exit(main(list(claims())))
