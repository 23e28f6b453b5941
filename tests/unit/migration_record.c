/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "migration/record.h"

static const struct record_info info = {
	.role = RECORD_SOURCE,
	.vm = "a name",
	.job.id = { 1, 2, 0xff },
	.uri = "tcp:there:4444",
};

struct place {
	char dir[64];
	struct record r;
	struct record_info got;
	struct error err;
};

static int make(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	strcpy(p->dir, "/tmp/godwit-record-XXXXXX");
	assert_non_null(mkdtemp(p->dir));
	record_init(&p->r);
	*state = p;
	return 0;
}

static int drop(void **state)
{
	struct place *p = *state;

	record_done(&p->r);
	/* nothing else may be left behind */
	assert_int_equal(rmdir(p->dir), 0);
	free(p);
	return 0;
}

static int find(struct place *p)
{
	return record_find(p->dir, info.vm, info.role, &p->got, &p->err);
}

static void what_was_written_is_found(void **state)
{
	struct place *p = *state;

	assert_int_equal(record_open(&p->r, p->dir, &info, &p->err), 0);
	assert_int_equal(find(p), 0);
	assert_string_equal(p->got.vm, info.vm);
	assert_string_equal(p->got.uri, info.uri);
	assert_true(wire_job_equal(&p->got.job, &info.job));
	assert_false(p->got.going);
	assert_true(p->got.alive);
}

static void going_is_found_by_another_process(void **state)
{
	struct place *p = *state;
	int status;

	assert_int_equal(record_open(&p->r, p->dir, &info, &p->err), 0);
	assert_int_equal(record_going(&p->r, &p->err), 0);
	if (!fork())
		_exit(find(p) == 0 && p->got.going && p->got.alive ? 7 : 1);
	wait(&status);
	assert_int_equal(WEXITSTATUS(status), 7);
}

static void a_record_of_a_dead_process_is_told_from_one_alive(void **state)
{
	struct place *p = *state;

	if (!fork()) {
		if (record_open(&p->r, p->dir, &info, &p->err) < 0 ||
		    record_going(&p->r, &p->err) < 0)
			_exit(1);
		_exit(0);
	}
	wait(NULL);
	assert_int_equal(find(p), 0);
	assert_true(p->got.going);
	assert_false(p->got.alive);
	assert_int_equal(record_remove(p->dir, &p->got, &p->err), 0);
	assert_int_equal(find(p), -ENOENT);
}

/* A record of @job, left by a process that is gone. */
static void leave_behind(struct place *p, uint8_t job, enum record_role role,
			 bool going)
{
	struct record_info other = info;

	other.role = role;
	other.job.id[0] = job;
	if (!fork())
		_exit(record_open(&p->r, p->dir, &other, &p->err) < 0 ||
		      (going && record_going(&p->r, &p->err) < 0));
	wait(NULL);
}

static void only_what_means_nothing_is_swept(void **state)
{
	struct record_info there = info;
	struct place *p = *state;

	leave_behind(p, 7, RECORD_SOURCE, false);
	leave_behind(p, 8, RECORD_SOURCE, true);
	leave_behind(p, 9, RECORD_DESTINATION, true);
	there.role = RECORD_DESTINATION;
	assert_int_equal(record_open(&p->r, p->dir, &there, &p->err), 0);
	assert_int_equal(find(p), 0);
	assert_int_equal(p->got.job.id[0], 8);
	assert_int_equal(record_remove(p->dir, &p->got, &p->err), 0);
	assert_int_equal(find(p), -ENOENT);
}

static void a_torn_record_is_none(void **state)
{
	struct place *p = *state;
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/0102.source", p->dir);
	f = fopen(path, "w");
	fputs("state going\nrole sou", f);
	fclose(f);
	assert_int_equal(find(p), -ENOENT);
	unlink(path);
}

static void a_directory_that_is_missing_is_named(void **state)
{
	struct place *p = *state;

	assert_int_equal(record_open(&p->r, "/nowhere/at/all", &info, &p->err),
			 -ENOENT);
	assert_non_null(strstr(p->err.msg, "/nowhere/at/all"));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_was_written_is_found,
						make, drop),
		cmocka_unit_test_setup_teardown(
			going_is_found_by_another_process, make, drop),
		cmocka_unit_test_setup_teardown(
			a_record_of_a_dead_process_is_told_from_one_alive,
			make, drop),
		cmocka_unit_test_setup_teardown(
			only_what_means_nothing_is_swept, make, drop),
		cmocka_unit_test_setup_teardown(a_torn_record_is_none, make,
						drop),
		cmocka_unit_test_setup_teardown(
			a_directory_that_is_missing_is_named, make, drop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
