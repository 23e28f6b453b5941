# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults, and the points of a migration at which they strike.

A case is a VM that writes numbered records to a disk, a destination, and a
proxy between them (proxy.py). A point is the moment at which a message is on
its way, so each stands for a state of both machines. A fault is a function
that is given the message, and answers with what becomes of it (harm.py).
"""
import collections
import json
import os
import socket
import threading

import harm
from godwit import GUESTS, Skip, until
from proxy import CUT, Proxy

RECORDS = 'count=0 every=8 sectors=8 span=64 mem=1'
DISK_MIB = 4
MIB = 1 << 20
# what query-migrate says of a link that is lost for now, and of one in use
WAITS = 'postcopy-paused'
STANDS = 'stands still, as a guest that lacks a page does'
FOLLOWS = (STANDS, 'postcopy-active', 'postcopy-recover')

# How a VM is moved: the kind of its memory, what `migrate` is told for it.
Way = collections.namedtuple('Way', 'memory params')
WAYS = {
    'pre-copy': Way('64', {}),
    # slowly, that it has not all come before anything happens, and not so that
    # the guest could as well be stopped
    'post-copy': Way('64', {'x_postcopy': True, 'max_bandwidth': 2 * MIB,
                            'downtime_limit': 1}),
    'local': Way('64,shared=on', {'x_local': True}),
    'copy-disk': Way('64', {'copy_disk': 'd'}),
}


# -- what brings a migration to the point, if it does not come by itself

def links_break(case, link, direction, kind, whole):
    """GO is said, and does not get there."""
    if kind != 'GO' or case.begun:
        return whole
    case.begun = True
    return CUT


def user_cancels(case, link, direction, kind, whole):
    if kind == 'PREPARED':
        case.ask(case.a, 'migrate_cancel')
        until(lambda: case.hit, 'CANCEL comes')
    return whole


def state_is_damaged(case, link, direction, kind, whole):
    return harm.corrupt(case, link, direction, whole) if kind == 'STATE' \
        else whole


def it_lacks_a_page(case, link, direction, kind, whole):
    """It runs there, which is not known here: no page comes unasked."""
    if kind == 'RUNNING':
        until(lambda: case.hit, 'a page is asked for')
    return whole


def memory_is_cut_off(case, link, direction, kind, whole):
    """The link breaks while memory follows."""
    if kind != 'PAGES' or 'RUNNING' not in case.seen or case.begun:
        return whole
    case.begun = True
    return CUT


def vm_is_ended(case, link, direction, kind, whole):
    """The user ends the VM while its memory follows."""
    if kind == 'RUNNING' and not case.begun:
        case.ended.append(case.b)
        # it hears that when it has the page that it may wait for
        case.begun = Question(case.b, 'quit')
    return whole


# The way, the message (as seen first when @after has been), the states of the
# source and of the destination.
Point = collections.namedtuple(
    'Point', 'way kind source destination prelude after',
    defaults=(None, ''))

BEFORE_GO = {
    'STATE': ('STATE', 'STOPPING', 'RECEIVING'),
    'PREPARED': ('PREPARED', 'PREPARING', 'PREPARED'),
    'CANCEL': ('CANCEL', 'RETURNING', 'PREPARED', user_cancels),
    'GO': ('GO', 'COMMITTING', 'PREPARED'),
    'QUERY': ('QUERY', 'ASKING', 'ORPHANED', links_break),
}
PRECOPY = {
    'HELLO': ('HELLO', 'CONNECTING', 'LISTENING'),
    'OFFER': ('OFFER', 'OFFERING', 'NEGOTIATING'),
    'ACCEPT': ('ACCEPT', 'OFFERING', 'NEGOTIATING'),
    'CHANNEL': ('CHANNEL', 'OFFERING', 'NEGOTIATING'),
    'PAGES': ('PAGES', 'COPYING', 'RECEIVING'),
    'ROUND': ('ROUND', 'COPYING', 'RECEIVING'),
    **BEFORE_GO,
    'DEAD': ('DEAD', 'PREPARING', 'DISCARDING', state_is_damaged),
    'RUNNING': ('RUNNING', 'COMMITTING', 'STARTING'),
    'BYE': ('BYE', 'COMPLETED', 'LINGERING'),
}
POSTCOPY = {
    'FAULT': ('FAULT', 'COPYING', 'RECEIVING'),
    'MISSING': ('MISSING', 'COPYING', 'RECEIVING'),
    **BEFORE_GO,
    'RUNNING': ('RUNNING', 'COMMITTING', 'FETCHING'),
    'WANT': ('WANT', 'COMMITTING', 'FETCHING', it_lacks_a_page),
    'PAGE': ('PAGE', 'COMMITTING', 'FETCHING', it_lacks_a_page),
    'PAGES': ('PAGES', 'SERVING', 'FETCHING', None, 'RUNNING'),
    'ROUND': ('ROUND', 'SERVING', 'FETCHING', None, 'RUNNING'),
    'DEAD': ('DEAD', 'SERVING', 'BROKEN', vm_is_ended, 'RUNNING'),
    'FETCHED': ('FETCHED', 'SERVING', 'LINGERING'),
    'BYE': ('BYE', 'COMPLETED', 'LINGERING'),
    'ASKED': ('QUERY', 'SEVERED', 'SEVERED', memory_is_cut_off),
    'RECOVER': ('RECOVER', 'SEVERED', 'SEVERED', memory_is_cut_off),
    'LACKS': ('MISSING', 'SEVERED', 'SEVERED', memory_is_cut_off, 'RECOVER'),
    'AGAIN': ('FAULT', 'SEVERED', 'SEVERED', memory_is_cut_off, 'RECOVER'),
}
LOCAL = {
    'MEMORY': ('MEMORY', 'OFFERING', 'NEGOTIATING'),
    **BEFORE_GO,
    'RUNNING': ('RUNNING', 'COMMITTING', 'STARTING'),
}
COPY_DISK = {
    'DISKS': ('DISKS', 'OFFERING', 'NEGOTIATING'),
    'BLOCKS': ('BLOCKS', 'COPYING', 'RECEIVING'),
    'LAST': ('BLOCKS', 'STOPPING', 'RECEIVING', None, 'ROUND'),
    **BEFORE_GO,
    'RUNNING': ('RUNNING', 'COMMITTING', 'STARTING'),
}

# By "way name"; without a way it is pre-copy.
POINTS = {(f'{way} ' if way != 'pre-copy' else '') + name: Point(way, *what)
          for way, points in (('pre-copy', PRECOPY), ('post-copy', POSTCOPY),
                              ('local', LOCAL), ('copy-disk', COPY_DISK))
          for name, what in points.items()}

# Of the source, before it can have said GO.
EARLY = ('CONNECTING', 'OFFERING', 'COPYING')

# What the proxy sees, by the role of the link.
HELLOS = {2: 'CHANNEL', 5: 'FAULT', 6: 'RECOVER'}
FAULTS = {'S': 'PAGE', 'D': 'WANT'}


class Question:
    """A command over a connection of its own: a proxy's thread asks too, and
    there may be no answer for long."""

    def __init__(self, vm, command):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(1)
        self.sock.connect(vm.control)
        for word in ('qmp_capabilities', command):
            self.sock.sendall(json.dumps({'execute': word, 'id': word})
                              .encode() + b'\n')
        self.command, self.text = command, b''

    def answer(self):
        """None: none yet."""
        try:
            while True:
                data = self.sock.recv(65536)
                if not data:
                    raise ConnectionError('the control socket was closed')
                self.text += data
                for line in self.text.split(b'\n')[:-1]:
                    answer = json.loads(line)
                    if answer.get('id') == self.command:
                        self.sock.close()
                        return answer['return']
        except TimeoutError:
            return None


class Case:
    """A VM here, a destination there, and a proxy that waits for the point."""

    def __init__(self, host, point, fault):
        self.host, self.point, self.fault = host, POINTS[point], fault
        self.way = WAYS[self.point.way]
        self.hit = self.done = self.begun = False
        self.killed, self.ended, self.seen = [], [], set()
        self.lock, self.report, self.failed = -1, None, None
        self.put_back = lambda: None
        self.mutex, self.askers = threading.Lock(), threading.Lock()
        self.asked = {}
        self.make_disks()
        if hasattr(fault, 'needs'):
            fault.needs(self)
        # by its name, for that is what `godwit resolve` is told
        self.a = host.start('--name', 'web', '--memory', self.way.memory,
                            '--kernel', os.path.join(GUESTS, 'blk.elf'),
                            '--append', RECORDS, '--disk', self.disk + ',id=d',
                            control=host.path('godwit/web.sock'))
        self.a.wait_output(r'R [1-9]\d* ')
        self.b = host.listen('--disk', self.disk_there + ',id=d')
        if self.point.way == 'post-copy' and 'no post-copy' in self.b.said():
            raise Skip('no right to userfaultfd')
        self.proxy = Proxy(self.b.uri, on_frame=self.on_frame,
                           path=host.path('proxy')
                           if self.point.way == 'local' else None)
        host.cleanups.append(self.proxy.close)

    def make_disks(self):
        """One image for both sides, or one for each."""
        self.image = self.image_there = self.host.path('disk.img')
        if self.point.way == 'copy-disk':
            self.image_there = self.host.path('there.img')
        for image in {self.image, self.image_there}:
            with open(image, 'wb') as f:
                f.truncate(DISK_MIB << 20)
        self.disk, self.disk_there = self.image, self.image_there

    def image_of(self, vm):
        return self.image if vm is self.a else self.image_there

    def on_frame(self, link, direction, kind, whole):
        kind = HELLOS.get(link.role, kind) if kind == 'HELLO' else \
            FAULTS[direction] if kind == 'FAULTS' else kind
        with self.mutex:
            here = self.is_here(kind, whole)
            self.hit = self.hit or here
            self.seen.add(kind)
        if not here:
            return whole if self.hit else \
                self.lead(link, direction, kind, whole)
        try:
            return self.fault(self, link, direction, whole)
        except (Skip, AssertionError) as why:
            self.failed = why
            return whole
        finally:
            self.done = True

    def is_here(self, kind, whole):
        wanted = getattr(self.fault, 'wanted', lambda case, whole: True)
        return not self.hit and kind == self.point.kind and \
            (not self.point.after or self.point.after in self.seen) and \
            wanted(self, whole)

    def lead(self, link, direction, kind, whole):
        """On the way to the point."""
        if kind == 'HELLO' and self.point.way == 'post-copy' and \
           'ACCEPT' not in self.seen:
            self.ask(self.a, 'migrate-start-postcopy')
        prelude = self.point.prelude
        return prelude(self, link, direction, kind, whole) if prelude \
            else whole

    def ask(self, vm, command):
        """Over a connection of its own: a proxy's thread asks."""
        asked = vm.connect(vm.control)
        answer = asked(command)
        asked.close()
        return answer

    def link(self, vm):
        """What it says of its migration. A destination whose own thread waits
        for a page says nothing, but what it said when the link was lost."""
        with self.askers:
            asked = self.asked.pop(vm, None)
            # an answer that comes late may be old
            if not asked or asked.answer():
                asked = Question(vm, 'query-migrate')
            answer = asked.answer()
            if answer is None:
                self.asked[vm] = asked
        if answer is not None:
            return answer.get('status', 'none')
        said = vm.said()
        return WAITS if said.rfind('post-copy: the link was lost') > \
            said.rfind('post-copy: the link is back') else STANDS

    def stands(self, vm):
        """Does its own thread wait for a page?"""
        return self.link(vm) in (WAITS, STANDS) and vm in self.asked

    def migrate(self, max_pause):
        """Start; what is predicted on a busy machine is no matter here."""
        params = {'max_pause': max_pause, 'downtime_limit': max_pause,
                  'x_ask_seconds': 6, **self.way.params}
        try:
            self.a.qmp('migrate', uri=self.proxy.uri, **params)
            if self.point.source == 'SEVERED' and self.point.kind != 'QUERY':
                self.both_wait()
                self.a.qmp('migrate', resume=True)
        except ConnectionError:
            pass                # killed by then
        until(lambda: self.done, lambda: f'{self.point} comes by: '
              f'{self.proxy.seen[-40:]} {self.a.said()[-300:]}')
        if self.failed:
            raise self.failed

    def both_wait(self):
        until(lambda: self.link(self.a) == WAITS == self.link(self.b),
              lambda: f'both wait: {self.link(self.a)}, {self.link(self.b)}')

    def kill(self, *vms):
        for vm in vms:
            vm.kill()
            self.killed.append(vm)


