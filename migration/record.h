/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is known of a job when its process is not there any more: one small
 * file each side, made durable before GO may be sent, or acted on. While its
 * process lives the file is locked (fcntl(2), open file description locks).
 *
 * Nothing of this is in the pause: the source writes "going" before it stops
 * the guest, the destination after the first round. What is said is therefore
 * too much rather than too little.
 */
#ifndef GODWIT_MIGRATION_RECORD_H
#define GODWIT_MIGRATION_RECORD_H

#include <limits.h>
#include <stdbool.h>

#include "migration/channel.h"
#include "migration/wire.h"
#include "vmm/base/error.h"

enum record_role {
	RECORD_SOURCE = 1,
	RECORD_DESTINATION,
};

struct record_info {
	enum record_role role;
	char vm[64];
	struct wire_job job;
	char uri[CHANNEL_URI_MAX];	/* where the destination listens */
	/* source: how it is talked to; names of files, no secrets */
	bool plain;
	char tls[PATH_MAX];		/* "": none */
	char tls_name[CHANNEL_URI_MAX];	/* "": the URI's */
	/* source: GO may have been sent; destination: the VM may have run */
	bool going;
	bool alive;			/* the process that wrote it is there */
};

struct record {
	int fd;				/* -1: none is kept */
	int dir;			/* its directory, whatever that is called later */
	bool going;
	char path[PATH_MAX];
};

/* None is kept: all else here does nothing. */
void record_init(struct record *r);
/* Make the file, durable, saying that nothing is given away yet. @dir NULL:
 * keep none. */
int record_open(struct record *r, const char *dir,
		const struct record_info *info, struct error *err)
	__must_check;
/* Durable on return: from now on GO may be sent, or acted on. Once is enough,
 * more costs nothing. */
int record_going(struct record *r, struct error *err) __must_check;
/* It is clear where the VM runs: remove the file. */
void record_done(struct record *r);
/* It is not, and this process knows no more of it: the file stays. */
void record_leave(struct record *r);

/* The record that a VM of this name left in @dir; -ENOENT if there is none. */
int record_find(const char *dir, const char *vm, enum record_role role,
		struct record_info *out, struct error *err) __must_check;
/* Remove that record. */
int record_remove(const char *dir, const struct record_info *info,
		  struct error *err) __must_check;

#endif
