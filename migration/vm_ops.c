/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/vm_ops.h"

const struct migration_vm_ops migration_vm_ops = {
	.dirty_start = dirty_start,
	.dirty_stop = dirty_stop,
	.dirty_sync = dirty_sync,
	.dirty_clear = dirty_clear,
	.vcpu_time = vm_vcpu_time,
	.dirty_by_vcpu = dirty_by_vcpu,
	.throttle = vm_throttle,
	.hold = vm_hold,
	.throttle_each = vm_throttle_each,
	.pause = vm_pause,
	.quiesce = vm_quiesce,
	.save = vm_save,
	.rehearse = vm_rehearse,
	.saved_at = vm_saved_at,
	.load = vm_load,
	.activate = vm_activate,
	.deactivate = vm_deactivate,
	.run = vm_run,
	.announce = vm_announce,
	.get_state = vm_get_state,
	.disk = vm_disk,
};
