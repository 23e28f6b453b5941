# SPDX-License-Identifier: GPL-2.0-or-later
"""What is made of the runs: medians, marks and the table. Nothing is measured
here, so that tests/bench/test can hold it against runs that are made up.

A run is a dict: case, vmm, and its figures; or why there are none: error (it
failed) or skipped (it can't be had here)."""
import statistics
from collections import namedtuple

OURS = 'godwit'
# the peer in its ways; a case has those that make sense for it
PEERS = {
    'qemu': 'QEMU',
    'fast': 'QEMU fast',        # multifd, 2 channels, downtime-limit 300
    'short': 'QEMU short',      # one channel, downtime-limit 50
    'postcopy': 'QEMU post-copy',
}
WIDE = 14                       # of the column of cases, at least
LIMIT_MS = 50                   # the pause that Godwit is asked for

# sense: '<', '<=', '>=' of Godwit's median divided by that of the first of
# peers which the case has; 'most', 'least': so many units; None: no mark
Figure = namedtuple('Figure', 'unit sense mark peers')
FIRST = ('fast', 'postcopy', 'qemu')
FIGURES = {
    'total_ms': Figure('ms', '<', 1.0, FIRST),
    'gap_ms': Figure('ms', '<=', 0.5, ('short', 'postcopy')),
    'pause_ms': Figure('ms', 'most', LIMIT_MS, ('short', 'postcopy')),
    'cpu_s': Figure('s', None, None, FIRST),
    'gib_s': Figure('GiB/s', None, None, FIRST),
    'of_limit': Figure('', 'least', 0.7, ()),
    'of_filled': Figure('', 'most', 0.1, ()),
    'first_byte_ms': Figure('ms', '<=', 1 / 3, FIRST),
    'restore_ms': Figure('ms', 'most', 10, FIRST),
    'private_mib': Figure('MiB', 'most', 6, FIRST),
    'iops': Figure('1/s', '>=', 1.0, FIRST),
    'mib_s': Figure('MiB/s', '>=', 1.0, FIRST),
    'cpu_us_per_req': Figure('us', '<=', 1.0, FIRST),
}
# Figures that one case's runs give when held against another's:
# case: (figure, its own, the other case, whose runs, that one's)
DERIVED = {
    'bulk-1g': ('of_limit', 'gib_s', 'limit-tcp', 'host', 'gib_s'),
    'bulk-4g': ('of_limit', 'gib_s', 'limit-tcp-4g', 'host', 'gib_s'),
    'touched64-4g': ('of_filled', 'total_ms', 'idle-4g', 'fast', 'total_ms'),
}
# restoring less than the mark speaks of is shown, and not judged
UNJUDGED = {('restore-1g', 'restore_ms')}


def values(rows, case, vmm, figure):
    return [r[figure] for r in rows
            if r['case'] == case and r['vmm'] == vmm and figure in r]


def failures(rows, case, vmm):
    """(runs that failed, runs)"""
    runs = [r for r in rows if r['case'] == case and r['vmm'] == vmm and
            'skipped' not in r]
    return sum('error' in r for r in runs), len(runs)


def judge(figure, ours, peer):
    """(the mark in words, is it met): None where there is nothing to judge,
    or nothing to judge by."""
    f = FIGURES[figure]
    if not f.sense:
        return '', None
    if f.sense in ('most', 'least'):
        words = f'{"<=" if f.sense == "most" else ">="} {f.mark:g} {f.unit}'
        met = ours <= f.mark if f.sense == 'most' else ours >= f.mark
        return words.strip(), met
    words = f'{f.sense} {f.mark:.2f} of {PEERS[peer[0]]}' if peer else ''
    if not peer or not peer[1]:
        return words, None
    ratio = ours / peer[1]
    return words, {'<': ratio < f.mark, '<=': ratio <= f.mark,
                   '>=': ratio >= f.mark}[f.sense]


def derive(rows, case):
    """{figure: [one value]} of medians held against another case's."""
    if case not in DERIVED:
        return {}
    figure, own, other, whose, theirs = DERIVED[case]
    a = values(rows, case, OURS, own)
    b = values(rows, other, whose, theirs)
    return {figure: [statistics.median(a) / statistics.median(b)]} \
        if a and b else {}


