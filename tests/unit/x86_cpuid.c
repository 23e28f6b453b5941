/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CPU models, and the refusal of a guest that was promised more than is here. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <libfdt.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86/x86.h"
#include "vmm/base/fd.h"
#include "vmm/kvm.h"

#define CELLS 7			/* of a leaf in the tree */

/* A host with everything but what @without clears in leaf 1 ecx. */
static void full_host(struct x86_cpuid *c, uint32_t without)
{
	static const struct {
		uint32_t function, index, flags;
	} leaves[] = {
		{ 0, 0, 0 }, { 1, 0, 0 }, { 4, 0, 1 }, { 7, 0, 1 },
		{ 0xd, 0, 1 }, { 0xd, 1, 1 }, { 0xd, 2, 1 }, { 0xd, 9, 1 },
		{ 0x40000000, 0, 0 }, { 0x40000001, 0, 0 },
		{ 0x80000000, 0, 0 }, { 0x80000001, 0, 0 },
		{ 0x80000007, 0, 0 }, { 0x80000008, 0, 0 },
	};

	memset(c, 0, sizeof(*c));
	for (unsigned int i = 0; i < ARRAY_SIZE(leaves); i++)
		c->entry[c->head.nent++] = (struct kvm_cpuid_entry2){
			.function = leaves[i].function,
			.index = leaves[i].index,
			.flags = leaves[i].flags,
			.eax = ~0u, .ebx = ~0u, .ecx = ~0u, .edx = ~0u,
		};
	x86_cpuid_find(c, 1, 0)->ecx &= ~without;
}

static void apply(const char *model, struct x86_cpuid *c)
{
	struct error err = ERROR_INIT;

	full_host(c, 0);
	if (x86_cpu_model_apply(model, c, &err) < 0)
		fail_msg("%s: %s", model, err.msg);
}

static void host_is_all_of_the_host(void **state)
{
	struct x86_cpuid all, c;

	full_host(&all, 0);
	apply("host", &c);
	assert_memory_equal(&all, &c, sizeof(c));
}

static void each_level_adds_to_the_one_below(void **state)
{
	struct x86_cpuid c;

	apply("kvm64", &c);
	assert_false(x86_cpuid_find(&c, 1, 0)->ecx & 1u << 20);	/* sse4_2 */
	assert_true(x86_cpuid_find(&c, 1, 0)->edx & 1u << 26);	/* sse2 */
	assert_null(x86_cpuid_find(&c, 0xd, 0));
	apply("x86-64-v2", &c);
	assert_true(x86_cpuid_find(&c, 1, 0)->ecx & 1u << 20);
	assert_false(x86_cpuid_find(&c, 7, 0)->ebx & 1u << 5);	/* avx2 */
	apply("x86-64-v3", &c);
	assert_true(x86_cpuid_find(&c, 7, 0)->ebx & 1u << 5);
	assert_false(x86_cpuid_find(&c, 7, 0)->ebx & 1u << 16);	/* avx512f */
	apply("x86-64-v4", &c);
	assert_true(x86_cpuid_find(&c, 7, 0)->ebx & 1u << 16);
}

static void a_model_hides_what_it_does_not_promise(void **state)
{
	struct x86_cpuid c;

	apply("x86-64-v3", &c);
	assert_false(x86_cpuid_find(&c, 1, 0)->ecx & 1u << 25);	/* aes */
	assert_int_equal(x86_cpuid_find(&c, 0xd, 0)->eax, 7);
	assert_null(x86_cpuid_find(&c, 0xd, 9));
	assert_null(x86_cpuid_find(&c, 4, 0));
	assert_null(x86_cpuid_find(&c, 0x80000007, 0));
}

static void a_missing_feature_is_named(void **state)
{
	struct error err = ERROR_INIT;
	struct x86_cpuid c;

	full_host(&c, 1u << 20);
	assert_true(x86_cpu_model_apply("x86-64-v2", &c, &err) < 0);
	assert_non_null(strstr(err.msg, "x86-64-v2 needs sse4_2"));
}

static void an_unknown_model_lists_the_known(void **state)
{
	struct error err = ERROR_INIT;
	struct x86_cpuid c;

	full_host(&c, 0);
	assert_true(x86_cpu_model_apply("pentium", &c, &err) < 0);
	assert_non_null(strstr(err.msg, "pentium"));
	assert_non_null(strstr(err.msg, "host, kvm64, x86-64-v2"));
}

/* A set with all that the full host has. */
static void full_set(struct nameset *set)
{
	struct error err = ERROR_INIT;
	struct x86_cpuid c;

	full_host(&c, 0);
	memset(set, 0, sizeof(*set));
	for (unsigned int i = 0; i < x86_nfeature_words; i++)
		for (unsigned int b = 0; b < 4 * 32; b++) {
			const struct x86_feature_word *w =
				&x86_feature_words[i];
			char name[NAMESET_NAME];

			if (!(w->regs & 1u << b / 32) ||
			    !x86_cpuid_find(&c, w->function, w->index))
				continue;
			x86_feature_label(w->function, w->index, b / 32,
					  b % 32, name);
			assert_int_equal(nameset_add(set, name, &err), 0);
		}
}

