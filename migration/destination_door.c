/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who comes to the destination's address, and what is answered. */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "migration/destination_private.h"
#include "vmm/base/fd.h"
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

void destination_refuse(struct channel *ch, const char *why)
{
	struct error ignored = ERROR_INIT;

	(void)!message_send(ch, WIRE_REFUSE, why, strlen(why), NULL, 0,
			    now_ns() + NSEC_PER_SEC, &ignored);
	destination_part(ch);
}

static int read_hello(struct channel *ch, struct wire_hello *hello,
		      uint64_t deadline, struct error *err)
{
	uint8_t buf[WIRE_HELLO_SIZE];
	struct wire_hello answer;
	struct message m;
	int ret = message_recv(ch, &m, deadline, err);

	if (ret == 0 && m.type != WIRE_HELLO)
		ret = error_set(err, EPROTO, "%s instead of HELLO",
				wire_type_name(m.type));
	if (ret == 0)
		ret = wire_hello_decode(m.payload, m.len, hello, err);
	message_free(&m);
	if (ret < 0)
		return ret;
	answer = *hello;
	answer.oldest = answer.newest = WIRE_VERSION;
	return message_send(ch, WIRE_HELLO, buf,
			    wire_hello_encode(buf, &answer), NULL, 0, deadline,
			    err);
}

/* Let a visitor in and answer his HELLO, unless @cancel_fd comes first. */
static int welcome(struct migration_destination *d, int cancel_fd,
		   struct channel *ch, struct wire_hello *hello,
		   uint64_t deadline, struct error *err)
{
	int ret = channel_accept(&d->listener, ch, err);

	if (ret < 0)
		return ret;
	ch->cancel_fd = cancel_fd;
	ret = read_hello(ch, hello, MIN(deadline, now_ns() + HELLO_NS), err);
	if (ret < 0) {
		log_warn(&d->cfg.log, "migration: visitor sent away: %s",
			 err->msg);
		destination_refuse(ch, err->msg);
	}
	return ret;
}

int destination_visitor(struct migration_destination *d, struct channel *ch,
			struct wire_hello *hello, uint64_t deadline,
			struct error *err)
{
	return welcome(d, d->stop_fd, ch, hello, deadline, err);
}

bool destination_asked(struct channel *ch, const struct wire_job *job)
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
		destination_refuse(ch, "no such job here");
	return ours;
}

/* A QUERY while no job is under way: only the dead are remembered. */
static void answer_query(struct migration_destination *d, struct channel *ch)
{
	struct error ignored = ERROR_INIT;

	if (now_ns() >= d->dead_until) {
		destination_refuse(ch, "no such job here");
		return;
	}
	if (!destination_asked(ch, &d->dead))
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

		if (channel_wait_fd(d->listener.fd, POLLIN, d->stop_fd, 0) < 0)
			return DESTINATION_EV_STOP;
		if (destination_visitor(d, &ch, &hello, UINT64_MAX, &err) < 0)
			continue;
		if (hello.role == WIRE_ROLE_CONTROL) {
			d->control = ch;
			d->job = hello.job;
			return DESTINATION_EV_HELLO;
		}
		if (hello.role == WIRE_ROLE_QUERY)
			answer_query(d, &ch);
		else
			destination_refuse(&ch, "a bulk channel without a job");
	}
}

unsigned int destination_mourning(void *ctx)
{
	struct migration_destination *d = ctx;

	while (channel_wait_fd(d->listener.fd, POLLIN, d->stop_fd,
			       d->dead_until) == 0) {
		struct error err = ERROR_INIT;
		struct wire_hello hello;
		struct channel ch;

		if (destination_visitor(d, &ch, &hello, d->dead_until,
					&err) < 0)
			continue;
		if (hello.role == WIRE_ROLE_QUERY)
			answer_query(d, &ch);
		else
			destination_refuse(&ch, "no migration is expected here any more");
	}
	return destination_event(d, DESTINATION_EV_OVER);
}

/* -- while a VM is on its way here */

static void *keep_door(void *arg)
{
	struct migration_destination *d = arg;

	while (channel_wait_fd(d->listener.fd, POLLIN, d->door_fd, 0) == 0) {
		struct error err = ERROR_INIT;
		struct wire_hello hello;
		struct channel ch;

		if (welcome(d, d->door_fd, &ch, &hello, UINT64_MAX, &err) < 0)
			continue;
		/* a QUERY of this job is not for strangers: let it come again */
		if (hello.role == WIRE_ROLE_QUERY &&
		    wire_job_equal(&hello.job, &d->job))
			channel_close(&ch);
		else
			destination_refuse(&ch, "busy with another migration");
	}
	return NULL;
}

void destination_keep_door(struct migration_destination *d)
{
	d->door_fd = fd_event();
	if (d->door_fd >= 0 &&
	    pthread_create(&d->door, NULL, keep_door, d))
		fd_close(&d->door_fd);
}

void destination_leave_door(struct migration_destination *d)
{
	if (d->door_fd < 0)
		return;
	fd_event_signal(d->door_fd);
	pthread_join(d->door, NULL);
	fd_close(&d->door_fd);
}
