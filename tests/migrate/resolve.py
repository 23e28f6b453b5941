#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""godwit resolve: what is known after an end that nobody saw, and settled."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '../lib'))
from godwit import GODWIT, GUESTS, main, one_runs, until
from proxy import CUT, Proxy

LOAD = 'mode=verify ws=8 rate=50 hb=50'


def godwit(host, *words):
    return subprocess.run([GODWIT, *words], env=host.env, text=True,
                          capture_output=True, check=False, timeout=60)


def records(host):
    try:
        return sorted(os.listdir(host.path('state/godwit')))
    except FileNotFoundError:
        return []


def lost_at_go(host, passes):
    """GO is the last that is seen of each other; does it arrive?"""
    # by its name, for that is what people know
    a = host.start('--name', 'web', '--memory', '64', '--append', LOAD,
                   '--kernel', os.path.join(GUESTS, 'verifier.elf'),
                   control=host.path('godwit/web.sock'))
    a.alive()
    b = host.listen()

    def on_frame(link, direction, kind, whole):
        # RUNNING may come before the links are cut
        if kind != 'GO':
            return CUT if proxy.blocked and kind == 'RUNNING' else whole
        proxy.blocked = True
        if passes:
            link.ends['S'][1].sendall(whole)
        return CUT
    proxy = Proxy(b.uri, on_frame=on_frame)
    host.cleanups.append(proxy.close)
    a.migrate(proxy.uri, wait=False, x_ask_seconds=1)
    return a, b, proxy


def unknown(a):
    report = a.outcome()
    assert 'godwit resolve web' in report['error-desc'], report
    assert a.status() == 'finish-migrate', a.status()


def resume_alone_does_not_run_what_may_run_there(host):
    a, b, _ = lost_at_go(host, True)
    unknown(a)
    resumed = godwit(host, 'resume', 'web')
    assert resumed.returncode == 1, resumed
    assert 'godwit resolve web' in resumed.stderr, resumed
    assert one_runs(a, b) is b


def a_side_that_says_it_runs_it_forbids_here(host):
    a, b, proxy = lost_at_go(host, True)
    unknown(a)
    proxy.blocked = False
    here = godwit(host, 'resolve', 'web', '--here')
    assert here.returncode == 1, here
    assert 'other side: runs the VM' in here.stdout, here
    assert one_runs(a, b) is b


def there_ends_it_here(host):
    a, b, _ = lost_at_go(host, True)
    unknown(a)
    there = godwit(host, 'resolve', 'web', '--there')
    assert there.returncode == 0, there
    a.proc.wait(60)
    assert one_runs(a, b) is b
    assert not [r for r in records(host) if r.endswith('.source')]


def here_runs_it_here_when_the_other_side_is_gone(host):
    a, b, proxy = lost_at_go(host, False)
    until(lambda: proxy.blocked, 'GO is sent')
    b.kill()
    unknown(a)
    shown = godwit(host, 'resolve', 'web')
    assert shown.returncode == 0, shown
    assert 'may have been given' in shown.stdout, shown
    assert 'does not answer' in shown.stdout, shown
    assert a.status() == 'finish-migrate'
    here = godwit(host, 'resolve', 'web', '--here')
    assert here.returncode == 0 and 'WARNING' in here.stderr, here
    a.alive()
    assert not [r for r in records(host) if r.endswith('.source')]


def a_dead_copy_forbids_there(host):
    a, b, proxy = lost_at_go(host, False)
    unknown(a)
    until(lambda: 'incoming migration failed' in b.said(), 'it gives up')
    proxy.blocked = False
    there = godwit(host, 'resolve', 'web', '--there')
    assert there.returncode == 1 and '--here' in there.stderr, there
    assert godwit(host, 'resolve', 'web', '--here').returncode == 0
    assert one_runs(a, b) is a


def a_killed_source_is_not_booted_anew_before_it_is_settled(host):
    a, b, _ = lost_at_go(host, True)
    until(lambda: b.status() == 'running', 'it runs there')
    a.kill()
    again = ['run', '--name', 'web', '--memory', '64', '--serial', 'null',
             '--kernel', os.path.join(GUESTS, 'verifier.elf'), '--control',
             host.path('again')]
    refused = godwit(host, *again)
    assert refused.returncode == 1, refused
    assert 'godwit resolve web' in refused.stderr, refused
    assert 'has ended' in godwit(host, 'resolve', 'web').stdout
    assert godwit(host, 'resolve', 'web', '--there').returncode == 0
    assert not [r for r in records(host) if r.endswith('.source')]


def a_migration_that_ends_well_leaves_no_record(host):
    a = host.boot('verifier', LOAD)
    b = host.listen()
    a.alive()
    report = a.migrate(b.uri)
    assert report['status'] == 'completed', report
    until(lambda: not records(host), lambda: f'{records(host)} go')


def a_migration_without_a_place_for_its_record_is_refused(host):
    a = host.boot('verifier', LOAD)
    b = host.listen()
    os.rename(host.path('state'), host.path('gone'))
    with open(host.path('state'), 'w', encoding='ascii'):
        pass
    try:
        a.qmp('migrate', uri=b.uri)
        raise AssertionError('it was started')
    except RuntimeError as why:
        assert 'XDG_STATE_HOME' in str(why), why
    a.alive()


CLAIMS = [
    resume_alone_does_not_run_what_may_run_there,
    a_side_that_says_it_runs_it_forbids_here,
    there_ends_it_here,
    here_runs_it_here_when_the_other_side_is_gone,
    a_dead_copy_forbids_there,
    a_killed_source_is_not_booted_anew_before_it_is_settled,
    a_migration_that_ends_well_leaves_no_record,
    a_migration_without_a_place_for_its_record_is_refused,
]

if __name__ == '__main__':
    sys.exit(main(CLAIMS))
