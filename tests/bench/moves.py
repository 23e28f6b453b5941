# SPDX-License-Identifier: GPL-2.0-or-later
"""Moves: their cases, and one run of one. See README.md here for the names."""
import dataclasses
import json
import os
import sys
import time

import host
import vmms
from figures import LIMIT_MS

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '../lib'))
import certs
from godwit import Skip

SLACK_MIB = 160                 # what a VM takes beyond what its guest fills
STOLEN_MS = 15                  # more of it, and a run is not the VMM's:
STOLEN = 0.03                   # so long, or such a part of its time
REST_S = 2.5                    # until what lies free has gone to the host
PATIENCE_S = 40                 # for a move; the slowest here takes a quarter

LOADS = {
    'idle': 'mode=spin',
    'ws64r200': 'mode=dirty ws=64 rate=200',
    'ws512r500': 'mode=dirty ws=512 rate=500',
    'ws512max': 'mode=dirty ws=512',
}
# guest memory, and how much of it is filled: the guest maps 4 GiB, of which
# devices have the last, and it begins at 16 MiB
SIZES = {'1g': (1024, 960), '4g': (4096, 3008)}
PRECOPY = (vmms.Godwit, vmms.QemuFast, vmms.QemuShort)
POSTCOPY = (vmms.Godwit, vmms.QemuPostcopy)


@dataclasses.dataclass
class Move:
    """A case: the guest's options and size, and the way that it goes."""
    load: str
    ram_mib: int
    fill_mib: int
    tls: bool = False
    postcopy: bool = False
    vmms: tuple = PRECOPY

    @property
    def beats(self):
        return 'halt' not in self.load

    @property
    def warm_mib(self):
        """Memory that one side takes."""
        return self.fill_mib + SLACK_MIB

    @property
    def must_slow(self):
        """By TLS a guest without a rate of its own never gets across else."""
        return self.load == LOADS['ws512max'] and not self.postcopy


def cases():
    """{name: Move}, small guests first, so that warm memory is taken once."""
    out = {}
    for size, (ram, fill) in SIZES.items():
        out[f'bulk-{size}'] = Move('mode=halt exit=0', ram, fill,
                                   vmms=PRECOPY[:2])
        for way in ('', 'tls-', 'postcopy-', 'tls-postcopy-'):
            for load, words in LOADS.items():
                post = 'postcopy' in way
                out[f'{way}{load}-{size}'] = Move(
                    words, ram, fill, 'tls' in way, post,
                    POSTCOPY if post else PRECOPY)
    out['touched64-4g'] = Move('mode=spin', 4096, 64, vmms=PRECOPY[:2])
    return out


class Memory:
    """Warm memory for source and destination, taken back after each run."""

    def __init__(self):
        self.held = {}
        self.given = []
        self.mib = 0

    def take(self, mib):
        while self.given:
            self.given.pop().release()
        if mib != self.mib:
            self.drop()
        self.mib = mib
        for role in ('src', 'dst'):
            if role not in self.held:
                self.held[role] = host.Warm(mib)

    def give(self, role, vm=None):
        """Give it back, or as this VM takes memory."""
        warm = self.held.pop(role)
        if vm:
            self.given.append(warm)
            warm.give(vm.process.pid)
        else:
            warm.release()

    def drop(self):
        for warm in (*self.held.values(), *self.given):
            warm.release()
        self.held = {}
        self.given = []


class Keys:
    """Certificates that both sides have, made when the first wants them."""

    def __init__(self, work):
        self.work = work
        self.made = ''

    def get(self):
        if not self.made:
            try:
                ca = certs.Authority(os.path.join(self.work, 'ca'))
            except Skip as why:
                raise vmms.NotMeasured(str(why)) from None
            self.made = ca.host(vmms.TLS_NAME)
        return self.made


