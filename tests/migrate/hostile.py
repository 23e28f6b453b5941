#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A destination survives whatever comes, says why, and can receive afterwards;
a source whose stream was cut or changed runs on, or its VM runs there: never
both, never neither."""
import os
import random
import resource
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '../lib'))
from godwit import Skip, free, main, moved, one_runs, sound, until
from proxy import CUT, HEADER, Proxy, dial, frame

LOAD = 'mode=verify ws=1 rate=20 hb=50'
PLACES = 50
SEED = 20261123


class Pair:
    """A VM that is here, and a destination; after a move, the other way."""

    def __init__(self, host):
        self.host = host
        self.here = host.boot('verifier', LOAD, memory='32')
        self.here.wait_output('V')
        self.there = host.listen()

    def attempt(self, **hooks):
        """One migration with a man in the middle: the report."""
        proxy = Proxy(self.there.uri, **hooks)
        try:
            return self.here.migrate(proxy.uri)
        finally:
            proxy.close()
            self.proxy = proxy

    def settle(self):
        """Exactly one runs; where it moved, the next destination starts."""
        assert self.there.proc.poll() is None, 'the destination died'
        runs = one_runs(self.here, self.there)
        sound(runs)
        if runs is self.there:
            self.host.drop(self.here)
            self.here, self.there = self.there, self.host.listen()
        else:
            free(self.there)
        return runs


# no messages: nothing but TLS finds a bit that was flipped in these
DATA = ('PAGES', 'BLOCKS')


def measure(pair):
    """Bytes that a move takes, and the control messages of it."""
    frames = []

    def on_frame(link, direction, kind, whole):
        if kind not in DATA:
            frames.append((direction, kind, len(whole)))
        return whole
    assert pair.attempt(on_frame=on_frame)['status'] == 'completed'
    pair.settle()
    return pair.proxy.count, frames


def cut_after(count):
    def on_bytes(before, data):
        if before <= count < before + len(data):
            return CUT
        return data
    return on_bytes


def cut_at_fifty_places_exactly_one_runs(host):
    pair = Pair(host)
    total, _ = measure(pair)
    # evenly, and closely where state and hand-over are
    places = [total * i // (PLACES // 2) for i in range(PLACES // 2)]
    places += [total - 1 - i * 800 for i in range(PLACES - len(places))]
    for place in places:
        source = pair.here
        report = pair.attempt(on_bytes=cut_after(place))
        went = pair.settle() is not source
        assert went == (report['status'] == 'completed'), (place, report)
    pair.attempt()
    pair.settle().alive()


def flip(target, offset, bit):
    """One bit of the target-th control message, counted over both ways."""
    count = [0]

    def on_frame(link, direction, kind, whole):
        count[0] += kind not in DATA
        if kind in DATA or count[0] - 1 != target:
            return whole
        changed = bytearray(whole)
        changed[offset % len(changed)] ^= 1 << bit
        return bytes(changed)
    return on_frame


def places_to_flip(frames):
    """Spread over all messages, header and payload; but the length, for then
    the reader waits until it is out of patience."""
    dice = random.Random(SEED)
    places = []
    while len(places) < PLACES:
        number = len(places) % len(frames)
        offset = dice.randrange(frames[number][2])
        if not 16 <= offset < 24:
            places.append((number, offset, dice.randrange(8)))
    return places


def a_bit_flipped_at_fifty_places_is_no_harm(host):
    pair = Pair(host)
    _, frames = measure(pair)
    for number, offset, bit in places_to_flip(frames):
        pair.attempt(on_frame=flip(number, offset, bit))
        try:
            pair.settle()
        except AssertionError as why:
            raise AssertionError(f'{frames[number]} byte {offset} bit {bit}: '
                                 f'{why}') from why
    assert pair.attempt()['status'] == 'completed'
    pair.settle().alive()


def speak(there, data):
    """Say this to a destination, and hear it out."""
    sock = dial(there.uri)
    sock.settimeout(60)
    answer = b''
    try:
        sock.sendall(data)
        sock.shutdown(1)
        while True:
            got = sock.recv(65536)
            if not got:
                return answer
            answer += got
    except (ConnectionResetError, BrokenPipeError):
        return answer
    finally:
        sock.close()


HELLO = frame('HELLO', bytes([0, 1, 0, 1, 0, 1, 0, 0]) + bytes(range(16)))


def offer(tree, memory=32 << 20, channels=1):
    return frame('OFFER', memory.to_bytes(8, 'big') + bytes([0, 0, 16, 0]) +
                 bytes([0, 0, 0, 1]) + (500).to_bytes(4, 'big') +
                 channels.to_bytes(2, 'big') + bytes(2) + tree)


def nonsense_is_answered_and_outlived(host):
    dice = random.Random(SEED)
    pair = Pair(host)
    huge = HEADER.pack(0x47445754, 1, 2, 0, 0, 1 << 40)
    tree = dice.randbytes(1000)
    for data in [b'', b'GET / HTTP/1.0\r\n\r\n', dice.randbytes(100000),
                 bytes(4096), HELLO[:30], HELLO + dice.randbytes(5000),
                 HELLO + huge, HELLO + offer(tree), HELLO + HELLO,
                 HELLO + offer(b''), HELLO + frame('GO', bytes(16)),
                 HELLO + frame('STATE', bytes(4000)),
                 HELLO + offer(bytes.fromhex('d00dfeed') + tree),
                 HELLO + offer(tree, channels=60000)]:
        speak(pair.there, data)
        free(pair.there)
    moved(pair.here, pair.there)
    pair.there.alive()


def a_refused_destination_is_told_why(host):
    there = host.listen()
    answer = speak(there, HELLO + offer(bytes(100)))
    assert b'machine tree' in answer, answer


def changed(change):
    """Pass the offer on with another payload, its checksum right."""
    def on_frame(link, direction, kind, whole):
        if kind != 'OFFER':
            return whole
        return frame('OFFER', change(whole[HEADER.size:]))
    return on_frame


def another_architecture_is_refused_by_name(host):
    pair = Pair(host)
    report = pair.attempt(on_frame=changed(
        lambda p: p.replace(b'x86_64\0', b'arm64\0\0')))
    assert report['status'] == 'failed', report
    assert 'arm64' in report['error-desc'], report['error-desc']
    assert pair.settle() is pair.here


def a_device_that_is_unknown_there_is_refused_by_name(host):
    pair = Pair(host)
    report = pair.attempt(on_frame=changed(
        lambda p: p.replace(b'godwit,acpi-pm\0', b'godwit,acpi-xy\0')))
    assert report['status'] == 'failed', report
    assert 'acpi-xy' in report['error-desc'], report['error-desc']
    assert pair.settle() is pair.here


def a_destination_without_the_memory_refuses(host):
    pair = Pair(host)
    with open(f'/proc/{pair.there.pid}/status', encoding='ascii') as f:
        if int(f.read().split('VmSize:')[1].split()[0]) > 1 << 30:
            raise Skip('a sanitizer takes all of the address space')
    resource.prlimit(pair.there.pid, resource.RLIMIT_AS,
                     (256 << 20, resource.RLIM_INFINITY))
    big = host.boot('dirtier', 'mode=halt ws=1', memory='1G')
    big.wait_output(r'F \d+')
    report = big.migrate(pair.there.uri)
    assert report['status'] == 'failed', report
    assert 'memory' in report['error-desc'], report['error-desc']
    assert one_runs(big, pair.there) is big
    resource.prlimit(pair.there.pid, resource.RLIMIT_AS,
                     (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    moved(pair.here, pair.there)


def a_second_source_does_not_disturb_the_first(host):
    a = host.boot('dirtier', 'mode=dirty ws=16 rate=2 hb=50 fill=rand')
    a.wait_output(r'F \d+')
    b = host.listen()
    a.migrate(b.uri, wait=False, max_bandwidth=8 << 20)
    until(lambda: a.qmp('query-migrate').get('status') == 'active',
          'it copies')
    late = host.boot('verifier', LOAD)
    late.migrate(b.uri, wait=False)
    stranger = dial(b.uri)
    stranger.sendall(bytes(64))
    assert a.outcome()['status'] == 'completed'
    assert late.outcome()['status'] == 'failed'
    assert late.running() and one_runs(a, b) is b
    stranger.close()


CLAIMS = [
    nonsense_is_answered_and_outlived,
    a_refused_destination_is_told_why,
    another_architecture_is_refused_by_name,
    a_device_that_is_unknown_there_is_refused_by_name,
    a_destination_without_the_memory_refuses,
    a_second_source_does_not_disturb_the_first,
    cut_at_fifty_places_exactly_one_runs,
    a_bit_flipped_at_fifty_places_is_no_harm,
]

if __name__ == '__main__':
    sys.exit(main(CLAIMS))
