#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A VM on a disk in Ceph moves, and is never run twice: who has the image's
lock at each stage, and what becomes of a holder that died or hung. Against a
Ceph of this machine's own (tests/rig/ceph)."""
import atexit
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '../lib'))
from godwit import GODWIT, GUESTS, LIMIT, O, main, moved, until
from records import FIRST, RECORDS, goes_on, whole

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../..')
MOVES = 4
NEEDED = ('ceph-mon', 'ceph-osd', 'ceph', 'rbd', 'monmaptool')


def ceph_start():
    """Its ceph.conf; ends with this process."""
    where = tempfile.mkdtemp(prefix='godwit-ceph-')
    env = dict(os.environ, AUTH='cephx', PORT=str(13300 + os.getpid() % 400 * 40))

    def end():
        subprocess.run([f'{ROOT}/tests/rig/ceph', 'stop', where], env=env,
                       check=False)
        shutil.rmtree(where, ignore_errors=True)
    atexit.register(end)
    subprocess.run([f'{ROOT}/tests/rig/ceph', 'start', where], env=env,
                   check=True)
    return os.path.join(where, 'ceph.conf')


def ceph(*words):
    """A Ceph command's answer: the JSON that it prints first."""
    done = subprocess.run([*words, '--format', 'json'], check=True,
                          capture_output=True, timeout=LIMIT)
    return json.JSONDecoder().raw_decode(done.stdout.decode().strip())[0]


def make_image(host, size='4M'):
    """An image of the claim's own: its name, and the option for --disk."""
    name = os.path.basename(host.dir)
    subprocess.run(['rbd', 'create', '--size', size, name], check=True)
    return name, f'rbd:rbd/{name}:conf={os.environ["CEPH_CONF"]},id=d'


def lockers(name):
    return [lock['address'] for lock in ceph('rbd', 'lock', 'ls', name)]


def watchers(name):
    return [w['address'] for w in ceph('rbd', 'status', name)['watchers']]


def address(vm):
    """Under which it took the lock last, by its own account."""
    return until(lambda: re.findall(r'exclusive lock as (\S+)', vm.said()),
                 lambda: 'it takes the lock: ' + vm.said())[-1]


def boot(host, disk, *words):
    vm = host.boot('blk', RECORDS, '--log', 'info', '--disk', disk, *words)
    vm.wait_output(FIRST)
    return vm


def the_driver_keeps_its_promises_on_ceph(host):
    done = subprocess.run(
        [f'{O}/tests/unit/block_rbd'], check=False, capture_output=True,
        env=dict(os.environ, GODWIT_CEPH_CONF=os.environ['CEPH_CONF']))
    text = (done.stdout + done.stderr).decode()
    assert done.returncode == 0 and 'SKIP' not in text, text


def key(host, user):
    """A user who may use images and nothing else; where his key is."""
    path = host.path(user + '.keyring')
    subprocess.run(['ceph', 'auth', 'get-or-create', 'client.' + user, 'mon',
                    'profile rbd', 'osd', 'profile rbd pool=rbd', '-o', path],
                   check=True, capture_output=True)
    return path


def a_user_with_a_key_of_his_own_may_move_it(host):
    name, disk = make_image(host)
    disk = disk.replace(',id=', f':id=guest:keyring={key(host, "guest")},id=')
    vm = boot(host, disk)
    there = host.listen('--disk', disk)
    moved(vm, there)
    goes_on(there)
    assert lockers(name) == [address(there)], lockers(name)


def without_a_key_it_is_refused_by_name(host):
    _, disk = make_image(host)
    disk = disk.replace(',id=', f':id=nobody:keyring={host.path("no")},id=')
    second = subprocess.run(
        [GODWIT, 'run', '--kernel', f'{GUESTS}/blk.elf', '--serial', 'null',
         '--control', host.path('second'), '--disk', disk],
        env=host.env, capture_output=True, check=False, timeout=LIMIT)
    assert second.returncode == 1, second
    assert b'client.nobody' in second.stderr, second.stderr


def an_image_in_a_namespace_moves_with_its_new_size(host):
    name, disk = make_image(host)
    where = f'{name}-ns/{name}'
    for words in (['namespace', 'create', f'rbd/{name}-ns'],
                  ['create', '--size', '4M', f'rbd/{where}']):
        subprocess.run(['rbd', *words], check=True)
    disk = disk.replace(f'rbd/{name}', f'rbd/{where}')
    vm = boot(host, disk)
    subprocess.run(['rbd', 'resize', '--no-progress', '--size', '8M',
                    f'rbd/{where}'], check=True)
    until(lambda: 'has 8388608 bytes now' in vm.said(), vm.said)
    there = host.listen('--disk', disk)
    moved(vm, there)
    goes_on(there)


def reads():
    """Operations that read something, of Ceph's one OSD so far."""
    return ceph('ceph', 'tell', 'osd.0', 'perf', 'dump')['osd']['op_r']


def copied_to_a_file_its_holes_are_not_read(host):
    name, disk = make_image(host, '512M')
    there = host.path('there')
    with open(there, 'wb') as f:
        f.truncate(512 << 20)
    vm = boot(host, disk)
    vm.qmp('stop')
    b = host.listen('--disk', there + ',id=d')
    before = reads()
    report = vm.migrate(b.uri, copy_disk='d')
    assert report['status'] == 'completed', report
    # 4 MiB that hold data, and what librbd wants to know; not 512
    assert reads() - before < 100, reads() - before
    subprocess.run(['rbd', 'export', '--no-progress', name,
                    host.path('here')], check=True)
    subprocess.run(['cmp', host.path('here'), there], check=True)
    b.qmp('cont')
    goes_on(b)


