# SPDX-License-Identifier: GPL-2.0-or-later
"""One busy guest on its way over a link that is slower than its writes,
watched: what query-migrate said, as a plot."""
import json
import os
import time

import host
import moves
import plot
import vmms

MIB = 1 << 20
WS_MIB = 512
LOAD = f'mode=dirty ws={WS_MIB}'
RAM_MIB, FILL_MIB = 1024, 960
LIMIT = 1000 * MIB              # bytes/s of the link
DOWNTIME_MS = 50
EVERY_MS = 10


def sample(report, at):
    """One point: seconds, bytes, bytes a second, percent."""
    job, ram = report['x-job'], report['ram']
    return {
        't': at, 'stage': job['stage'], 'round': job['iteration'],
        'remaining': job['memory-remaining'],
        'dirty_rate': ram['dirty-pages-rate'] * ram['page-size'],
        'wire': job['wire-bytes'], 'bandwidth': job['memory-bandwidth'],
        'throttle': report['cpu-throttle-percentage'],
    }


def watch(src, begin):
    """Samples until the end, and the last report."""
    out = []
    while True:
        report = src.report()
        out.append(sample(report, time.monotonic() - begin))
        if report['status'] in ('completed', 'failed', 'cancelled'):
            return out, report
        time.sleep(EVERY_MS / 1e3)


def record(work, kernel, memory):
    """The move: {samples, report, and what it was}."""
    case = moves.Move(LOAD, RAM_MIB, FILL_MIB)
    append = (f'{LOAD} fill=rand fillmb={FILL_MIB} hb=100 '
              f'tsc={host.tsc_khz()}')
    memory.take(FILL_MIB + moves.SLACK_MIB)
    src, dst = moves.pair(vmms.Godwit, work, kernel, case,
                          vmms.Way(downtime_ms=DOWNTIME_MS), append, memory)
    theft = host.Theft()
    try:
        before = moves.beats(src.serial, 6)[-1]
        memory.give('dst')
        begin = time.monotonic()
        src.migrate(dst, max_bandwidth=LIMIT, auto_converge=True)
        samples, report = watch(src, begin)
        if report['status'] != 'completed':
            raise RuntimeError('migration failed: ' + json.dumps(report))
        gap, _ = moves.gap_ms(src, dst, before, theft)
    finally:
        theft.end()
        src.end()
        dst.end()
    return {'ws_mib': WS_MIB, 'ram_mib': RAM_MIB, 'limit': LIMIT,
            'downtime_ms': DOWNTIME_MS, 'every_ms': EVERY_MS, 'gap_ms': gap,
            'report': report, 'samples': samples}


def run(_, work, kernel, memory, out):
    """Record one, and write bench-busy.json and bench-busy.svg there."""
    seen = record(work, kernel, memory)
    with open(os.path.join(out, 'bench-busy.json'), 'w',
              encoding='ascii') as file:
        json.dump(seen, file, indent=1)
    with open(os.path.join(out, 'bench-busy.svg'), 'w',
              encoding='utf-8') as file:
        file.write(plot.draw(seen))
    return {'total_ms': seen['report']['total-time'],
            'gap_ms': seen['gap_ms'],
            'pause_ms': seen['report']['downtime']}
