# SPDX-License-Identifier: GPL-2.0-or-later
"""For the tests that move VMs between godwit processes: start one, talk QMP to
it, wait for what its guest prints, and report claims as TAP.

Nothing here waits for a time to pass: all waits are for something to happen,
with a generous limit after which it is a failure.
"""
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

O = os.path.abspath(os.environ.get('O', 'build'))
GODWIT = os.path.join(O, 'godwit')
GUESTS = os.path.join(O, 'guests')
LIMIT = 60          # seconds after which what doesn't happen never will
FINAL = ('completed', 'failed', 'cancelled')


class Skip(Exception):
    """The claim can't be tried here; the text says why."""


def until(what, say):
    """Wait for what() to be true; its value."""
    end = time.monotonic() + LIMIT
    while True:
        value = what()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError('never: ' + (say() if callable(say) else say))
        time.sleep(0.01)


def beats(text):
    """A guest's heartbeats as dicts of numbers; whole lines only."""
    lines = re.findall(r'^H (\d+) (t=.*)\n', text, re.M)
    return [dict({'n': int(n)}, **{k: int(v) for k, v in
                 re.findall(r'(\w+)=(\d+)', rest)}) for n, rest in lines]


class Qmp:
    """A client of a control socket; events are kept in their order."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(LIMIT)
        self.sock.connect(path)
        self.buf = b''
        self.events = []
        assert 'QMP' in self.message()
        self('qmp_capabilities')

    def message(self):
        while b'\n' not in self.buf:
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionError('the control socket was closed')
            self.buf += data
        line, self.buf = self.buf.split(b'\n', 1)
        return json.loads(line)

    def __call__(self, command, **args):
        """Run a command; underscores in argument names stand for dashes."""
        args = {k.replace('_', '-'): v for k, v in args.items()}
        if args.get('uri', '').startswith('tcp:') and 'x-tls' not in args:
            args.setdefault('x-plain', True)
        text = json.dumps({'execute': command, 'arguments': args})
        self.sock.sendall(text.encode() + b'\n')
        while True:
            answer = self.message()
            if 'event' in answer:
                self.events.append(answer)
                continue
            if 'error' in answer:
                raise RuntimeError(answer['error']['desc'])
            return answer['return']

    def pump(self):
        """Take the events that are there already."""
        while b'\n' in self.buf or select.select([self.sock], [], [], 0)[0]:
            self.events.append(self.message())

    def wait_event(self, match):
        """The first event, past or to come, for which match() holds."""
        seen = 0
        while True:
            for event in self.events[seen:]:
                if match(event):
                    return event
            seen = len(self.events)
            self.events.append(self.message())

    def close(self):
        self.sock.close()


class Vm:
    """A godwit process: a VM, or one that waits for one."""

    def __init__(self, host, command, words, serial, log):
        self.host, self.serial, self.log = host, serial, log
        with open(log, 'wb') as err:
            self.proc = subprocess.Popen(
                [GODWIT, command, *words], env=host.env, stdout=err, stderr=err,
                stdin=subprocess.DEVNULL)
        self.pid = self.proc.pid

    def connect(self, path):
        """A control connection of its own."""
        def attempt():
            assert self.proc.poll() is None, self.said()
            try:
                return Qmp(path)
            except (FileNotFoundError, ConnectionRefusedError):
                return None
        return until(attempt, lambda: 'it answers: ' + self.said())

    def said(self):
        with open(self.log, encoding='utf-8', errors='replace') as f:
            return f.read()

    def status(self):
        return self.qmp('query-status')['status']

    def running(self):
        """Does it exist, and execute its guest? Asked over a connection of
        its own, because a test may have closed the other one."""
        if self.proc.poll() is not None:
            return False
        return self.status() == 'running'

    def output(self):
        try:
            with open(self.serial, encoding='ascii', errors='replace') as f:
                return f.read()
        except FileNotFoundError:
            return ''

    def wait_output(self, pattern, start=0):
        """Until the guest has printed this, from byte start on; the match."""
        def look():
            assert self.proc.poll() is None, 'it ended: ' + self.said()
            return re.compile(pattern).search(self.output(), start)
        return until(look, lambda: f'{pattern} in {self.output()[-300:]!r}; '
                     + self.said()[-500:])

    def beats(self):
        return beats(self.output())

    def alive(self):
        """The guest makes progress: two heartbeats that were not there."""
        self.wait_output(r'(H \d+ t=[^\n]*\n[^H]*){2}', len(self.output()))

    def migrate(self, uri, wait=True, **params):
        self.qmp('migrate', uri=uri, **params)
        return self.outcome() if wait else None

    def outcome(self):
        """The report of the migration, once it is over."""
        return until(lambda: (lambda r: r if r.get('status') in FINAL
                              else None)(self.qmp('query-migrate')),
                     'the migration ends')

    def kill(self):
        self.proc.send_signal(signal.SIGKILL)
        self.proc.wait()

    def close(self):
        if hasattr(self, 'qmp'):
            self.qmp.close()
        if self.proc.poll() is None:
            self.proc.kill()
        self.proc.wait()


class Host:
    """A directory of its own, and all that a claim starts."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix='godwit-')
        self.env = dict(os.environ, XDG_RUNTIME_DIR=self.dir,
                        XDG_STATE_HOME=self.path('state'))
        self.vms, self.procs, self.count = [], [], 0
        self.cleanups = []

    def path(self, name):
        return os.path.join(self.dir, name)

    def start(self, *words, control=None, command='run'):
        """Any `godwit run` or another command that makes a VM; its control
        socket answers on return."""
        self.count += 1
        serial, named = (self.path(f'{kind}{self.count}')
                         for kind in ('serial', 'control'))
        control = control or named
        os.makedirs(os.path.dirname(control), exist_ok=True)
        log = self.path(f'log{self.count}')
        words = (*words, '--serial', 'file:' + serial, '--control', control)
        vm = Vm(self, command, words, serial, log)
        self.vms.append(vm)
        vm.control = control
        vm.qmp = vm.connect(control)
        return vm

    def boot(self, guest, append, *words, memory='64'):
        if '--name' not in words:
            words = ('--name', f'vm{self.count}', *words)
        return self.start('--kernel', os.path.join(GUESTS, guest + '.elf'),
                          '--memory', memory, '--append', append, *words)

    def listen(self, *words, uri=None):
        """A process that waits for a VM, listening on return: vm.uri."""
        uri = uri or 'unix:' + self.path(f'in{self.count}')
        if uri.startswith('tcp:') and '--tls' not in words:
            words = ('--plain', *words)
        vm = self.start('--incoming', uri, '--log', 'info', *words)
        # the port that was free is in what it says
        vm.uri = until(lambda: re.search(r'waiting for a VM at (\S+)',
                                         vm.said()), 'it listens')[1]
        return vm

    def restore(self, path, *words):
        return self.start(path, '--name', f'vm{self.count}', *words,
                          command='restore')

    def run(self, *words):
        """Some other process, ended with the claim."""
        proc = subprocess.Popen(words, stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)
        self.procs.append(proc)
        return proc

    def drop(self, vm):
        vm.close()
        assert 'Sanitizer' not in vm.said(), vm.said()
        self.vms.remove(vm)

    def close(self):
        for vm in self.vms:
            vm.close()
        for clean in self.cleanups:
            clean()
        for proc in self.procs:
            if proc.poll() is None:
                proc.terminate()
            proc.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def free(vm):
    """A destination that has destroyed its copy, if it had one, and waits."""
    until(lambda: vm.qmp('query-migrate').get('status', 'none') in
          ('none', 'failed'), 'the copy is destroyed')
    assert vm.status() == 'inmigrate', vm.status()


