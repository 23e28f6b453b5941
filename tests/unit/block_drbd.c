/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * DRBD disks, with scripts in place of drbdadm and drbdsetup that do what the
 * test wants: what they say is understood, and the role goes where it should.
 * The real module is on two hosts in tests/rig/test-drbd-move.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/disk.h"

#define SIZE MIB

/* "held" makes the next "secondary" fail, "no-primary" each "primary" */
static const char drbdadm[] =
	"#!/bin/sh\n"
	"cd \"${0%/*}\"\n"
	"fail() { echo \"$1\" >&2; exit 11; }\n"
	"case $1 in\n"
	"sh-dev) cat devices ;;\n"
	"primary) [ ! -e no-primary ] || fail \"$(cat no-primary)\"\n"
	"	echo Primary >role ;;\n"
	"secondary) echo >>tries\n"
	"	[ ! -e held ] || { rm held; fail 'held open by someone'; }\n"
	"	[ ! -e stuck ] || fail 'held open by someone'\n"
	"	echo Secondary >role ;;\n"
	"esac\n";

/* "peer-twice" is the peer's role for that often */
static const char drbdsetup[] =
	"#!/bin/sh\n"
	"cd \"${0%/*}\"\n"
	"[ ! -s status ] || { cat status; exit; }\n"
	"peer=$(cat peer)\n"
	"for f in peer-3 peer-2 peer-1; do\n"
	"	[ ! -e $f ] || { peer=$(cat $f); rm $f; break; }\n"
	"done\n"
	"echo \"r0 role:$(cat role) suspended:no\"\n"
	"echo '    write-ordering:flush'\n"
	"echo \"  volume:0 minor:0 disk:$(cat disk)\"\n"
	"echo '      size:65500 read:0 written:0'\n"
	"echo \"  peer connection:$(cat connection) role:$peer congested:no\"\n"
	"echo \"    volume:0 replication:Established peer-disk:$(cat peer-disk)\"\n";

struct rig {
	struct disk d;
	char *path;		/* PATH as it was */
};

static void put(struct rig *r, const char *name, const char *text)
{
	char path[128];
	FILE *f = fopen(disk_path(&r->d, name, path), "w");

	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path, 0755), 0);
}

static bool is(struct rig *r, const char *name, const char *text)
{
	char path[128], got[64] = "";
	FILE *f = fopen(disk_path(&r->d, name, path), "r");

	if (f) {
		got[fread(got, 1, sizeof(got) - 1, f)] = '\0';
		fclose(f);
	}
	got[strcspn(got, "\n")] = '\0';
	return !strcmp(got, text);
}

static int setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	char image[128], path[4096];

	disk_init(&r->d);
	r->path = strdup(getenv("PATH"));
	snprintf(path, sizeof(path), "%s:%s", r->d.dir, r->path);
	setenv("PATH", path, 1);
	put(r, "drbdadm", drbdadm);
	put(r, "drbdsetup", drbdsetup);
	put(r, "devices", disk_image(&r->d, "image", SIZE, image));
	put(r, "role", "Secondary");
	put(r, "peer", "Secondary");
	put(r, "disk", "UpToDate");
	put(r, "peer-disk", "UpToDate");
	put(r, "connection", "Connected");
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	disk_exit(&r->d);
	setenv("PATH", r->path, 1);
	free(r->path);
	free(r);
	return 0;
}

static int open_as(struct rig *r, const char *uri, bool incoming,
		   struct error *err)
{
	struct block_options opt = { .uri = uri, .incoming = incoming };

	error_clear(err);
	return disk_open(&r->d, &opt, err);
}

static void open_active(struct rig *r)
{
	struct error err = ERROR_INIT;

	if (open_as(r, "drbd:r0", false, &err) ||
	    block_activate(r->d.blk, &err))
		fail_msg("%s", err.msg);
}

static void refused(struct rig *r, bool incoming, const char *why)
{
	struct error err = ERROR_INIT;

	assert_true(open_as(r, "drbd:r0", incoming, &err) < 0);
	if (!strstr(err.msg, why))
		fail_msg("'%s' is not in: %s", why, err.msg);
}

