#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks that fail: the VM stops, what was asked for is kept, and done when the
disk works again, here or where the VM has moved to."""
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '../lib'))
from godwit import Skip, main, moved, until
from records import FIRST, new_image, whole, writer, written



def stopped(vm, **expected):
    """It has stopped for the disk; the event says why."""
    event = vm.qmp.wait_event(lambda e: e['event'] == 'BLOCK_IO_ERROR')['data']
    assert event['action'] == 'stop' and event['device'] == 'd', event
    for name, value in expected.items():
        assert event[name] == value, event
    until(lambda: vm.status() == 'io-error', lambda: 'it stops: ' + vm.said())


def goes_on(vm, *before):
    """It makes progress, and neither here nor before has it missed a record."""
    written(vm, 9, len(vm.output()))
    whole(*before, vm)


def full(host):
    """An image that can't hold all records, and how to make room for them."""
    where = host.path('small')
    os.mkdir(where)
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=128K', 'small', where]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        raise Skip('no file system can be mounted here')
    host.cleanups.append(lambda: subprocess.run(['umount', '-l', where],
                                                check=False))
    image = new_image(host, os.path.join(where, 'disk.img'))
    return image, lambda: subprocess.run(
        ['mount', '-o', 'remount,size=8M', where], check=True)


def a_full_disk_stops_the_vm_until_there_is_room(host):
    image, make_room = full(host)
    vm = writer(host, image)
    stopped(vm, operation='write', nospace=True)
    vm.qmp('cont')                      # in vain
    until(lambda: vm.status() == 'io-error', 'it stops again')
    make_room()
    vm.qmp('cont')
    goes_on(vm)


def a_vm_that_waits_for_room_moves_and_goes_on_there(host):
    image, make_room = full(host)
    vm = writer(host, image)
    stopped(vm, nospace=True)
    there = host.listen('--disk', image + ',id=d')
    make_room()
    moved(vm, there)
    goes_on(there, vm)


def a_vm_moves_before_there_is_room_and_waits_there(host):
    image, make_room = full(host)
    vm = writer(host, image)
    stopped(vm, nospace=True)
    there = host.listen('--disk', image + ',id=d')
    assert vm.migrate(there.uri)['status'] == 'completed'
    stopped(there, nospace=True)
    make_room()
    there.qmp('cont')
    goes_on(there, vm)


def nbdkit(host, name, image, filters=(), words=()):
    """Serve the image; (the process, the disk's URI)."""
    if not shutil.which('nbdkit'):
        raise Skip('nbdkit is not installed')
    sock = host.path(name)
    if os.path.exists(sock):
        os.unlink(sock)
    proc = host.run('nbdkit', '-f', '-U', sock, *filters, 'file', image,
                    *words)
    until(lambda: os.path.exists(sock), 'nbdkit listens')
    return proc, f'nbd+unix:///?socket={sock}'


def end(proc):
    proc.kill()
    proc.wait()


def a_lost_server_stops_the_vm_until_it_is_back(host):
    image = new_image(host)
    server, uri = nbdkit(host, 'nbd', image)
    vm = writer(host, uri + ',reconnect-delay=1')
    vm.wait_output(FIRST)
    end(server)
    stopped(vm, nospace=False)
    nbdkit(host, 'nbd', image)
    until(lambda: vm.status() == 'running', 'it goes on by itself')
    goes_on(vm)


def a_server_that_is_back_in_time_stops_nothing(host):
    image = new_image(host)
    server, uri = nbdkit(host, 'nbd', image)
    vm = writer(host, uri)
    vm.wait_output(FIRST)
    end(server)
    vm.qmp.wait_event(lambda e: e['event'] == 'X_DISK_LOST')
    nbdkit(host, 'nbd', image)
    vm.qmp.wait_event(lambda e: e['event'] == 'X_DISK_FOUND')
    goes_on(vm)
    assert not [e for e in vm.qmp.events if e['event'] == 'STOP']


def whom_the_user_paused_a_found_server_does_not_resume(host):
    image = new_image(host)
    server, uri = nbdkit(host, 'nbd', image)
    vm = writer(host, uri + ',reconnect-delay=1')
    vm.wait_output(FIRST)
    end(server)
    stopped(vm)
    vm.qmp('stop')
    nbdkit(host, 'nbd', image)
    vm.qmp.wait_event(lambda e: e['event'] == 'X_DISK_FOUND')
    assert vm.status() == 'paused', vm.status()
    vm.qmp('cont')
    goes_on(vm)


def a_vm_leaves_a_host_that_lost_the_server(host):
    image = new_image(host)
    server, here = nbdkit(host, 'nbd', image)
    vm = writer(host, here + ',reconnect-delay=1')
    vm.wait_output(FIRST)
    end(server)
    stopped(vm)
    there = host.listen('--disk', nbdkit(host, 'other', image)[1] + ',id=d')
    moved(vm, there)
    goes_on(there, vm)


def failing(host):
    """A server whose writes fail while a file is there."""
    sign = host.path('sign')
    uri = nbdkit(host, 'nbd', new_image(host), ['--filter=error'],
                 ['error-pwrite=EIO', 'error-pwrite-rate=100%',
                  'error-pwrite-file=' + sign])[1]
    return uri, sign


def a_failing_write_stops_who_asked_for_that(host):
    uri, sign = failing(host)
    vm = writer(host, uri + ',werror=stop')
    vm.wait_output(FIRST)
    with open(sign, 'wb'):
        pass
    stopped(vm, operation='write', nospace=False)
    os.unlink(sign)
    vm.qmp('cont')
    goes_on(vm)


def else_the_guest_is_told(host):
    uri, sign = failing(host)
    vm = writer(host, uri)
    vm.wait_output(FIRST)
    with open(sign, 'wb'):
        pass
    vm.wait_output('BAD write status')
    event = vm.qmp.wait_event(lambda e: e['event'] == 'BLOCK_IO_ERROR')
    assert event['data']['action'] == 'report', event
    assert vm.status() == 'running', vm.status()


CLAIMS = [
    a_full_disk_stops_the_vm_until_there_is_room,
    a_vm_that_waits_for_room_moves_and_goes_on_there,
    a_vm_moves_before_there_is_room_and_waits_there,
    a_lost_server_stops_the_vm_until_it_is_back,
    a_server_that_is_back_in_time_stops_nothing,
    whom_the_user_paused_a_found_server_does_not_resume,
    a_vm_leaves_a_host_that_lost_the_server,
    a_failing_write_stops_who_asked_for_that,
    else_the_guest_is_told,
]

if __name__ == '__main__':
    sys.exit(main(CLAIMS))
