/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/base/thread.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct start {
	void *(*fn)(void *);
	void *arg;
	char name[16];
};

/* By the thread itself: naming another one takes /proc, and its starter's time. */
static void *named(void *arg)
{
	struct start s = *(struct start *)arg;

	free(arg);
	(void)pthread_setname_np(pthread_self(), s.name);
	return s.fn(s.arg);
}

int thread_start(pthread_t *thread, const char *name, void *(*fn)(void *),
		 void *arg)
{
	struct start *s = calloc(1, sizeof(*s));
	int ret;

	if (!s)
		return ENOMEM;
	s->fn = fn;
	s->arg = arg;
	snprintf(s->name, sizeof(s->name), "%s", name);
	ret = pthread_create(thread, NULL, named, s);
	if (ret)
		free(s);
	return ret;
}
