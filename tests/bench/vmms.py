# SPDX-License-Identifier: GPL-2.0-or-later
"""The two that are compared, behind one interface. Both speak QMP."""
import bisect
import dataclasses
import json
import os
import re
import select
import socket
import subprocess
import threading
import time
from collections import namedtuple

TLS_NAME = 'bench'              # both sides' name in their certificates


class NotMeasured(Exception):
    """This can't be had of this one, or here; the text says why."""


@dataclasses.dataclass
class Way:
    """How a move goes, as far as both sides must know it."""
    tls: str = ''               # directory of certificates; '': plain TCP
    postcopy: bool = False
    downtime_ms: int = 50       # what Godwit is asked for
    auto_converge: bool = False


# what a guest says at intervals, and when that came
Beat = namedtuple('Beat', 'tsc gap_us bad came')
BEAT = re.compile(
    r'(?<=\n)H \d+ t=(\d+) gap=(\d+) pages=\d+ sw=\d+ bad=(\d+)\n')


class Serial:
    """Collects what the guest prints."""

    def __init__(self, fd):
        self.fd = fd
        self.cond = threading.Condition()
        self.bytes = b''
        self.came = []          # [(length of @bytes, when), ...]
        self.ended = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        data = b'?'
        while data:
            data = os.read(self.fd, 65536)
            with self.cond:
                self.bytes += data
                self.came.append((len(self.bytes), time.monotonic()))
                self.ended = not data
                self.cond.notify_all()

    def text(self):
        with self.cond:
            return self.bytes.decode('latin-1')

    def wait(self, done, timeout):
        """Until done(text); raises when the guest ends or time is up."""
        def ready():
            return self.ended or done(self.bytes.decode('latin-1'))
        with self.cond:
            if not self.cond.wait_for(ready, timeout):
                raise TimeoutError(f'guest said {self.bytes[-200:]!r}')
        if not done(self.text()):
            raise EOFError(f'guest ended, it said {self.bytes[-200:]!r}')

    def heartbeats(self):
        """[Beat, ...] of the guest's lines so far."""
        with self.cond:
            text, came = self.bytes.decode('latin-1'), list(self.came)
        return [Beat(*map(int, m.groups()),
                     came[bisect.bisect_left(came, (m.end(), 0))][1])
                for m in BEAT.finditer(text)]

    def fields(self, letter):
        """The numbers in the guest's last line that begins so."""
        line = re.findall(rf'\n{letter} (.*)\n', self.text())[-1]
        return {k: int(v) for k, v in re.findall(r'(\w+)=(\d+)', line)}


class Qmp:
    """A client of the control socket, as soon as it is there."""

    def __init__(self, path, timeout=20):
        end = time.monotonic() + timeout
        self.sock = None
        while not self.sock:
            sock = socket.socket(socket.AF_UNIX)
            try:
                sock.connect(path)
                self.sock = sock
            except OSError:
                sock.close()
                if time.monotonic() > end:
                    raise
                time.sleep(0.005)
        self.buf, self.events = b'', []
        self._line(end)
        self.command('qmp_capabilities')

    def _line(self, end):
        while b'\n' not in self.buf:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.sock], [], [], left)[0]:
                raise TimeoutError('no word on the control socket')
            data = self.sock.recv(65536)
            if not data:
                raise EOFError('control socket closed')
            self.buf += data
        line, self.buf = self.buf.split(b'\n', 1)
        return json.loads(line)

    def command(self, name, **arguments):
        arguments = {k.replace('_', '-'): v for k, v in arguments.items()}
        self.sock.sendall(json.dumps(
            {'execute': name, 'arguments': arguments}).encode() + b'\n')
        while True:
            reply = self._line(time.monotonic() + 30)
            if 'event' in reply:
                self.events.append(reply)
            elif 'error' in reply:
                raise RuntimeError(f'{name}: {reply["error"]}')
            else:
                return reply['return']

    def migrated(self, timeout):
        """Waits for the end of a migration; was it completed?"""
        end = time.monotonic() + timeout
        while True:
            event = self.events.pop(0) if self.events else self._line(end)
            status = event.get('data', {}).get('status')
            if event.get('event') == 'MIGRATION' and \
                    status in ('completed', 'failed', 'cancelled'):
                return status == 'completed'


def free_port():
    with socket.create_server(('127.0.0.1', 0)) as s:
        return s.getsockname()[1]


class Vmm:
    """One process with one guest: its serial port on standard output."""

    def __init__(self, work, role, kernel, ram_mib, append, disk=None,
                 file=None, way=Way()):
        self.control = os.path.join(work, role + '.sock')
        self.append = append
        self.disk = disk
        self.file = file        # it comes back from there
        self.way = way
        self.ram_mib = ram_mib
        self.kernel = kernel
        self.errors = os.path.join(work, role + '.err')
        self.port = free_port() if role == 'dst' else 0
        with open(self.errors, 'wb') as errors:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=errors, bufsize=0)

    def first_byte(self):
        if not os.read(self.process.stdout.fileno(), 1):
            with open(self.errors, encoding='utf-8') as errors:
                raise EOFError('no byte: ' + errors.read())

    def attach(self):
        self.serial = Serial(self.process.stdout.fileno())
        self.qmp = Qmp(self.control)

    def ready(self):
        """A destination listens."""

    def report(self):
        return self.qmp.command('query-migrate')

    def leave(self):
        """End it as one should: Ceph waits for clients that were killed."""
        try:
            self.qmp.command('quit')
            self.process.wait(10)
        except (OSError, EOFError, subprocess.TimeoutExpired):
            pass

    def end(self):
        self.process.kill()
        self.process.wait()


