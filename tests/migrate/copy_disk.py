#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks that the other side can't reach, copied along while the guest writes."""
import hashlib
import os
import re
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '../lib'))
from godwit import Skip, free, main, moved, one_runs, sound, until
from proxy import CUT, Proxy

MIB = 1 << 20
LOAD = 'op=m check=1 qd=8 bs=4096 span=16 ms=0 every=500'


def image(host, name, size, data=0):
    """A sparse image whose last MiBs hold @data bytes that are not zero."""
    path = host.path(name)
    with open(path, 'wb') as f:
        f.truncate(size)
        f.seek(size - data)
        f.write(os.urandom(data))
    return path


def digest(path):
    with open(path, 'rb') as f:
        return hashlib.sha256(f.read()).hexdigest()


def write_load(host, disk, *words):
    """A VM that writes and reads records at random places, and checks them."""
    vm = host.boot('diskbench', LOAD, '--disk', disk + ',id=d', *words)
    goes_on(vm)
    return vm


def goes_on(vm):
    vm.wait_output(r'(D n=\d+ bad=0\n[^D]*){2}', len(vm.output()))
    sound(vm)


def serve(host, name, *words):
    """An NBD server; the URI of what it exports."""
    sock = host.path(name)
    if not shutil.which(words[0]):
        raise Skip(words[0] + ' is not installed')
    host.run(*[w.replace('SOCK', sock) for w in words])
    until(lambda: os.path.exists(sock), words[0] + ' listens')
    return 'nbd+unix:///?socket=' + sock


def serve_logging(host, name, image_path, *words):
    """nbdkit that logs what it is asked for: its URI, and the bytes of each
    kind of request since the log was asked last."""
    log, seen = host.path(name + '.log'), [0]
    uri = serve(host, name, 'nbdkit', '-f', '-U', 'SOCK', *words,
                '--filter=log', 'file', image_path, 'logfile=' + log)

    def asked():
        with open(log, encoding='ascii') as f:
            f.seek(seen[0])
            text = f.read()
            seen[0] += len(text)
        total = {'Read': 0, 'Write': 0, 'Zero': 0}
        for kind, count in re.findall(r' (Read|Write|Zero) id=\S+ '
                                      r'offset=\S+ count=(0x\w+)', text):
            total[kind] += int(count, 16)
        return total

    return uri, asked


def equal_at_go(host, a, b, images, **params):
    """Move under load; when GO is said nobody writes: are the images equal?"""
    seen = []

    def look(_link, _direction, kind, frame):
        if kind == 'GO':
            seen.append([digest(i) for i in images])
        return frame

    proxy = Proxy(b.uri, on_frame=look)
    host.cleanups.append(proxy.close)
    report = moved(a, b, proxy.uri, copy_disk='all', max_pause=20000, **params)
    assert len(seen) == 1 and seen[0][0] == seen[0][1], seen
    goes_on(b)
    return report['x-job']['disks'][0]


def copied_under_load_the_images_are_equal_at_the_hand_over(host):
    here, there = image(host, 'a', 64 * MIB, 24 * MIB), image(host, 'b', 64 * MIB)
    a = write_load(host, here)
    b = host.listen('--disk', there + ',id=d')
    disk = equal_at_go(host, a, b, (here, there))
    assert disk['id'] == 'd' and disk['total'] == 64 * MIB, disk
    assert disk['copied'] >= 24 * MIB and disk['mirrored'], disk


def written_faster_than_the_link_a_disk_still_gets_across(host):
    here, there = image(host, 'a', 64 * MIB, 24 * MIB), image(host, 'b', 64 * MIB)
    a = write_load(host, here)
    b = host.listen('--disk', there + ',id=d')
    disk = equal_at_go(host, a, b, (here, there), max_bandwidth=16 * MIB)
    assert disk['mirrored'], disk


def it_moves_on_and_back(host):
    paths = [image(host, f'i{n}', 32 * MIB, 4 * MIB if not n else 0)
             for n in range(3)]
    vm = write_load(host, paths[0])
    for path in paths[1:]:
        there = host.listen('--disk', path + ',id=d')
        moved(vm, there, copy_disk='d', verify=True)
        host.drop(vm)
        vm = there
        goes_on(vm)
    # the first one's image holds an old copy: it has to be told
    back = host.listen('--disk', paths[0] + ',id=d,overwrite=on')
    equal_at_go(host, vm, back, (paths[2], paths[0]), verify=True)


def from_a_file_to_nbd(host):
    here, there = image(host, 'a', 64 * MIB, 8 * MIB), image(host, 'b', 64 * MIB)
    uri = serve(host, 'nbd', 'nbdkit', '-f', '-U', 'SOCK', 'file', there)
    a = write_load(host, here)
    b = host.listen('--disk', uri + ',id=d')
    equal_at_go(host, a, b, (here, there), verify=True)