def copied_to_an_empty_image_under_load_it_is_not_read(host):
    name, disk = make_image(host, '16G')
    subprocess.run(['rbd', 'create', '--size', '16G', name + '2'], check=True)
    vm = boot(host, disk)
    before = reads()
    b = host.listen('--disk', disk.replace(name, name + '2'))
    moved(vm, b, copy_disk='d')
    # the guest's own among them; each side has 16384 MiB
    assert reads() - before < 8192, reads() - before
    goes_on(b)


def leave(vm):
    """Properly: whoever is killed goes on being asked for its watch's time."""
    vm.qmp('quit')
    vm.proc.wait(LIMIT)


def the_lock_is_with_the_side_that_runs_and_no_record_is_lost(host):
    name, disk = make_image(host)
    vm = boot(host, disk)
    vms = [vm]
    assert lockers(name) == [address(vm)], lockers(name)
    for _ in range(MOVES):
        there = host.listen('--disk', disk)
        assert lockers(name) == [address(vm)], lockers(name)
        pause = moved(vm, there)['x-job']['pause-us']
        print(f'# released in {pause["deactivate"]} us, taken in '
              f'{pause["prepared/activate"]} us')
        assert lockers(name) == [address(there)] != [address(vm)]
        goes_on(there)
        leave(vm)
        host.drop(vm)
        vm = there
        vms.append(vm)
    vm.qmp('stop')
    whole(*vms)


def a_refused_move_leaves_the_lock_where_it_was(host):
    name, disk = make_image(host)
    vm = boot(host, disk)
    there = host.listen('--disk', disk.replace(name, 'nothing'))
    report = vm.migrate(there.uri)
    assert report['status'] == 'failed', report
    assert 'rbd:rbd/nothing' in report['error-desc'], report['error-desc']
    assert lockers(name) == [address(vm)], lockers(name)
    goes_on(vm)


def a_live_holder_is_named_and_left_alone(host):
    name, disk = make_image(host)
    vm = boot(host, disk)
    second = subprocess.run(
        [GODWIT, 'run', '--kernel', f'{GUESTS}/blk.elf', '--serial', 'null',
         '--control', host.path('second'), '--disk', disk],
        env=host.env, capture_output=True, check=False, timeout=LIMIT)
    text = second.stderr.decode()
    assert second.returncode == 1 and address(vm) in text, text
    assert lockers(name) == [address(vm)], lockers(name)
    goes_on(vm)


def replaced(host, name, disk, old, *words):
    """Another VM on the image of one that does not answer any more."""
    until(lambda: address(old) not in watchers(name), 'Ceph gives it up')
    new = boot(host, disk, *words)
    assert lockers(name) == [address(new)], lockers(name)
    assert any(entry['addr'] == address(old)
               for entry in ceph('ceph', 'osd', 'blocklist', 'ls'))
    return new


def shut_out(old):
    """Its write fails, and people are told."""
    old.wait_output('BAD write status')
    assert 'another host has taken this image away' in old.said(), old.said()
    old.qmp.wait_event(lambda e: e['event'] == 'BLOCK_IO_ERROR')


def a_killed_holder_is_blocklisted_and_its_lock_taken(host):
    name, disk = make_image(host)
    old = boot(host, disk)
    old.kill()
    goes_on(replaced(host, name, disk, old))


def who_hung_and_was_replaced_can_t_write_any_more(host):
    name, disk = make_image(host)
    old = boot(host, disk)
    old.proc.send_signal(signal.SIGSTOP)
    new = replaced(host, name, disk, old)
    old.proc.send_signal(signal.SIGCONT)
    shut_out(old)
    goes_on(new)
    assert lockers(name) == [address(new)], lockers(name)


def lock_break_shuts_a_live_holder_out(host):
    name, disk = make_image(host)
    old = boot(host, disk)
    new = boot(host, disk.replace(',id=', ':lock=break,id='))
    shut_out(old)
    assert lockers(name) == [address(new)], lockers(name)
    goes_on(new)


CLAIMS = [
    the_driver_keeps_its_promises_on_ceph,
    the_lock_is_with_the_side_that_runs_and_no_record_is_lost,
    a_user_with_a_key_of_his_own_may_move_it,
    without_a_key_it_is_refused_by_name,
    an_image_in_a_namespace_moves_with_its_new_size,
    copied_to_a_file_its_holes_are_not_read,
    copied_to_an_empty_image_under_load_it_is_not_read,
    a_refused_move_leaves_the_lock_where_it_was,
    a_live_holder_is_named_and_left_alone,
    a_killed_holder_is_blocklisted_and_its_lock_taken,
    who_hung_and_was_replaced_can_t_write_any_more,
    lock_break_shuts_a_live_holder_out,
]


def why_not():
    """What hinders; installs Ceph where it is missing and can be had."""
    known = subprocess.run([GODWIT, 'run', '--disk', 'none:'], check=False,
                           capture_output=True).stderr
    if b'rbd:' not in known:
        return 'this build has no RBD disks'
    if not all(map(shutil.which, NEEDED)) and subprocess.run(
            [f'{ROOT}/tests/deps', 'ceph'], check=False,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
        return "Ceph isn't installed (tests/deps ceph)"
    return None


if __name__ == '__main__':
    if not os.access('/dev/kvm', os.R_OK | os.W_OK):
        sys.exit(main(CLAIMS))
    hindrance = why_not()
    if hindrance:
        print(f'1..1\nok 1 - a VM on RBD moves # SKIP {hindrance}')
        sys.exit(0)
    os.environ['CEPH_CONF'] = ceph_start()
    sys.exit(main(CLAIMS))
