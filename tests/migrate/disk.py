#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk's records, written and read while the VM moves to and fro."""
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '../lib'))
from godwit import GODWIT, GUESTS, Skip, main, moved, sound, until
from records import (FIRST, RECORDS, goes_on, new_image, slots, whole, writer,
                     written)

FULL = 'op=m qd=32 check=1 ms=0 every=1000 span=4 seg=1024'
MOVES = 4


def to_and_fro(host, disk, forth=None):
    """Move it several times; there it finds all that it wrote here."""
    vms = [writer(host, disk)]
    vms[0].wait_output(FIRST)
    for _ in range(MOVES):
        there = host.listen('--disk', disk + ',id=d')
        moved(vms[-1], there)
        written(there, 9)
        host.drop(vms[-1])
        vms.append(there)
    there.qmp('stop')
    return whole(*vms) - 8


def check_image(path, last):
    """Every slot has its last record, or one that was begun after it."""
    for slot, number in enumerate(slots(path)):
        assert number % 64 == slot, (slot, number)
        assert last - 64 < number <= last + 9, (slot, number, last)


def records_on_a_raw_image_are_whole(host):
    path = new_image(host)
    check_image(path, to_and_fro(host, path))


def server(host, *words):
    sock = host.path('nbd.sock')
    words = [w.replace('SOCK', sock) for w in words]
    if not shutil.which(words[0]):
        raise Skip(words[0] + ' is not installed')
    host.run(*words)
    until(lambda: os.path.exists(sock), words[0] + ' listens')
    return sock


def nbd(host, *words):
    path = new_image(host)
    sock = server(host, *[w.replace('IMAGE', path) for w in words])
    last = to_and_fro(host, 'nbd+unix:///?socket=' + sock)
    check_image(path, last)


def records_on_nbdkit_are_whole(host):
    nbd(host, 'nbdkit', '-f', '-U', 'SOCK', 'file', 'IMAGE')


def records_on_qemu_nbd_are_whole(host):
    nbd(host, 'qemu-nbd', '-t', '-e', '8', '-f', 'raw', '-k', 'SOCK', 'IMAGE')


def full_queue(host, disk):
    """The same with 32 requests always on their way, in pieces."""
    vm = host.boot('diskbench', FULL, '--disk', disk + ',id=d')
    vm.wait_output('D n=')
    for _ in range(MOVES):
        there = host.listen('--disk', disk + ',id=d')
        moved(vm, there)
        there.wait_output(r'(D n=\d+ bad=0\n[^D]*){3}')
        sound(there)
        host.drop(vm)
        vm = there


def a_full_queue_on_a_raw_image_moves(host):
    full_queue(host, new_image(host))


def a_full_queue_on_nbd_moves(host):
    sock = server(host, 'nbdkit', '-f', '-U', 'SOCK', 'memory', '4M')
    full_queue(host, 'nbd+unix:///?socket=' + sock)


def a_server_for_one_client_at_a_time_is_handed_over(host):
    nbd(host, 'nbdkit', '-f', '-U', 'SOCK', '--filter=limit', 'file', 'IMAGE',
        'limit=1')


def qemu_nbd_for_one_client_at_a_time_is_handed_over(host):
    nbd(host, 'qemu-nbd', '-t', '-e', '1', '-f', 'raw', '-k', 'SOCK', 'IMAGE')


def a_slow_nbd_server_is_drained_within_the_pause(host):
    path = new_image(host)
    sock = server(host, 'nbdkit', '-f', '-U', 'SOCK', '--filter=delay', 'file',
                  path, 'wdelay=5ms', 'rdelay=5ms')
    to_and_fro(host, 'nbd+unix:///?socket=' + sock)


def fences(report):
    return {d['id']: (d['kind'], d['fenced']) for d in report['x-job']['disks']}


def the_report_says_which_disk_has_no_fence(host):
    path, other = new_image(host), host.path('other.img')
    shutil.copy(path, other)
    sock = server(host, 'nbdkit', '-f', '-U', 'SOCK', 'file', path)
    disks = ['--disk', f'nbd+unix:///?socket={sock},id=n',
             '--disk', other + ',id=r']
    vm = host.boot('blk', RECORDS, *disks)
    vm.wait_output(FIRST)
    there = host.listen(*disks)
    done = subprocess.run([GODWIT, 'migrate', vm.control, there.uri],
                          env=host.env, capture_output=True, check=True)
    assert b'disk n (nbd+unix) has no fence' in done.stdout, done.stdout
    assert b'disk r' not in done.stdout, done.stdout
    expected = {'n': ('nbd+unix', False), 'r': ('file', True)}
    for side in (vm, there):
        assert fences(side.qmp('query-migrate')) == expected


