#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Post-copy: the guest runs on the other side, and its memory follows."""
import os
import re
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '../lib'))
from certs import keys
from godwit import GODWIT, GUESTS, Skip, beats, main, moved, one_runs, sound, until
from proxy import CUT, Proxy
from records import FIRST, RECORDS, new_image, whole, written

MIB = 1 << 20
# it writes all of its memory many times a second, on a loaded machine, too
BUSY = 'mode=verify ws=32 rate=1000 hb=50'
# so many seconds for its memory to follow
FAST = {'x_postcopy': True, 'max_bandwidth': 32 * MIB}
SLOW = {'x_postcopy': True, 'max_bandwidth': 8 * MIB}


def busy(host, *words):
    a = host.start('--name', 'busy', '--memory', '96', '--append', BUSY,
                   '--kernel', os.path.join(GUESTS, 'verifier.elf'), *words,
                   control=host.path('godwit/busy.sock'))
    a.wait_output('V')
    a.alive()
    return a


def pair(host, uri=None):
    a, b = busy(host), host.listen(uri=uri)
    if 'no post-copy' in b.said():
        raise Skip(re.search('no post-copy: .*', b.said())[0])
    return a, b


def followed(report):
    """It was post-copy, and somebody waited for pages."""
    assert report['x-job']['type'] == 'post-copy', report
    job = report['x-job']['postcopy']
    assert job['pages'] and job['requests'], job
    assert sum(job['waits-by-us']) == job['waits'], job
    return job


def swept(vm):
    """The guest has looked at each of its pages since now."""
    last = vm.wait_output(r'sw=(\d+)')[1]
    last = int(vm.beats()[-1]['sw'] if vm.beats() else last)
    until(lambda: vm.beats()[-1]['sw'] >= last + 2,
          lambda: 'it has seen all pages: ' + vm.output()[-300:])
    sound(vm)


def link(vm):
    return vm.qmp('query-migrate').get('status')


def following(a, b):
    """Until the guest runs on b and lacks memory."""
    until(lambda: link(a) == 'postcopy-active' == link(b) and
          b.status() == 'running', lambda: f'{link(a)}, {link(b)}')


def severed(a, b):
    until(lambda: link(a) == 'postcopy-paused' == link(b),
          lambda: f'both wait: {link(a)}, {link(b)}')


def cli(host, *words):
    return subprocess.run([GODWIT, 'migrate', *words], env=host.env,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False)


def a_guest_too_busy_runs_there_and_its_memory_follows(host):
    a, b = pair(host)
    report = moved(a, b, **FAST)
    followed(report)
    swept(b)
    # no heartbeat was lost or said twice
    heard = [h['n'] for h in beats(a.output() + b.output())]
    assert heard == list(range(len(heard))), heard


def its_pause_holds_no_page(host):
    a, b = pair(host)
    report = moved(a, b, downtime_limit=1, max_pause=20000, **SLOW)
    job = followed(report)
    # at 8 MiB/s they would be seconds of it
    assert job['pages'] > 4096, job
    assert report['x-job']['downtime-us'] < \
        report['x-job']['time-elapsed-us'] / 4, report


def shared_memory_follows_too(host):
    a = host.boot('verifier', BUSY, memory='96,shared=on')
    a.wait_output('V')
    b = host.listen()
    followed(moved(a, b, channels=2, **FAST))
    swept(b)


def its_memory_follows_by_tls(host):
    both = keys(host.path('keys.psk'), qemu='0badc0de' * 8)
    a = busy(host)
    b = host.listen('--tls', both, uri='tcp:127.0.0.1:0')
    followed(moved(a, b, x_tls=both, **FAST))
    swept(b)


def a_migration_under_way_is_told_to_switch(host):
    a, b = pair(host)
    a.migrate(b.uri, wait=False, max_bandwidth=16 * MIB)
    until(lambda: a.qmp('query-migrate')['ram']['normal'] > 100,
          'pages are sent')
    done = cli(host, 'busy', '--postcopy', '--quiet')
    assert done.returncode == 0, done.stdout
    assert 'post-copy' in done.stdout and 'waits' in done.stdout, done.stdout
    assert one_runs(b) is b
    swept(b)


def at_its_timeout_its_memory_follows(host):
    a, b = pair(host)
    report = moved(a, b, timeout=1, on_timeout='postcopy',
                   max_bandwidth=32 * MIB)
    followed(report)
    swept(b)