static void the_role_follows_the_vm(void **state)
{
	struct rig *r = *state;
	struct error err = ERROR_INIT;
	char text[512] = "some text", back[512];

	open_active(r);
	assert_true(is(r, "role", "Primary"));
	assert_int_equal(r->d.blk->size, SIZE);
	assert_int_equal(disk_do(&r->d, BLOCK_WRITE, 0, text, 512), 0);
	assert_int_equal(block_deactivate(r->d.blk, &err), 0);
	assert_true(is(r, "role", "Secondary"));
	assert_int_equal(block_activate(r->d.blk, &err), 0);
	assert_true(is(r, "role", "Primary"));
	assert_int_equal(disk_do(&r->d, BLOCK_READ, 0, back, 512), 0);
	assert_memory_equal(text, back, 512);
	block_close(r->d.blk);
	r->d.blk = NULL;
	assert_true(is(r, "role", "Secondary"));
}

static void a_resource_that_grew_is_used_to_its_end(void **state)
{
	struct rig *r = *state;
	struct error err = ERROR_INIT;
	char text[512] = "some text", path[128];

	open_active(r);
	assert_int_equal(truncate(disk_path(&r->d, "image", path), 2 * SIZE), 0);
	if (block_resize(r->d.blk, 2 * SIZE, &err))
		fail_msg("%s", err.msg);
	assert_int_equal(r->d.blk->size, 2 * SIZE);
	assert_int_equal(disk_do(&r->d, BLOCK_WRITE, 2 * SIZE - 512, text, 512),
			 0);
	assert_int_equal(block_deactivate(r->d.blk, &err), 0);
	assert_int_equal(block_activate(r->d.blk, &err), 0);
	assert_int_equal(r->d.blk->size, 2 * SIZE);
}

static void a_killed_vmm_leaves_nobody_primary(void **state)
{
	struct rig *r = *state;
	pid_t child = fork();

	if (!child) {
		open_active(r);
		raise(SIGKILL);
	}
	assert_int_equal(waitpid(child, NULL, 0), child);
	while (!is(r, "role", "Secondary"))
		poll(NULL, 0, 10);
	assert_true(is(r, "tries", ""));	/* it was stepped down from */
}

static void a_primary_peer_is_waited_for(void **state)
{
	struct rig *r = *state;

	put(r, "peer-1", "Primary");
	put(r, "peer-2", "Primary");
	put(r, "peer-3", "Primary");
	open_active(r);
	assert_true(is(r, "role", "Primary"));
}

static void a_peer_that_stays_primary_is_not_joined(void **state)
{
	struct rig *r = *state;
	struct error err = ERROR_INIT;

	put(r, "peer", "Primary");
	assert_int_equal(open_as(r, "drbd:r0", true, &err), 0);
	assert_int_equal(block_activate(r->d.blk, &err), -EBUSY);
	assert_non_null(strstr(err.msg, "the other side is primary"));
	assert_true(is(r, "role", "Secondary"));
}

static void an_arrival_is_refused_with_all_reasons(void **state)
{
	struct rig *r = *state;

	put(r, "disk", "Outdated");
	put(r, "connection", "Connecting");
	refused(r, true, "its disk is Outdated");
	refused(r, true, "not connected to the other side: Connecting");
	/* alone it may run, but not on old data */
	put(r, "disk", "Inconsistent");
	refused(r, false, "its disk is Inconsistent");
	put(r, "disk", "UpToDate");
	refused(r, true, "not connected");
	open_active(r);
}

static void an_arrival_from_elsewhere_is_refused(void **state)
{
	refused(*state, true, "the VM's disk is not this resource");
}

static void a_disk_stays_where_the_newest_data_are(void **state)
{
	struct rig *r = *state;
	struct error err = ERROR_INIT;
	char text[512];

	open_active(r);
	put(r, "peer-disk", "Inconsistent");
	assert_int_equal(block_deactivate(r->d.blk, &err), -ENODATA);
	assert_non_null(strstr(err.msg, "has not all that was written"));
	assert_true(is(r, "role", "Primary"));
	assert_int_equal(disk_do(&r->d, BLOCK_READ, 0, text, 512), 0);
}

