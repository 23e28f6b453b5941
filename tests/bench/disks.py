# SPDX-License-Identifier: GPL-2.0-or-later
"""Disk cases: the servers, images and loads behind their names."""
import os
import shutil
import subprocess
import tempfile
import time

import host

HERE = os.path.dirname(os.path.abspath(__file__))
CEPH = os.path.join(os.path.dirname(HERE), 'rig', 'ceph')
SPAN_MIB = 256
RAM_MIB = 64                    # 16 for the guest's image, 32 for its buffers

LOADS = {
    'randread-4k': 'op=r bs=4096',
    'randwrite-4k': 'op=w bs=4096',
    'read-1m': 'op=r bs=1048576 ord=s',
    'write-1m': 'op=w bs=1048576 ord=s',
}
KINDS = ('raw', 'nbd', 'nbdkit', 'rbd')


def cases(quick):
    """{name: (kind, the guest's options)}"""
    out = {f'disk-{kind}-{load}-qd{qd}': (kind, f'{words} qd={qd}')
           for kind in KINDS for load, words in LOADS.items()
           for qd in (1, 32)}
    for qd in (1, 32):
        out[f'disk-raw-randread-4k-qd{qd}-irq'] = (
            'raw', f'op=r bs=4096 qd={qd} irq=1')
    if quick:
        out = {f'disk-{kind}-{load}-qd{qd}':
               out[f'disk-{kind}-{load}-qd{qd}'] for kind in ('raw', 'nbd')
               for load in ('randread-4k', 'write-1m') for qd in (1, 32)}
    return out


class Missing(Exception):
    """This kind of disk can't be had here; the text says why."""


class Disks:
    """Starts a server when the first case wants it; ends them all."""

    def __init__(self):
        # in memory: the disk itself shall cost next to nothing
        shm = '/dev/shm' if os.access('/dev/shm', os.W_OK) else None
        self.dir = tempfile.mkdtemp(prefix='godwit-bench-', dir=shm)
        self.processes, self.made = [], {}

    def path(self, name):
        return os.path.join(self.dir, name)

    def get(self, kind):
        """What both call the disk; raises Missing."""
        if kind not in self.made:
            try:
                self.made[kind] = getattr(self, kind)()
            except (Missing, OSError, subprocess.SubprocessError) as error:
                self.made[kind] = Missing(str(error))
        if isinstance(self.made[kind], Missing):
            raise self.made[kind]
        return self.made[kind]

    def image(self, name):
        """Full, so that no read finds a hole."""
        with open(self.path(name), 'wb') as f:
            for _ in range(SPAN_MIB):
                f.write(os.urandom(host.MIB))
        return self.path(name)

    def serve(self, sock, *words):
        if not shutil.which(words[0]):
            raise Missing(words[0] + " isn't installed")
        self.processes.append(subprocess.Popen(words))
        end = time.monotonic() + 20
        while not os.path.exists(sock):
            if time.monotonic() > end or self.processes[-1].poll() is not None:
                raise Missing(words[0] + " doesn't start")
            time.sleep(0.01)
        return 'nbd+unix:///?socket=' + sock

    def raw(self):
        return self.image('raw.img')

    def nbd(self):
        sock = self.path('qemu-nbd.sock')
        return self.serve(sock, 'qemu-nbd', '-t', '-e', '4', '-f', 'raw',
                          '--aio=io_uring', '-k', sock, self.image('nbd.img'))

    def nbdkit(self):
        sock = self.path('nbdkit.sock')
        return self.serve(sock, 'nbdkit', '-f', '-U', sock, 'memory',
                          f'{SPAN_MIB}M')

    def rbd(self):
        if not all(map(shutil.which, ('ceph-mon', 'ceph-osd', 'rbd'))):
            raise Missing("Ceph isn't installed (tests/deps ceph)")
        where = self.path('ceph')
        conf = os.path.join(where, 'ceph.conf')
        env = dict(os.environ, PORT='15300')
        with open(self.path('ceph.log'), 'wb') as log:
            subprocess.run([CEPH, 'start', where], check=True, env=env,
                           stdout=log, stderr=log)
        subprocess.run(['rbd', '-c', conf, '--no-progress', 'import',
                        self.image('rbd.img'), 'bench'], check=True)
        return f'rbd:rbd/bench:conf={conf}'

    def end(self):
        for process in self.processes:
            process.terminate()
            process.wait()
        if os.path.isdir(self.path('ceph')):
            subprocess.run([CEPH, 'stop', self.path('ceph')], check=False,
                           stdout=subprocess.DEVNULL)
        shutil.rmtree(self.dir, ignore_errors=True)


def run(vmm, work, kernel, uri, words, ms):
    """One load: requests a second, or MiB, and what the VMM took of the CPUs
    for each request. A polling vCPU doesn't count: it is always busy."""
    sleeps = 'irq=1' in words
    append = f'{words} span={SPAN_MIB} ms={ms} tsc={host.tsc_khz()}'
    vm = vmm(work, 'disk', kernel, RAM_MIB, append, disk=uri)
    try:
        vm.attach()
        vm.serial.wait(lambda text: 'B\n' in text, 20)
        vcpu = None if sleeps else host.thread(vm.process.pid, vm.vcpu_name)
        before = host.cpu_seconds(vm.process.pid), host.thread_seconds(vcpu)
        others, begin = host.busy_seconds(), time.monotonic()
        vm.serial.wait(lambda text: '\nE ' in text and text[-1] == '\n',
                       20 + ms / 100)
        after = host.cpu_seconds(vm.process.pid), host.thread_seconds(vcpu)
        others = host.busy_seconds() - others
        took = time.monotonic() - begin
        done = vm.serial.fields('E')
        vm.leave()
    finally:
        vm.end()
    if done['bad']:
        raise RuntimeError(f'{done["bad"]} requests failed')
    rate = done['n'] * 1e6 / done['us']
    cpu = after[0] - before[0] - (after[1] - before[1])
    row = {'cpu_us_per_req': cpu * 1e6 / done['n'], 'kicks': done['kicks'],
           'busy_cores': others / took}
    if 'bs=4096' in words:
        return {'iops': rate, **row}
    return {'mib_s': rate, **row}
