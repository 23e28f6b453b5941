/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The machine tree from options, and an arriving one made local. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arch/arch.h"
#include "cmd/incoming.h"
#include "cmd/tree_build.h"
#include "vmm/tree.h"

static const struct run_config example = {
	.kernel = "/nonexistent/vmlinuz",
	.append = "console=ttyS0",
	.cpus = 2,
	.memory = 5 * GIB,
	.shared = true,
	.rng = true,
	.ndisks = 2,
	.disk = {
		{ .uri = "/a.img", .serial = "S1", .readonly = true },
		{ .uri = "nbd://h/e", .id = "data", .direct = true },
	},
	.nnets = 1,
	.net = { { .backend = "tap:t0" } },
};

/* CPUs are described by the host's KVM: without one there is no tree. */
static void *build(const struct run_config *c)
{
	struct error err = ERROR_INIT;
	void *tree = NULL;
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		print_message("SKIP: /dev/kvm can't be opened\n");
		skip();
	}
	if (tree_build(c, "web", fd, &tree, &err))
		fail_msg("%s", err.msg);
	close(fd);
	assert_int_equal(tree_check(tree, fdt_totalsize(tree), &err), 0);
	return tree;
}

static int node_of(const void *tree, const char *id)
{
	int node;

	for (node = fdt_next_node(tree, -1, NULL); node >= 0;
	     node = fdt_next_node(tree, node, NULL))
		if (!strcmp(tree_str(tree, node, "id", ""), id))
			return node;
	fail_msg("no device %s", id);
	return -1;
}

static void the_root_names_machine_and_architecture(void **state)
{
	void *tree = build(&example);
	int len = 0;

	assert_string_equal(tree_str(tree, 0, "compatible", ""),
			    "godwit,machine");
	assert_string_equal(tree_str(tree, 0, "model", ""), arch_board.name);
	assert_string_equal(tree_str(tree, 0, "godwit,name", ""), "web");
	assert_non_null(fdt_getprop(tree, 0, "godwit,uuid", &len));
	assert_int_equal(len, 16);
	free(tree);
}

static void memory_is_all_there(void **state)
{
	void *tree = build(&example);
	int node = fdt_path_offset(tree, "/memory");
	struct error err = ERROR_INIT;
	uint64_t base, size, sum = 0;
	unsigned int i;

	for (i = 0; !tree_reg(tree, node, i, &base, &size, &err); i++)
		sum += size;
	assert_int_equal(sum, 5 * GIB);
	assert_string_equal(tree_str(tree, node, "godwit,backing", ""),
			    "memfd");
	free(tree);
}

static void each_device_has_a_slot_and_an_interrupt_of_its_own(void **state)
{
	static const char *const ids[] = { "disk0", "data", "net0", "rng0" };
	void *tree = build(&example);
	struct error err = ERROR_INIT;
	uint64_t base, size;
	unsigned int i, gsi;

	for (i = 0; i < ARRAY_SIZE(ids); i++) {
		int node = node_of(tree, ids[i]);

		assert_int_equal(tree_reg(tree, node, 0, &base, &size, &err),
				 0);
		assert_int_equal(base, arch_board.mmio_base +
				       i * arch_board.mmio_stride);
		assert_int_equal(tree_irq(tree, node, &gsi, &err), 0);
		assert_int_equal(gsi, arch_board.first_gsi + i);
	}
	free(tree);
}

static void a_disk_carries_its_options(void **state)
{
	void *tree = build(&example);
	int disk = node_of(tree, "disk0"), data = node_of(tree, "data");

	assert_string_equal(tree_str(tree, disk, "compatible", ""),
			    "godwit,virtio-blk");
	assert_string_equal(tree_str(tree, disk, "serial", ""), "S1");
	assert_true(tree_has(tree, disk, "readonly"));
	assert_false(tree_has(tree, disk, "direct"));
	assert_string_equal(tree_str(tree, data, "backend", ""), "nbd://h/e");
	assert_true(tree_has(tree, data, "direct"));
	assert_false(tree_has(tree, data, "readonly"));
	free(tree);
}