def from_nbd_to_a_file(host):
    here, there = image(host, 'a', 64 * MIB, 8 * MIB), image(host, 'b', 64 * MIB)
    uri = serve(host, 'nbd', 'nbdkit', '-f', '-U', 'SOCK', 'file', here)
    a = write_load(host, uri)
    b = host.listen('--disk', there + ',id=d')
    disk = equal_at_go(host, a, b, (here, there), verify=True)
    assert disk['zero'], disk


def idle_copy_from_nbd(host, *words):
    """The bytes that a server of 256 MiB, 24 of them data, was asked for."""
    here, there = (image(host, n, 256 * MIB, m)
                   for n, m in (('a', 8 * MIB), ('b', 0)))
    uri, asked = serve_logging(host, 'nbd', here, *words)
    a = write_load(host, uri)
    a.qmp('stop')
    b = host.listen('--disk', there + ',id=d')
    asked()
    report = a.migrate(b.uri, copy_disk='d')
    assert report['status'] == 'completed', report
    bytes_read = asked()['Read']
    assert digest(here) == digest(there)
    b.qmp('cont')
    goes_on(b)
    return bytes_read


def the_holes_of_a_disk_on_nbd_are_not_read(host):
    bytes_read = idle_copy_from_nbd(host)
    assert 8 * MIB <= bytes_read <= 32 * MIB, bytes_read


def where_the_server_knows_no_holes_all_is_read(host):
    bytes_read = idle_copy_from_nbd(host, '--no-sr')
    assert bytes_read == 256 * MIB, bytes_read


def a_large_empty_disk_on_nbd_is_neither_read_nor_zeroed(host):
    here, there = (image(host, n, 64 << 30) for n in 'ab')
    uri, asked = serve_logging(host, 'nbd', there)
    a = write_load(host, here)
    b = host.listen('--disk', uri + ',id=d')
    moved(a, b, copy_disk='d')
    total = asked()
    assert total['Zero'] == 0 and total['Write'] < 64 * MIB, total
    assert total['Read'] < 64 * MIB, total
    goes_on(b)


def a_full_disk_on_nbd_is_zeroed_where_it_holds_data(host):
    here, there = (image(host, n, 128 * MIB, m)
                   for n, m in (('a', MIB), ('b', 16 * MIB)))
    uri, asked = serve_logging(host, 'nbd', there)
    a = write_load(host, here)
    b = host.listen('--disk', uri + ',id=d,overwrite=on')
    equal_at_go(host, a, b, (here, there))
    zeroed = asked()['Zero']
    assert 15 * MIB <= zeroed <= 17 * MIB, zeroed


def a_sparse_image_stays_sparse(host):
    here, there = (image(host, n, 1 << 30, 0) for n in 'ab')
    a = write_load(host, here)
    b = host.listen('--disk', there + ',id=d')
    report = moved(a, b, copy_disk='d')
    goes_on(b)
    disk = report['x-job']['disks'][0]
    assert disk['zero'] >= 900 * MIB, disk
    assert disk['copied'] < 64 * MIB, disk
    assert os.stat(there).st_blocks * 512 < 64 * MIB, os.stat(there)


def an_idle_disk_is_compared_altogether(host):
    here, there = image(host, 'a', 64 * MIB, 24 * MIB), image(host, 'b', 64 * MIB)
    a = write_load(host, here)
    a.qmp('stop')
    b = host.listen('--disk', there + ',id=d')
    report = a.migrate(b.uri, copy_disk='d', verify=True)
    assert report['status'] == 'completed', report
    disk = report['x-job']['disks'][0]
    assert disk['verified'] == disk['total'], disk
    assert digest(here) == digest(there)
    b.qmp('cont')
    goes_on(b)


def refused(host, there, why, copy='d'):
    a = write_load(host, image(host, 'a', 32 * MIB, 1 * MIB))
    b = host.listen('--disk', there + ',id=d')
    before = digest(there.split(',')[0])
    report = a.migrate(b.uri, copy_disk=copy)
    assert report['status'] == 'failed', report
    assert why in report['error-desc'], report['error-desc']
    assert digest(there.split(',')[0]) == before
    goes_on(a)


def an_image_that_holds_data_is_refused(host):
    refused(host, image(host, 'b', 32 * MIB, 512), 'overwrite=on')


def an_image_of_another_size_is_refused(host):
    refused(host, image(host, 'b', 33 * MIB), 'bytes')


def a_disk_that_is_not_there_is_refused(host):
    refused(host, image(host, 'b', 32 * MIB), 'no disk e', 'd,e')


