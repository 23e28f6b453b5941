# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults, and the points of a migration at which they strike.

A case is a VM that writes numbered records to a disk, a destination, and a
proxy between them (proxy.py). A point is the moment at which a message is on
its way, so each stands for a state of both machines. A fault is a function
that is given the message, and answers with what becomes of it.
"""
import fcntl
import os
import resource
import shutil
import signal
import struct
import subprocess
import threading

from godwit import FINAL, GUESTS, Skip, until
from proxy import CUT, Proxy

RECORDS = 'count=0 every=8 sectors=8 span=64 mem=1'
DISK_MIB = 4
FLOCK = struct.Struct('hhqqi4x')
F_OFD_GETLK, F_OFD_SETLK = 36, 37


# -- what brings a migration to the point, if it does not come by itself

def links_break(case, link, direction, kind, whole):
    if kind != 'PREPARED' or case.prepared:
        return whole
    case.prepared = True
    link.ends[direction][1].sendall(whole)
    return CUT


def user_cancels(case, link, direction, kind, whole):
    if kind == 'PREPARED':
        case.ask_source('migrate_cancel')
        until(lambda: case.hit, 'CANCEL comes')
    return whole


def state_is_damaged(case, link, direction, kind, whole):
    return corrupt(case, link, direction, whole) if kind == 'STATE' else whole


# name: the message, and the states of the source and of the destination
POINTS = {
    'HELLO': ('HELLO', 'CONNECTING', 'LISTENING', None),
    'OFFER': ('OFFER', 'OFFERING', 'NEGOTIATING', None),
    'ACCEPT': ('ACCEPT', 'OFFERING', 'NEGOTIATING', None),
    'CHANNEL': ('CHANNEL', 'OFFERING', 'NEGOTIATING', None),
    'PAGES': ('PAGES', 'COPYING', 'RECEIVING', None),
    'ROUND': ('ROUND', 'COPYING', 'RECEIVING', None),
    'STATE': ('STATE', 'STOPPING', 'RECEIVING', None),
    'PREPARED': ('PREPARED', 'PREPARING', 'PREPARED', None),
    'CANCEL': ('CANCEL', 'RETURNING', 'PREPARED', user_cancels),
    'DEAD': ('DEAD', 'PREPARING', 'DISCARDING', state_is_damaged),
    'GO': ('GO', 'COMMITTING', 'PREPARED', None),
    'QUERY': ('QUERY', 'ASKING', 'ORPHANED', links_break),
    'RUNNING': ('RUNNING', 'COMMITTING', 'STARTING', None),
    'BYE': ('BYE', 'COMPLETED', 'LINGERING', None),
}


# before GO could be sent at all
EARLY = ('HELLO', 'OFFER', 'ACCEPT', 'CHANNEL', 'PAGES', 'ROUND')


class Case:
    """A VM here, a destination there, and a proxy that waits for the point."""

    def __init__(self, host, point, fault):
        self.host, self.point, self.fault = host, point, fault
        self.kind, _, _, self.prelude = POINTS[point]
        self.hit = self.done = self.prepared = False
        self.killed, self.lock, self.report, self.failed = [], -1, None, None
        self.mutex = threading.Lock()
        self.image = host.path('disk.img')
        with open(self.image, 'wb') as f:
            f.truncate(DISK_MIB << 20)
        self.disk = self.disk_there = self.image
        if hasattr(fault, 'needs'):
            fault.needs(self)
        # by its name, for that is what `godwit resolve` is told
        self.a = host.start('--name', 'web', '--memory', '64', '--kernel',
                            os.path.join(GUESTS, 'blk.elf'), '--append',
                            RECORDS, '--disk', self.disk + ',id=d',
                            control=host.path('godwit/web.sock'))
        self.a.wait_output(r'R [1-9]\d* ')
        self.b = host.listen('--disk', self.disk_there + ',id=d')
        self.proxy = Proxy(self.b.uri, on_frame=self.on_frame)
        host.cleanups.append(self.proxy.close)

    def on_frame(self, link, direction, kind, whole):
        if kind == 'HELLO' and link.role == 2:
            kind = 'CHANNEL'
        with self.mutex:
            here = kind == self.kind and not self.hit
            self.hit = self.hit or here
        if not here:
            if self.hit or not self.prelude:
                return whole
            return self.prelude(self, link, direction, kind, whole)
        try:
            return self.fault(self, link, direction, whole)
        except (Skip, AssertionError) as why:
            self.failed = why
            return whole
        finally:
            self.done = True

    def ask_source(self, command):
        """Over a connection of its own: a proxy's thread asks."""
        asked = self.a.connect(self.a.control)
        answer = asked(command)
        asked.close()
        return answer

    def migrate(self, max_pause):
        """Start; what is predicted on a busy machine is no matter here."""
        try:
            self.a.qmp('migrate', uri=self.proxy.uri, max_pause=max_pause,
                       downtime_limit=max_pause, x_ask_seconds=6)
        except ConnectionError:
            pass                # killed by then
        until(lambda: self.done, lambda: f'{self.point} comes by: '
              f'{self.proxy.seen[-40:]} {self.a.said()[-300:]}')
        if self.failed:
            raise self.failed

    def kill(self, *vms):
        for vm in vms:
            vm.kill()
            self.killed.append(vm)


