/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The state of a real VM, saved, loaded into another, and saved again. */
#include "tests/lib/vm_rig.h"

#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/byteorder.h"
#include "vmm/base/util.h"

#define MSR_TSC 0x10
#define LAPIC_CURRENT_COUNT 0x390

/* What goes on while nobody runs; nothing else may differ. */
static const struct {
	const char *path, *why;
} running_clocks[] = {
	{ "machine/clock", "kvmclock goes on by the host's time" },
	{ "machine/pit/channels@0/count_load_time", "host's time" },
	{ "machine/pit/channels@1/count_load_time", "host's time" },
	{ "machine/pit/channels@2/count_load_time", "host's time" },
	{ "pm@600/timer_ns", "the ACPI timer never stands still" },
	{ "pm@600/wall_ns", "when that was" },
};

struct saved {
	void *fdt;
	size_t len;
};

static struct saved save(struct vm_rig *r)
{
	struct error err = ERROR_INIT;
	struct saved s;

	if (vm_save(r->vm, &s.fdt, &s.len, &err) < 0)
		fail_msg("%s", err.msg);
	return s;
}

static void stop(struct vm_rig *r)
{
	struct error err = ERROR_INIT;

	vm_pause(r->vm, VM_FINISH_MIGRATE);
	assert_int_equal(vm_quiesce(r->vm, now_ns() + 10 * NSEC_PER_SEC, &err),
			 0);
}

static void copy_memory(struct vm_rig *from, struct vm_rig *to)
{
	for (unsigned int i = 0; i < from->vm->mem.nregions; i++) {
		const struct memory_region *m = &from->vm->mem.region[i];

		assert_int_equal(memory_write(&to->vm->mem, m->range.base,
					      m->host, m->range.size), 0);
	}
}

/* An arriving VM like @r, memory and all but state. */
static struct vm_rig *twin(struct vm_rig *r)
{
	struct vm_rig *t = vm_rig_new();
	struct error err = ERROR_INIT;

	if (vm_rig_create(t, r->vm->tree, true, &err) < 0)
		fail_msg("%s", err.msg);
	copy_memory(r, t);
	return t;
}

static void load(struct vm_rig *to, const struct saved *s)
{
	struct error err = ERROR_INIT;

	if (vm_load(to->vm, s->fdt, s->len, 0, &err) != 0)
		fail_msg("%s", err.msg);
}

/* -- comparing */

static bool is_running_clock(const char *path)
{
	for (size_t i = 0; i < ARRAY_SIZE(running_clocks); i++)
		if (!strcmp(path, running_clocks[i].path))
			return true;
	return false;
}

/* The TSC among the MSRs, the timer among the LAPIC's registers. */
static void mask_clocks(const char *path, uint8_t *a, const void *fdt, int node)
{
	const uint8_t *index;
	int len = 0;

	if (strstr(path, "/lapic")) {
		memset(a + LAPIC_CURRENT_COUNT, 0, 4);
	} else if (strstr(path, "/msrs/value")) {
		index = fdt_getprop(fdt, node, "index", &len);
		for (int i = 0; i < len / 4; i++)
			if (get_be32(index + 4 * i) == MSR_TSC)
				memset(a + 8 * i, 0, 8);
	}
}

static void compare_property(const char *path, const char *name,
			     const void *fa, int na, const void *fb, int nb)
{
	char full[256];
	int la = 0, lb = 0;
	const void *pa = fdt_getprop(fa, na, name, &la);
	const void *pb = fdt_getprop(fb, nb, name, &lb);
	uint8_t *a, *b;

	snprintf(full, sizeof(full), "%s/%s", path, name);
	if (!pb || la != lb)
		fail_msg("%s: %d bytes became %d", full, la, lb);
	if (is_running_clock(full))
		return;
	a = memcpy(malloc((size_t)la + 1), pa, (size_t)la);
	b = memcpy(malloc((size_t)lb + 1), pb, (size_t)lb);
	mask_clocks(full, a, fa, na);
	mask_clocks(full, b, fb, nb);
	for (int i = 0; i < la; i++)
		if (a[i] != b[i])
			fail_msg("%s: byte %d of %d was %02x, is %02x", full,
				 i, la, a[i], b[i]);
	free(a);
	free(b);
}

static void compare_node(const char *path, const void *fa, int na,
			 const void *fb, int nb)
{
	const char *name;
	char full[256];
	int prop, sub;

	fdt_for_each_property_offset(prop, fa, na) {
		fdt_getprop_by_offset(fa, prop, &name, NULL);
		compare_property(path, name, fa, na, fb, nb);
	}
	fdt_for_each_subnode(sub, fa, na) {
		int other;

		name = fdt_get_name(fa, sub, NULL);
		other = fdt_subnode_offset(fb, nb, name);
		snprintf(full, sizeof(full), "%s%s%s", path, *path ? "/" : "",
			 name);
		if (other < 0)
			fail_msg("%s is not saved again", full);
		compare_node(full, fa, sub, fb, other);
	}
}

static void expect_same(const struct saved *a, const struct saved *b)
{
	assert_int_equal(a->len, b->len);
	compare_node("", a->fdt, 0, b->fdt, 0);
	compare_node("", b->fdt, 0, a->fdt, 0);
}

/* -- claims */

