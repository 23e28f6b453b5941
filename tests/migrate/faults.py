#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A fault in each state of a migration, with real processes: a guest writes
numbered records to a disk, and checks them and its memory, while it is moved
and something breaks. tests/lib/verdict.py tells what must be so then.

faults.py                  a sample, as TAP
faults.py --all [WORD...]  every fault at every point, as a table; those that all
                           words are of: a way, a point or a fault
"""
import collections
import concurrent.futures
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '../lib'))
import harm as h
import inject as i
import verdict
from godwit import Host, Skip, main

# Most rows wait for somebody to notice something: so many at a time.
AT_ONCE = 3


def inject(host, fault, point):
    """What became of it, in words, and how long that took."""
    case = i.Case(host, point, fault)
    start = time.monotonic()
    case.migrate(max_pause=2000)
    return verdict.judge(case), time.monotonic() - start


def name_of(fault):
    return fault.__name__.replace('_', ' ')


# what: 'injected', 'skipped', or the name of what is wrong
Row = collections.namedtuple('Row', 'what text seconds said')


def try_row(case):
    point, fault = case
    host = Host()
    try:
        return Row('injected', *inject(host, fault, point), '')
    except Skip as why:
        return Row('skipped', f'SKIP {why}', 0, '')
    except Exception as why:
        said = ''.join('# ' + vm.said()[-1200:].replace('\n', '\n# ') + '\n'
                       for vm in host.vms)
        return Row(type(why).__name__, f'{type(why).__name__}: {why}', 0, said)
    finally:
        host.close()


def print_row(case, row):
    name, fault = case
    point = i.POINTS[name]
    print(f'{row.said}{point.way:11}{name.split()[-1]:10}{point.source:12}'
          f'{point.destination:13}{name_of(fault):18}{row.text:28}'
          f'{row.seconds:6.1f}', flush=True)


def table(words):
    cases = [(p, f) for p, f in i.all_cases()
             if all(w in (i.POINTS[p].way, p.split()[-1], f.__name__)
                    for w in words)]
    print(f'{"way":11}{"point":10}{"source":12}{"destination":13}{"fault":18}'
          f'{"then it runs":28}seconds')
    count = collections.Counter()
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        for case, row in zip(cases, pool.map(try_row, cases)):
            count[row.what] += 1
            count['injected'] += row.what not in ('injected', 'skipped')
            print_row(case, row)
    return summary(count)


def summary(count):
    known = {'injected', 'skipped', 'Lost', 'Doubled', 'Silent'}
    if count['skipped']:
        print(f'{count["skipped"]} not injected, for the reason in their rows')
    print(f'faults: {count["injected"]} injected, {count["Lost"]} lost, '
          f'{count["Doubled"]} doubled, {count["Silent"]} silent'
          + ''.join(f', {count[w]} {w}' for w in sorted(set(count) - known)))
    return 1 if set(+count) - {'injected', 'skipped'} else 0


SAMPLE = ((h.kill_source, 'PAGES'), (h.kill_source, 'PREPARED'),
          (h.kill_destination, 'STATE'), (h.kill_both, 'GO'),
          (h.kill_destination, 'GO'), (h.cut, 'QUERY'), (h.cut, 'GO'),
          (h.corrupt, 'STATE'), (h.repeat, 'GO'), (h.hold, 'STATE'),
          (h.hang_destination, 'PAGES'), (h.hang_source, 'ROUND'),
          (h.lock_image, 'STATE'), (h.fill_disk, 'HELLO'),
          (h.starve, 'HELLO'), (h.refuse_disk, 'HELLO'),
          (h.kill_source, 'post-copy PAGES'),
          (h.kill_destination, 'post-copy WANT'),
          (h.cut, 'post-copy RUNNING'), (h.corrupt, 'post-copy PAGE'),
          (h.truncate, 'post-copy LACKS'), (h.kill_destination, 'local GO'),
          (h.cut, 'copy-disk LAST'))


def claims():
    for fault, point in SAMPLE:
        def claim(host, fault=fault, point=point):
            print('# ' + inject(host, fault, point)[0])
        where = point.replace(' ', '_').replace('-', '')
        claim.__name__ = f'{fault.__name__}_at_{where}_costs_no_record'
        yield claim


if __name__ == '__main__':
    if '--all' in sys.argv and os.access('/dev/kvm', os.R_OK | os.W_OK):
        sys.exit(table(sys.argv[2:]))
    sys.exit(main(list(claims())))