static void a_set_of_features_gives_just_those(void **state)
{
	struct nameset set, less = { 0 }, rest;
	struct error err = ERROR_INIT;
	struct x86_cpuid c;

	full_set(&set);
	assert_int_equal(nameset_add(&less, "avx2", &err), 0);
	assert_int_equal(nameset_add(&less, "cpuid.7.0.ebx.2", &err), 0);
	nameset_missing(&set, &less, &rest);
	full_host(&c, 0);
	assert_int_equal(x86_cpu_set_apply(&rest, &c, &err), 0);
	assert_int_equal(x86_cpuid_find(&c, 7, 0)->ebx, ~(1u << 5 | 1u << 2));
	assert_int_equal(x86_cpuid_find(&c, 1, 0)->ecx, ~0u);
	assert_int_equal(x86_cpuid_find(&c, 0x80000008, 0)->ebx, ~0u);
}

static void a_set_that_the_host_lacks_is_refused_by_each_name(void **state)
{
	struct error err = ERROR_INIT;
	struct nameset set;
	struct x86_cpuid c;

	full_set(&set);
	full_host(&c, 1u << 20 | 1u << 25);
	assert_true(x86_cpu_set_apply(&set, &c, &err) < 0);
	assert_non_null(strstr(err.msg, "sse4_2"));
	assert_non_null(strstr(err.msg, "aes"));
}

/* The tree of a machine with model host on this host. */
static void *host_tree(int kvm_fd)
{
	const struct arch_machine m = {
		.cpu_model = "host", .cpus = 2, .console = "null"
	};
	struct error err = ERROR_INIT;
	void *fdt = calloc(1, 65536);

	assert_int_equal(fdt_create(fdt, 65536), 0);
	assert_int_equal(fdt_finish_reservemap(fdt), 0);
	assert_int_equal(fdt_begin_node(fdt, ""), 0);
	if (arch_tree_add(fdt, kvm_fd, &m, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(fdt_end_node(fdt), 0);
	assert_int_equal(fdt_finish(fdt), 0);
	return fdt;
}

/* The cell of register @reg (0 eax .. 3 edx) of leaf @function in the tree. */
static fdt32_t *cell(void *fdt, uint32_t function, unsigned int reg)
{
	int len;
	fdt32_t *p = fdt_getprop_w(fdt, fdt_path_offset(fdt, "/cpus"),
				   "godwit,cpuid", &len);

	for (int i = 0; i < len / 4; i += CELLS)
		if (fdt32_to_cpu(p[i]) == function)
			return &p[i + 3 + reg];
	fail_msg("no leaf %#x", function);
	return NULL;
}

static void assert_refused(void (*spoil)(void *fdt), const char *expect)
{
	struct error err = ERROR_INIT;
	int kvm_fd = kvm_open(&err);
	void *fdt;

	if (kvm_fd < 0) {
		print_message("# SKIP %s\n", err.msg);
		skip();
	}
	fdt = host_tree(kvm_fd);
	assert_int_equal(arch_tree_check(fdt, kvm_fd, &err), 0);
	spoil(fdt);
	assert_true(arch_tree_check(fdt, kvm_fd, &err) < 0);
	if (!strstr(err.msg, expect))
		fail_msg("\"%s\" does not say \"%s\"", err.msg, expect);
	free(fdt);
	fd_close(&kvm_fd);
}

static void promise_vmx_and_svm(void *fdt)
{
	*cell(fdt, 1, 2) |= cpu_to_fdt32(1u << 5);
	*cell(fdt, 0x80000001, 2) |= cpu_to_fdt32(1u << 2);
}

static void a_guest_that_was_promised_more_is_refused_with_each_name(void **s)
{
	/* nested virtualization is never given, so no host has it here */
	assert_refused(promise_vmx_and_svm, "lacks vmx");
	assert_refused(promise_vmx_and_svm, "lacks svm");
}

static void promise_the_nameless(void *fdt)
{
	*cell(fdt, 0x80000007, 3) |= cpu_to_fdt32(1u << 31);
}

static void a_feature_without_a_name_is_told_by_its_bit(void **state)
{
	assert_refused(promise_the_nameless, "cpuid.80000007.0.edx.31");
}

static void change_vendor(void *fdt)
{
	*cell(fdt, 0, 1) ^= cpu_to_fdt32(1);
}

static void another_vendor_is_refused(void **state)
{
	assert_refused(change_vendor, "vendors can't be mixed");
}

static void each_vcpu_knows_its_place(void **state)
{
	struct error err = ERROR_INIT;
	int kvm_fd = kvm_open(&err);
	struct x86_cpuid c;
	void *fdt;

	if (kvm_fd < 0) {
		print_message("# SKIP %s\n", err.msg);
		skip();
	}
	fdt = host_tree(kvm_fd);
	assert_int_equal(x86_cpuid_from_tree(fdt, 1, 2, &c, &err), 0);
	assert_int_equal(x86_cpuid_find(&c, 1, 0)->ebx >> 24, 1);
	assert_int_equal(x86_cpuid_find(&c, 1, 0)->ebx >> 16 & 0xff, 2);
	free(fdt);
	fd_close(&kvm_fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(host_is_all_of_the_host),
		cmocka_unit_test(each_level_adds_to_the_one_below),
		cmocka_unit_test(a_model_hides_what_it_does_not_promise),
		cmocka_unit_test(a_missing_feature_is_named),
		cmocka_unit_test(an_unknown_model_lists_the_known),
		cmocka_unit_test(a_set_of_features_gives_just_those),
		cmocka_unit_test(
			a_set_that_the_host_lacks_is_refused_by_each_name),
		cmocka_unit_test(
			a_guest_that_was_promised_more_is_refused_with_each_name),
		cmocka_unit_test(a_feature_without_a_name_is_told_by_its_bit),
		cmocka_unit_test(another_vendor_is_refused),
		cmocka_unit_test(each_vcpu_knows_its_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
