/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands about the VM itself. Names and answers are QEMU's where the meaning
 * is the same; what is only ours begins with "x-". */
#include <errno.h>
#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/instance.h"
#include "cmd/qmp_commands.h"
#include "cmd/version.h"
#include "vmm/disk.h"
#include "vmm/tree.h"

static enum vm_state state_of(const struct instance *inst)
{
	return inst->vm ? vm_get_state(inst->vm) : VM_INMIGRATE;
}

static int need_vm(const struct instance *inst, struct error *err)
{
	if (!inst->vm)
		return error_set(err, EAGAIN, "no VM has arrived here yet");
	return 0;
}

/* The VM must be ours to stop and start. */
static int need_ownership(struct instance *inst, struct error *err)
{
	int ret = need_vm(inst, err);

	if (ret)
		return ret;
	switch (state_of(inst)) {
	case VM_INMIGRATE:
		return error_set(err, EBUSY, "the VM is still arriving");
	case VM_POSTMIGRATE:
		return error_set(err, EBUSY, "the VM has moved: it runs on the other side");
	case VM_SHUTDOWN:
		return error_set(err, ESHUTDOWN, "the VM is over");
	case VM_INTERNAL_ERROR:
		return error_set(err, EIO, "a virtual CPU can't go on; only system_reset and quit help");
	default:
		break;
	}
	if (instance_is_leaving(inst))
		return error_set(err, EBUSY, "the VM is being moved; migrate_cancel first");
	return instance_check_whole(inst, true, err);
}

static int need_running(const struct instance *inst, struct error *err)
{
	int ret = need_vm(inst, err);

	if (!ret && state_of(inst) != VM_RUNNING)
		ret = error_set(err, EBUSY, "the VM does not run, it is in state %s",
				vm_state_name(state_of(inst)));
	return ret;
}

static int query_status(void *arg, json_t *args, json_t **result,
			struct error *err)
{
	enum vm_state state = state_of(arg);

	*result = json_pack("{s:b, s:b, s:s}", "running", state == VM_RUNNING,
			    "singlestep", 0, "status", vm_state_name(state));
	return 0;
}

static int query_version(void *arg, json_t *args, json_t **result,
			 struct error *err)
{
	*result = version_json();
	return 0;
}

static int query_name(void *arg, json_t *args, json_t **result,
		      struct error *err)
{
	struct instance *inst = arg;

	*result = json_pack("{s:s}", "name", inst->name);
	return 0;
}

static int query_kvm(void *arg, json_t *args, json_t **result,
		     struct error *err)
{
	*result = json_pack("{s:b, s:b}", "enabled", 1, "present", 1);
	return 0;
}

