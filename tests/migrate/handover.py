#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Exactly one runs: links cut around GO, sides killed, pauses too long."""
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '../lib'))
from godwit import free, main, moved, one_runs, sound, until
from proxy import CUT, Proxy, frame

LOAD = 'mode=verify ws=8 rate=50 hb=50'
MIB = 1 << 20


def pair(host, guest='verifier', append=LOAD):
    a = host.boot(guest, append)
    a.wait_output(r'F \d+')
    a.alive()
    return a, host.listen()


def through(host, b, on_frame):
    proxy = Proxy(b.uri, on_frame=on_frame)
    host.cleanups.append(proxy.close)
    return proxy


def cut_at(host, kind, before, block=False):
    """Cut every link once, just before or after this message has passed."""
    a, b = pair(host)
    state = {'cut': False}

    def on_frame(link, direction, what, whole):
        if what == kind and not state['cut']:
            state['cut'] = True
            proxy.blocked = block
            if not before:
                link.ends[direction][1].sendall(whole)
            return CUT
        return whole
    proxy = through(host, b, on_frame)
    report = a.migrate(proxy.uri)
    assert state['cut'], proxy.seen
    return a, b, report, proxy


def settled(a, b):
    """The destination of a failed job has destroyed its copy."""
    free(b)
    assert one_runs(a, b) is a
    a.alive()
    sound(a)


def cut_before_state_it_runs_on_here(host):
    a, b, report, _ = cut_at(host, 'STATE', True)
    assert report['status'] == 'failed', report
    settled(a, b)
    moved(a, b)


def cut_before_prepared_it_runs_on_here(host):
    a, b, report, _ = cut_at(host, 'PREPARED', True)
    assert report['status'] == 'failed', report
    settled(a, b)


def cut_after_prepared_the_source_asks_and_it_moves(host):
    # the GO that the source sends is lost with the link
    a, b, report, proxy = cut_at(host, 'PREPARED', False)
    assert report['status'] == 'completed', report
    assert one_runs(a, b) is b
    assert 'S QUERY' in proxy.seen, proxy.seen
    b.alive()
    sound(b)


def a_lost_go_is_sent_again(host):
    a, b, report, proxy = cut_at(host, 'GO', True)
    assert report['status'] == 'completed', report
    assert one_runs(a, b) is b
    assert proxy.seen.count('S GO') == 2, proxy.seen
    b.alive()


def cut_after_go_the_source_asks_and_stays_stopped(host):
    a, b, report, proxy = cut_at(host, 'GO', False)
    assert report['status'] == 'completed', report
    assert one_runs(a, b) is b
    assert 'S QUERY' in proxy.seen, proxy.seen
    b.alive()


def a_lost_running_is_asked_for(host):
    a, b, report, proxy = cut_at(host, 'RUNNING', True)
    assert report['status'] == 'completed', report
    assert one_runs(a, b) is b
    b.alive()


def a_lost_bye_does_no_harm(host):
    a, b, report, _ = cut_at(host, 'BYE', True)
    assert report['status'] == 'completed', report
    assert one_runs(a, b) is b
    b.alive()


def cut_for_good_after_go_the_source_never_runs_it(host):
    a, b = pair(host)

    def on_frame(link, direction, kind, whole):
        if kind != 'GO':
            return whole
        proxy.blocked = True
        link.ends['S'][1].sendall(whole)
        return CUT
    proxy = through(host, b, on_frame)
    a.qmp('migrate', uri=proxy.uri)
    until(lambda: b.status() == 'running', 'it runs there')
    b.alive()
    # it still asks, and whatever it is told, it may not run the VM
    assert one_runs(a, b) is b
    assert a.status() in ('finish-migrate', 'postmigrate'), a.status()
    proxy.blocked = False
    assert a.outcome()['status'] == 'completed'
    assert one_runs(a, b) is b


