/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A guest goes only where its processor's features are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <libfdt.h>
#include <stdlib.h>
#include <string.h>

#include "arch/arm64/arm64.h"

#define MIDR 0x603000000013c000ull
#define PFR0 0x603000000013c020ull
#define ISAR0 0x603000000013c030ull

static const struct arm64_identity host = {
	.features = 1u << KVM_ARM_VCPU_PSCI_0_2 | 1u << KVM_ARM_VCPU_SVE,
	.counter_hz = 62500000,
	.vls = { 3 },
	.n = 3,
	.id = { MIDR, PFR0, ISAR0 },
	/* Advanced SIMD with half precision; AES, atomics */
	.value = { 0x410fd0b0, 0x0000000000110022, 0x0000000000200020 },
};

/* What refuses @want on @have, or "". */
static void refusal(const struct arm64_identity *want,
		    const struct arm64_identity *have, const char *why)
{
	struct error err = ERROR_INIT;

	arm64_features_compare(want, have, &err);
	if (*why ? !strstr(err.msg, why) : err.code != 0)
		fail_msg("want \"%s\", got \"%s\"", why, err.msg);
}

static void a_like_host_is_fine(void **state)
{
	refusal(&host, &host, "");
}

static void a_better_host_is_fine(void **state)
{
	struct arm64_identity better = host;

	better.value[2] |= 0x1000;
	better.vls[0] |= 8;
	refusal(&host, &better, "");
}

static void a_missing_instruction_is_named(void **state)
{
	struct arm64_identity worse = host;

	worse.value[2] = 0x20;
	refusal(&host, &worse, "lacks LSE atomics");
}

static void all_reasons_are_told(void **state)
{
	struct arm64_identity worse = host;

	worse.value[2] = 0;
	refusal(&host, &worse, "lacks LSE atomics");
	refusal(&host, &worse, "lacks AES");
}

static void a_field_of_ones_means_not_there(void **state)
{
	struct arm64_identity worse = host;

	worse.value[1] = 0x0000000000ff0022;
	refusal(&host, &worse, "lacks Advanced SIMD");
	refusal(&worse, &host, "");
}

static void another_processor_is_refused(void **state)
{
	struct arm64_identity other = host;

	other.value[0]++;
	refusal(&host, &other, "MIDR_EL1");
}

static void another_counter_frequency_is_refused(void **state)
{
	struct arm64_identity other = host;

	other.counter_hz = 24000000;
	refusal(&host, &other, "62500000 Hz, this host's at 24000000 Hz");
}

static void a_missing_vector_length_is_named(void **state)
{
	struct arm64_identity other = host;

	other.vls[0] = 1;
	refusal(&host, &other, "vectors of 256 bits");
}

static void a_kvm_without_sve_is_refused(void **state)
{
	struct arm64_identity other = host;

	other.features &= ~(1u << KVM_ARM_VCPU_SVE);
	refusal(&host, &other, "KVM lacks SVE");
}

static void *tree_of(const struct arm64_identity *id)
{
	void *fdt = calloc(1, 8192);

	fdt_create(fdt, 8192);
	fdt_finish_reservemap(fdt);
	fdt_begin_node(fdt, "");
	fdt_begin_node(fdt, "cpus");
	assert_int_equal(arm64_identity_to_tree(fdt, id), 0);
	fdt_end_node(fdt);
	fdt_end_node(fdt);
	assert_int_equal(fdt_finish(fdt), 0);
	return fdt;
}

static void the_tree_carries_it_all(void **state)
{
	struct error err = ERROR_INIT;
	struct arm64_identity back;
	void *fdt = tree_of(&host);

	assert_int_equal(arm64_identity_from_tree(fdt, &back, &err), 0);
	assert_memory_equal(&back, &host, sizeof(host));
	free(fdt);
}

static void a_tree_may_name_id_registers_only(void **state)
{
	struct arm64_identity bad = host;
	struct error err = ERROR_INIT;
	void *fdt;

	bad.id[1] = KVM_REG_ARM_TIMER_CNT;
	fdt = tree_of(&bad);
	assert_true(arm64_identity_from_tree(fdt, &bad, &err) < 0);
	assert_non_null(strstr(err.msg, "is no ID register"));
	free(fdt);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_like_host_is_fine),
		cmocka_unit_test(a_better_host_is_fine),
		cmocka_unit_test(a_missing_instruction_is_named),
		cmocka_unit_test(all_reasons_are_told),
		cmocka_unit_test(a_field_of_ones_means_not_there),
		cmocka_unit_test(another_processor_is_refused),
		cmocka_unit_test(another_counter_frequency_is_refused),
		cmocka_unit_test(a_missing_vector_length_is_named),
		cmocka_unit_test(a_kvm_without_sve_is_refused),
		cmocka_unit_test(the_tree_carries_it_all),
		cmocka_unit_test(a_tree_may_name_id_registers_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
