# SPDX-License-Identifier: GPL-2.0-or-later
"""What became of a case of inject.py: judge() does what the user was told to do,
and raises what is not as it must be. One way for all faults.

Afterwards one copy runs and writes on, or none, and that was said. No record
is lost or written twice. The image is locked by who runs, and by no other.
Who runs can be moved again. When all processes have ended, nothing is left of
them but what tells of an end that nobody saw.
"""
import fcntl
import os
import re
import subprocess

import harm
from godwit import FINAL, GODWIT, sound, until
from inject import EARLY, FOLLOWS, WAITS
from records import slots


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
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          stdin=subprocess.DEVNULL, check=False, timeout=60)


def left_records(case):
    return sorted(os.listdir(case.host.path('state/godwit')))


# -- what it has come to

def lives(case, vm):
    return vm not in case.killed and vm.proc.poll() is None


def waits(case, vm):
    """It has half of the VM's memory, and no link to the other half."""
    return lives(case, vm) and case.link(vm) == WAITS


def rests(case, vm):
    """Does it do nothing more by itself?"""
    if vm in case.ended:
        return vm.proc.poll() is not None
    link = case.link(vm)
    if link in FOLLOWS + (WAITS,):
        return link == WAITS
    return link in ('none', 'failed') or vm.running() if vm is case.b else \
        link in FINAL


def rest(case):
    for vm in (case.a, case.b):
        if vm not in case.killed:
            until(lambda: rests(case, vm), lambda: 'it rests: ' + vm.said())
    if case.a not in case.killed:
        case.report = case.a.qmp('query-migrate')


def recover(case):
    """As the user was told to; was that needed?"""
    if not lives(case, case.a) or not lives(case, case.b):
        return False
    # or it does not know that the VM has run there
    unknown = case.report['x-job']['outcome'] == 'unknown' and \
        'migrate --recover' in case.report['error-desc']
    if not waits(case, case.a) and not (unknown and waits(case, case.b)):
        return False
    case.put_back()
    case.proxy.blocked = False
    done = godwit(case, 'migrate', 'web', '--recover', '--quiet')
    if done.returncode:
        raise Lost('it can\'t be recovered: ' + done.stdout)
    rest(case)
    return True


def who_runs(case):
    """'source', 'destination', or how it was said that nobody does."""
    running = [vm for vm in (case.a, case.b)
               if not waits(case, vm) and vm.running()]
    if len(running) == 2:
        raise Doubled('both run')
    if running == [case.a] and 'RUNNING' in case.seen:
        raise Doubled('it runs here again, and it ran there')
    if running:
        return 'source' if running[0] is case.a else 'destination'
    if waits(case, case.a) or waits(case, case.b):
        return half_a_vm(case)
    if case.a in case.killed:
        return 'it was killed'
    return what_source_says(case)


def what_source_says(case):
    outcome = case.report['x-job']['outcome']
    if case.b in case.killed and outcome == 'completed':
        return 'it was killed'
    text = case.report.get('error-desc', '')
    if outcome == 'unknown' and 'ended there' in text:
        return 'nobody: ended, said'
    if outcome == 'unknown' and 'godwit resolve web' in text:
        return 'nobody: unknown, said'
    if 'stays paused here' in text:
        return 'nobody: paused, said'
    raise Silent(f'nobody runs: {outcome}: {text}')


def half_a_vm(case):
    """One side waits for the other, which is no more."""
    if lives(case, case.a) and lives(case, case.b):
        raise Lost('both live, and the VM does not: '
                   + case.report.get('error-desc', ''))
    vm = case.a if waits(case, case.a) else case.b
    if 'post-copy: the link was lost' not in vm.said():
        raise Silent('it waits: ' + vm.said()[-300:])
    return 'nobody: half is ' + ('here, said' if vm is case.a else
                                 'there, said')


# -- what the user was told to do then

def settle(case, who):
    """Do it; who runs then."""
    if case.lock >= 0:
        os.close(case.lock)
    case.put_back()
    if who == 'nobody: paused, said':
        case.a.qmp('cont')
        return case.a
    if who == 'nobody: unknown, said':
        case.proxy.blocked = False
        here = godwit(case, 'resolve', 'web', '--here')
        assert here.returncode == 0, here
        return case.a
    if who.startswith('nobody'):
        bury(case)
        return None
    if case.a in case.killed:
        resolve_killed(case, who)
    elif case.report['x-job']['outcome'] == 'unknown':
        there = godwit(case, 'resolve', 'web', '--there')
        assert there.returncode == 0, there
    return {'source': case.a, 'destination': case.b}.get(who)


