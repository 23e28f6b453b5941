/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/confine.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cmd/confine_filter.h"

#define CAP(name) (1ull << CAP_##name)

/* Taps; files of other users' VMs; locked and huge memory. */
#define WANTED (CAP(NET_ADMIN) | CAP(NET_BIND_SERVICE) | CAP(DAC_OVERRIDE) | \
		CAP(DAC_READ_SEARCH) | CAP(FOWNER) | CAP(IPC_LOCK) |	     \
		CAP(SYS_RESOURCE) | CAP(SYS_NICE))

/* Another user, below another root directory. */
#define BECOME (CAP(SETUID) | CAP(SETGID) | CAP(SYS_CHROOT))

/* Of this thread, and of those that it makes from now on. */
static void keep_capabilities(uint64_t wanted)
{
	struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &head, data))
		return;
	for (unsigned int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		uint32_t keep = (uint32_t)(wanted >> (32 * i));

		data[i].effective &= keep;
		data[i].permitted &= keep;
		data[i].inheritable = 0;
	}
	syscall(SYS_capset, &head, data);
}

void confine_capabilities(bool user)
{
	keep_capabilities(user ? WANTED | BECOME : WANTED);
}

int confine_init(struct confine *c, bool on, struct error *err)
{
	memset(c, 0, sizeof(*c));
	c->user.root_fd = -1;
	pthread_mutex_init(&c->lock, NULL);
	tzset();	/* reads files; a vCPU that reads the RTC can't */
	if (on && !confine_process_filter.len)
		return error_set(err, ENOTSUP, "built without seccomp (CONFIG_SECCOMP): this process is not confined");
	c->on = on;
	return 0;
}

void confine_exit(struct confine *c)
{
	confine_user_exit(&c->user);
	pthread_mutex_destroy(&c->lock);
}

bool confine_entered(struct confine *c)
{
	bool entered;

	pthread_mutex_lock(&c->lock);
	entered = c->entered;
	pthread_mutex_unlock(&c->lock);
	return entered;
}

/* Once, by the first vCPU, and for all threads. */
static int become_user(struct confine *c, struct error *err)
{
	int ret = 0;

	if (!c->user.on)
		return 0;
	pthread_mutex_lock(&c->lock);
	if (!c->entered)
		ret = confine_user_enter(&c->user, err);
	c->entered = ret == 0;
	pthread_mutex_unlock(&c->lock);
	return ret;
}

static int load(const struct confine_filter *f, unsigned int flags,
		struct error *err)
{
	struct sock_fprog prog = {
		.len = (unsigned short)f->len,
		.filter = (struct sock_filter *)(uintptr_t)f->code,
	};
	long ret;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return error_set(err, errno, "no_new_privs: %s",
				 strerror(errno));
	ret = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
	if (ret == 0)
		return 0;
	/* by TSYNC: the thread that has a filter of its own */
	return error_set(err, ret > 0 ? EBUSY : errno,
			 "seccomp: %s (--seccomp off runs without)",
			 strerror(ret > 0 ? EBUSY : errno));
}

/* Once, by the first vCPU: none has a filter of its own yet. */
static int confine_process(struct confine *c, struct error *err)
{
	int ret = 0;

	pthread_mutex_lock(&c->lock);
	if (!c->done)
		ret = load(&confine_process_filter, SECCOMP_FILTER_FLAG_TSYNC, err);
	c->done = ret == 0;
	pthread_mutex_unlock(&c->lock);
	return ret;
}

int confine_vcpu(struct confine *c, bool programs, struct error *err)
{
	int ret = become_user(c, err);

	if (ret < 0 || !c->on)
		return ret;
	keep_capabilities(0);
	ret = programs ? 0 : confine_process(c, err);
	return ret < 0 ? ret : load(&confine_vcpu_filter, 0, err);
}