def timed(src, dst):
    """The migration itself."""
    pids = [src.process.pid, dst.process.pid]
    others = host.busy_seconds()
    cpu = [host.cpu_seconds(pid) for pid in pids]
    begin = time.monotonic()
    src.migrate(dst)
    done = src.qmp.migrated(PATIENCE_S)
    took = time.monotonic() - begin
    cpu = [host.cpu_seconds(pid) - c for pid, c in zip(pids, cpu)]
    if not done:
        raise RuntimeError('migration failed: ' + json.dumps(src.report()))
    others = host.busy_seconds() - others - sum(cpu)
    return {'total_ms': took * 1e3, 'cpu_s': sum(cpu), 'cpu_src_s': cpu[0],
            'cpu_dst_s': cpu[1], 'other_cores': max(0, others) / took}


def beats(serial, n):
    serial.wait(lambda text: text.count('\nH ') > n and text[-1] == '\n',
                PATIENCE_S)
    return serial.heartbeats()


def next_beat(serial):
    """A heartbeat that ends later than now, so what those after it tell is of
    what comes now."""
    return beats(serial, len(serial.heartbeats()) + 1)[-1]


def gap_ms(src, dst, before, theft):
    """(the largest gap from the heartbeat @before to 4 after the move, is it
    the VMM's). It is without heartbeats in which the host beneath kept the
    CPUs, unless that was in the one across the hand-over."""
    there = beats(dst.serial, 4)
    seen = [before] + [b for b in src.serial.heartbeats() + there
                       if b.tsc > before.tsc]
    if any(b.bad for b in seen):
        raise RuntimeError('the guest found wrong bytes')
    kept = {b: theft.within(a.came, b.came) for a, b in zip(seen, seen[1:])}
    ours = not kept[there[0]]
    return max(b.gap_us for b in kept if not (ours and kept[b])) / 1e3, ours


def pair(vmm, work, kernel, case, way, append, memory):
    """A source with its guest filled, and a destination that listens."""
    vms = []
    try:
        for role in ('src', 'dst'):
            vms.append(vmm(work, role, kernel, case.ram_mib, append, way=way))
            vms[-1].attach()
            if role == 'src':
                memory.give(role)
                vms[0].serial.wait(lambda text: '\nF ' in text, 60)
        vms[1].ready()
    except BaseException:
        for vm in vms:
            vm.end()
        raise
    return vms


def watched(src, dst, case, before):
    """The migration, and what the host beneath did to it."""
    theft = host.Theft()
    try:
        row = timed(src, dst)
        if case.beats:
            row['gap_ms'], row['ours'] = gap_ms(src, dst, before, theft)
        else:
            row['gib_s'] = case.fill_mib / 1024 / (row['total_ms'] / 1e3)
    finally:
        theft.end()
    row['stolen_ms'] = theft.ms
    row['ours'] = row.get('ours', True) and \
        theft.ms <= max(STOLEN_MS, STOLEN * row['total_ms'])
    return row


def one(vmm, work, kernel, case, keys, memory):
    """One move."""
    append = (f'{case.load} fill=rand fillmb={case.fill_mib} hb=100 '
              f'tsc={host.tsc_khz()}')
    way = vmms.Way(keys.get() if case.tls else '', case.postcopy, LIMIT_MS,
                   case.must_slow)
    memory.take(case.warm_mib)
    src = dst = None
    try:
        src, dst = pair(vmm, work, kernel, case, way, append, memory)
        time.sleep(REST_S)
        memory.give('dst', dst if case.beats else None)
        before = next_beat(src.serial) if case.beats else None
        row = watched(src, dst, case, before)
        row['report'] = src.report()
        row['pause_ms'] = src.pause_ms(row['report'])
    finally:
        for vm in (src, dst):
            if vm:
                vm.end()
        memory.take(case.warm_mib)
    return row


def run(vmm, work, kernel, case, keys, memory, tries):
    """One move, and again if the host beneath kept the CPUs meanwhile: a stop
    of all that runs here says nothing about who was running. Which run counts
    doesn't depend on what it found."""
    rows = []
    while len(rows) < tries and not (rows and rows[-1]['ours']):
        rows.append(one(vmm, work, kernel, case, keys, memory))
    return min(rows, key=lambda row: (not row['ours'], row['stolen_ms']))
