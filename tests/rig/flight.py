# SPDX-License-Identifier: GPL-2.0-or-later
"""The main job, as users do it: a Debian guest with its disk on an NBD server,
an open TCP connection and busy processes runs on host A, moves to B and back.

Used by `make demo` and by tests/rig/test-linux-move.
"""
import json
import os
import re
import shutil
import subprocess
import time

from hosts import ROOT, Console, Host, connect, enter_lan, linux_runs_here, \
    spawn

SERVER = '10.99.0.254'
NBD_PORT, ECHO_PORT, CONSOLE_PORT = 10809, 7000, 9100
CHECKS = {
    'filesystem': 'file system consistent after the move',
    'memory': 'guest memory as it was written',
    'tcp': 'TCP connection alive',
    'sequence': 'no lost or repeated sequence number',
    'clock': 'guest time monotonic',
    'dmesg': 'dmesg clean of soft lock-ups and clock trouble',
}


class Flight:
    """One guest, two hosts. say() is told what happens."""

    def __init__(self, godwit, out, say, cpus=2, memory=256, disk='disk.img'):
        self.godwit = os.path.relpath(godwit, ROOT)
        self.dir = os.path.relpath(out, ROOT)
        self.say, self.cpus, self.memory = say, cpus, memory
        self.disk = disk
        self.emulated = not linux_runs_here(godwit)
        # an emulated host, ten times slower, needs a longer leash
        self.limits = '--max-pause 5000' if self.emulated else ''
        self.console, self.where, self.moves = None, None, []

    def prepare(self):
        """LAN, servers, hosts."""
        os.chdir(ROOT)
        shutil.rmtree(self.dir, ignore_errors=True)
        os.makedirs(self.dir)
        linux = f'{os.path.dirname(self.dir)}/linux'
        subprocess.run(['guests/linux/make', linux], check=True)
        for name in ('vmlinuz', 'initrd.cpio', self.disk):
            shutil.copy(f'{linux}/{name}', self.dir)
        self.say('two emulated hosts on a LAN' if self.emulated else
                 'two network namespaces on a LAN')
        if self.emulated:
            subprocess.run(['tests/rig/image'], check=True)
        lan = f'gw{os.getpid()}'
        enter_lan(lan, ['tapA', 'tapB'] if self.emulated else [])
        log = open(f'{self.dir}/servers.log', 'wb')
        spawn(['nbdkit', '-f', '-i', SERVER, '-p', str(NBD_PORT), '-e', 'disk',
               'file', f'{self.dir}/{self.disk}'], stdout=log, stderr=log)
        spawn(['tests/rig/echo-server', SERVER, str(ECHO_PORT)],
              stdout=log, stderr=log)
        for port in (NBD_PORT, ECHO_PORT):
            connect(SERVER, port).close()
        self.hosts = [Host(lan, 'A', 1, self.emulated),
                      Host(lan, 'B', 2, self.emulated)]
        for host in self.hosts:
            status, text = host.sh(f'{self.godwit} doctor', check=False)
            if status:
                raise RuntimeError(f'host {host.name} can\'t run Linux:\n'
                                   f'{text}')
        self.where = self.hosts[0]

    def _log(self, host):
        return f'{self.dir}/godwit-{host.name}{len(self.moves)}.log'

    def _serial(self, host):
        return f'/tmp/flight-{host.name}{len(self.moves)}.con'

    def _attach(self, host):
        self.console = Console(host, self._serial(host),
                               CONSOLE_PORT + len(self.moves))

    def boot(self):
        host = self.where
        append = ('console=ttyS0 quiet panic=-1 ip.addr=10.99.0.50/24 '
                  'work.disk=10 work.mem=16,4 work.tick=500 '
                  f'work.tcp={SERVER}:{ECHO_PORT}')
        self.say(f'host {host.name}: boot Debian, {self.cpus} vCPUs, '
                 f'{self.memory} MiB, disk on NBD')
        host.start(f'{self.godwit} run --name flight '
                   f'--kernel {self.dir}/vmlinuz '
                   f'--initrd {self.dir}/initrd.cpio '
                   f'--cpus {self.cpus} --memory {self.memory} '
                   f'--disk nbd://{SERVER}:{NBD_PORT}/disk,id=disk0 '
                   '--net tap:tap0,id=net0 --rng '
                   f'--serial unix:{self._serial(host)} '
                   f'--append "{append}"', self._log(host))
        self._attach(host)
        self.console.wait(r'WORK READY', 300)
        self.console.wait(r'tcp ok', 120)

    def move(self, door='--plain', options=''):
        """To the other host; the report of `godwit migrate --json`. @door: what
        both sides are told, @options: what the source is told."""
        source = self.where
        target = self.hosts[1 - self.hosts.index(source)]
        old = self.console
        self.moves.append(None)
        uri = f'tcp:{target.address}:{4444 + len(self.moves)}'
        target.start(f'{self.godwit} run --name flight --incoming {uri} {door} '
                     f'--serial unix:{self._serial(target)}',
                     self._log(target))
        self._attach(target)
        old.ask('gap', r'gap [\d.]+', 60)       # forget the gaps so far
        self.say(f'host {source.name} -> host {target.name}')
        started = time.monotonic()
        status, text = source.sh(f'{self.godwit} migrate flight {uri} {door} '
                                 f'--json {self.limits} {options} '
                                 f'2>{self.dir}/stages{len(self.moves)}',
                                 timeout=300, check=False)
        with open(f'{self.dir}/stages{len(self.moves)}',
                  encoding='utf-8') as f:
            stages = f.read()
        if status:
            raise RuntimeError(f'migration failed: {text}{stages}\n'
                               + source.sh(f'cat {self.dir}/godwit-*.log',
                                           check=False)[1])
        self.where = target
        last = [int(n) for n in re.findall(r'^tick (\d+)', old.text, re.M)]
        first = self.console.wait(r'^tick (\d+) ', 120)
        report = json.loads(text)
        report.update(wall_ms=(time.monotonic() - started) * 1e3,
                      stages=stages, last_tick=last[-1] if last else None,
                      first_tick=int(first[1]),
                      gap_ms=float(self.console.ask(
                          'gap', r'gap ([\d.]+)', 60)[1]) * 1e3)
        self.moves[-1] = report
        return report

    def check(self):
        """{name: (verdict, detail)} as the guest sees itself."""
        text = self.console.ask('check', r'CHECK BEGIN.*CHECK END', 180)[0]
        return {m[1]: (m[2], m[3]) for m in
                re.finditer(r'^check (\S+) (\S+) ?(.*)$', text, re.M)}

    def power_off(self):
        """By the power button; true if the VM process ended with 0."""
        self.where.sh(f'{self.godwit} stop flight')
        end = time.monotonic() + 90
        while time.monotonic() < end:
            if 'flight' not in self.where.sh(f'{self.godwit} list')[1]:
                return True
            time.sleep(0.2)
        return False