def slowly(host, **params):
    """A move that is still copying its disk, at 8 MiB/s."""
    a = write_load(host, image(host, 'a', 64 * MIB, 32 * MIB))
    there = image(host, 'b', 64 * MIB)
    b = host.listen('--disk', there + ',id=d')
    a.migrate(b.uri, wait=False, copy_disk='d', max_bandwidth=8 * MIB,
              **params)
    until(lambda: a.qmp('query-migrate')['x-job'].get('disks', [{}])[0]
          .get('copied'), 'it copies')
    return a, b, there


def cancelled_while_copying_the_guest_runs_on(host):
    a, b, there = slowly(host)
    a.qmp('migrate_cancel')
    assert a.outcome()['status'] == 'cancelled'
    goes_on(a)
    free(b)
    # what is there now is no empty disk any more
    report = a.migrate(b.uri, copy_disk='d')
    assert 'overwrite=on' in report['error-desc'], report
    b = host.listen('--disk', there + ',id=d,overwrite=on')
    moved(a, b, copy_disk='d', verify=True)
    goes_on(b)


def killed_while_copying_a_destination_costs_nothing(host):
    a, b, _ = slowly(host)
    b.kill()
    assert a.outcome()['status'] == 'failed'
    goes_on(a)


def cut_in_the_pause_the_guest_runs_on_with_its_own_disk(host):
    a = write_load(host, image(host, 'a', 32 * MIB, 8 * MIB))
    b = host.listen('--disk', image(host, 'b', 32 * MIB) + ',id=d')
    proxy = Proxy(b.uri, on_frame=lambda _link, _direction, kind, frame:
                  CUT if kind == 'PREPARED' else frame)
    host.cleanups.append(proxy.close)
    report = a.migrate(proxy.uri, copy_disk='d', max_pause=20000)
    assert report['status'] == 'failed', report
    goes_on(a)
    assert one_runs(a, b) is a


def the_time_limit_holds_for_disks(host):
    a, _, _ = slowly(host, timeout=1)
    report = a.outcome()
    assert report['status'] == 'failed', report
    assert 'timeout' in report['error-desc'], report
    goes_on(a)


def a_dry_run_copies_nothing_and_names_what_would_be_refused(host):
    a = write_load(host, image(host, 'a', 32 * MIB, 8 * MIB))
    there, full = image(host, 'b', 32 * MIB), image(host, 'c', 32 * MIB, 512)
    b = host.listen('--disk', there + ',id=d')
    report = a.migrate(b.uri, copy_disk='d', x_dry_run=True)
    assert report['status'] == 'cancelled', report
    assert os.stat(there).st_blocks == 0, os.stat(there)
    c = host.listen('--disk', full + ',id=d')
    report = a.migrate(c.uri, copy_disk='d', x_dry_run=True)
    assert 'overwrite=on' in report['error-desc'], report
    goes_on(a)
    moved(a, b, copy_disk='d', verify=True)
    goes_on(b)


def by_tls_a_disk_is_copied_too(host):
    keys = host.path('keys')
    with open(keys, 'w', encoding='ascii') as f:
        f.write('qemu:' + '5a' * 32 + '\n')
    os.chmod(keys, 0o600)
    here, there = image(host, 'a', 32 * MIB, 8 * MIB), image(host, 'b', 32 * MIB)
    a = write_load(host, here)
    b = host.listen('--disk', there + ',id=d', '--tls', 'psk=' + keys,
                    uri='tcp:127.0.0.1:0')
    report = moved(a, b, copy_disk='d', verify=True, x_tls='psk=' + keys)
    assert report['x-job']['disks'][0]['copied'] >= 8 * MIB, report
    goes_on(b)


CLAIMS = [
    copied_under_load_the_images_are_equal_at_the_hand_over,
    written_faster_than_the_link_a_disk_still_gets_across,
    it_moves_on_and_back,
    from_a_file_to_nbd,
    from_nbd_to_a_file,
    the_holes_of_a_disk_on_nbd_are_not_read,
    where_the_server_knows_no_holes_all_is_read,
    a_large_empty_disk_on_nbd_is_neither_read_nor_zeroed,
    a_full_disk_on_nbd_is_zeroed_where_it_holds_data,
    a_sparse_image_stays_sparse,
    an_idle_disk_is_compared_altogether,
    an_image_that_holds_data_is_refused,
    an_image_of_another_size_is_refused,
    a_disk_that_is_not_there_is_refused,
    cancelled_while_copying_the_guest_runs_on,
    killed_while_copying_a_destination_costs_nothing,
    cut_in_the_pause_the_guest_runs_on_with_its_own_disk,
    the_time_limit_holds_for_disks,
    a_dry_run_copies_nothing_and_names_what_would_be_refused,
    by_tls_a_disk_is_copied_too,
]

if __name__ == '__main__':
    sys.exit(main(CLAIMS))