EVERYWHERE = (harm.cancel, harm.kill_source, harm.kill_destination,
              harm.kill_both, harm.cut, harm.cut_behind, harm.cut_for_good,
              harm.truncate, harm.repeat, harm.hold, harm.hang_source,
              harm.hang_destination, harm.corrupt, harm.damage_length)
AT = (
    (harm.damage_page, 'PAGES'), (harm.damage_page, 'post-copy PAGES'),
    (harm.lock_image, 'STATE'), (harm.lock_image, 'post-copy STATE'),
    (harm.fill_disk, 'HELLO'), (harm.fill_disk, 'ACCEPT'),
    (harm.starve, 'HELLO'), (harm.starve, 'ACCEPT'), (harm.starve, 'ROUND'),
    (harm.starve, 'STATE'), (harm.starve, 'GO'),
    (harm.starve, 'post-copy MISSING'), (harm.starve, 'post-copy GO'),
    (harm.starve, 'post-copy PAGES'), (harm.starve, 'post-copy RECOVER'),
    (harm.starve, 'local MEMORY'), (harm.starve, 'copy-disk DISKS'),
    (harm.refuse_disk, 'HELLO'), (harm.refuse_disk, 'post-copy MISSING'),
    (harm.lose_disk, 'HELLO'), (harm.lose_disk, 'ROUND'),
    (harm.lose_disk, 'STATE'), (harm.lose_disk, 'PREPARED'),
    (harm.lose_disk, 'GO'), (harm.lose_disk, 'post-copy GO'),
    (harm.lose_disk, 'post-copy PAGES'),
)


def all_cases():
    """(point, fault), in the order of the points."""
    return [(p, f) for p in POINTS
            for f in EVERYWHERE + tuple(f for f, at in AT if at == p)]
