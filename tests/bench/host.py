# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine that is measured on: clocks, warm memory, its own limit."""
import contextlib
import fcntl
import mmap
import os
import re
import signal
import socket
import threading
import time

MIB = 1 << 20
HUGE = 2 * MIB
AHEAD = 64 * MIB                # given before it is taken,
EVERY_S = 0.002                 # so often
LOOK_S = 0.01
LATE_S = 0.02
MADV_POPULATE_WRITE = 23        # Linux 5.14; not in Python's mmap
KVM_CREATE_VM = 0xae01
KVM_CREATE_VCPU = 0xae41
KVM_GET_TSC_KHZ = 0xaea3


def tsc_khz():
    """The TSC's frequency as KVM knows it; OSError where there is no KVM."""
    fds = []
    try:
        fds.append(os.open('/dev/kvm', os.O_RDWR | os.O_CLOEXEC))
        fds.append(fcntl.ioctl(fds[0], KVM_CREATE_VM, 0))
        fds.append(fcntl.ioctl(fds[1], KVM_CREATE_VCPU, 0))
        return fcntl.ioctl(fds[2], KVM_GET_TSC_KHZ, 0)
    finally:
        for fd in reversed(fds):
            os.close(fd)


def cpu_seconds(pid):
    """CPU time of all threads, dead ones too, by the process's CPU clock
    (clock_getcpuclockid(3): the clock's id is made of the pid)."""
    return time.clock_gettime(~pid << 3 | 2)


def thread(pid, name):
    """The thread of this name, as its folder in /proc."""
    for tid in os.listdir(f'/proc/{pid}/task'):
        with open(f'/proc/{pid}/task/{tid}/comm', encoding='utf-8') as comm:
            if comm.read().strip() == name:
                return f'/proc/{pid}/task/{tid}'
    raise RuntimeError(f'no thread {name}')


def thread_seconds(folder):
    """CPU time of such a thread; 0 for None."""
    if not folder:
        return 0
    with open(folder + '/schedstat', encoding='ascii') as stat:
        return int(stat.readline().split()[0]) / 1e9


def ticks():
    """Of all CPUs, by use: proc_stat(5)."""
    with open('/proc/stat', encoding='ascii') as stat:
        return [int(word) for word in stat.readline().split()[1:]]


def busy_seconds():
    """CPU seconds that all processes and the host beneath took."""
    f = ticks()
    return (sum(f[:3]) + sum(f[5:8])) / os.sysconf('SC_CLK_TCK')


def stolen_ms():
    """CPU time that the host beneath this machine, if any, kept for others."""
    return ticks()[7] * 1e3 / os.sysconf('SC_CLK_TCK')


class Theft:
    """A thread that watches for what the host beneath keeps, until end()."""

    def __init__(self):
        self.times = []                 # [(from, to), ...] of the looks
        self.begin = self.now = stolen_ms()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self):
        at = time.monotonic()
        while not self.over.wait(LOOK_S):
            was, self.now = self.now, stolen_ms()
            before, at = at, time.monotonic()
            if self.now > was:
                self.times.append((before, at))

    def end(self):
        self.over.set()
        self.thread.join()

    @property
    def ms(self):
        return self.now - self.begin

    def within(self, begin, end):
        """Was anything kept meanwhile? It is booked when it is over, and who
        tells the time here is late as well."""
        return any(a < end + LATE_S and b > begin - LATE_S
                   for a, b in self.times)


def private_mib(pid, ram_mib):
    """Memory that this process alone has and that can't be dropped, without
    its guest's RAM: that is the one nameless (or memfd) mapping of just the
    RAM's size. Unmodified pages of files don't count: whether they are
    private depends on who else runs the same binary."""
    private = guests = 0
    is_ram = False
    with open(f'/proc/{pid}/smaps', encoding='ascii') as smaps:
        for line in smaps:
            m = re.match(r'([0-9a-f]+)-([0-9a-f]+) (?:\S+ +){4}(.*)', line)
            if m:
                size = int(m[2], 16) - int(m[1], 16)
                is_ram = size == ram_mib * MIB and \
                    (not m[3] or m[3].startswith('/memfd:'))
                guests += is_ram
                continue
            m = re.match(r'Anonymous: +(\d+) kB', line)
            if m and not is_ram:
                private += int(m[1])
    if guests != 1:
        raise RuntimeError(f'{guests} mappings look like guest RAM')
    return private / 1024


