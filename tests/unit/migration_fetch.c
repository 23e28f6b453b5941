/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is left of memory when nothing more of it will come. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "migration/ram_fetch.h"
#include "migration/userfault.h"
#include "vmm/base/fd.h"
#include "vmm/base/util.h"

#define PAGES 64

struct rig {
	struct memory mem;
	struct ram_fetch fetch;
	struct error err;
	int uffd;
	int pipe[2];
};

/* Memory of which the pages of @bits are missing; skips where the kernel can't. */
static void begin(struct rig *r, uint64_t bits)
{
	const struct memory_range range = { .size = PAGES << PAGE_SHIFT };
	const struct wire_missing missing = {
		.npages = PAGES, .bits = (const uint8_t *)&bits,
	};

	r->err = (struct error)ERROR_INIT;
	r->uffd = userfault_open(&r->err);
	if (r->uffd < 0) {
		print_message("SKIP %s\n", r->err.msg);
		skip();
	}
	assert_int_equal(memory_init(&r->mem, &range, 1, MEMORY_ANON,
				     &r->err), 0);
	assert_int_equal(pipe(r->pipe), 0);
	assert_int_equal(ram_fetch_init(&r->fetch, &r->mem, r->uffd, &r->err),
			 0);
	assert_int_equal(ram_fetch_mark(&r->fetch, &missing, &r->err), 0);
}

static void end(struct rig *r)
{
	close(r->pipe[0]);
	close(r->pipe[1]);
	memory_exit(&r->mem);
	fd_close(&r->uffd);
}

/* As a disk that writes it would find out. */
static bool readable(struct rig *r, unsigned int page)
{
	char byte;

	if (write(r->pipe[1], r->mem.region[0].host +
		  ((size_t)page << PAGE_SHIFT), 1) == 1)
		return read(r->pipe[0], &byte, 1) == 1;
	assert_int_equal(errno, EFAULT);
	return false;
}

static void what_never_came_can_not_be_read_and_what_came_can(void **state)
{
	const uint64_t bits = 0x8000000000f00602;
	struct rig r;

	(void)state;
	begin(&r, bits);
	ram_fetch_abandon(&r.fetch);
	for (unsigned int page = 0; page < PAGES; page++)
		assert_int_equal(readable(&r, page), !(bits >> page & 1));
	end(&r);
}

static void memory_that_came_is_left_as_it_is(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, 1);
	assert_int_equal(ram_fetch_place(&r.fetch, 0, 1, NULL, &r.err), 0);
	ram_fetch_abandon(&r.fetch);
	for (unsigned int page = 0; page < PAGES; page++)
		assert_true(readable(&r, page));
	end(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_never_came_can_not_be_read_and_what_came_can),
		cmocka_unit_test(memory_that_came_is_left_as_it_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