static void same_after_a_move(const struct vm_spec *spec, const char *text)
{
	struct vm_rig *a = vm_rig_boot(spec), *b;
	struct saved first, second;

	vm_rig_expect(a, text, 0);
	stop(a);
	first = save(a);
	b = twin(a);
	load(b, &first);
	second = save(b);
	expect_same(&first, &second);
	free(first.fdt);
	free(second.fdt);
	vm_rig_free(a);
	vm_rig_free(b);
}

static void saved_loaded_and_saved_is_the_same(void **state)
{
	same_after_a_move(&(struct vm_spec){
		.guest = "dirtier", .append = "mode=dirty ws=1 hb=20",
		.rng = true }, "H 1");
}

static void saved_in_an_interrupt_timer_is_the_same(void **state)
{
	same_after_a_move(&(struct vm_spec){
		.guest = "timer", .append = "n=1000 ms=5" }, "timer 3");
}

static void saved_with_four_cpus_is_the_same(void **state)
{
	same_after_a_move(&(struct vm_spec){
		.guest = "dirtier", .append = "mode=dirty ws=1 hb=20",
		.cpus = 4 }, "H 1");
}

static void saved_twice_is_the_same(void **state)
{
	struct vm_rig *r = vm_rig_boot(&(struct vm_spec){
		.guest = "verifier", .append = "mode=verify ws=1 hb=20" });
	struct saved first, second;

	vm_rig_expect(r, "H 0", 0);
	stop(r);
	first = save(r);
	second = save(r);
	expect_same(&first, &second);
	free(first.fdt);
	free(second.fdt);
	vm_rig_free(r);
}

static void a_rehearsal_leaves_all_as_it_was(void **state)
{
	struct vm_rig *a = vm_rig_boot(&(struct vm_spec){
		.guest = "verifier", .append = "mode=verify ws=1 hb=20" }), *b;
	struct saved first, second, third;

	vm_rehearse(a->vm);
	vm_rig_expect(a, "H 0", 0);
	stop(a);
	first = save(a);
	vm_rehearse(a->vm);
	second = save(a);
	expect_same(&first, &second);
	b = twin(a);
	vm_rehearse(b->vm);
	load(b, &first);
	third = save(b);
	expect_same(&first, &third);
	free(first.fdt);
	free(second.fdt);
	free(third.fdt);
	vm_rig_free(a);
	vm_rig_free(b);
}

static void a_loaded_guest_goes_on_where_it_was(void **state)
{
	struct vm_rig *a = vm_rig_boot(&(struct vm_spec){
		.guest = "verifier", .append = "mode=verify ws=4 hb=20" }), *b;
	struct error err = ERROR_INIT;
	struct saved s;

	vm_rig_expect(a, "H 2", 0);
	stop(a);
	s = save(a);
	b = twin(a);
	load(b, &s);
	assert_int_equal(vm_activate(b->vm, &err), 0);
	assert_int_equal(vm_run(b->vm, &err), 0);
	vm_rig_expect(b, "sw=3", 0);
	assert_false(vm_rig_printed(b, "CORRUPT"));
	assert_false(vm_rig_printed(b, "H 0 "));
	free(s.fdt);
	vm_rig_free(a);
	vm_rig_free(b);
}

/* The guest's clocks stood still for the pause, plus what @age says. */
static void a_timer_goes_on_after_the_load(void **state)
{
	struct vm_rig *a = vm_rig_boot(&(struct vm_spec){
		.guest = "timer", .append = "n=1000 ms=5" }), *b;
	struct error err = ERROR_INIT;
	struct saved s;

	vm_rig_expect(a, "timer 3", 0);
	stop(a);
	s = save(a);
	b = twin(a);
	load(b, &s);
	assert_int_equal(vm_run(b->vm, &err), 0);
	vm_rig_expect(b, "timer", vm_rig_expect(b, "timer", 0));
	free(s.fdt);
	vm_rig_free(a);
	vm_rig_free(b);
}

static void state_of_another_machine_is_refused(void **state)
{
	struct vm_spec spec = { .guest = "dirtier", .append = "mode=dirty ws=1",
				.rng = true };
	struct vm_rig *a = vm_rig_boot(&spec), *b = vm_rig_new();
	struct error err = ERROR_INIT;
	struct saved s;
	void *tree;

	vm_rig_expect(a, "F", 0);
	stop(a);
	s = save(a);
	spec.rng = false;
	tree = vm_rig_tree(&spec);
	assert_int_equal(vm_rig_create(b, tree, true, &err), 0);
	assert_true(vm_load(b->vm, s.fdt, s.len, 0, &err) < 0);
	assert_non_null(strstr(err.msg, "virtio-rng"));
	free(tree);
	free(s.fdt);
	vm_rig_free(a);
	vm_rig_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(saved_loaded_and_saved_is_the_same),
		cmocka_unit_test(saved_in_an_interrupt_timer_is_the_same),
		cmocka_unit_test(saved_with_four_cpus_is_the_same),
		cmocka_unit_test(saved_twice_is_the_same),
		cmocka_unit_test(a_rehearsal_leaves_all_as_it_was),
		cmocka_unit_test(a_loaded_guest_goes_on_where_it_was),
		cmocka_unit_test(a_timer_goes_on_after_the_load),
		cmocka_unit_test(state_of_another_machine_is_refused),
	};

	return vm_rig_run_tests(tests);
}
