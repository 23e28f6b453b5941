#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A migration can be cancelled in each state before GO, and in none after."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '../lib'))
import harm
import inject
from godwit import free, main, one_runs

BEFORE = ('HELLO', 'OFFER', 'ACCEPT', 'CHANNEL', 'PAGES', 'ROUND', 'STATE',
          'PREPARED', 'post-copy MISSING', 'post-copy STATE')
AFTER = ('GO', 'QUERY', 'RUNNING', 'post-copy GO', 'post-copy PAGES')


def at(host, point):
    """Cancelled when this message is on its way; how that ended."""
    case = inject.Case(host, point, harm.cancel)
    case.migrate(max_pause=5000)
    return case, case.a.outcome()


def works(host, point):
    case, report = at(host, point)
    assert case.answer == 'done', case.answer
    assert report['status'] == 'cancelled', report
    free(case.b)
    assert one_runs(case.a, case.b) is case.a
    case.a.wait_output(r'R \d+ bad=0', len(case.a.output()))


def comes_too_late(host, point):
    case, report = at(host, point)
    assert 'too late' in case.answer, case.answer
    assert report['status'] == 'completed', report
    assert one_runs(case.a, case.b) is case.b


def claims():
    for test, points in ((works, BEFORE), (comes_too_late, AFTER)):
        for point in points:
            def claim(host, test=test, point=point):
                test(host, point)
            state = inject.POINTS[point].source
            claim.__name__ = \
                f'cancelling_{test.__name__}_in_{state}_at_' + \
                point.replace(' ', '_').replace('-', '')
            yield claim


if __name__ == '__main__':
    sys.exit(main(list(claims())))