static void format_uuid(const void *tree, char text[37])
{
	int len = 0;
	const uint8_t *u = fdt_getprop(tree, 0, "godwit,uuid", &len);
	unsigned int i, n = 0;

	text[0] = '\0';
	for (i = 0; u && len == 16 && i < 16; i++)
		n += (unsigned int)sprintf(text + n, "%s%02x",
			i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", u[i]);
}

static int query_uuid(void *arg, json_t *args, json_t **result,
		      struct error *err)
{
	struct instance *inst = arg;
	char uuid[37];
	int ret = need_vm(inst, err);

	if (ret)
		return ret;
	format_uuid(inst->vm->tree, uuid);
	*result = json_pack("{s:s}", "UUID", uuid);
	return 0;
}

static int query_memory(void *arg, json_t *args, json_t **result,
			struct error *err)
{
	struct instance *inst = arg;
	int ret = need_vm(inst, err);

	if (!ret)
		*result = json_pack("{s:I, s:I}", "base-memory",
				    (json_int_t)inst->vm->mem.size,
				    "plugged-memory", (json_int_t)0);
	return ret;
}

static json_t *describe_device(const struct device *dev)
{
	const void *tree = dev->env->tree;
	json_t *j = json_pack("{s:s, s:s}", "name", dev->name, "class",
			      dev->class->compatible);
	static const char *const props[] = { "id", "backend" };
	const char *value;
	unsigned int i;
	int bus, node = -1;

	for (i = 0; i < 2 && node < 0; i++) {
		bus = fdt_path_offset(tree, i ? "/soc" : "/isa");
		node = bus < 0 ? bus :
		       fdt_subnode_offset(tree, bus, dev->name);
	}
	for (i = 0; i < ARRAY_SIZE(props) && node >= 0; i++) {
		value = tree_str(tree, node, props[i], NULL);
		if (value)
			json_object_set_new(j, props[i], json_string(value));
	}
	return j;
}

static void describe_vm(const struct vm *vm, json_t *j)
{
	int cpus = fdt_path_offset(vm->tree, "/cpus");
	json_t *devices = json_array();
	struct device *dev;
	char uuid[37];

	format_uuid(vm->tree, uuid);
	list_for_each(dev, &vm->devices, link)
		json_array_append_new(devices, describe_device(dev));
	json_object_set_new(j, "uuid", json_string(uuid));
	json_object_set_new(j, "cpus", json_integer(vm->nvcpus));
	json_object_set_new(j, "cpu-model", json_string(
		tree_str(vm->tree, cpus, "godwit,model", "?")));
	json_object_set_new(j, "memory", json_integer((json_int_t)
						      vm->mem.size));
	json_object_set_new(j, "devices", devices);
}

static int query_vm(void *arg, json_t *args, json_t **result,
		    struct error *err)
{
	struct instance *inst = arg;

	*result = json_pack("{s:s, s:i, s:s}", "name", inst->name, "pid",
			    (int)getpid(), "status",
			    vm_state_name(state_of(inst)));
	if (inst->vm)
		describe_vm(inst->vm, *result);
	return 0;
}

static int query_machine(void *arg, json_t *args, json_t **result,
			 struct error *err)
{
	struct instance *inst = arg;
	const uint8_t *tree;
	size_t i, len;
	char *hex;
	int ret = need_vm(inst, err);

	if (ret)
		return ret;
	tree = inst->vm->tree;
	len = fdt_totalsize(tree);
	hex = malloc(2 * len + 1);
	if (!hex)
		return error_set(err, ENOMEM, "no memory");
	for (i = 0; i < len; i++)
		sprintf(hex + 2 * i, "%02x", tree[i]);
	*result = json_pack("{s:s}", "dtb-hex", hex);
	free(hex);
	return 0;
}

static int stop(void *arg, json_t *args, json_t **result, struct error *err)
{
	struct instance *inst = arg;
	int ret = need_ownership(inst, err);

	/* a VM that stopped for a disk doesn't go on by itself any more */
	if (!ret && (state_of(inst) == VM_RUNNING ||
		     state_of(inst) == VM_IO_ERROR))
		vm_pause(inst->vm, VM_PAUSED);
	return ret;
}

/*
 * Nobody answered after the point of no return: the VM may run on the other
 * side. Only a person who has looked there may start it here.
 */
static int check_unknown(struct instance *inst, json_t *args,
			 struct error *err)
{
	struct migration_stats stats;

	if (!instance_migration_stats(inst, &stats) ||
	    stats.outcome != MIGRATION_UNKNOWN)
		return 0;
	/* this is known: it ran there, and its disks have moved on since */
	if (stats.postcopy.link)
		return error_set(err, EBUSY, "the VM ran on the other side: what is here is of before, and its disks are not. quit, then boot it from its disks: `godwit resolve %s --here`",
				 inst->name);
	if (json_is_true(json_object_get(args, "x-force")))
		return 0;
	return error_set(err, EBUSY, "the migration ended with nobody knowing on which side the VM runs: %s. `godwit resolve %s` settles it",
			 stats.error.msg, inst->name);
}

static int cont(void *arg, json_t *args, json_t **result, struct error *err)
{
	static const char *const known[] = { "x-force", NULL };
	struct instance *inst = arg;
	int ret = qmp_arg_known(args, known, err);

	if (!ret && inst->vm && state_of(inst) == VM_RUNNING)
		return 0;
	if (!ret)
		ret = need_ownership(inst, err);
	if (!ret)
		ret = check_unknown(inst, args, err);
	if (!ret)
		ret = vm_activate(inst->vm, err);
	if (!ret)
		ret = vm_run(inst->vm, err);
	if (!ret && inst->source)
		migration_source_settled(inst->source);
	return ret;
}

static int powerdown(void *arg, json_t *args, json_t **result,
		     struct error *err)
{
	struct instance *inst = arg;
	int ret = need_running(inst, err);

	if (!ret)
		vm_power_button(inst->vm);
	return ret;
}

static int system_reset(void *arg, json_t *args, json_t **result,
			struct error *err)
{
	struct instance *inst = arg;
	int ret = 0;

	if (!inst->vm || state_of(inst) != VM_INTERNAL_ERROR)
		ret = need_ownership(inst, err);
	if (ret)
		return ret;
	vm_reset(inst->vm);
	return 0;
}

static struct vm_disk *find_disk(struct vm *vm, const char *id)
{
	struct vm_disk *d = NULL;

	for (unsigned int i = 0; (d = vm_disk(vm, i)); i++)
		if (!strcmp(d->id, id))
			break;
	return d;
}

/* "node-name" is the same here: a disk is one node. */
static int block_resize_command(void *arg, json_t *args, json_t **result,
				struct error *err)
{
	static const char *const known[] = {
		"device", "node-name", "size", NULL
	};
	struct instance *inst = arg;
	const char *id = NULL;
	uint64_t size = 0;
	struct vm_disk *d;
	int ret = qmp_arg_known(args, known, err) ?:
		  qmp_arg_string(args, "device", &id, err) ?:
		  qmp_arg_string(args, "node-name", &id, err) ?:
		  qmp_arg_u64(args, "size", INT64_MAX, &size, err);

	if (!ret && (!id || !size))
		ret = error_set(err, EINVAL, "block_resize needs 'device' and 'size'");
	ret = ret ?: need_ownership(inst, err);
	if (ret)
		return ret;
	d = find_disk(inst->vm, id);
	if (!d)
		return error_set(err, ENODEV, "no disk %s here", id);
	return vm_disk_resize(d, size, err);
}

static int quit(void *arg, json_t *args, json_t **result, struct error *err)
{
	instance_quit_by_host(arg, 0, "host-qmp-quit");
	return 0;
}

const struct qmp_command qmp_vm_commands[QMP_VM_COMMANDS] = {
	{ "query-status", "Whether the VM runs, and its state", query_status },
	{ "query-version", "Version of this program", query_version },
	{ "query-name", "Name of the VM", query_name },
	{ "query-kvm", "Always there", query_kvm },
	{ "query-uuid", "UUID of the machine", query_uuid },
	{ "query-memory-size-summary", "RAM in bytes", query_memory },
	{ "x-query-vm", "All about the VM, for lists", query_vm },
	{ "x-query-machine", "The machine tree, a .dtb in hexadecimal",
	  query_machine },
	{ "stop", "Pause the VM", stop },
	{ "cont", "Let the VM run; x-force: even if it may run elsewhere",
	  cont },
	{ "system_powerdown", "Press the power button", powerdown },
	{ "system_reset", "Press the reset button", system_reset },
	{ "block_resize", "Make the disk 'device' 'size' bytes; it only grows",
	  block_resize_command },
	{ "quit", "End the VM at once", quit },
};