def result(rows, case, figure, ours):
    """One line of the table; each side's values with it, for the ranges."""
    f = FIGURES[figure]
    sides = {p: values(rows, case, p, figure) for p in PEERS}
    sides = {p: v for p, v in sides.items() if v}
    medians = {p: statistics.median(v) for p, v in sides.items()}
    peer = next(((p, medians[p]) for p in f.peers if p in medians), None)
    middle = statistics.median(ours) if ours else None
    words, met = '', None
    if ours and (case, figure) not in UNJUDGED:
        words, met = judge(figure, middle, peer)
    failed, runs = failures(rows, case, OURS)
    if failed and f.sense:      # a run that failed met no mark
        words, met = f'{failed} of {runs} runs failed', False
    return {
        'case': 'memory' if figure == 'private_mib' else case,
        'figure': figure, 'unit': f.unit,
        'godwit': None if middle is None else round(middle, 3),
        **{p: round(m, 3) for p, m in medians.items()},
        'peer': round(peer[1], 3) if peer else None,
        'ratio': round(middle / peer[1], 3)
        if peer and peer[1] and middle is not None else None,
        'mark': words, 'met': met,
    }, {OURS: ours, **sides}


def compare(rows):
    """[(result, {side: values}), ...] in the order of the cases' first runs.
    The limit of the machine stands in Godwit's column."""
    out = []
    for case in dict.fromkeys(r['case'] for r in rows):
        derived = derive(rows, case)
        for figure in FIGURES:
            ours = values(rows, case, OURS, figure) + \
                values(rows, case, 'host', figure) + derived.get(figure, [])
            if ours or any(values(rows, case, p, figure) for p in PEERS):
                out.append(result(rows, case, figure, ours))
    return out


def notes(rows):
    """What the table can't say: runs that failed, or could not be."""
    for case, vmm in dict.fromkeys((r['case'], r['vmm']) for r in rows):
        name = PEERS.get(vmm, vmm)
        mine = [r for r in rows if r['case'] == case and r['vmm'] == vmm]
        for key, words in (('skipped', 'not measured'),
                           ('error', 'failed')):
            why = [r[key] for r in mine if key in r]
            if why:
                yield (f'{case}, {name}: {words}, {len(why)} of {len(mine)} '
                       f'runs: {why[0]}')
    for case, (figure, own, other, whose, _) in DERIVED.items():
        if values(rows, case, OURS, own) and not derive(rows, case):
            yield (f'{case}: no {figure} without a run of {other} '
                   f'({PEERS.get(whose, whose)})')


def spread(v):
    """Median and range, or a dash."""
    if not v:
        return f'{"-":>9}'
    digits = 0 if min(v) >= 1000 else 2
    middle, least, most = (f'{x:.{digits}f}' for x in
                           (statistics.median(v), min(v), max(v)))
    return f'{middle:>9} [{least}..{most}]'


def line(res, sides, wide=WIDE):
    short = sides.get('short', [])
    first = next((sides[p] for p in FIRST if p in sides), [])
    verdict = {None: '', True: 'met', False: 'MISSED'}[res['met']]
    ratio = '' if res['ratio'] is None else f'{res["ratio"]:.2f}'
    return (f'{res["case"]:{wide}} {res["figure"]:14} {res["unit"]:5} '
            f'{spread(sides[OURS]):27} {spread(first):27} '
            f'{spread(short) if short else "":27} {ratio:>5}  '
            f'{res["mark"]} {verdict}').rstrip()


def show(results, rows):
    wide = max([WIDE, *(len(res['case']) for res, _ in results)])
    print(f'{"case":{wide}} {"figure":14} {"unit":5} '
          f'{"Godwit, median [range]":27} {"QEMU (moves: fast)":27} '
          f'{"QEMU short":27} ratio  mark')
    for res, sides in results:
        print(line(res, sides, wide))
    for note in notes(rows):
        print('note:', note)
    judged = [res['met'] for res, _ in results if res['met'] is not None]
    print(f'{sum(judged)} of {len(judged)} marks met')
