/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A man in the middle of a migration, who cuts the link just before or just
 * after a control message of a chosen type, and then lets further connections
 * through or not.
 */
#ifndef GODWIT_TESTS_CUT_PROXY_H
#define GODWIT_TESTS_CUT_PROXY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "migration/channel.h"
#include "migration/wire.h"

struct cut_proxy {
	/* set before cut_proxy_start() */
	enum wire_type type;	/* 0: never cut */
	bool before;		/* the message itself is lost */
	bool block;		/* no connection passes afterwards */

	struct listener listener;
	char to[CHANNEL_URI_MAX];
	pthread_t thread;
	int stop_fd;
	int cut_fd;		/* all links end */
	atomic_bool cut;	/* it happened */
	atomic_int connections;
};

/* Listen on @uri, forward to @to. */
void cut_proxy_start(struct cut_proxy *p, const char *uri, const char *to);
/* Cut every link now; new ones pass, unless @block was set. */
void cut_proxy_cut(struct cut_proxy *p);
void cut_proxy_stop(struct cut_proxy *p);

#endif
