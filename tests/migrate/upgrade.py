#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""`godwit upgrade`: a VM goes on in a new process, and under its name."""
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '../lib'))
from godwit import GODWIT, GUESTS, Qmp, main, sound, until
from records import new_image, whole, writer

LOAD = 'mode=verify ws=16 rate=100 hb=50'


def upgrade(host, vm, *words):
    """The command's result."""
    return subprocess.run([GODWIT, 'upgrade', vm.control, '--json', *words],
                          env=host.env, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=120, check=False)


def about(vm):
    qmp = Qmp(vm.control)
    try:
        return qmp('x-query-vm')
    finally:
        qmp.close()


def end(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def upgraded(host, vm, *words):
    """Upgrade, and expect that all of the VM is in a new process: its pid."""
    before = about(vm)
    vm.qmp.close()
    done = upgrade(host, vm, *words)
    assert done.returncode == 0, done
    after = about(vm)
    host.cleanups.append(lambda: end(after['pid']))
    host.known.add(after['pid'])
    assert after['pid'] != before['pid'] and after['status'] == 'running'
    assert after['name'] == before['name'], after
    if before['pid'] == vm.pid:
        assert vm.proc.wait(60) == 0, vm.said()
    nothing_left(host)
    vm.qmp = Qmp(vm.control)
    return after['pid'], json.loads(done.stdout)


def nothing_left(host):
    """No directory of an upgrade, and no process that waits in one."""
    runtime = host.path('godwit')
    assert not os.path.exists(runtime) or os.listdir(runtime) == []
    until(lambda: not started_in(runtime) - host.known,
          'the new process ends')


def started_in(runtime):
    """The processes that were told to wait there."""
    pids = set()
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{pid}/cmdline', 'rb') as f:
                if runtime.encode() + b'/upgrade-' in f.read():
                    pids.add(int(pid))
        except (FileNotFoundError, ProcessLookupError):
            pass
    return pids


def beats_on(vm):
    """The guest's lines go on where they were, none lost, none twice."""
    seen = len(vm.beats())
    until(lambda: len(vm.beats()) > seen + 2,
          lambda: 'it goes on: ' + vm.output()[-300:])
    numbers = [h['n'] for h in vm.beats()]
    assert numbers == list(range(len(numbers))), numbers
    sound(vm)


def verifier(host, memory='64,shared=on', *words):
    vm = host.boot('verifier', LOAD, *words, memory=memory)
    host.known = set()
    vm.wait_output('V')
    vm.alive()
    return vm


def stays(host, vm, done, why):
    """It was not upgraded, for this reason; the old process goes on."""
    assert done.returncode == 1, done
    assert re.search(why, done.stderr), done.stderr
    assert about(vm)['pid'] == vm.pid and vm.proc.poll() is None
    nothing_left(host)
    beats_on(vm)


def a_vm_goes_on_in_a_new_process_under_its_name(host):
    vm = verifier(host)
    pid, report = upgraded(host, vm)
    assert report['x-job']['type'] == 'local', report
    assert report['ram']['normal'] == 0, report
    assert os.path.realpath(f'/proc/{pid}/exe') == os.path.realpath(GODWIT)
    assert os.getsid(pid) == pid
    beats_on(vm)


def memory_of_its_own_is_copied(host):
    vm = verifier(host, '64')
    _, report = upgraded(host, vm)
    assert report['ram']['normal'] > 0, report
    beats_on(vm)


def it_is_upgraded_again_and_moves_on(host):
    vm = verifier(host)
    copy = host.path('other-godwit')
    shutil.copy(GODWIT, copy)
    pid, _ = upgraded(host, vm, '--binary', copy)
    assert os.readlink(f'/proc/{pid}/exe') == copy
    pid, _ = upgraded(host, vm)
    assert os.readlink(f'/proc/{pid}/exe') == os.path.realpath(GODWIT)
    there = host.listen()
    vm.qmp('migrate', uri=there.uri, x_local=True)
    until(lambda: there.status() == 'running', 'it moves')
    there.alive()


def records_on_a_disk_are_whole(host):
    vm = writer(host, new_image(host), memory='64,shared=on')
    host.known = set()
    for _ in range(3):
        seen = whole(vm)
        until(lambda: whole(vm) > seen + 32, 'it writes')
        upgraded(host, vm)
    whole(vm)


def confinement_and_log_go_on(host):
    vm = verifier(host, '64,shared=on', '--log', 'info')
    before = filters(vm.pid)
    pid, _ = upgraded(host, vm)
    assert filters(pid) == before, filters(pid)
    assert os.path.samefile(f'/proc/{pid}/fd/2', vm.log)
    assert 'arrived and running' in vm.said(), vm.said()


def filters(pid):
    """What confines the process."""
    with open(f'/proc/{pid}/status', encoding='ascii') as f:
        return re.findall(r'^(?:Seccomp|CapEff|NoNewPrivs).*', f.read(), re.M)


def a_program_that_is_no_godwit_leaves_the_vm_alone(host):
    vm = verifier(host)
    stays(host, vm, upgrade(host, vm, '--binary', '/bin/false'), 'status 1')
    stays(host, vm, upgrade(host, vm, '--binary', '/nowhere'), 'No such file')


def what_the_new_process_cannot_have_leaves_the_vm_alone(host):
    vm = verifier(host, '64,shared=on', '--console',
                  'virtio:unix:' + host.path('con'))
    stays(host, vm, upgrade(host, vm), 'cannot listen on .*con')


def killed_before_the_hand_over_upgrade_leaves_no_process(host):
    vm = verifier(host)
    script = host.path('killer')
    with open(script, 'w', encoding='ascii') as f:
        f.write(f'#!/bin/sh\nkill -KILL $PPID\nexec {GODWIT} "$@"\n')
    os.chmod(script, 0o755)
    done = upgrade(host, vm, '--binary', script)
    assert done.returncode == -signal.SIGKILL, done
    runtime = host.path('godwit')
    for name in os.listdir(runtime):
        shutil.rmtree(os.path.join(runtime, name))
    nothing_left(host)
    assert about(vm)['pid'] == vm.pid
    beats_on(vm)
    upgraded(host, vm)
    beats_on(vm)


def a_vm_on_its_terminal_stays_there(host):
    here, there = pty.openpty()
    control = host.path('control')
    proc = subprocess.Popen(
        [GODWIT, 'run', '--kernel', os.path.join(GUESTS, 'verifier.elf'),
         '--append', LOAD, '--memory', '64,shared=on', '--control', control],
        env=host.env, stdin=there, stdout=there, stderr=there)
    host.procs.append(proc)
    os.close(there)
    host.cleanups.append(lambda: os.close(here))
    text = b''
    while b'V' not in text:
        text += os.read(here, 4096)
    done = subprocess.run([GODWIT, 'upgrade', control], env=host.env,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 1 and 'terminal' in done.stderr, done
    assert proc.poll() is None
    host.known = set()
    nothing_left(host)


CLAIMS = [
    a_vm_goes_on_in_a_new_process_under_its_name,
    memory_of_its_own_is_copied,
    it_is_upgraded_again_and_moves_on,
    records_on_a_disk_are_whole,
    confinement_and_log_go_on,
    a_program_that_is_no_godwit_leaves_the_vm_alone,
    what_the_new_process_cannot_have_leaves_the_vm_alone,
    killed_before_the_hand_over_upgrade_leaves_no_process,
    a_vm_on_its_terminal_stays_there,
]

if __name__ == '__main__':
    sys.exit(main(CLAIMS))