def writing(host):
    """A VM that writes records, and where it goes to."""
    disk = new_image(host)
    # each record visits memory, too
    a = host.start('--name', 'busy', '--memory', '64', '--append',
                   RECORDS + ' mem=1', '--kernel',
                   os.path.join(GUESTS, 'blk.elf'), '--disk', disk + ',id=d',
                   control=host.path('godwit/busy.sock'))
    a.wait_output(FIRST)
    return a, host.listen('--disk', disk + ',id=d')


def follow(host, a, b, act):
    """Post-copy through a proxy that asks whether act(proxy, kind) cuts."""
    proxy = Proxy(b.uri, on_frame=lambda link_, direction, kind, whole_:
                  CUT if act(proxy, kind) else whole_)
    host.cleanups.append(proxy.close)
    a.qmp('migrate', uri=proxy.uri, x_ask_seconds=1, max_pause=20000,
          x_postcopy=True, max_bandwidth=MIB, downtime_limit=1)
    a.qmp('migrate-start-postcopy')
    return proxy


def goes_on(a, b):
    written(b, 9)
    whole(a, b)


def records_on_a_disk_are_whole(host):
    a, b = writing(host)
    a.qmp('migrate', uri=b.uri, max_bandwidth=MIB)
    a.qmp('migrate-start-postcopy')
    report = a.outcome()
    assert report['status'] == 'completed', report
    goes_on(a, b)


def a_lost_link_stops_it_and_recover_goes_on(host):
    a, b = pair(host)
    proxy = Proxy(b.uri)
    host.cleanups.append(proxy.close)
    a.qmp('migrate', uri=proxy.uri, **SLOW)
    following(a, b)
    proxy.cut_all()
    severed(a, b)
    assert a.status() == 'finish-migrate', a.status()
    # it stands still: whoever lacks a page waits, and so do the others
    at = len(b.output())
    for command in ('stop', 'migrate'):
        try:
            b.qmp(command, **({'uri': b.uri}
                              if command == 'migrate' else {}))
            raise AssertionError(command + ' was taken')
        except RuntimeError as why:
            assert 'link is lost' in str(why), why
    done = cli(host, 'busy', b.uri, '--recover', '--quiet')
    assert done.returncode == 0, done.stdout
    assert 'lost links 1' in done.stdout, done.stdout
    b.wait_output(r'H \d+', at)
    swept(b)


def a_link_lost_as_it_starts_there_is_recovered(host):
    """Its disk's queue is among what is missing."""
    a, b = writing(host)
    at = []

    def act(proxy, kind):
        at.append(kind)
        return kind == 'RUNNING' and at.count(kind) == 1
    follow(host, a, b, act)
    until(lambda: link(a) == 'postcopy-paused', 'it knows what to wait for')
    done = cli(host, 'busy', '--recover', '--quiet')
    assert done.returncode == 0, done.stdout
    goes_on(a, b)


def a_link_lost_behind_the_last_page_is_no_loss(host):
    a, b = writing(host)
    at = []

    def act(proxy, kind):
        if kind == 'ROUND' and 'S GO' in proxy.seen and not at:
            at.append(kind)
            asked = b.connect(b.control)
            until(lambda: not asked('query-migrate')['x-job']
                  ['memory-remaining'], 'the last page comes')
            asked.close()
            return True
        return False
    follow(host, a, b, act)
    report = a.outcome()
    assert at and report['status'] == 'completed', report
    assert one_runs(a, b) is b
    goes_on(a, b)


def when_nobody_answered_recover_asks_again(host):
    a, b = writing(host)

    def act(proxy, kind):
        first = kind == 'RUNNING' and 'S QUERY' not in proxy.seen
        proxy.blocked = proxy.blocked or first
        return first
    proxy = follow(host, a, b, act)
    report = a.outcome()
    assert report['x-job']['outcome'] == 'unknown', report
    assert 'migrate --recover busy' in report['error-desc'], report
    until(lambda: 'the link was lost' in b.said(), 'the other side waits')
    proxy.blocked = False
    # it is known now, and this side is needed
    there = subprocess.run([GODWIT, 'resolve', 'busy', '--there'],
                           env=host.env, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True, check=False)
    assert 'migrate --recover' in there.stdout and there.returncode, there
    done = cli(host, 'busy', '--recover', '--quiet')
    assert done.returncode == 0, done.stdout
    assert one_runs(a, b) is b
    goes_on(a, b)


