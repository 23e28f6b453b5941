#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a VM's process may do while its guest runs. That all else works confined
is claimed by the other tests: they run so."""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '../lib'))
from godwit import Skip, main, moved

LOAD = 'mode=verify ws=16 rate=100 hb=50'


def threads(vm):
    """{name: {field: value}} of /proc/PID/task/*/status."""
    found = {}
    base = f'/proc/{vm.pid}/task'
    for task in os.listdir(base):
        with open(f'{base}/{task}/status', encoding='ascii') as f:
            fields = dict(re.findall(r'^(\w+):\s*(.*)$', f.read(), re.M))
        found[fields['Name'] + '-' + task] = fields
    return found


def confined(vm):
    """Each thread, and a vCPU's more than the others."""
    found = threads(vm)
    if 'Seccomp' not in next(iter(found.values())):
        raise Skip('this kernel does not tell')
    if 'is not confined' in vm.said():
        raise Skip('built without seccomp')
    for name, fields in found.items():
        assert fields['Seccomp'] == '2', (name, fields['Seccomp'])
        assert fields['NoNewPrivs'] == '1', name
        # CAP_SYS_ADMIN, CAP_SYS_PTRACE, CAP_SYS_MODULE, CAP_SYS_RAWIO
        assert not int(fields['CapPrm'], 16) & (1 << 21 | 1 << 19 | 1 << 16 |
                                                1 << 17), (name, fields)
    cpus = [f for n, f in found.items() if n.startswith('vcpu')]
    assert cpus, found.keys()
    for fields in cpus:
        assert int(fields['CapPrm'], 16) == 0, fields['CapPrm']
        assert fields.get('Seccomp_filters', '2') == '2', fields


def a_vm_is_confined_where_it_boots_and_where_it_arrives(host):
    a = host.boot('verifier', LOAD)
    a.wait_output('V')
    confined(a)
    b = host.listen()
    moved(a, b, channels=2, downtime_limit=20000, max_pause=20000)
    b.alive()
    confined(b)


def one_that_is_not_to_be_confined_is_not(host):
    a = host.boot('verifier', LOAD, '--seccomp', 'off')
    a.wait_output('V')
    for name, fields in threads(a).items():
        assert fields['Seccomp'] == '0', name


CLAIMS = [
    a_vm_is_confined_where_it_boots_and_where_it_arrives,
    one_that_is_not_to_be_confined_is_not,
]

if __name__ == '__main__':
    sys.exit(main(CLAIMS))