static void a_device_held_for_a_moment_is_let_go(void **state)
{
	struct rig *r = *state;
	struct error err = ERROR_INIT;

	open_active(r);
	put(r, "held", "");
	assert_int_equal(block_deactivate(r->d.blk, &err), 0);
	assert_true(is(r, "role", "Secondary"));
}

static void a_role_that_stays_can_be_used_again(void **state)
{
	struct rig *r = *state;
	struct error err = ERROR_INIT;
	char text[512], path[128];

	open_active(r);
	put(r, "stuck", "");
	assert_int_equal(block_deactivate(r->d.blk, &err), -EIO);
	assert_non_null(strstr(err.msg, "another program has its device open"));
	error_clear(&err);
	assert_int_equal(block_activate(r->d.blk, &err), 0);
	assert_int_equal(disk_do(&r->d, BLOCK_READ, 0, text, 512), 0);
	assert_int_equal(unlink(disk_path(&r->d, "stuck", path)), 0);
}

static void what_drbd_says_is_put_into_plain_words(void **state)
{
	static const char *const said[][2] = {
		{ "'r0' not defined in your config (for this host).",
		  "configuration has no such resource" },
		{ "modprobe: FATAL: Module drbd not found in directory",
		  "the kernel module is missing" },
		{ "Could not connect to 'drbd' generic netlink family",
		  "the kernel module is missing" },
		{ "r0: No such resource", "it is not up here" },
		{ "State change failed: (-2) Need access to UpToDate data",
		  "no side has data up to date" },
		{ "a word never heard", "a word never heard" },
	};
	struct rig *r = *state;

	for (size_t i = 0; i < ARRAY_SIZE(said); i++) {
		struct error err = ERROR_INIT;

		put(r, "no-primary", said[i][0]);
		assert_int_equal(open_as(r, "drbd:r0", false, &err), 0);
		assert_int_equal(block_activate(r->d.blk, &err), -EIO);
		assert_non_null(strstr(err.msg, said[i][0]));
		assert_non_null(strstr(err.msg, said[i][1]));
		block_close(r->d.blk);
		r->d.blk = NULL;
	}
}

static void missing_tools_and_several_volumes_are_told(void **state)
{
	struct rig *r = *state;

	put(r, "devices", "/dev/drbd0\n/dev/drbd1\n");
	refused(r, false, "has 2 volumes");
	setenv("PATH", "/nonexistent", 1);
	refused(r, false, "is drbd-utils installed?");
	setenv("PATH", r->path, 1);
}

static void the_worst_of_several_peers_counts(void **state)
{
	struct rig *r = *state;

	put(r, "status", "r0 role:Secondary\n"
	    "  disk:UpToDate\n"
	    "  b role:Secondary\n    peer-disk:UpToDate\n"
	    "  c connection:StandAlone\n");
	refused(r, true, "StandAlone");
	put(r, "status", "# No currently configured DRBD found.\n");
	refused(r, true, "is not up here");
}

static void a_name_is_never_an_option(void **state)
{
	static const char *const wrong[] = {
		"drbd:", "drbd:-a", "drbd:r0;x", "drbd:r 0", "drbd:../r0",
	};
	struct error err = ERROR_INIT;

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(open_as(*state, wrong[i], false, &err),
				 -EINVAL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_role_follows_the_vm),
		TEST(a_resource_that_grew_is_used_to_its_end),
		TEST(a_killed_vmm_leaves_nobody_primary),
		TEST(a_primary_peer_is_waited_for),
		TEST(a_peer_that_stays_primary_is_not_joined),
		TEST(an_arrival_is_refused_with_all_reasons),
		TEST(an_arrival_from_elsewhere_is_refused),
		TEST(a_disk_stays_where_the_newest_data_are),
		TEST(a_device_held_for_a_moment_is_let_go),
		TEST(a_role_that_stays_can_be_used_again),
		TEST(what_drbd_says_is_put_into_plain_words),
		TEST(missing_tools_and_several_volumes_are_told),
		TEST(the_worst_of_several_peers_counts),
		TEST(a_name_is_never_an_option),
	};

	if (!disk_driver_built("drbd:-"))
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
