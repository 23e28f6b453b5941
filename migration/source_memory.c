/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory on the same host: the file that it lies in goes to the destination,
 * and no page is copied. The guest runs on in it here, until the pause. Nobody
 * writes it between that and GO: the vCPUs stand still, the devices are quiet,
 * and a destination writes none before it runs the VM, but for what KVM puts
 * into the page of the wall clock when its register is loaded. That is the time
 * at which the guest was started, as it was.
 */
#include "migration/message.h"
#include "migration/source_private.h"

int source_memory_offer(struct migration_source *s)
{
	const struct memory *mem = &s->cfg.vm->mem;
	const struct wire_memory m = { .size = memory_shared_size(mem) };
	uint8_t buf[WIRE_MEMORY_SIZE];
	int ret;

	if (!s->cfg.params.local || mem->backing != MEMORY_MEMFD)
		return 0;
	ret = channel_attach_fd(&s->control, mem->fd, &s->err);
	if (ret == 0)
		ret = message_send(&s->control, WIRE_MEMORY, buf,
				   wire_memory_encode(buf, &m), NULL, 0, 0,
				   &s->err);
	s->handed = ret == 0;
	pthread_mutex_lock(&s->progress.lock);
	s->progress.now.type = "local";
	s->progress.now.memory_remaining = 0;
	pthread_mutex_unlock(&s->progress.lock);
	return ret;
}
