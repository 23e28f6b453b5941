#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""VMs that are saved to a file while they run, and come back from it."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '../lib'))
from godwit import GODWIT, beats, main, moved, sound, until
from records import FIRST, new_image, whole, writer, written

LOAD = 'mode=verify ws=16 rate=100 hb=50'
MEMORY_AT = 2 << 20


def verifier(host):
    vm = host.boot('verifier', LOAD)
    vm.wait_output('V')
    vm.alive()
    return vm


def saved(vm, path, **args):
    """Save, and expect it to have worked."""
    vm.qmp('x-save', file=path, **args)
    report = vm.outcome()
    assert report['status'] == 'completed', report
    return report


def refused(host, path, *words):
    """What `restore` says when it does not."""
    done = subprocess.run([GODWIT, 'restore', *words, path], env=host.env,
                          stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, check=False, timeout=60)
    assert done.returncode == 1, done
    return done.stderr


def flip(path, at):
    with open(path, 'r+b') as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 1]))


def with_data(path, after):
    """Where the file has data, from there on."""
    with open(path, 'rb') as f:
        return os.lseek(f.fileno(), after, os.SEEK_DATA)


def swept(vm, before):
    """The verifier has looked at all of its pages, twice, since then."""
    vm.wait_output(rf'sw=(?!{before}\b|{before + 1}\b)\d+')
    sound(vm)


def a_saved_verifier_goes_on_where_it_was(host):
    a = verifier(host)
    saved(a, host.path('save'))
    assert a.status() == 'postmigrate'
    b = host.restore(host.path('save'))
    swept(b, a.beats()[-1]['sw'])
    # each line of what it ever printed, once
    numbers = [h['n'] for h in beats(a.output() + b.output())]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def a_verifier_that_is_kept_runs_on_and_comes_back_too(host):
    a = verifier(host)
    report = saved(a, host.path('save'), keep=True)
    assert report['x-job']['downtime-us'] > 0
    a.alive()
    b = host.restore(host.path('save'))
    swept(b, a.beats()[-1]['sw'])
    sound(a)


def a_restored_vm_moves_with_pages_that_it_never_touched(host):
    a = verifier(host)
    saved(a, host.path('save'))
    b = host.restore(host.path('save'), '--paused')
    c = host.listen()
    report = b.migrate(c.uri)
    assert report['status'] == 'completed', report
    c.qmp('cont')
    swept(c, a.beats()[-1]['sw'])


def a_restored_vm_is_saved_again(host):
    a = verifier(host)
    saved(a, host.path('one'))
    b = host.restore(host.path('one'), '--paused')
    saved(b, host.path('two'))
    c = host.restore(host.path('two'))
    assert c.status() == 'paused'
    c.qmp('cont')
    swept(c, a.beats()[-1]['sw'])


def a_vm_that_writes_to_a_disk_comes_back_once(host):
    a = writer(host, new_image(host))
    a.wait_output(FIRST)
    saved(a, host.path('save'))
    b = host.restore(host.path('save'))
    written(b, 9)
    whole(a, b)
    b.kill()
    assert 'was restored on' in refused(host, host.path('save'))


def an_altered_page_is_refused_with_verify(host):
    a = verifier(host)
    saved(a, host.path('save'))
    flip(host.path('save'), with_data(host.path('save'), MEMORY_AT) + 5)
    said = refused(host, host.path('save'), '--verify')
    assert 'its memory was altered' in said, said


def an_altered_page_stops_the_vm_without_verify(host):
    a = verifier(host)
    saved(a, host.path('save'))
    flip(host.path('save'), with_data(host.path('save'), MEMORY_AT) + 5)
    b = host.restore(host.path('save'))
    until(lambda: b.status() == 'internal-error', 'it is stopped')
    assert 'its memory was altered' in b.said(), b.said()


def a_cut_file_is_refused(host):
    a = verifier(host)
    saved(a, host.path('save'))
    os.truncate(host.path('save'), os.path.getsize(host.path('save')) - 1)
    said = refused(host, host.path('save'))
    assert 'it was cut' in said, said


def a_save_that_fails_leaves_the_vm_running(host):
    a = verifier(host)
    a.qmp('x-save', file=host.path('nowhere/save'))
    report = a.outcome()
    assert report['status'] == 'failed', report
    assert 'nowhere/save' in report['error-desc'], report
    a.alive()
    sound(a)


def a_vm_can_move_after_a_save_that_kept_it(host):
    a = verifier(host)
    saved(a, host.path('save'), keep=True)
    b = host.listen()
    moved(a, b)
    swept(b, a.beats()[-1]['sw'])


if __name__ == '__main__':
    sys.exit(main([
        a_saved_verifier_goes_on_where_it_was,
        a_verifier_that_is_kept_runs_on_and_comes_back_too,
        a_restored_vm_moves_with_pages_that_it_never_touched,
        a_restored_vm_is_saved_again,
        a_vm_that_writes_to_a_disk_comes_back_once,
        an_altered_page_is_refused_with_verify,
        an_altered_page_stops_the_vm_without_verify,
        a_cut_file_is_refused,
        a_save_that_fails_leaves_the_vm_running,
        a_vm_can_move_after_a_save_that_kept_it,
    ]))