# -- faults: what becomes of the message

def cancel(case, link, direction, whole):
    """The user does, at the source."""
    try:
        case.ask_source('migrate_cancel')
        case.answer = 'done'
    except RuntimeError as why:
        case.answer = str(why)
    return whole


def kill_source(case, link, direction, whole):
    case.kill(case.a)
    return whole


def kill_destination(case, link, direction, whole):
    case.kill(case.b)
    return whole


def kill_both(case, link, direction, whole):
    case.kill(case.a, case.b)
    return whole


def cut(case, link, direction, whole):
    return CUT


def cut_behind(case, link, direction, whole):
    link.ends[direction][1].sendall(whole)
    return CUT


def cut_for_good(case, link, direction, whole):
    case.proxy.blocked = True
    return CUT


def hold(case, link, direction, whole):
    """Nothing passes until the source has given up on it."""
    until(lambda: case.ask_source('query-migrate').get('status') in FINAL,
          'the source notices')
    return whole


def hang_destination(case, link, direction, whole):
    """It goes on when the source has given up on it."""
    case.b.proc.send_signal(signal.SIGSTOP)
    try:
        return hold(case, link, direction, whole)
    finally:
        case.b.proc.send_signal(signal.SIGCONT)


def hang_source(case, link, direction, whole):
    """It goes on when the destination has given up on it, or runs."""
    case.a.proc.send_signal(signal.SIGSTOP)
    words = ('failed', 'sent away', 'arrived and running')
    try:
        until(lambda: any(w in case.b.said() for w in words),
              'the destination notices')
    finally:
        case.a.proc.send_signal(signal.SIGCONT)
    return whole


def corrupt(case, link, direction, whole):
    return whole[:-1] + bytes([whole[-1] ^ 1])


def truncate(case, link, direction, whole):
    link.ends[direction][1].sendall(whole[:-1])
    return CUT


def repeat(case, link, direction, whole):
    return whole + whole


def damage_length(case, link, direction, whole):
    """The reader waits for what does not come."""
    return whole[:22] + bytes([whole[22] ^ 0x40]) + whole[23:]


def lock_image(case, link, direction, whole):
    """Somebody takes the image as soon as it is free."""
    case.lock = os.open(case.image, os.O_RDWR)
    lock = FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    until(lambda: locks(case.lock, lock), 'the image is free')
    return whole


def locks(fd, lock):
    try:
        fcntl.fcntl(fd, F_OFD_SETLK, lock)
        return True
    except OSError:
        return False


def fill_disk(case, link, direction, whole):
    """No room for a record of the job."""
    place = case.host.path('state/godwit')
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=4k,nr_inodes=1',
                       'full', place], capture_output=True,
                      check=False).returncode:
        raise Skip("a file system can't be mounted here")
    case.host.cleanups.append(
        lambda: subprocess.run(['umount', '-l', place], check=True))
    return whole


def starve(case, link, direction, whole):
    """The destination gets no more memory than it has."""
    with open(f'/proc/{case.b.pid}/statm', encoding='ascii') as f:
        size = int(f.read().split()[0]) * 4096
    resource.prlimit(case.b.pid, resource.RLIMIT_AS, (size, size))
    return whole


def serve(case):
    """The image by an NBD server, to which each side has a path of its own."""
    if not shutil.which('nbdkit'):
        raise Skip('nbdkit is not installed')
    here, there = case.host.path('nbd.sock'), case.host.path('nbd.there')
    case.server = case.host.run('nbdkit', '-f', '-U', here, 'file',
                                case.image)
    until(lambda: os.path.exists(here), 'nbdkit listens')
    if not os.path.islink(there):
        os.symlink(here, there)
    case.disk = 'nbd+unix:///?socket=' + here
    case.disk_there = 'nbd+unix:///?socket=' + there


def refuse_disk(case, link, direction, whole):
    """The destination can't reach the NBD server."""
    os.unlink(case.host.path('nbd.there'))
    return whole


def lose_disk(case, link, direction, whole):
    """The NBD server ends, and comes back when the migration is over."""
    case.server.kill()
    case.server.wait()
    os.unlink(case.host.path('nbd.sock'))
    case.put_back = lambda: serve(case)
    return whole


refuse_disk.needs = lose_disk.needs = serve

EVERYWHERE = (cancel, kill_source, kill_destination, kill_both, cut, cut_behind,
              cut_for_good, truncate, repeat, hold, hang_source,
              hang_destination, corrupt, damage_length)
AT = ((lock_image, 'STATE'), (fill_disk, 'HELLO'), (fill_disk, 'ACCEPT'),
      (starve, 'HELLO'), (starve, 'ACCEPT'), (starve, 'ROUND'),
      (starve, 'STATE'), (starve, 'GO'), (refuse_disk, 'HELLO'),
      (lose_disk, 'HELLO'), (lose_disk, 'ROUND'), (lose_disk, 'STATE'),
      (lose_disk, 'PREPARED'), (lose_disk, 'GO'))


def all_cases():
    # the bytes of a page are TCP's (and TLS's) to protect: PROTOCOL.md
    whole = (corrupt, damage_length)
    return [(f, p) for p in POINTS for f in EVERYWHERE
            if p != 'PAGES' or f not in whole] + list(AT)
