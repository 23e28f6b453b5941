# SPDX-License-Identifier: GPL-2.0-or-later
"""Two hosts on a LAN of one's own: network namespaces where this machine's
KVM runs Linux, emulated hosts elsewhere. Both run tests/rig/agent, so that a
test talks to them in one way.

The caller's process joins the LAN's namespace (enter_lan) and then reaches
hosts and guests by their addresses 10.99.0.x; it must be root.
"""
import atexit
import ctypes
import os
import re
import signal
import socket
import subprocess
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
AGENT_PORT = 9003
CLONE_NEWNET = 0x40000000


def linux_runs_here(godwit):
    """Does this machine's own KVM run stock Linux? (`godwit doctor`)"""
    if os.environ.get('RIG_ARCH', 'x86') != 'x86':
        return False
    return subprocess.run([godwit, 'doctor'], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, check=False
                          ).returncode == 0


def enter_lan(name, taps):
    """Make the LAN and move this process into its namespace."""
    subprocess.run([f'{ROOT}/tests/rig/lan', 'up', name, *taps], check=True)
    pid = os.getpid()
    home = os.open('/proc/self/ns/net', os.O_RDONLY)

    def down():
        if os.getpid() == pid:
            ctypes.CDLL(None).setns(home, CLONE_NEWNET)
            subprocess.run([f'{ROOT}/tests/rig/lan', 'down', name],
                           check=False)
    atexit.register(down)
    with open(f'/run/netns/{name}', 'rb') as ns:
        if ctypes.CDLL(None, use_errno=True).setns(ns.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), 'setns')


def spawn(argv, **kwargs):
    """A child that is ended with this process."""
    child = subprocess.Popen(['setpriv', '--pdeathsig', 'TERM', *argv],
                             stdin=subprocess.DEVNULL, **kwargs)

    def end():
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
    atexit.register(end)
    return child


def connect(address, port, timeout=120):
    """A connection, as soon as somebody listens there."""
    end = time.monotonic() + timeout
    while True:
        try:
            return socket.create_connection((address, port), timeout=5)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


class Host:
    """One host. sh() runs commands there, in the repository's root."""

    def __init__(self, lan, name, number, emulated, memory=1024):
        self.name, self.address = name, f'10.99.0.{number}'
        agent = ['sh', 'tests/rig/agent', name, self.address, str(AGENT_PORT)]
        tap = f'tap{name}'
        if emulated:
            argv = ['tests/rig/run', '-n', name, '-m', str(memory), '-c', '1',
                    '-l', f'{lan}:{tap}:{self.address}/24', '--', *agent]
        else:
            argv = ['ip', 'netns', 'exec', self._namespace(lan, name), *agent]
        self.process = spawn(argv, cwd=ROOT)
        self.socket = None

    @staticmethod
    def _namespace(lan, name):
        """A namespace whose eth0 is plugged into the LAN's bridge."""
        ns = f'{lan}{name}'

        def ip(*words):
            subprocess.run(['ip', *words], check=True)
        ip('netns', 'add', ns)
        atexit.register(lambda: subprocess.run(['ip', 'netns', 'del', ns],
                                               check=False))
        ip('link', 'add', f've{name}', 'type', 'veth', 'peer', 'name', 'eth0',
           'netns', ns)
        ip('link', 'set', f've{name}', 'master', 'br0', 'up')
        ip('-n', ns, 'link', 'set', 'lo', 'up')
        return ns

    def sh(self, command, timeout=60, check=True):
        """(status, output) of a shell command there."""
        with connect(self.address, AGENT_PORT) as s:
            s.settimeout(timeout)
            s.sendall(command.encode() + b'\n')
            data = b''
            while not (end := re.search(rb'\n=(\d+)\n$', data)):
                chunk = s.recv(65536)
                if not chunk:
                    raise EOFError(f'{self.name}: {command}: {data!r}')
                data += chunk
        text = data[:end.start()].decode('utf-8', 'replace')
        status = int(end[1])
        if check and status:
            raise RuntimeError(f'{self.name}: {command}: {status}: {text}')
        return status, text

    def start(self, command, log):
        """Run in the background there; output goes to the file @log."""
        self.sh(f'({command}) >{log} 2>&1 </dev/null &')


class Console:
    """A guest's serial console over TCP: all text with its arrival times."""

    def __init__(self, host, unix_path, port):
        host.sh(f'socat TCP-LISTEN:{port},bind={host.address},reuseaddr '
                f'UNIX-CONNECT:{unix_path},retry=100,interval=0.1 '
                '>/dev/null 2>&1 &')
        self.text, self.lock = '', threading.Condition()
        self.socket = connect(host.address, port)
        self.socket.settimeout(None)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while True:
            try:
                data = self.socket.recv(65536)
            except OSError:
                data = b''
            with self.lock:
                self.text += data.decode('utf-8', 'replace') \
                    .replace('\r', '')
                self.lock.notify_all()
            if not data:
                return

    def wait(self, pattern, timeout, start=0):
        """The match of @pattern in what came since offset @start."""
        end = time.monotonic() + timeout
        with self.lock:
            while True:
                match = re.compile(pattern, re.S | re.M).search(self.text,
                                                                start)
                left = end - time.monotonic()
                if match:
                    return match
                if left <= 0:
                    raise TimeoutError(f'no {pattern!r} on the console: '
                                       f'{self.text[-2000:]!r}')
                self.lock.wait(left)

    def ask(self, command, pattern, timeout):
        """Type a line; the match in what follows."""
        with self.lock:
            start = len(self.text)
        self.socket.sendall(command.encode() + b'\n')
        return self.wait(pattern, timeout, start)