def resolve_killed(case, who):
    """It may have been given away: it is not booted before that is known (with
    BYE it is)."""
    if case.point.source in EARLY:
        return
    if any(r.endswith('.source') for r in left_records(case)):
        side = '--there' if who == 'destination' else '--here'
        done = godwit(case, 'resolve', 'web', side)
        assert done.returncode == 0, done
    elif who != 'destination' and case.point.kind != 'BYE':
        raise Silent('killed, and no record of it')


def refused(vm, command, **args):
    try:
        vm.qmp(command, **args)
    except RuntimeError:
        return True
    return False


def end(case, vm):
    """Half of a VM is not run by force; then it ends, as the user wants it."""
    if case.stands(vm):
        case.kill(vm)           # README, "What it does not do yet"
        return
    # where it runs and waits that is no news
    waiting = waits(case, vm)
    if not refused(vm, 'cont', x_force=True) and not waits(case, vm):
        raise Doubled('half of a VM was made to run')
    if waiting:
        done = godwit(case, 'resolve', 'web', '--here')
        if not waits(case, vm):
            raise Doubled('half of a VM was made to run: ' + done.stdout)
    vm.qmp('quit')
    if vm is case.a and waiting:
        vm.qmp('quit')          # the first one was warned of
    vm.proc.wait(60)


def bury(case):
    """Its end is told to whoever boots it anew."""
    for vm in (case.a, case.b):
        if lives(case, vm):
            end(case, vm)
    boot = godwit(case, 'run', '--name', 'web', '--kernel', '/dev/null')
    if 'godwit resolve web' not in boot.stdout:
        raise Silent('it is booted, though it ran there: ' + boot.stdout)
    done = godwit(case, 'resolve', 'web', '--here')
    assert done.returncode == 0, done


# -- what must be so whatever happened

def is_locked(path):
    fd = os.open(path, os.O_RDWR)
    answer = fcntl.fcntl(fd, harm.F_OFD_GETLK, harm.FLOCK.pack(
        fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    os.close(fd)
    return harm.FLOCK.unpack(answer)[0] != fcntl.F_UNLCK


def check_records(image, vms):
    text = ''.join(vm.output() for vm in vms)
    seen = [int(n) for n in re.findall(r'^R (\d+) bad=', text, re.M)]
    if len(set(seen)) != len(seen):
        raise Doubled(f'records {seen[-12:]}')
    if seen != list(range(0, 8 * len(seen), 8)) or 'BAD' in text or \
       re.search('bad=[1-9]', text):
        raise Lost(f'records {seen[-12:]}, {text[-300:]}')
    # each has its last record, or one that was begun since
    last = seen[-1]
    for slot, number in enumerate(slots(image)):
        if number == 0 and slot > last:
            continue            # not written yet
        if number % 64 != slot or not last - 64 < number <= last + 9:
            raise Lost(f'slot {slot} has {number}, the last was {last}')


def writes_on(vm):
    vm.wait_output(r'(R \d+ bad=0[^\n]*\n[^R]*){2}', len(vm.output()))
    sound(vm)


def move_again(case, vm):
    """The survivor goes to a third process; that one runs then."""
    disk = case.disk if vm is case.a else case.disk_there
    c = case.host.listen('--disk', disk + ',id=d')
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
    mine = re.compile(r'/((disk|there)\.img|proxy|nbd\.(sock|there)|'
                      r'(log|serial)\d+)$')
    found = [os.path.join(d, f) for d, _, files in os.walk(case.host.dir)
             for f in files]
    found = [f for f in found if f not in dead and not mine.search(f)]
    # what was killed may be asked for by name until it moves again
    if case.a in case.killed or not survived:
        found = [f for f in found if '/state/' not in f]
    if found:
        raise Left(', '.join(os.path.basename(f) for f in found))


def judge(case):
    """What became of it, in words."""
    rest(case)
    recovered = recover(case)
    who = who_runs(case)
    vms = [case.a, case.b]
    vm = settle(case, who)
    # of a disk that was copied, theirs
    ran_there = vm is case.b or 'R ' in case.b.output()
    image = case.image_there if ran_there else case.image
    if vm:
        writes_on(vm)
        assert case.disk != case.image or is_locked(image), \
            'it runs without a lock'
        if case.fault is not harm.fill_disk:
            vms.append(move_again(case, vm))
    check_nothing_left(case, vm is not None)
    for path in (case.image, case.image_there):
        until(lambda: not is_locked(path), 'the lock is given up')
    check_records(image, vms)
    return who + (', recovered' if recovered else '')
