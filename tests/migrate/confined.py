#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a VM's process may do while its guest runs. That all else works confined
is claimed by the other tests: they run so."""
import os
import re
import shutil
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '../lib'))
from godwit import GODWIT, GUESTS, Skip, main, moved, sound, until
from records import FIRST, goes_on, new_image, writer

LOAD = 'mode=verify ws=16 rate=100 hb=50'
USER, GROUP = 54321, 54322              # nobody's


def threads(vm):
    """{name: {field: value}} of /proc/PID/task/*/status."""
    found = {}
    base = f'/proc/{vm.pid}/task'
    for task in os.listdir(base):
        with open(f'{base}/{task}/status', encoding='ascii') as f:
            fields = dict(re.findall(r'^(\w+):[ \t]*(.*)$', f.read(), re.M))
        found[fields['Name'] + '-' + task] = fields
    return found


def confined(vm):
    """Each thread, and a vCPU's more than the others."""
    found = threads(vm)
    if 'Seccomp' not in next(iter(found.values())):
        raise Skip('this kernel does not tell')
    if 'is not confined' in vm.said():
        raise Skip('built without seccomp')
    for name, fields in found.items():
        assert fields['Seccomp'] == '2', (name, fields['Seccomp'])
        assert fields['NoNewPrivs'] == '1', name
        # CAP_SYS_ADMIN, CAP_SYS_PTRACE, CAP_SYS_MODULE, CAP_SYS_RAWIO
        assert not int(fields['CapPrm'], 16) & (1 << 21 | 1 << 19 | 1 << 16 |
                                                1 << 17), (name, fields)
    cpus = [f for n, f in found.items() if n.startswith('vcpu')]
    assert cpus, found.keys()
    for fields in cpus:
        assert int(fields['CapPrm'], 16) == 0, fields['CapPrm']
        assert fields.get('Seccomp_filters', '2') == '2', fields


def is_confined(vm):
    try:
        confined(vm)
    except AssertionError:
        return False
    return True


def a_vm_is_confined_where_it_boots_and_where_it_arrives(host):
    a = host.boot('verifier', LOAD)
    a.wait_output('V')
    confined(a)
    b = host.listen()
    moved(a, b, channels=2, downtime_limit=20000, max_pause=20000)
    b.alive()
    confined(b)


def who_sends_the_memory_meets_a_confined_process(host):
    a = host.boot('verifier', LOAD)
    a.wait_output('V')
    b = host.listen()
    a.migrate(b.uri, wait=False, max_bandwidth=1 << 20)
    b.qmp.wait_event(lambda e: e['event'] == 'MIGRATION'
                     and e['data']['status'] == 'active')
    until(lambda: is_confined(b), 'its threads are confined')
    a.qmp('migrate_cancel')
    assert a.outcome()['status'] == 'cancelled'
    # it can still build another machine, and runs one
    moved(a, b, downtime_limit=20000, max_pause=20000)
    b.alive()


def as_user(host, *words):
    """Options for it, and a root directory for them."""
    if os.geteuid():
        raise Skip('only root can become another user')
    root = host.path('root')
    if not os.path.exists(root):
        os.mkdir(root)
        os.chown(root, USER, GROUP)
        os.chmod(host.dir, 0o711)
    return ('--user', f'{USER}:{GROUP}', *words)


def chrooted(host):
    return as_user(host, '--chroot', host.path('root'))


def is_user(vm, root):
    """All threads, in all ids, with no capability and no way to get one."""
    for name, fields in threads(vm).items():
        assert fields['Uid'].split() == [str(USER)] * 4, (name, fields['Uid'])
        assert fields['Gid'].split() == [str(GROUP)] * 4, (name, fields['Gid'])
        assert not fields['Groups'].split(), (name, fields['Groups'])
        for kind in ('CapInh', 'CapPrm', 'CapEff', 'CapAmb'):
            assert int(fields[kind], 16) == 0, (name, kind, fields[kind])
    there = os.readlink(f'/proc/{vm.pid}/root')
    assert there == os.path.realpath(root), there


def nbd(host, port=0):
    """A server by TCP: (the process, its port)."""
    if not shutil.which('nbdkit'):
        raise Skip('nbdkit is not installed')
    image = host.path('disk.img')
    if not port:
        with socket.create_server(('127.0.0.1', 0)) as s:
            port = s.getsockname()[1]
        new_image(host, image)
    proc = host.run('nbdkit', '-f', '-i', '127.0.0.1', '-p', str(port), 'file',
                    image)

    def answers():
        with socket.socket() as s:
            return s.connect_ex(('127.0.0.1', port)) == 0
    until(answers, 'nbdkit listens')
    return proc, port


def refused(host, *words):
    """What it says when it does not start."""
    done = subprocess.run(
        [GODWIT, 'run', '--kernel', os.path.join(GUESTS, 'verifier.elf'),
         '--control', host.path('refused'), *words], env=host.env,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        timeout=60)
    assert done.returncode, done
    return done.stderr


def as_another_user_below_another_root_a_vm_moves_there_and_back(host):
    words = chrooted(host)
    tcp = 'tcp:127.0.0.1:0'
    _, port = nbd(host)
    a = writer(host, f'nbd://127.0.0.1:{port}/', '--plain', *words)
    a.wait_output(FIRST)
    is_user(a, host.path('root'))
    for n in range(2):
        b = host.listen('--name', f'to{n}', *words, uri=tcp)
        moved(a, b, downtime_limit=20000, max_pause=20000)
        b.wait_output(FIRST)
        is_user(b, host.path('root'))
        sound(b)
        host.drop(a)
        a = b
    left = [f for f in os.listdir(host.path('root/godwit'))
            if f.endswith('.source')]
    assert not left, left


def so_its_disk_comes_back_after_its_server(host):
    server, port = nbd(host)
    vm = writer(host, f'nbd://127.0.0.1:{port}/', *chrooted(host))
    vm.wait_output(FIRST)
    server.kill()
    server.wait()
    vm.qmp.wait_event(lambda e: e['event'] == 'X_DISK_LOST')
    nbd(host, port)
    vm.qmp.wait_event(lambda e: e['event'] == 'X_DISK_FOUND')
    goes_on(vm, 5)
    is_user(vm, host.path('root'))


def so_it_is_saved_and_comes_back(host):
    words = chrooted(host)
    vm = host.boot('verifier', LOAD, *words)
    vm.wait_output('V')
    try:
        vm.qmp('x-save', file=host.path('saved'))
        assert False, 'saved outside of its root'
    except RuntimeError as error:
        assert 'nothing outside of its --chroot' in str(error), error
    file = host.path('root/saved')
    vm.qmp('x-save', file=file)
    report = vm.outcome()
    assert report['status'] == 'completed', report
    assert os.stat(file).st_uid == USER
    host.drop(vm)
    vm = host.restore(file, *words)
    vm.alive()
    is_user(vm, host.path('root'))
    sound(vm)


def as_another_user_alone_it_moves_by_a_unix_socket(host):
    words = as_user(host)
    a = host.boot('verifier', LOAD, *words)
    a.wait_output('V')
    is_user(a, '/')
    uri = 'unix:' + host.path('root/in')
    b = host.listen('--name', 'to', *words, uri=uri)
    os.chown(host.path('root/in'), USER, GROUP)
    moved(a, b, downtime_limit=20000, max_pause=20000)
    b.alive()
    is_user(b, '/')
    # pages that it never touched cost nothing: /proc was looked at in time
    report = a.qmp('query-migrate')['ram']
    assert report['transferred'] < 48 << 20, report


def what_can_not_be_had_as_another_user_is_said(host):
    words = chrooted(host)
    text = refused(host, '--chroot', host.path('root'))
    assert 'missing --user' in text, text
    text = refused(host, '--user', '0:0')
    assert 'root' in text, text
    text = refused(host, '--user', 'nobody-is-called-so')
    assert "no user 'nobody-is-called-so'" in text, text
    text = refused(host, '--user', f'{USER}:{GROUP}', '--disk',
                   'drbd:nothing')
    assert 'not with a disk on DRBD' in text, text
    text = refused(host, *words, '--disk', 'nbd+unix:///?socket=/nowhere')
    assert 'its socket could not be found again' in text, text
    text = refused(host, *as_user(host, '--chroot', '/nowhere'))
    assert '/nowhere: No such file' in text, text


def one_that_is_not_to_be_confined_is_not(host):
    a = host.boot('verifier', LOAD, '--seccomp', 'off')
    a.wait_output('V')
    for name, fields in threads(a).items():
        assert fields['Seccomp'] == '0', name


CLAIMS = [
    a_vm_is_confined_where_it_boots_and_where_it_arrives,
    who_sends_the_memory_meets_a_confined_process,
    one_that_is_not_to_be_confined_is_not,
    as_another_user_below_another_root_a_vm_moves_there_and_back,
    so_its_disk_comes_back_after_its_server,
    so_it_is_saved_and_comes_back,
    as_another_user_alone_it_moves_by_a_unix_socket,
    what_can_not_be_had_as_another_user_is_said,
]

if __name__ == '__main__':
    sys.exit(main(CLAIMS))
