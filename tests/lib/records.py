# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest `blk` on a disk: it writes numbered records, reads each again, and
says so of every eighth."""
import re

from godwit import sound

RECORDS = 'count=0 every=8 sectors=8 span=64'
FIRST = r'R [1-9]\d* '          # of those that it prints, after number 0


def new_image(host, path=None):
    """An empty image that has room for them: its path."""
    path = path or host.path('disk.img')
    with open(path, 'wb') as f:
        f.truncate(4 << 20)
    return path


def slots(image):
    """What the image holds: the number of the record in each slot."""
    with open(image, 'rb') as f:
        data = f.read(64 * 4096)
    return [int.from_bytes(data[s * 4096 + 8:s * 4096 + 16], 'little')
            for s in range(64)]


def writer(host, disk, *words, **more):
    """A VM that writes them to that disk."""
    return host.boot('blk', RECORDS, '--disk', disk + ',id=d', *words, **more)


def written(vm, lines, start=0):
    """Wait for so many good lines, from byte start of its output on."""
    vm.wait_output(r'(R \d+ bad=0[^\n]*\n[^R]*){%d}' % lines, start)
    sound(vm)


def goes_on(vm, lines=2):
    """It makes progress: lines that were not there."""
    written(vm, lines, len(vm.output()))


def whole(*vms):
    """These wrote every record once, one VM after the other: how many."""
    for vm in vms:
        sound(vm)
    text = ''.join(vm.output() for vm in vms)
    seen = [int(n) for n in re.findall(r'^R (\d+) bad=0', text, re.M)]
    assert seen == list(range(0, 8 * len(seen), 8)), seen
    return 8 * len(seen)