def touched(size):
    """Memory of @size bytes whose pages are there."""
    m = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    m.madvise(mmap.MADV_HUGEPAGE)
    try:
        m.madvise(MADV_POPULATE_WRITE)
    except OSError:
        for at in range(0, size, mmap.PAGESIZE):
            m[at] = 1
    return m


def resident(statm):
    """Bytes of memory that a process has, shared ones too: proc(5)."""
    return int(os.pread(statm, 64, 0).split()[1]) * mmap.PAGESIZE


def hand_over(memory, pid, begun):
    """Give back memory as @pid takes it, AHEAD bytes before that; in
    time, if that is allowed. @begun is called after the first."""
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    statm = os.open(f'/proc/{pid}/statm', os.O_RDONLY)
    at = 0
    while at < len(memory):
        more = max(0, min(resident(statm) + AHEAD, len(memory)) - at) & -HUGE
        if more:
            memory.madvise(mmap.MADV_DONTNEED, at, more)
        if at == 0:
            begun()
        at += more
        time.sleep(EVERY_S)


class Warm:
    """Memory held by a child, to be given back to the kernel just when it is
    wanted. Where this machine is itself a VM with free page reporting, memory
    that lies free for two seconds goes back to the host, which keeps the CPUs
    meanwhile (300 ms of their time for a GiB), and touching it again costs 10
    to 50 times as much: runs would measure only that."""

    def __init__(self, mib):
        self.pipe, theirs = socket.socketpair()
        self.bytes = mib * MIB
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self.pipe.close()
                self.hold(theirs)
            finally:            # also when whom it was for is gone
                os._exit(0)
        theirs.close()
        self.pipe.recv(1)

    def hold(self, pipe):
        memory = touched(self.bytes)
        pipe.send(b'r')
        if pid := pipe.recv(16):
            hand_over(memory, int(pid), lambda: pipe.send(b'b'))

    def give(self, pid):
        """Begin to give it back as the process @pid takes memory."""
        self.pipe.send(b'%d' % pid)
        self.pipe.recv(1)

    def release(self):
        """Give back what is left of it, and wait until that is done."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.pipe.close()


def congestion_control():
    with open('/proc/sys/net/ipv4/tcp_congestion_control',
              encoding='ascii') as name:
        return name.read().strip()


def line_gib_s(congestion, mib, rest_s, chunk=MIB):
    """GiB/s of one loopback TCP stream from and into memory that is there, and
    idle for so long: no migration over one connection can be faster on this
    machine."""
    listener = socket.create_server(('127.0.0.1', 0))
    pid = os.fork()
    if pid == 0:
        view = memoryview(touched(mib * MIB))
        time.sleep(rest_s)
        out = socket.socket()
        out.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION,
                       congestion.encode())
        out.connect(listener.getsockname())
        for at in range(0, mib * MIB, chunk):
            out.sendall(view[at:at + chunk])
        os._exit(0)
    view = memoryview(touched(mib * MIB))
    conn, _ = listener.accept()
    conn.recv(1, socket.MSG_PEEK)
    start = time.monotonic()
    got = 0
    while got < mib * MIB:
        n = conn.recv_into(view[got:got + chunk])
        if not n:
            break
        got += n
    took = time.monotonic() - start
    os.waitpid(pid, 0)
    conn.close()
    listener.close()
    return got / (1 << 30) / took


def limit_gib_s(mib, rest_s):
    """With the congestion control of this machine, or without pacing: the
    better one, since Godwit chooses, too."""
    return max(line_gib_s(name, mib, rest_s) for name in
               dict.fromkeys((congestion_control(), 'reno')))
