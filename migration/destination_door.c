/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who comes to the destination's address, and what is answered. */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "migration/destination_private.h"
#include "vmm/base/fd.h"
#include "vmm/base/thread.h"
#include "vmm/base/util.h"

#define HELLO_NS (2 * NSEC_PER_SEC)
#define PART_NS (500 * NSEC_PER_MSEC)

void destination_part(struct channel *ch)
{
	uint64_t deadline = now_ns() + PART_NS;
	struct error ignored = ERROR_INIT;
	char drop[4096];
	struct iovec iov;

	/* closing with unread bytes would reset the connection, and the
	 * other side might never read why */
	if (ch->fd >= 0)
		channel_finish(ch);
	do
		iov = (struct iovec){ .iov_base = drop,
				      .iov_len = sizeof(drop) };
	while (ch->fd >= 0 && now_ns() < deadline &&
	       channel_readv(ch, &iov, 1, 1, deadline, &ignored) > 0);
	channel_close(ch);
}

bool destination_asked(struct migration_destination *d, struct channel *ch,
		       const struct wire_job *job)
{
	struct error err = ERROR_INIT;
	struct wire_job asked;
	struct message m;
	bool ours = false;

	if (message_recv(ch, &m, now_ns() + HELLO_NS, &err) == 0 &&
	    m.type == WIRE_QUERY &&
	    wire_job_decode(m.payload, m.len, &asked, &err) == 0)
		ours = wire_job_equal(&asked, job);
	message_free(&m);
	if (!ours)
		door_refuse(&d->door, ch, "no such job here");
	return ours;
}

/* A QUERY while no job is under way: only the dead are remembered. */
static void answer_query(struct migration_destination *d, struct channel *ch)
{
	struct error ignored = ERROR_INIT;

	if (now_ns() >= d->dead_until) {
		door_refuse(&d->door, ch, "no such job here");
		return;
	}
	if (!destination_asked(d, ch, &d->dead))
		return;
	(void)!message_send_job(ch, WIRE_DEAD, &d->dead,
				"the copy was destroyed",
				now_ns() + NSEC_PER_SEC, &ignored);
	destination_part(ch);
}

unsigned int destination_listening(void *ctx)
{
	struct migration_destination *d = ctx;

	for (;;) {
		struct error err = ERROR_INIT;
		struct wire_hello hello;
		struct channel ch;

		if (door_wait(&d->door, NULL, 0, UINT64_MAX) < 0)
			return DESTINATION_EV_STOP;
		if (door_take(&d->door, &ch, &hello, &err) < 0)
			continue;
		if (hello.role == WIRE_ROLE_CONTROL) {
			d->control = ch;
			d->job = hello.job;
			return DESTINATION_EV_HELLO;
		}
		if (hello.role == WIRE_ROLE_QUERY)
			answer_query(d, &ch);
		else
			door_refuse(&d->door, &ch,
				    "a bulk channel without a job");
	}
}

unsigned int destination_mourning(void *ctx)
{
	struct migration_destination *d = ctx;

	while (door_wait(&d->door, NULL, 0, d->dead_until) == 1) {
		struct error err = ERROR_INIT;
		struct wire_hello hello;
		struct channel ch;

		if (door_take(&d->door, &ch, &hello, &err) < 0)
			continue;
		if (hello.role == WIRE_ROLE_QUERY)
			answer_query(d, &ch);
		else
			door_refuse(&d->door, &ch,
				    "no migration is expected here any more");
	}
	return destination_event(d, DESTINATION_EV_OVER);
}

/* -- while a VM is on its way here */

/* Somebody who belongs to this job. */
static void take_ours(struct migration_destination *d, struct channel *ch,
		      unsigned int role)
{
	if (role == WIRE_ROLE_FAULT && d->fault.fd < 0) {
		d->fault = *ch;
		d->fault.cancel_fd = -1;
		return;
	}
	/* the source has lost a link that looks well from here */
	if (role == WIRE_ROLE_RECOVER)
		channel_shutdown(&d->control);
	/* let it come again: this is no time for it */
	channel_close(ch);
}

static void *keep_door(void *arg)
{
	struct migration_destination *d = arg;
	struct pollfd end = { .fd = d->keeper_fd, .events = POLLIN };

	while (door_wait(&d->door, &end, 1, UINT64_MAX) == 1) {
		struct error err = ERROR_INIT;
		struct wire_hello hello;
		struct channel ch;

		if (door_take(&d->door, &ch, &hello, &err) < 0)
			continue;
		if (wire_job_equal(&hello.job, &d->job) &&
		    (hello.role == WIRE_ROLE_QUERY ||
		     hello.role == WIRE_ROLE_FAULT ||
		     hello.role == WIRE_ROLE_RECOVER))
			take_ours(d, &ch, hello.role);
		else
			door_refuse(&d->door, &ch,
				    "busy with another migration");
	}
	return NULL;
}

void destination_keep_door(struct migration_destination *d)
{
	d->keeper_fd = fd_event();
	if (d->keeper_fd >= 0 &&
	    thread_start(&d->keeper, "doorkeeper", keep_door, d))
		fd_close(&d->keeper_fd);
}

void destination_leave_door(struct migration_destination *d)
{
	if (d->keeper_fd < 0)
		return;
	fd_event_signal(d->keeper_fd);
	pthread_join(d->keeper, NULL);
	fd_close(&d->keeper_fd);
}
