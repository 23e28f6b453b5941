/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/message.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

int message_send(struct channel *ch, enum wire_type type, const void *a,
		 size_t alen, const void *b, size_t blen, uint64_t deadline,
		 struct error *err)
{
	uint8_t header[WIRE_HEADER];
	struct iovec iov[3] = {
		{ .iov_base = header, .iov_len = sizeof(header) },
		{ .iov_len = alen },
		{ .iov_len = blen },
	};
	int ret;

	/* iovec has no const; writev does not write */
	memcpy(&iov[1].iov_base, &a, sizeof(a));
	memcpy(&iov[2].iov_base, &b, sizeof(b));
	wire_header_encode(header, type, a, alen, b, blen);
	ret = channel_writev(ch, iov, 3, deadline, err);
	if (ret < 0)
		error_prefix(err, "send %s", wire_type_name(type));
	return ret;
}

int message_send_job(struct channel *ch, enum wire_type type,
		     const struct wire_job *job, const char *text,
		     uint64_t deadline, struct error *err)
{
	return message_send(ch, type, job->id, WIRE_JOB, text,
			    text ? strlen(text) : 0, deadline, err);
}

void message_free(struct message *m)
{
	free(m->payload);
	m->payload = NULL;
	m->len = 0;
}

static uint64_t idle_of(const struct channel *ch)
{
	return ch->idle_ns ? ch->idle_ns : MESSAGE_IDLE_NS;
}

static int recv_one(struct channel *ch, struct message *m, uint64_t deadline,
		    struct error *err)
{
	uint8_t header[WIRE_HEADER];
	struct wire_header h;
	uint64_t limit;
	int ret = channel_read(ch, header, sizeof(header), deadline, err);

	if (ret < 0)
		return ret;
	ret = wire_header_decode(header, &h, err);
	if (ret < 0)
		return ret;
	m->type = h.type;
	m->len = h.length;
	m->payload = malloc(m->len + 1);	/* never of size 0 */
	if (!m->payload)
		return error_set(err, ENOMEM, "no memory for %zu bytes of %s",
				 m->len, wire_type_name(h.type));
	/* its length may be damaged: that must not take all the time there is */
	limit = now_ns() + idle_of(ch);
	if (!deadline || deadline > limit)
		deadline = limit;
	ret = channel_read(ch, m->payload, m->len, deadline, err);
	if (ret < 0)
		return ret;
	return wire_crc_check(header, m->payload, m->len, err);
}

static bool means_something(enum wire_type type)
{
	return type != WIRE_PING && type != WIRE_PONG && wire_type_known(type);
}

int message_next(struct channel *ch, struct message *m, uint64_t deadline,
		 struct error *err)
{
	int ret;

	memset(m, 0, sizeof(*m));
	ret = recv_one(ch, m, deadline, err);
	if (ret == 0 && means_something(m->type))
		return 1;
	if (ret == 0 && m->type == WIRE_PING)
		ret = message_send(ch, WIRE_PONG, m->payload, m->len, NULL, 0,
				   deadline, err);
	message_free(m);
	return ret;
}

int message_recv(struct channel *ch, struct message *m, uint64_t deadline,
		 struct error *err)
{
	int ret;

	do
		ret = message_next(ch, m, deadline, err);
	while (ret == 0);
	return ret < 0 ? ret : 0;
}

/* What @ret of a wait in message_await() says; 0: ask again. */
static int silence(struct channel *ch, int ret, uint64_t heard, uint64_t idle,
		   uint64_t deadline, struct error *err)
{
	uint64_t now = now_ns();

	if (ret == -ECANCELED)
		return error_set(err, ECANCELED, "cancelled");
	if (ret != -ETIMEDOUT)
		return error_set(err, -ret, "%s: %s", ch->peer,
				 strerror(-ret));
	if (now >= heard + idle)
		return error_set(err, ETIMEDOUT,
				 "%s: no sign of life for %llu ms", ch->peer,
				 (unsigned long long)(idle / NSEC_PER_MSEC));
	if (deadline && now >= deadline)
		return error_set(err, ETIMEDOUT,
				 "%s: lives, but does not get ahead", ch->peer);
	return message_send(ch, WIRE_PING, NULL, 0, NULL, 0, heard + idle, err);
}

int message_await(struct channel *ch, struct message *m, int stop_fd,
		  uint64_t deadline, struct error *err)
{
	uint64_t idle = idle_of(ch);
	uint64_t heard = now_ns();
	int ret = 0;

	memset(m, 0, sizeof(*m));
	while (ret == 0) {
		ret = channel_pending(ch) ? 0 :
		      channel_wait_fd(ch->fd, POLLIN, stop_fd,
				      now_ns() + idle / 4);
		if (ret < 0) {
			ret = silence(ch, ret, heard, idle, deadline, err);
			continue;
		}
		ret = message_next(ch, m, 0, err);
		heard = now_ns();
	}
	return ret < 0 ? ret : 0;
}

static int check_answer(const struct wire_hello *mine, const struct message *m,
			struct error *err)
{
	char text[WIRE_MAX_TEXT + 1];
	struct wire_hello theirs;
	int ret;

	if (m->type == WIRE_REFUSE) {
		wire_text_decode(m->payload, m->len, text);
		return error_set(err, ECONNREFUSED, "refused: %s", text);
	}
	if (m->type != WIRE_HELLO)
		return error_set(err, EPROTO, "%s instead of HELLO",
				 wire_type_name(m->type));
	ret = wire_hello_decode(m->payload, m->len, &theirs, err);
	if (ret < 0)
		return ret;
	if (theirs.role != mine->role || theirs.channel != mine->channel ||
	    !wire_job_equal(&theirs.job, &mine->job))
		return error_set(err, EPROTO, "HELLO answers for another job or channel");
	return 0;
}

int message_hello(struct channel *ch, const struct wire_hello *mine,
		  uint64_t deadline, struct error *err)
{
	uint8_t buf[WIRE_HELLO_SIZE];
	struct message m;
	int ret = message_send(ch, WIRE_HELLO, buf, wire_hello_encode(buf, mine),
			       NULL, 0, deadline, err);

	if (ret < 0)
		return ret;
	ret = message_recv(ch, &m, deadline, err);
	if (ret == 0)
		ret = check_answer(mine, &m, err);
	else if (ret == -ECONNRESET || ret == -EPROTO)
		error_prefix(err, "not let in (TLS on one side alone, or not on the list of --allow? Its log tells)");
	message_free(&m);
	return ret;
}
