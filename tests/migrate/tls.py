#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Who may come in: TLS by certificates and by keys, and the list of --allow.

Each refusal leaves the VM running where it was, and the other side waiting for
somebody better.
"""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '../lib'))
from certs import EXPIRED, Authority, keys
from godwit import GODWIT, free, main, moved, one_runs, sound, until
from proxy import CUT, Proxy, dial, frame

LOAD = 'mode=verify ws=16 rate=100 hb=50'
TCP = 'tcp:127.0.0.1:0'
# no claim here is about time
PATIENT = {'downtime_limit': 20000, 'max_pause': 20000}
KEY, OTHER_KEY = '0badc0de' * 8, '5eed5eed' * 8


def booted(host, *words):
    vm = host.boot('verifier', LOAD, *words)
    vm.wait_output('V')
    return vm


def arrived(a, b, **params):
    """Move by TLS, and see the guest go on, unharmed."""
    moved(a, b, **PATIENT, **params)
    b.alive()
    sound(a)
    sound(b)


def refused(a, b, *why, uri=None, **params):
    """Neither side is hurt, and the source was told why."""
    report = a.migrate(uri or b.uri, **params)
    assert report['status'] == 'failed', report
    said = report['error-desc']
    assert any(w in said for w in why), said
    assert one_runs(a, b) is a
    a.alive()
    free(b)


def hosts(host, **extra):
    """Two directories of certificates of one CA."""
    ca = Authority(host.path('ca'))
    return ca, ca.host('here', **extra), ca.host('there', **extra)


# -- who comes in -----------------------------------------------------------


def certificates_on_both_sides_let_a_vm_in(host):
    _, here, there = hosts(host)
    a = booted(host)
    b = host.listen('--tls', there, uri=TCP)
    arrived(a, b, x_tls=here)
    assert 'CN=here' in b.said(), b.said()


def a_key_on_both_sides_lets_a_vm_in(host):
    both = keys(host.path('keys.psk'), qemu=KEY)
    a = booted(host)
    b = host.listen('--tls', both, uri=TCP)
    arrived(a, b, x_tls=both)
    assert 'psk:qemu' in b.said(), b.said()


def four_channels_go_there_and_back_by_tls(host):
    """As `run` was told; the side that received sends by its own."""
    _, here, there = hosts(host)
    a = booted(host, '--tls', here)
    b = host.listen('--tls', there, uri=TCP)
    arrived(a, b, channels=4, x_tls=here)
    back = host.listen('--tls', here, uri=TCP)
    arrived(b, back, channels=4, x_tls=there)


def a_disk_is_copied_along_by_tls(host):
    """Its channel is read and written at the same time."""
    _, here, there = hosts(host)
    for name, size in ('a', 8 << 20), ('b', 0):
        with open(host.path(name), 'wb') as f:
            f.write(os.urandom(size))
            f.truncate(32 << 20)
    a = host.boot('diskbench', 'op=m check=1 qd=8 bs=4096 span=16 ms=0 '
                  'every=500', '--disk', host.path('a') + ',id=d')
    a.wait_output(r'D n=\d+ bad=0')
    b = host.listen('--tls', there, '--disk', host.path('b') + ',id=d',
                    uri=TCP)
    moved(a, b, x_tls=here, copy_disk='all', **PATIENT)
    b.wait_output(r'(D n=\d+ bad=0\n[^D]*){2}')
    sound(b)


def tls_over_a_unix_socket_asks_for_the_name_given(host):
    _, here, there = hosts(host)
    a = booted(host)
    b = host.listen('--tls', there)
    refused(a, b, '--tls-name', x_tls=here)
    arrived(a, b, x_tls=here, tls_hostname='there')


def a_name_that_is_given_replaces_the_one_of_the_uri(host):
    _, here, there = hosts(host, server='')
    a = booted(host)
    b = host.listen('--tls', there, uri=TCP)
    refused(a, b, "does not match", 'not match', x_tls=here)
    arrived(a, b, x_tls=here, tls_hostname='there')


def the_command_line_moves_by_tls(host):
    _, here, there = hosts(host)
    a = booted(host)
    b = host.listen('--tls', there, uri=TCP)
    control = os.path.join(host.dir, 'godwit')
    os.makedirs(control, exist_ok=True)
    os.symlink(a.control, os.path.join(control, 'mover.sock'))
    done = subprocess.run([GODWIT, 'migrate', 'mover', b.uri, '--quiet',
                           '--tls', os.path.basename(here), '--downtime',
                           '20000', '--max-pause', '20000'], env=host.env,
                          cwd=os.path.dirname(here), capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    b.alive()


# -- who doesn't ------------------------------------------------------------


def a_client_of_another_ca_is_refused(host):
    _, _, there = hosts(host)
    stranger = Authority(host.path('other')).host('stranger')
    # it believes the server, which doesn't believe it
    os.replace(os.path.join(there, 'ca-cert.pem'), host.path('ours'))
    os.link(host.path('ours'), os.path.join(there, 'ca-cert.pem'))
    with open(host.path('ours'), encoding='ascii') as f, \
            open(os.path.join(stranger, 'ca-cert.pem'), 'a',
                 encoding='ascii') as both:
        both.write(f.read())
    a = booted(host)
    b = host.listen('--tls', there, uri=TCP)
    refused(a, b, 'CA is unknown', 'ertificate', x_tls=stranger)
    assert 'sent away' in b.said(), b.said()


def a_client_without_a_certificate_is_refused(host):
    _, here, there = hosts(host)
    b = host.listen('--tls', there, uri=TCP)
    port = b.uri.rsplit(':', 1)[1]
    done = subprocess.run(
        ['gnutls-cli', '--x509cafile', os.path.join(here, 'ca-cert.pem'),
         '--port', port, '127.0.0.1'], stdin=subprocess.DEVNULL,
        capture_output=True, text=True)
    assert 'ertificate is required' in done.stdout + done.stderr, done
    until(lambda: 'sent away' in b.said(), b.said)
    a = booted(host)
    arrived(a, b, x_tls=here)


def a_server_of_another_ca_is_refused(host):
    _, here, _ = hosts(host)
    stranger = Authority(host.path('other')).host('there')
    a = booted(host)
    b = host.listen('--tls', stranger, uri=TCP)
    refused(a, b, 'NOT trusted', x_tls=here)


def a_server_of_another_name_is_refused(host):
    _, here, there = hosts(host)
    a = booted(host)
    b = host.listen('--tls', there, uri=TCP)
    refused(a, b, 'does not match', 'not match', x_tls=here,
            tls_hostname='elsewhere')


def an_expired_client_is_refused(host):
    ca, _, there = hosts(host)
    old = ca.host('old', EXPIRED)
    a = booted(host)
    b = host.listen('--tls', there, uri=TCP)
    refused(a, b, 'ertificate', x_tls=old)
    assert 'expired' in b.said(), b.said()


def an_expired_server_is_refused(host):
    ca, here, _ = hosts(host)
    old = ca.host('old', EXPIRED)
    a = booted(host)
    b = host.listen('--tls', old, uri=TCP)
    refused(a, b, 'expired', x_tls=here)


def a_servers_certificate_is_no_clients(host):
    _, here, there = hosts(host)
    for end in 'cert', 'key':
        os.replace(os.path.join(here, f'server-{end}.pem'),
                   os.path.join(here, f'client-{end}.pem'))
    a = booted(host)
    b = host.listen('--tls', there, uri=TCP)
    refused(a, b, 'ertificate', x_tls=here)


def a_wrong_key_is_refused(host):
    a = booted(host)
    b = host.listen('--tls', keys(host.path('b.psk'), qemu=KEY), uri=TCP)
    refused(a, b, 'TLS', x_tls=keys(host.path('a.psk'), qemu=OTHER_KEY))


def a_key_of_an_unknown_name_is_refused(host):
    a = booted(host)
    b = host.listen('--tls', keys(host.path('b.psk'), qemu=KEY), uri=TCP)
    refused(a, b, 'TLS', x_tls=keys(host.path('a.psk'), mallory=KEY))


def a_key_is_no_certificate(host):
    _, _, there = hosts(host)
    a = booted(host)
    b = host.listen('--tls', there, uri=TCP)
    refused(a, b, 'TLS', x_tls=keys(host.path('a.psk'), qemu=KEY))


def a_plain_client_is_refused_by_tls(host):
    _, _, there = hosts(host)
    a = booted(host)
    b = host.listen('--tls', there, uri=TCP)
    refused(a, b, 'not let in')


def a_tls_client_is_refused_by_a_plain_side(host):
    _, here, _ = hosts(host)
    a = booted(host)
    b = host.listen(uri=TCP)
    refused(a, b, 'does not speak it', x_tls=here)


def plain_tcp_must_be_asked_for_in_words(host):
    a = booted(host)
    b = host.listen(uri=TCP)
    try:
        a.qmp('migrate', uri=b.uri, x_plain=False)
        raise AssertionError('moved')
    except RuntimeError as why:
        assert '--plain' in str(why) and '--tls' in str(why), why
    done = subprocess.run([GODWIT, 'run', '--incoming', TCP], text=True,
                          env=host.env, capture_output=True)
    assert done.returncode == 2 and '--plain' in done.stderr, done


# -- the list ---------------------------------------------------------------


def an_address_that_is_not_on_the_list_is_refused(host):
    a = booted(host)
    b = host.listen('--allow', '192.0.2.0/24', uri=TCP)
    refused(a, b, 'not let in')
    c = host.listen('--allow', '192.0.2.0/24', '--allow', '127.0.0.0/8',
                    uri=TCP)
    arrived(a, c)


def a_host_on_the_list_may_come(host):
    a = booted(host)
    b = host.listen('--allow', 'localhost', uri=TCP)
    arrived(a, b)


def a_certificate_that_is_not_on_the_list_is_refused(host):
    _, here, there = hosts(host)
    a = booted(host)
    b = host.listen('--tls', there, '--allow', 'cert:*.example', uri=TCP)
    refused(a, b, '--allow', x_tls=here)
    c = host.listen('--tls', there, '--allow', 'cert:*.example', '--allow',
                    'cert:h?re', uri=TCP)
    arrived(a, c, x_tls=here)


def a_subject_on_the_list_may_come(host):
    _, here, there = hosts(host)
    a = booted(host)
    b = host.listen('--tls', there, '--allow', 'cert:*O=Godwits*', uri=TCP)
    arrived(a, b, x_tls=here)


def a_key_that_is_not_on_the_list_is_refused(host):
    both = keys(host.path('keys.psk'), first=KEY, second=OTHER_KEY)
    a = booted(host)
    b = host.listen('--tls', both, '--allow', 'psk:second', uri=TCP)
    refused(a, b, '--allow', x_tls=both)
    arrived(a, b, x_tls=both + ',id=second')


def names_on_the_list_need_tls(host):
    done = subprocess.run([GODWIT, 'run', '--incoming', TCP, '--plain',
                           '--allow', 'cert:*'], text=True, env=host.env,
                          capture_output=True)
    assert done.returncode == 1 and '--tls' in done.stderr, done


# -- strangers --------------------------------------------------------------


def strangers_at_the_door_keep_nobody_out(host):
    """More than there is room for, all silent, before and in a move."""
    _, here, there = hosts(host)
    a = booted(host)
    b = host.listen('--tls', there, uri=TCP)
    idle = [dial(b.uri) for _ in range(40)]
    arrived(a, b, x_tls=here, channels=4)
    until(lambda: 'too many at once' in b.said(), b.said)
    for sock in idle:
        sock.close()


def one_that_is_slow_is_sent_away(host):
    _, here, there = hosts(host)
    b = host.listen('--tls', there, uri=TCP)
    with dial(b.uri) as sock:
        sock.sendall(b'\x16\x03\x01')       # a handshake begins so
        sock.settimeout(60)
        while sock.recv(100):
            pass
    until(lambda: 'in time' in b.said(), b.said)
    a = booted(host)
    arrived(a, b, x_tls=here)


def one_without_a_whole_hello_is_sent_away_by_a_plain_side(host):
    b = host.listen(uri=TCP)
    with dial(b.uri) as sock:
        sock.sendall(frame('HELLO', bytes(24))[:30])
        sock.settimeout(60)
        while sock.recv(100):
            pass
    until(lambda: 'in time' in b.said(), b.said)


# -- a man in the middle ----------------------------------------------------


def cut_anywhere_by_tls_exactly_one_runs(host):
    """At growing distances, until a move is through before its cut."""
    _, here, there = hosts(host)
    a = booted(host)
    b = host.listen('--tls', there, uri=TCP)
    at, report = 100, {}
    while report.get('status') != 'completed':
        def cut(n, data, at=at):
            if proxy.was_cut or n + len(data) <= at:
                return data
            return CUT
        proxy = Proxy(b.uri, on_bytes=cut)
        report = a.migrate(proxy.uri, x_tls=here, **PATIENT)
        proxy.close()
        if report['status'] != 'completed':
            assert one_runs(a, b) is a
            free(b)
        at = int(at * 1.6)
    assert at > 10000, at
    assert one_runs(a, b) is b
    b.alive()
    sound(b)


def a_flipped_bit_by_tls_is_found(host):
    """Page bytes have no checksum of their own, but they have TLS."""
    _, here, there = hosts(host)
    a = booted(host)
    b = host.listen('--tls', there, uri=TCP)
    for at in (50, 700, 3000, 20000, 300000):
        def flip(n, data, at=at):
            if not n <= at < n + len(data):
                return data
            data = bytearray(data)
            data[at - n] ^= 4
            return bytes(data)
        proxy = Proxy(b.uri, on_bytes=flip)
        report = a.migrate(proxy.uri, x_tls=here, **PATIENT)
        proxy.close()
        assert report['status'] == 'failed', (at, report)
        assert one_runs(a, b) is a
        free(b)
    arrived(a, b, x_tls=here)


# -- secrets ----------------------------------------------------------------


def a_key_that_others_can_read_is_refused(host):
    _, here, there = hosts(host)
    os.chmod(os.path.join(here, 'client-key.pem'), 0o644)
    a = booted(host)
    b = host.listen('--tls', there, uri=TCP)
    try:
        a.migrate(b.uri, x_tls=here)
        raise AssertionError('moved')
    except RuntimeError as why:
        assert 'client-key.pem' in str(why) and '644' in str(why), why
    assert one_runs(a, b) is a


def a_key_is_in_no_log_argument_or_core_file(host):
    both = keys(host.path('keys.psk'), qemu=KEY)
    a = booted(host, '--log', 'debug')
    b = host.listen('--tls', both, '--log', 'debug', uri=TCP)
    arrived(a, b, x_tls=both)
    for vm in a, b:
        assert KEY not in vm.said()
        with open(f'/proc/{vm.pid}/coredump_filter', encoding='ascii') as f:
            assert int(f.read(), 16) == 0x10
        with open(f'/proc/{vm.pid}/cmdline', 'rb') as f:
            assert KEY.encode() not in f.read()


CLAIMS = [
    certificates_on_both_sides_let_a_vm_in,
    a_key_on_both_sides_lets_a_vm_in,
    four_channels_go_there_and_back_by_tls,
    a_disk_is_copied_along_by_tls,
    tls_over_a_unix_socket_asks_for_the_name_given,
    a_name_that_is_given_replaces_the_one_of_the_uri,
    the_command_line_moves_by_tls,
    a_client_of_another_ca_is_refused,
    a_client_without_a_certificate_is_refused,
    a_server_of_another_ca_is_refused,
    a_server_of_another_name_is_refused,
    an_expired_client_is_refused,
    an_expired_server_is_refused,
    a_servers_certificate_is_no_clients,
    a_wrong_key_is_refused,
    a_key_of_an_unknown_name_is_refused,
    a_key_is_no_certificate,
    a_plain_client_is_refused_by_tls,
    a_tls_client_is_refused_by_a_plain_side,
    plain_tcp_must_be_asked_for_in_words,
    an_address_that_is_not_on_the_list_is_refused,
    a_host_on_the_list_may_come,
    a_certificate_that_is_not_on_the_list_is_refused,
    a_subject_on_the_list_may_come,
    a_key_that_is_not_on_the_list_is_refused,
    names_on_the_list_need_tls,
    strangers_at_the_door_keep_nobody_out,
    one_that_is_slow_is_sent_away,
    one_without_a_whole_hello_is_sent_away_by_a_plain_side,
    cut_anywhere_by_tls_exactly_one_runs,
    a_flipped_bit_by_tls_is_found,
    a_key_that_others_can_read_is_refused,
    a_key_is_in_no_log_argument_or_core_file,
]

if __name__ == '__main__':
    sys.exit(main(CLAIMS))
