/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The source's beginning: connect, offer the machine, be accepted. */
#include <errno.h>
#include <stdio.h>

#include "migration/message.h"
#include "migration/source_private.h"
#include "migration/tls.h"
#include "vmm/base/byteorder.h"
#include "vmm/base/util.h"
#include "vmm/state/state.h"

#define CONNECT_NS (8 * NSEC_PER_SEC)
#define ACCEPT_NS (60 * NSEC_PER_SEC)
#define BULK_NS (30 * NSEC_PER_SEC)

int source_check_vm(struct migration_source *s)
{
	enum vm_state state = s->ops->get_state(s->cfg.vm);

	if (state == VM_RUNNING || state == VM_PAUSED ||
	    state == VM_PRELAUNCH || state == VM_IO_ERROR)
		return 0;
	return error_set(&s->err, EINVAL, "a VM that is %s can't be moved",
			 vm_state_name(state));
}

/* The shortest is the line's; what came on top was load on some side. */
void source_note_rtt(struct migration_source *s, uint64_t since)
{
	uint64_t ns = now_ns() - since;

	s->rtt_ns = s->rtt_ns ? MIN(s->rtt_ns, ns) : ns;
}

int source_connect(struct migration_source *s, struct channel *ch,
		   enum wire_role role, unsigned int number)
{
	struct wire_hello hello = {
		.oldest = WIRE_VERSION,
		.newest = WIRE_VERSION,
		.role = (uint16_t)role,
		.channel = (uint16_t)number,
		.job = s->job,
	};
	uint64_t deadline = now_ns() + CONNECT_NS, mark;
	int ret = channel_connect(ch, s->uri, &s->cfg.params.security,
				  s->cancel_fd, deadline, &s->err);

	mark = now_ns();
	if (ret == 0)
		ret = message_hello(ch, &hello, deadline, &s->err);
	if (ret == 0)
		source_note_rtt(s, mark);
	/* of a bulk channel: control tells sooner whether the peer lives */
	ch->idle_ns = role == WIRE_ROLE_BULK ? BULK_NS : MESSAGE_IDLE_NS;
	return ret;
}

unsigned int source_connecting(void *ctx)
{
	struct migration_source *s = ctx;

	source_note_vcpus(s);
	if (source_check_vm(s) < 0 || source_disks_choose(s) < 0 ||
	    source_connect(s, &s->control, WIRE_ROLE_CONTROL, 0) < 0)
		return source_event(s);
	return SOURCE_EV_CONNECTED;
}

/* A destination that can't do it says so before anything is copied. */
static bool may_switch(const struct migration_source *s)
{
	const struct migration_params *p = &s->cfg.params;

	return p->postcopy || p->on_timeout == POLICY_POSTCOPY;
}

static unsigned int channels_wished(const struct migration_source *s)
{
	unsigned int n = s->cfg.params.channels;

	return n ? n : channels_auto();
}

static int send_offer(struct migration_source *s)
{
	struct wire_offer offer = {
		.memory = s->cfg.vm->mem.size,
		.page_size = PAGE_BYTES,
		.state_version = STATE_VERSION,
		.max_pause_ms = s->cfg.params.max_pause_ms,
		.channels = (uint16_t)channels_wished(s),
		.flags = (s->cfg.params.channels ? 0 : WIRE_OFFER_FEWER) |
			 (s->cfg.params.compress ? WIRE_OFFER_ZSTD : 0) |
			 (may_switch(s) ? WIRE_OFFER_POSTCOPY : 0),
	};
	const uint8_t *tree = s->cfg.vm->tree;
	uint8_t buf[WIRE_OFFER_SIZE];

	/* the tree's second word is its size: Devicetree specification 5.2 */
	return message_send(&s->control, WIRE_OFFER, buf,
			    wire_offer_encode(buf, &offer), tree,
			    get_be32(tree + 4), 0, &s->err);
}

static int recv_accept(struct migration_source *s)
{
	uint32_t granted = 0;
	struct message m;
	int ret = message_recv(&s->control, &m, now_ns() + ACCEPT_NS, &s->err);

	if (ret == 0 && m.type == WIRE_ACCEPT)
		ret = wire_accept_decode(m.payload, m.len, &granted, &s->err);
	else if (ret == 0)
		ret = source_farewell(&m, &s->err);
	message_free(&m);
	s->nbulk = MIN(granted, channels_wished(s));
	return ret;
}

static int keep_record(struct migration_source *s)
{
	const struct channel_security *sec = &s->cfg.params.security;
	struct record_info info = {
		.role = RECORD_SOURCE, .job = s->job, .plain = sec->plain,
	};

	if (sec->tls)
		snprintf(info.tls, sizeof(info.tls), "%s",
			 tls_credentials_spec(sec->tls));
	if (sec->tls_name)
		snprintf(info.tls_name, sizeof(info.tls_name), "%s",
			 sec->tls_name);
	snprintf(info.vm, sizeof(info.vm), "%s", s->cfg.vm->name);
	snprintf(info.uri, sizeof(info.uri), "%s", s->uri);
	return record_open(&s->record, s->cfg.record_dir, &info, &s->err);
}

unsigned int source_offering(void *ctx)
{
	struct migration_source *s = ctx;
	int ret = source_disks_offer(s);

	if (ret == 0)
		ret = source_memory_offer(s);
	if (ret == 0)
		ret = send_offer(s);
	if (ret == 0)
		ret = recv_accept(s);
	if (ret == 0)
		ret = keep_record(s);
	for (unsigned int i = 0; ret == 0 && i < s->nbulk; i++)
		ret = source_connect(s, &s->bulk[i], WIRE_ROLE_BULK, i + 1);
	if (ret == 0 && s->disks.disks.n)
		ret = source_connect(s, &s->disks.channel, WIRE_ROLE_DISK, 0);
	if (ret < 0)
		return source_failed(s);
	pthread_mutex_lock(&s->progress.lock);
	s->progress.now.setup_time_us = (now_ns() - s->progress.started) /
				      NSEC_PER_USEC;
	s->progress.now.channels = s->nbulk;
	pthread_mutex_unlock(&s->progress.lock);
	return SOURCE_EV_ACCEPTED;
}
