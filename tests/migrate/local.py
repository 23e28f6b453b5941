#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""VMs that go to another process on the same host, with their memory as it is."""
import os
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '../lib'))
from godwit import free, main, moved, one_runs, sound, until
from proxy import CUT, Proxy
from records import new_image, whole, writer, written

LOAD = 'mode=verify ws=16 rate=100 hb=50'


def verifier(host, memory='64,shared=on', *words):
    vm = host.boot('verifier', LOAD, *words, memory=memory)
    vm.wait_output('V')
    vm.alive()
    return vm


def swept(vm, before):
    """The verifier has looked at all of its pages, twice, since then."""
    vm.wait_output(rf'sw=(?!{before}\b|{before + 1}\b)\d+')
    sound(vm)


def handed(a, b):
    """Move, and expect that memory was not copied."""
    report = moved(a, b, x_local=True)
    assert report['x-job']['type'] == 'local', report
    return report


def no_page_is_copied(host):
    a, b = verifier(host), host.listen()
    report = handed(a, b)
    assert report['ram']['normal'] == 0, report
    assert report['ram']['transferred'] < 128 << 10, report
    swept(b, a.beats()[-1]['sw'])


def memory_of_its_own_is_copied(host):
    a, b = verifier(host, '64'), host.listen()
    report = moved(a, b, x_local=True)
    assert report['x-job']['type'] == 'pre-copy', report
    assert report['ram']['normal'] > 16 << 8, report
    swept(b, a.beats()[-1]['sw'])


def a_verifier_survives_ten_hand_overs(host):
    vm = verifier(host)
    for _ in range(10):
        there = host.listen()
        report = handed(vm, there)
        assert report['downtime'] >= 0 and report['x-job']['downtime-us'] > 0
        last = vm.beats()[-1]['sw'] if vm.beats() else 0
        host.drop(vm)
        vm = there
        vm.alive()
        sound(vm)
    swept(vm, last)


def a_guest_that_writes_faster_than_any_line_is_handed_over(host):
    a = host.boot('dirtier', 'ws=32 rate=0 hb=50', memory='64,shared=on')
    a.wait_output(r'F \d+')
    a.alive()
    b = host.listen()
    report = handed(a, b)
    assert report['ram']['transferred'] < 128 << 10, report
    b.alive()


def records_on_a_disk_are_whole(host):
    vms = [writer(host, new_image(host), memory='64,shared=on')]
    for _ in range(4):
        written(vms[-1], 4)
        vms.append(host.listen())
        handed(*vms[-2:])
    written(vms[-1], 4)
    whole(*vms)


def at_the_hand_over(host, kind, act, pass_on=True):
    """Do that when this message is on its way; the two sides, the report."""
    a, b = verifier(host), host.listen()
    begun, done = [], threading.Event()

    def on_frame(link, direction, what, whole):
        if what == kind and not begun:
            begun.append(kind)
            act(a, b)
            done.set()
            return whole if pass_on else CUT
        return whole
    proxy = Proxy(b.uri, on_frame=on_frame, path=b.control + '.proxy')
    host.cleanups.append(proxy.close)
    report = a.migrate(proxy.uri, x_local=True, max_pause=20000,
                       x_ask_seconds=1)
    assert begun and done.wait(60), proxy.seen
    return a, b, report


def goes_on_here(host, a, b):
    assert one_runs(a, b) is a
    swept(a, a.beats()[-1]['sw'])
    c = host.listen()
    handed(a, c)
    swept(c, a.beats()[-1]['sw'])


def killed_at_the_hand_over_a_destination_costs_nothing(host):
    a, b, report = at_the_hand_over(host, 'STATE', lambda a, b: b.kill())
    assert report['status'] == 'failed', report
    goes_on_here(host, a, b)


def killed_before_it_ran_the_vm_can_be_taken_back(host):
    a, b, report = at_the_hand_over(host, 'PREPARED', lambda a, b: b.kill())
    assert report['status'] == 'failed', report
    assert report['x-job']['outcome'] == 'unknown', report
    a.qmp('cont', x_force=True)
    goes_on_here(host, a, b)


def killed_when_it_had_run_there_the_vm_is_not_taken_back(host):
    a, b, report = at_the_hand_over(host, 'RUNNING', lambda a, b: b.kill(),
                                    pass_on=False)
    assert report['x-job']['outcome'] == 'unknown', report
    try:
        a.qmp('cont', x_force=True)
    except RuntimeError as why:
        assert 'has run in this memory' in str(why), why
    else:
        raise AssertionError('it runs on in memory that has moved on')
    assert not a.running()


def cancelled_at_the_hand_over_it_goes_on_here(host):
    def cancel(a, b):
        qmp = a.connect(a.control)
        qmp('migrate_cancel')
        qmp.close()
    a, b, report = at_the_hand_over(host, 'PREPARED', cancel)
    assert report['status'] == 'cancelled', report
    free(b)
    goes_on_here(host, a, b)


def killed_after_state_a_source_leaves_no_copy_running(host):
    a, b = verifier(host), host.listen()

    def on_frame(link, direction, kind, whole):
        if kind == 'PREPARED':
            a.kill()
        return whole
    proxy = Proxy(b.uri, on_frame=on_frame, path=b.control + '.proxy')
    host.cleanups.append(proxy.close)
    a.qmp('migrate', uri=proxy.uri, x_local=True)
    until(lambda: 'incoming migration failed' in b.said(), 'it gives up')
    free(b)


def what_was_handed_over_can_be_saved_and_come_back(host):
    a, b = verifier(host), host.listen()
    handed(a, b)
    b.alive()
    b.qmp('x-save', file=host.path('save'))
    report = b.outcome()
    assert report['status'] == 'completed', report
    c = host.restore(host.path('save'))
    swept(c, b.beats()[-1]['sw'])


def over_a_network_it_is_not_tried(host):
    a = verifier(host)
    for words in ({'uri': 'tcp:127.0.0.1:1'},
                  {'uri': 'unix:/nowhere', 'x_dry_run': True}):
        try:
            a.qmp('migrate', x_local=True, **words)
        except RuntimeError as why:
            assert '--local' in str(why), why
        else:
            raise AssertionError('it was tried')
    a.alive()


CLAIMS = [
    no_page_is_copied,
    memory_of_its_own_is_copied,
    a_verifier_survives_ten_hand_overs,
    a_guest_that_writes_faster_than_any_line_is_handed_over,
    records_on_a_disk_are_whole,
    killed_at_the_hand_over_a_destination_costs_nothing,
    killed_before_it_ran_the_vm_can_be_taken_back,
    killed_when_it_had_run_there_the_vm_is_not_taken_back,
    cancelled_at_the_hand_over_it_goes_on_here,
    killed_after_state_a_source_leaves_no_copy_running,
    what_was_handed_over_can_be_saved_and_come_back,
    over_a_network_it_is_not_tried,
]

if __name__ == '__main__':
    sys.exit(main(CLAIMS))