def the_image_is_locked_by_the_side_that_runs(host):
    path = new_image(host)
    a = writer(host, path)
    a.wait_output(FIRST)
    b = host.listen('--disk', path + ',id=d')
    moved(a, b)
    second = subprocess.run(
        [GODWIT, 'run', '--kernel', os.path.join(GUESTS, 'blk.elf'), '--serial',
         'null', '--control', host.path('second'), '--disk', path],
        env=host.env, capture_output=True, check=False, timeout=60)
    assert second.returncode == 1 and b'disk' in second.stderr, second
    goes_on(b)


def a_destination_without_the_disk_is_refused_by_name(host):
    path = new_image(host)
    a = writer(host, path)
    a.wait_output(FIRST)
    b = host.listen('--disk', path + ',id=other')
    report = a.migrate(b.uri)
    assert report['status'] == 'failed', report
    assert 'id=other' in report['error-desc'], report['error-desc']
    goes_on(a)


def an_image_that_is_missing_there_is_refused(host):
    path = new_image(host)
    a = writer(host, path)
    a.wait_output(FIRST)
    b = host.listen('--disk', host.path('nothing.img') + ',id=d')
    report = a.migrate(b.uri)
    assert report['status'] == 'failed', report
    assert 'nothing.img' in report['error-desc'], report['error-desc']
    goes_on(a)


def said_no(call, why):
    try:
        call()
    except RuntimeError as e:
        assert why in str(e), e
    else:
        raise AssertionError('it was allowed')


def a_disk_that_was_made_larger_moves_with_its_size(host):
    path = new_image(host)
    vm = host.boot('blk', RECORDS, '--disk', path + ',id=d')
    vm.wait_output(r'R [1-9]\d* ')
    vm.qmp('block_resize', device='d', size=8 << 20)
    assert os.stat(path).st_size == 8 << 20
    there = host.listen('--disk', path + ',id=d')
    moved(vm, there)
    there.wait_output(r'(R \d+ bad=0[^\n]*\n[^R]*){9}')
    said_no(lambda: vm.qmp('block_resize', device='d', size=16 << 20),
            'has moved')
    there.qmp('block_resize', device='d', size=16 << 20)
    assert os.stat(path).st_size == 16 << 20
    sound(there)


def a_disk_is_not_resized_while_its_vm_moves(host):
    path = new_image(host)
    vm = host.boot('blk', RECORDS, '--disk', path + ',id=d')
    vm.wait_output(r'R [1-9]\d* ')
    there = host.listen('--disk', path + ',id=d')
    vm.migrate(there.uri, wait=False, max_bandwidth=1 << 20)
    said_no(lambda: vm.qmp('block_resize', device='d', size=8 << 20),
            'being moved')
    said_no(lambda: there.qmp('block_resize', device='d', size=8 << 20),
            'arriv')
    vm.qmp('migrate_cancel')
    assert vm.outcome()['status'] == 'cancelled'
    said_no(lambda: vm.qmp('block_resize', device='e', size=8 << 20),
            'no disk e')
    said_no(lambda: vm.qmp('block_resize', device='d', size=1 << 20),
            'only grows')
    assert os.stat(path).st_size == 4 << 20
    vm.qmp('block_resize', node_name='d', size=8 << 20)
    sound(vm)


CLAIMS = [
    records_on_a_raw_image_are_whole,
    records_on_nbdkit_are_whole,
    records_on_qemu_nbd_are_whole,
    a_full_queue_on_a_raw_image_moves,
    a_full_queue_on_nbd_moves,
    a_server_for_one_client_at_a_time_is_handed_over,
    qemu_nbd_for_one_client_at_a_time_is_handed_over,
    a_slow_nbd_server_is_drained_within_the_pause,
    the_report_says_which_disk_has_no_fence,
    the_image_is_locked_by_the_side_that_runs,
    a_disk_that_was_made_larger_moves_with_its_size,
    a_disk_is_not_resized_while_its_vm_moves,
    a_destination_without_the_disk_is_refused_by_name,
    an_image_that_is_missing_there_is_refused,
]

if __name__ == '__main__':
    sys.exit(main(CLAIMS))