class Godwit(Vmm):
    name = 'godwit'
    binary = 'godwit'
    vcpu_name = 'vcpu0'

    def command(self):
        c = [self.binary, 'run', '--control', self.control, '--log', 'error',
             '--serial', 'stdio']
        if self.file:
            return [*c[:1], 'restore', *c[2:], self.file]
        if self.port:
            tls = ['--tls', self.way.tls] if self.way.tls else ['--plain']
            return c + ['--incoming', f'tcp:127.0.0.1:{self.port}', *tls]
        if self.disk:
            c += ['--disk', self.disk]
        return c + ['--kernel', self.kernel, '--memory', str(self.ram_mib),
                    '--append', self.append]

    def migrate(self, to, **more):
        if self.way.tls:
            more.update(x_tls=self.way.tls, tls_hostname=TLS_NAME)
        else:
            more.update(x_plain=True)
        if self.way.postcopy:
            more.update(x_postcopy=True)
        if self.way.auto_converge:
            more.update(auto_converge=True)
        try:
            self.qmp.command('migrate', uri=f'tcp:127.0.0.1:{to.port}',
                             downtime_limit=self.way.downtime_ms, **more)
        except RuntimeError as error:
            if 'x-postcopy' not in str(error):
                raise
            raise NotMeasured('this godwit has no post-copy') from None

    def save(self, path):
        self.qmp.command('x-save', file=path)

    def pause_ms(self, report):
        return report['x-job']['downtime-us'] / 1e3


class Qemu(Vmm):
    name = 'qemu'
    binary = 'qemu-system-x86_64'
    vcpu_name = 'CPU 0/KVM'
    streams = 0                 # of multifd
    downtime_ms = 300           # its default
    # where its first virtio-mmio device is
    blk = ' blk=0xfeb00000'

    def disk_words(self):
        """As one would set it up for speed. A second I/O APIC would only move
        the interrupt out of the guest's sight."""
        aio = ',aio=io_uring' if self.disk.startswith('/') else ''
        return ['-global', 'virtio-mmio.force-legacy=off',
                '-object', 'iothread,id=io0', '-drive',
                f'if=none,id=d,format=raw,cache=writeback{aio},'
                'file=' + self.disk.replace(',', ',,'), '-device',
                'virtio-blk-device,drive=d,bus=virtio-mmio-bus.0,iothread=io0']

    def command(self):
        machine = 'microvm,auto-kernel-cmdline=off'
        if self.disk:
            machine += ',ioapic2=off'
        c = [self.binary, '-M', machine, '-enable-kvm', '-cpu', 'host,-arch-capabilities',
             '-name', 'bench,debug-threads=on',
             '-m', str(self.ram_mib), '-nodefaults', '-no-user-config',
             '-display', 'none', '-serial', 'stdio', '-kernel', self.kernel,
             '-append', self.append + (self.blk if self.disk else ''),
             '-qmp', f'unix:{self.control},server=on,wait=off']
        if self.disk:
            c += self.disk_words()
        if self.way.tls:
            end = 'server' if self.port else 'client'
            c += ['-object', f'tls-creds-x509,id=tls0,dir={self.way.tls},'
                  f'endpoint={end},verify-peer=on']
        if self.file:
            return c + ['-incoming', 'exec:cat ' + self.file]
        return c + (['-incoming', 'defer'] if self.port else [])

    def setup(self):
        """Both sides: capabilities, then parameters."""
        # max-bandwidth is 128 MiB/s by default: then nothing here converges
        words = {'max_bandwidth': 100 << 30,
                 'downtime_limit': self.downtime_ms}
        on = ['events']
        if self.streams:
            on.append('multifd')
            words['multifd_channels'] = self.streams
        if self.way.postcopy:
            on.append('postcopy-ram')
        if self.way.auto_converge:
            on.append('auto-converge')
        if self.way.tls:
            words.update(tls_creds='tls0', tls_hostname=TLS_NAME)
        self.qmp.command('migrate-set-capabilities', capabilities=[
            {'capability': name, 'state': True} for name in on])
        self.qmp.command('migrate-set-parameters', **words)

    def ready(self):
        self.setup()
        self.qmp.command('migrate-incoming', uri=f'tcp:127.0.0.1:{self.port}')

    def migrate(self, to):
        self.setup()
        self.qmp.command('migrate', uri=f'tcp:127.0.0.1:{to.port}')
        if self.way.postcopy:
            self.switch_after_a_round()

    def switch_after_a_round(self):
        """The second look at what is dirty ends the first round."""
        while True:
            report = self.report()
            if report.get('status') not in ('setup', 'active'):
                return          # it got there without, or failed
            if report.get('ram', {}).get('dirty-sync-count', 0) >= 2:
                break
            time.sleep(0.002)
        try:
            self.qmp.command('migrate-start-postcopy')
        except RuntimeError:
            if self.report().get('status') == 'active':
                raise

    def save(self, path):
        self.setup()
        self.qmp.command('migrate', uri='exec:cat >' + path)

    def pause_ms(self, report):
        return report['downtime']


class QemuFast(Qemu):
    """Its shortest total time."""
    name = 'fast'
    streams = 2


class QemuShort(Qemu):
    """Its shortest pause."""
    name = 'short'
    downtime_ms = 50


class QemuPostcopy(Qemu):
    """Refuses multifd together with post-copy."""
    name = 'postcopy'
