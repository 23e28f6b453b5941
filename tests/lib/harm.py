# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults that inject.py injects: each is a function that is given the case and a
message on its way, and answers with what becomes of the message. By then it may
have done other harm. needs(case) is called before anything starts.
"""
import fcntl
import os
import resource
import shutil
import signal
import struct
import subprocess

from godwit import FINAL, Skip, until
from proxy import CUT, Cut

FLOCK = struct.Struct('hhqqi4x')
F_OFD_GETLK, F_OFD_SETLK = 36, 37
RUN_MAGIC = b'GDWR'         # a run of pages begins so
DATA = 1
RUNS = ('PAGES', 'WANT', 'PAGE')
OVER = FINAL + ('postcopy-paused',)


def cancel(case, link, direction, whole):
    """The user does, at the source."""
    try:
        case.ask(case.a, 'migrate_cancel')
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
    return Cut(whole)


def cut_for_good(case, link, direction, whole):
    case.proxy.blocked = True
    return CUT


def hold(case, link, direction, whole):
    """Nothing passes until the source has given up on it."""
    until(lambda: case.link(case.a) in OVER, 'the source notices')
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
    try:
        until(lambda: gives_up(case), 'the destination notices')
    finally:
        case.a.proc.send_signal(signal.SIGCONT)
    return whole


def gives_up(case):
    words = ('failed', 'sent away', 'arrived and running', 'link was lost')
    if not any(w in case.b.said() for w in words):
        return False
    # it may run and lack memory: it has yet to see that none comes
    return case.b in case.ended or \
        case.link(case.b) not in ('postcopy-active', 'postcopy-recover')


def first_run(whole):
    """Where it is and what is behind it, if all of it is here; or None."""
    start = whole.find(RUN_MAGIC)
    if not 0 <= start <= len(whole) - 32:
        return None
    kind, _, _, pages = struct.unpack_from('>HHQI', whole, start + 4)
    end = start + 32 + (pages * 4096 if kind == DATA else 0)
    return (start, end) if end <= len(whole) else None


def has_run(case, whole):
    """Pages are not summed (damage_page): a whole run must be there, with its
    header."""
    return case.point.kind not in RUNS or first_run(whole)


def flip(case, whole, at, run_at, bit):
    """One bit of the byte at @at, of a run's header the one at @run_at."""
    if case.point.kind in RUNS:
        at = first_run(whole)[0] + run_at
    at %= len(whole)
    return whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1:]


def corrupt(case, link, direction, whole):
    return flip(case, whole, -1, 15, 1)


def truncate(case, link, direction, whole):
    return Cut(whole[:-1])


def repeat(case, link, direction, whole):
    start, end = first_run(whole) if case.point.kind in RUNS else \
        (0, len(whole))
    return whole[:end] + whole[start:]


def damage_length(case, link, direction, whole):
    """The reader waits for what does not come."""
    return flip(case, whole, 22, 18, 0x40)


def damage_page(case, link, direction, whole):
    return whole


def no_page_is_summed(case):
    raise Skip("not injected: a page's bytes are TCP's and TLS's to protect")


damage_page.needs = no_page_is_summed
corrupt.wanted = damage_length.wanted = repeat.wanted = has_run


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
    before = resource.prlimit(case.b.pid, resource.RLIMIT_AS)
    resource.prlimit(case.b.pid, resource.RLIMIT_AS, (size, before[1]))
    case.put_back = lambda: case.b.proc.poll() is None and \
        resource.prlimit(case.b.pid, resource.RLIMIT_AS, before)
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