def a_pause_beyond_the_cap_ends_with_the_vm_here(host):
    a, b = pair(host)

    def on_frame(link, direction, kind, whole):
        if kind == 'STATE':     # held until the source has given up
            until(lambda: a.status() == 'running', 'it runs again')
        return whole
    # a client of its own, for the proxy's thread uses the other one
    proxy = through(host, b, on_frame)
    client = a.connect(a.control)
    client('migrate', uri=proxy.uri, max_pause=300)
    client.wait_event(lambda e: e['event'] == 'MIGRATION' and
                      'x-report' in e['data'])
    report = client('query-migrate')
    assert report['status'] == 'failed', report
    assert 'max-pause' in report['error-desc'], report
    assert report['x-job']['downtime-us'] < 2 * 300000, report
    client.close()
    settled(a, b)


def go_held_back_beyond_the_cap_still_ends_on_one_side(host):
    a, b = pair(host)
    held = []

    def on_frame(link, direction, kind, whole):
        if kind == 'GO':
            held.append(time.monotonic())
            until(lambda: time.monotonic() > held[0] + 1, 'the cap is over')
        return whole
    proxy = through(host, b, on_frame)
    report = a.migrate(proxy.uri, max_pause=500)
    assert report['status'] == 'completed', report
    assert one_runs(a, b) is b


def slow(a, uri):
    a.migrate(uri, wait=False, max_bandwidth=2 * MIB)
    until(lambda: a.qmp('query-migrate').get('status') == 'active',
          'it copies')


def killed_in_pre_copy_a_destination_costs_nothing(host):
    a, b = pair(host)
    slow(a, b.uri)
    b.kill()
    report = a.outcome()
    assert report['status'] == 'failed', report
    assert one_runs(a, b) is a
    a.alive()
    c = host.listen()
    moved(a, c)
    c.alive()
    sound(c)


def stopped_in_pre_copy_a_destination_process_ends_with_it_here(host):
    a, b = pair(host)
    slow(a, b.uri)
    b.proc.send_signal(signal.SIGTERM)
    assert b.proc.wait(60) == 128 + signal.SIGTERM
    assert a.outcome()['status'] == 'failed'
    assert one_runs(a, b) is a


def killed_in_pre_copy_a_source_leaves_the_destination_listening(host):
    a, b = pair(host)
    slow(a, b.uri)
    a.kill()
    until(lambda: 'incoming migration failed' in b.said(), 'it is told')
    free(b)
    c = host.boot('verifier', LOAD)
    c.alive()
    moved(c, b)
    b.alive()


def killed_after_state_a_source_leaves_no_copy_running(host):
    a, b = pair(host)

    def on_frame(link, direction, kind, whole):
        if kind == 'PREPARED':
            a.kill()
        return whole
    proxy = through(host, b, on_frame)
    a.qmp('migrate', uri=proxy.uri)
    until(lambda: 'incoming migration failed' in b.said(), 'it gives up')
    free(b)


def a_destination_of_another_job_answers_no_question(host):
    """Only the job that is meant may learn, and change, its fate."""
    a, b = pair(host)

    def on_frame(link, direction, kind, whole):
        if kind != 'GO':
            return whole
        return frame('GO', bytes(16))
    proxy = through(host, b, on_frame)
    report = a.migrate(proxy.uri)
    assert report['status'] == 'failed', report
    settled(a, b)


CLAIMS = [
    cut_before_state_it_runs_on_here,
    cut_before_prepared_it_runs_on_here,
    cut_after_prepared_the_source_asks_and_it_moves,
    a_lost_go_is_sent_again,
    cut_after_go_the_source_asks_and_stays_stopped,
    a_lost_running_is_asked_for,
    a_lost_bye_does_no_harm,
    cut_for_good_after_go_the_source_never_runs_it,
    a_pause_beyond_the_cap_ends_with_the_vm_here,
    go_held_back_beyond_the_cap_still_ends_on_one_side,
    killed_in_pre_copy_a_destination_costs_nothing,
    stopped_in_pre_copy_a_destination_process_ends_with_it_here,
    killed_in_pre_copy_a_source_leaves_the_destination_listening,
    killed_after_state_a_source_leaves_no_copy_running,
    a_destination_of_another_job_answers_no_question,
]

if __name__ == '__main__':
    sys.exit(main(CLAIMS))