def whoever_watches_is_told_of_a_lost_link(host):
    a, b = pair(host)
    proxy = Proxy(b.uri)
    host.cleanups.append(proxy.close)
    watcher = subprocess.Popen(
        [GODWIT, 'migrate', 'busy', proxy.uri, '--plain', '--postcopy',
         '--bandwidth', '8M', '--quiet'], env=host.env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    following(a, b)
    proxy.cut_all()
    said = watcher.communicate()[0]
    assert watcher.returncode == 1, said
    assert 'migrate --recover' in said, said
    severed(a, b)
    a.qmp('migrate', resume=True)
    assert a.outcome()['status'] == 'completed'
    swept(b)


def a_link_that_hangs_is_noticed(host):
    a, b = pair(host)
    state = {'hang': False}

    def on_frame(link_, direction, kind, whole):
        return b'' if state['hang'] else whole
    proxy = Proxy(b.uri, on_frame=on_frame)
    host.cleanups.append(proxy.close)
    a.qmp('migrate', uri=proxy.uri, **SLOW)
    following(a, b)
    state['hang'] = True
    severed(a, b)
    state['hang'] = False
    a.qmp('migrate', resume=True, uri=b.uri)
    assert a.outcome()['status'] == 'completed'
    swept(b)


def without_its_source_it_never_runs_on_zeroes(host):
    a, b = pair(host)
    a.qmp('migrate', uri=b.uri, **SLOW)
    following(a, b)
    a.kill()
    until(lambda: link(b) == 'postcopy-paused', 'it waits')
    b.proc.send_signal(signal.SIGTERM)
    b.proc.wait()
    sound(b)
    # a new process knows that it may run elsewhere
    again = subprocess.run(
        [GODWIT, 'run', '--name', 'busy', '--kernel', '/dev/null'],
        env=host.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, check=False)
    assert again.returncode and 'resolve' in again.stdout, again.stdout


def without_its_destination_it_is_not_run_again(host):
    a, b = pair(host)
    a.qmp('migrate', uri=b.uri, **SLOW)
    following(a, b)
    b.kill()
    until(lambda: link(a) == 'postcopy-paused', 'it waits')
    assert a.status() == 'finish-migrate', a.status()
    try:
        a.qmp('cont')
        raise AssertionError('it runs again')
    except RuntimeError as why:
        assert 'moved' in str(why), why
    # nor by force: its memory is of before
    for force in ('--here', '--there'):
        done = subprocess.run([GODWIT, 'resolve', 'busy', force],
                              env=host.env, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
        assert 'is still here' in done.stdout, done.stdout
    assert a.status() == 'finish-migrate', a.status()
    a.qmp('quit')       # once: warned of
    assert a.proc.poll() is None
    until(lambda: 'once more' in a.said(), 'it warns')
    a.proc.send_signal(signal.SIGTERM)
    a.proc.wait()


def a_vm_that_ends_there_meanwhile_is_told_here(host):
    a, b = pair(host)
    a.qmp('migrate', uri=b.uri, **SLOW)
    following(a, b)
    b.qmp('quit')
    report = a.outcome()
    assert report['status'] == 'failed', report
    assert 'ended there' in report['error-desc'], report
    try:
        a.qmp('cont', x_force=True)
        raise AssertionError('it runs again')
    except RuntimeError as why:
        assert 'is of before' in str(why), why
    assert a.status() == 'finish-migrate', a.status()
    b.proc.wait()
    sound(b)


if __name__ == '__main__':
    sys.exit(main([
        a_guest_too_busy_runs_there_and_its_memory_follows,
        its_pause_holds_no_page,
        shared_memory_follows_too,
        its_memory_follows_by_tls,
        a_migration_under_way_is_told_to_switch,
        at_its_timeout_its_memory_follows,
        records_on_a_disk_are_whole,
        a_lost_link_stops_it_and_recover_goes_on,
        a_link_lost_as_it_starts_there_is_recovered,
        a_link_lost_behind_the_last_page_is_no_loss,
        when_nobody_answered_recover_asks_again,
        whoever_watches_is_told_of_a_lost_link,
        a_link_that_hangs_is_noticed,
        without_its_source_it_never_runs_on_zeroes,
        without_its_destination_it_is_not_run_again,
        a_vm_that_ends_there_meanwhile_is_told_here,
    ]))