def one_runs(*vms):
    """The one VM of these that runs; fails unless it is exactly one."""
    running = [vm for vm in vms if vm.running()]
    assert len(running) == 1, f'{len(running)} of them run'
    return running[0]


def sound(vm):
    """Nothing that the guest printed here says that it found damage."""
    text = vm.output()
    assert 'CORRUPT' not in text and 'BAD' not in text, text
    assert not re.search(r'bad=[1-9]', text), text
    assert not re.search(r'^!', text, re.M), 'trap: ' + text


def moved(source, destination, uri=None, **params):
    """Move, and expect it to have worked: the guest goes on there."""
    report = source.migrate(uri or destination.uri, **params)
    assert report['status'] == 'completed', report
    assert one_runs(source, destination) is destination
    return report


def check(number, claim):
    name = claim.__name__.replace('_', ' ')
    host, start = Host(), time.monotonic()
    try:
        claim(host)
        for vm in host.vms:
            assert 'Sanitizer' not in vm.said(), vm.log
        print(f'ok {number} - {name}', flush=True)
        return True
    except Skip as why:
        print(f'ok {number} - {name} # SKIP {why}', flush=True)
        return True
    except Exception as why:
        print(f'not ok {number} - {name}\n# {type(why).__name__}: {why}')
        for vm in host.vms:
            print(f'# {vm.serial}: {vm.output()[-400:]!r}\n# {vm.log}: '
                  + vm.said()[-1500:].replace('\n', '\n#   '), flush=True)
        return False
    finally:
        host.close()
        print(f'# {time.monotonic() - start:.1f} s', flush=True)


def main(claims):
    """Try all claims (or those whose name contains an argument), as TAP."""
    wanted = sys.argv[1:]
    claims = [c for c in claims if not wanted or
              any(w in c.__name__ for w in wanted)]
    print(f'1..{len(claims)}')
    if not os.access('/dev/kvm', os.R_OK | os.W_OK):
        for number, claim in enumerate(claims, 1):
            name = claim.__name__.replace('_', ' ')
            print(f"ok {number} - {name} # SKIP /dev/kvm can't be opened")
        return 0
    return 0 if all([check(n, c) for n, c in enumerate(claims, 1)]) else 1
