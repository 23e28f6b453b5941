/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/pinger.h"

#include <errno.h>
#include <string.h>

#include "vmm/base/fd.h"
#include "vmm/base/thread.h"

static void *ping(void *arg)
{
	struct pinger *p = arg;

	p->ret = message_await(p->ch, &p->said, p->stop_fd, 0, &p->err);
	if (p->ret == -ECANCELED)
		return NULL;
	atomic_store(&p->over, true);
	if (p->news)
		p->news(p->arg);
	return NULL;
}

void pinger_init(struct pinger *p)
{
	memset(p, 0, sizeof(*p));
	p->stop_fd = -1;
}

void pinger_start(struct pinger *p, struct channel *ch,
		  void (*news)(void *arg), void *arg)
{
	pinger_init(p);
	p->ch = ch;
	p->news = news;
	p->arg = arg;
	p->stop_fd = fd_event();
	/* stopped between two messages: the channel is used afterwards */
	p->cancel_fd = ch->cancel_fd;
	ch->cancel_fd = -1;
	if (p->stop_fd >= 0 &&
	    thread_start(&p->thread, "pinger", ping, p) == 0)
		return;
	fd_close(&p->stop_fd);
	ch->cancel_fd = p->cancel_fd;
}

bool pinger_over(const struct pinger *p)
{
	return atomic_load(&p->over);
}

int pinger_stop(struct pinger *p, struct message *m, struct error *err)
{
	memset(m, 0, sizeof(*m));
	if (p->stop_fd < 0)
		return 0;
	fd_event_signal(p->stop_fd);
	pthread_join(p->thread, NULL);
	fd_close(&p->stop_fd);
	p->ch->cancel_fd = p->cancel_fd;
	if (p->ret == -ECANCELED)
		return 0;
	*m = p->said;
	if (p->ret < 0)
		*err = p->err;
	return p->ret < 0 ? p->ret : 1;
}
