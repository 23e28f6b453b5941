/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two fake hosts, a VM on the first, and what is needed to move it to the
 * second, with failures injected.
 */
#ifndef GODWIT_TESTS_MOVE_RIG_H
#define GODWIT_TESTS_MOVE_RIG_H

#include "migration/destination.h"
#include "migration/source.h"
#include "tests/lib/cut_proxy.h"
#include "tests/lib/fake_vm.h"

#define RIG_MIB 8

struct rig {
	struct fake_world world;
	struct fake_vm *from;
	struct fake_vm *to;		/* as built by the destination */
	struct fake_vm model;		/* injections for the one built */
	bool got_memory;		/* it was built in the source's */
	struct migration_destination_config dcfg;
	struct migration_source_config scfg;
	struct migration_destination *d;
	struct migration_source *_Atomic s;
	struct cut_proxy proxy;
	bool proxied;
	char dir[32], uri[64], proxy_uri[64];
	struct error err;
	struct migration_stats stats;
	unsigned int stages;		/* bit a stage that was told */
	atomic_int attempts_over;
	enum migration_stage cancel_at;
	int cancel_ret;
};

/* Host A runs a guest that writes; nothing listens yet. */
void rig_init(struct rig *r);
/* The same in a memfd, and to be moved on this host. */
void rig_init_local(struct rig *r);
/* Host B listens on r->dcfg.uri. */
void rig_listen(struct rig *r);
/* Cut the link at the first message of this type, before or after it. */
void rig_cut(struct rig *r, enum wire_type type, bool before, bool block);
/* Listen if need be, move, wait for the outcome in r->stats. */
void rig_move(struct rig *r);
/* Ends everything; claims what must be true whatever happened. */
void rig_exit(struct rig *r);
/* The VM runs on B, and only there. */
void expect_moved(struct rig *r);
/* It runs on A, and only there, with the lock; the error contains @why. */
void expect_stayed(struct rig *r, enum migration_outcome outcome,
		   const char *why);

#endif