static void a_relative_image_becomes_absolute_and_a_uri_stays(void **state)
{
	struct run_config c = { .kernel = "k", .ndisks = 2 };
	void *tree;

	c.disk[0].uri = "file:.";
	c.disk[1].uri = "nbd+unix:///e?socket=./s";
	tree = build(&c);
	assert_int_equal(tree_str(tree, node_of(tree, "disk0"), "backend",
				  "")[0], '/');
	assert_string_equal(tree_str(tree, node_of(tree, "disk1"), "backend",
				     ""), "nbd+unix:///e?socket=./s");
	free(tree);
}

static void the_debug_exit_port_is_there_only_when_asked_for(void **state)
{
	struct run_config c = example;
	void *tree = build(&c);

	assert_true(fdt_node_offset_by_compatible(tree, -1,
						  "godwit,debug-exit") < 0);
	free(tree);
	c.debug_exit = true;
	tree = build(&c);
	assert_true(fdt_node_offset_by_compatible(tree, -1,
						  "godwit,debug-exit") >= 0);
	free(tree);
}

static void too_many_devices_are_refused_with_the_limit(void **state)
{
	struct run_config c = { .kernel = "k", .rng = true };
	struct error err = ERROR_INIT;
	void *tree = NULL;

	c.ndisks = RUN_MAX_DISKS;
	c.nnets = RUN_MAX_NETS;
	assert_true(tree_build(&c, "x", -1, &tree, &err) < 0);
	assert_non_null(strstr(err.msg, "virtio devices; accepted: up to"));
}

static void default_macs_are_stable_and_differ(void **state)
{
	uint8_t a[6], b[6], c[6], again[6];

	tree_default_mac("web", 0, a);
	tree_default_mac("web", 1, b);
	tree_default_mac("db", 0, c);
	tree_default_mac("web", 0, again);
	assert_memory_equal(a, again, 6);
	assert_memory_equal(a, "\x52\x54\x00", 3);
	assert_memory_not_equal(a, b, 6);
	assert_memory_not_equal(a, c, 6);
}

/* -- arriving */

static void *offer(size_t *len)
{
	void *tree = calloc(1, 4096);

	assert_int_equal(fdt_create(tree, 4096), 0);
	fdt_finish_reservemap(tree);
	fdt_begin_node(tree, "");
	fdt_property_string(tree, "compatible", "godwit,machine");
	fdt_property_string(tree, "godwit,name", "web");
	fdt_begin_node(tree, "isa");
	fdt_begin_node(tree, "serial@3f8");
	fdt_property_string(tree, "compatible", "ns16550a");
	fdt_property_string(tree, "backend", "stdio");
	fdt_end_node(tree);
	fdt_end_node(tree);
	fdt_begin_node(tree, "soc");
	fdt_begin_node(tree, "virtio-blk@1");
	fdt_property_string(tree, "compatible", "godwit,virtio-blk");
	fdt_property_string(tree, "id", "disk0");
	fdt_property_string(tree, "backend", "/a.img");
	fdt_property(tree, "direct", NULL, 0);
	fdt_end_node(tree);
	fdt_begin_node(tree, "virtio-net@2");
	fdt_property_string(tree, "compatible", "godwit,virtio-net");
	fdt_property_string(tree, "id", "net0");
	fdt_property_string(tree, "backend", "tap:t0");
	fdt_end_node(tree);
	fdt_end_node(tree);
	fdt_end_node(tree);
	assert_int_equal(fdt_finish(tree), 0);
	*len = fdt_totalsize(tree);
	return tree;
}

static int localize(const struct run_config *c, void **out, struct error *err)
{
	size_t len;
	void *tree = offer(&len);
	int ret;

	error_clear(err);
	ret = incoming_localize(c, tree, len, out, err);
	free(tree);
	return ret;
}

