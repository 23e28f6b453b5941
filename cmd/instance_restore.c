/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The VM of an instance, brought back from a file of `godwit save`. It runs
 * when its devices are loaded; its pages come in when they are touched, and a
 * thread compares all of the file with its checksums meanwhile.
 */
#include <errno.h>
#include <libfdt.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cmd/incoming.h"
#include "cmd/instance.h"
#include "vmm/base/thread.h"
#include "vmm/tree.h"

struct restore {
	struct instance *inst;
	struct snapshot file;
	pthread_t thread;
	bool has_thread;
	atomic_bool stop;
	struct error err;
};

static bool writes_disks(const void *tree)
{
	int node = -1;

	while ((node = fdt_node_offset_by_compatible(tree, node,
					"godwit,virtio-blk")) >= 0)
		if (!tree_has(tree, node, "readonly"))
			return true;
	return false;
}

/*
 * The memory in the file knows the disks as they were. When the VM has run on
 * since, it must not come back a second time.
 */
static int check_used(const struct instance *inst, const struct snapshot *s,
		      struct error *err)
{
	time_t when = (time_t)(s->header.restored_ns / NSEC_PER_SEC);
	char text[32];

	if (!s->header.restored_ns || inst->config->again ||
	    !writes_disks(s->part[SNAPSHOT_TREE]))
		return 0;
	strftime(text, sizeof(text), "%F %T", localtime(&when));
	return error_set(err, EBUSY, "%s: its VM was restored on %s already and has written to its disks since; --again if they are as they were when it was saved",
			 s->path, text);
}

static int build(struct instance *inst, struct snapshot *s, struct error *err)
{
	const struct vm_memory_file memory = {
		.fd = s->fd, .offset = SNAPSHOT_MEMORY_AT,
	};
	void *tree = NULL;
	int ret = incoming_localize(inst->config, s->part[SNAPSHOT_TREE],
				    s->header.part[SNAPSHOT_TREE].len, &tree,
				    err);

	if (!ret)
		ret = instance_create_vm(inst, tree, true, &memory, err);
	free(tree);
	if (!ret)
		ret = vm_load(inst->vm, s->part[SNAPSHOT_STATE],
			      s->header.part[SNAPSHOT_STATE].len, 0, err);
	return ret;
}

/* Locks, and the word in the file, before the first instruction. */
static int start(struct instance *inst, struct snapshot *s, struct error *err)
{
	bool run = s->header.flags & SNAPSHOT_RUN && !inst->config->paused;
	int ret = vm_activate(inst->vm, err);

	if (!ret && writes_disks(inst->vm->tree))
		ret = snapshot_mark_restored(s, err);
	if (ret)
		return ret;
	instance_take_name(inst);
	if (!run) {
		vm_pause(inst->vm, VM_PAUSED);
		return 0;
	}
	ret = vm_run(inst->vm, err);
	if (!ret)
		vm_announce(inst->vm);
	return ret;
}

static void stop_vm(void *arg)
{
	struct restore *r = arg;
	json_t *data = json_pack("{s:s}", "reason", r->err.msg);

	enum vm_state state = vm_get_state(r->inst->vm);

	log_error(&r->inst->log, "%s; the VM is stopped", r->err.msg);
	if (state == VM_RUNNING || state == VM_PAUSED)
		vm_pause(r->inst->vm, VM_INTERNAL_ERROR);
	control_event(r->inst->control, "X_RESTORE_ERROR", data);
	json_decref(data);
}

static void *verify(void *arg)
{
	struct restore *r = arg;
	int ret = snapshot_verify(&r->file, &r->stop, &r->err);

	if (ret < 0 && ret != -ECANCELED)
		loop_post(&r->inst->loop, stop_vm, r);
	return NULL;
}

static int verify_meanwhile(struct restore *r, struct error *err)
{
	r->has_thread = !thread_start(&r->thread, "verify", verify, r);
	return r->has_thread ? 0 :
	       error_set(err, EAGAIN, "no thread to check memory");
}

int instance_restore(struct instance *inst, struct error *err)
{
	struct restore *r = calloc(1, sizeof(*r));
	int ret;

	if (!r)
		return error_set(err, ENOMEM, "no memory");
	inst->restore = r;
	r->inst = inst;
	ret = snapshot_open(&r->file, inst->config->restore, err);
	if (!ret)
		ret = check_used(inst, &r->file, err);
	if (!ret && inst->config->verify)
		ret = snapshot_verify(&r->file, NULL, err);
	if (!ret)
		ret = build(inst, &r->file, err);
	if (!ret)
		ret = start(inst, &r->file, err);
	if (!ret && !inst->config->verify)
		ret = verify_meanwhile(r, err);
	return ret;
}

void instance_restore_exit(struct instance *inst)
{
	struct restore *r = inst->restore;

	if (!r)
		return;
	atomic_store(&r->stop, true);
	if (r->has_thread)
		pthread_join(r->thread, NULL);
	snapshot_close(&r->file);
	free(r);
	inst->restore = NULL;
}
