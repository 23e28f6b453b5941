/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A machine of another architecture is refused when its tree is offered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <libfdt.h>
#include <string.h>

#include "arch/arch.h"
#include "vmm/vm.h"

static void *offered_tree(const char *model, void *fdt, int size)
{
	fdt_create(fdt, size);
	fdt_finish_reservemap(fdt);
	fdt_begin_node(fdt, "");
	fdt_property_string(fdt, "compatible", "godwit,machine");
	fdt_property_string(fdt, "model", model);
	fdt_end_node(fdt);
	assert_int_equal(fdt_finish(fdt), 0);
	return fdt;
}

static void expect_refusal(const char *model, const char *why)
{
	struct error err = ERROR_INIT;
	struct loop loop;
	char fdt[4096];
	struct vm_config cfg = {
		.tree = offered_tree(model, fdt, sizeof(fdt)),
		.loop = &loop,
		.log = { .level = LOG_ERROR, .fd = 2 },
		.incoming = true,
	};
	struct vm *vm = NULL;

	assert_int_equal(loop_init(&loop, &err), 0);
	assert_true(vm_create(&vm, &cfg, &err) < 0);
	if (!strstr(err.msg, why))
		fail_msg("%s", err.msg);
	loop_exit(&loop);
}

static void another_architecture_is_refused_in_one_sentence(void **state)
{
	bool arm64 = !strcmp(arch_board.name, "aarch64");

	expect_refusal(arm64 ? "x86_64" : "aarch64", arm64 ?
		       "this machine is x86_64, this host runs aarch64 guests" :
		       "this machine is aarch64, this host runs x86_64 guests");
}

static void the_own_architecture_is_not_refused_for_that(void **state)
{
	expect_refusal(arch_board.name, "0 vCPUs");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(another_architecture_is_refused_in_one_sentence),
		cmocka_unit_test(the_own_architecture_is_not_refused_for_that),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