static void what_is_named_becomes_local_and_the_rest_stays(void **state)
{
	const struct run_config c = {
		.ndisks = 1, .disk = { { .uri = "nbd://here/e", .id = "disk0" } },
		.serial = "null", .name = "new",
	};
	struct error err;
	void *tree = NULL;

	assert_int_equal(localize(&c, &tree, &err), 0);
	assert_string_equal(tree_str(tree, node_of(tree, "disk0"), "backend",
				     ""), "nbd://here/e");
	assert_false(tree_has(tree, node_of(tree, "disk0"), "direct"));
	assert_string_equal(tree_str(tree, node_of(tree, "net0"), "backend",
				     ""), "tap:t0");
	assert_string_equal(tree_str(tree, fdt_path_offset(tree,
			    "/isa/serial@3f8"), "backend", ""), "null");
	assert_string_equal(tree_str(tree, 0, "godwit,name", ""), "new");
	free(tree);
}

static void unknown_ids_are_all_told_with_those_there_are(void **state)
{
	const struct run_config c = {
		.ndisks = 2,
		.disk = { { .uri = "a", .id = "root" },
			  { .uri = "b", .id = "net0" } },
		.nnets = 1, .net = { { .backend = "tap", .id = "wan" } },
	};
	struct error err;
	void *tree = NULL;

	assert_true(localize(&c, &tree, &err) < 0);
	assert_non_null(strstr(err.msg, "id=root"));
	assert_non_null(strstr(err.msg, "accepted: disk0"));
	assert_non_null(strstr(err.msg, "id=net0"));
	assert_non_null(strstr(err.msg, "id=wan"));
	assert_non_null(strstr(err.msg, "accepted: net0"));
}

static void identity_can_not_be_changed_on_the_way(void **state)
{
	const struct run_config c = {
		.ndisks = 1,
		.disk = { { .uri = "a", .id = "disk0", .serial = "S",
			    .readonly = true } },
		.nnets = 1,
		.net = { { .backend = "tap", .id = "net0", .has_mac = true } },
	};
	struct error err;
	void *tree = NULL;

	assert_true(localize(&c, &tree, &err) < 0);
	assert_non_null(strstr(err.msg, "serial="));
	assert_non_null(strstr(err.msg, "readonly=on"));
	assert_non_null(strstr(err.msg, "mac="));
}

static void a_drbd_disk_is_the_same_on_both_sides(void **state)
{
	const struct run_config c = {
		.ndisks = 1, .disk = { { .uri = "drbd:r0", .id = "disk0" } },
	};
	struct error err;
	void *tree = NULL;

	assert_true(localize(&c, &tree, &err) < 0);
	assert_non_null(strstr(err.msg, "drbd:r0 here"));
	assert_non_null(strstr(err.msg, "the same resource on both"));
}

static void a_damaged_tree_is_refused(void **state)
{
	const struct run_config c = { .name = "x" };
	struct error err = ERROR_INIT;
	size_t len, cut;
	void *tree = offer(&len), *out = NULL;

	for (cut = 0; cut < len; cut++) {
		error_clear(&err);
		assert_true(incoming_localize(&c, tree, cut, &out, &err) < 0);
	}
	free(tree);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_root_names_machine_and_architecture),
		cmocka_unit_test(memory_is_all_there),
		cmocka_unit_test(each_device_has_a_slot_and_an_interrupt_of_its_own),
		cmocka_unit_test(a_disk_carries_its_options),
		cmocka_unit_test(a_relative_image_becomes_absolute_and_a_uri_stays),
		cmocka_unit_test(the_debug_exit_port_is_there_only_when_asked_for),
		cmocka_unit_test(too_many_devices_are_refused_with_the_limit),
		cmocka_unit_test(default_macs_are_stable_and_differ),
		cmocka_unit_test(what_is_named_becomes_local_and_the_rest_stays),
		cmocka_unit_test(unknown_ids_are_all_told_with_those_there_are),
		cmocka_unit_test(identity_can_not_be_changed_on_the_way),
		cmocka_unit_test(a_drbd_disk_is_the_same_on_both_sides),
		cmocka_unit_test(a_damaged_tree_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
