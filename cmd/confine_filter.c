/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which system calls a VM's process makes once its guest runs: seen with
 * strace(1) in the tests, and what the libraries behind disks, names and TLS
 * may want besides.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cmd/confine_filter.h"
#include "vmm/base/fd.h"
#include "vmm/base/util.h"

#define S(name) SCMP_SYS(name)

/* vCPUs: KVM, guest memory, devices whose descriptors are open. That they open
 * nothing is no reason to kill: the C library may look for a time zone. */
static const int vcpu_calls[] = {
	/* first what is called often: filters are read from the top */
	S(ioctl), S(futex), S(write), S(read), S(poll), S(ppoll),
	S(io_uring_enter), S(writev), S(readv), S(sendmsg), S(recvmsg),
	S(sendto), S(recvfrom), S(pread64), S(pwrite64), S(preadv), S(pwritev),
	S(epoll_ctl), S(epoll_wait), S(epoll_pwait), S(timerfd_settime),
	S(timerfd_gettime), S(clock_gettime), S(clock_nanosleep), S(nanosleep),
	S(gettimeofday), S(time), S(sched_yield), S(getrandom), S(getpid),
	S(gettid), S(tgkill), S(rt_sigreturn), S(rt_sigprocmask),
	S(rt_sigaction), S(rt_sigpending), S(sigaltstack), S(restart_syscall),
	S(mmap), S(munmap), S(mprotect), S(mremap), S(madvise), S(brk),
	S(fsync), S(fdatasync), S(fallocate), S(lseek), S(fstat),
	S(newfstatat), S(fcntl), S(close), S(shutdown), S(eventfd2),
	S(getsockopt), S(setsockopt), S(rseq), S(set_robust_list),
	S(membarrier), S(sched_getaffinity), S(getcpu), S(exit), S(exit_group),
};

/* The others: also files, sockets, threads. */
static const int process_calls[] = {
	S(open), S(openat), S(openat2), S(creat), S(access), S(faccessat),
	S(faccessat2), S(stat), S(lstat), S(statx), S(statfs), S(fstatfs),
	S(readlink), S(readlinkat), S(getdents64), S(getcwd), S(chdir),
	S(mkdir), S(mkdirat), S(rmdir), S(unlink), S(unlinkat), S(rename),
	S(renameat), S(renameat2), S(link), S(linkat), S(symlink),
	S(symlinkat), S(chmod), S(fchmod), S(fchmodat), S(fchown), S(umask),
	S(truncate), S(ftruncate), S(flock), S(sync_file_range), S(syncfs),
	S(fadvise64), S(copy_file_range), S(sendfile), S(splice), S(utimensat),
	S(dup), S(dup2), S(dup3), S(pipe), S(pipe2), S(select), S(pselect6),
	S(epoll_create), S(epoll_create1), S(epoll_pwait2), S(eventfd),
	S(timerfd_create), S(signalfd4), S(inotify_init1),
	S(inotify_add_watch), S(inotify_rm_watch), S(memfd_create),
	S(io_uring_setup), S(io_uring_register), S(preadv2), S(pwritev2),
	S(socket), S(socketpair), S(connect), S(bind), S(listen), S(accept),
	S(accept4), S(getsockname), S(getpeername), S(sendmmsg), S(recvmmsg),
	S(mlock), S(mlock2), S(munlock), S(mincore), S(msync), S(mbind),
	S(get_mempolicy), S(set_mempolicy), S(shmget), S(shmat), S(shmdt),
	S(getuid), S(geteuid), S(getgid), S(getegid), S(getppid), S(getpgrp),
	S(getpgid), S(getsid), S(getgroups), S(getresuid), S(getresgid),
	S(capget), S(capset), S(prctl), S(seccomp), S(arch_prctl), S(prlimit64),
	S(getrlimit), S(setrlimit), S(getrusage), S(times), S(sysinfo),
	S(uname), S(clock_getres), S(alarm), S(setitimer), S(getitimer),
	S(kill), S(tkill), S(wait4), S(waitid), S(rt_sigtimedwait),
	S(rt_sigsuspend), S(rt_sigqueueinfo), S(set_tid_address),
	S(get_robust_list), S(sched_setaffinity), S(sched_getparam),
	S(sched_setparam), S(sched_getscheduler), S(sched_setscheduler),
	S(sched_get_priority_max), S(sched_get_priority_min),
	S(getpriority), S(setpriority), S(ioprio_get), S(ioprio_set),
	S(pkey_alloc), S(pkey_free), S(pkey_mprotect), S(timer_create),
	S(timer_settime), S(timer_delete), S(process_madvise),
	S(fgetxattr), S(getxattr), S(lgetxattr),
};

/* Nobody here: whoever calls one has broken in. */
static const int forbidden[] = {
	S(execve), S(execveat), S(fork), S(vfork), S(ptrace),
	S(process_vm_readv), S(process_vm_writev), S(kcmp), S(pidfd_getfd),
	S(kexec_load), S(kexec_file_load), S(init_module), S(finit_module),
	S(delete_module), S(mount), S(umount), S(umount2), S(pivot_root),
	S(chroot), S(move_mount), S(open_tree), S(fsopen), S(fsmount),
	S(fsconfig), S(mount_setattr), S(setns), S(unshare), S(bpf),
	S(perf_event_open), S(reboot), S(swapon), S(swapoff), S(settimeofday),
	S(clock_settime), S(adjtimex), S(clock_adjtime), S(acct), S(quotactl),
	S(iopl), S(ioperm), S(modify_ldt), S(setuid), S(setgid), S(setreuid),
	S(setregid), S(setresuid), S(setresgid), S(setgroups), S(setfsuid),
	S(setfsgid), S(open_by_handle_at), S(vhangup), S(sethostname),
	S(setdomainname),
};

/* A call that this architecture doesn't have needs no rule. */
static int add(scmp_filter_ctx ctx, uint32_t action, const int *calls,
	       size_t n)
{
	int ret = 0;

	for (size_t i = 0; i < n && ret == 0; i++) {
		ret = seccomp_rule_add(ctx, action, calls[i], 0);
		if (ret == -EDOM || ret == -EFAULT)
			ret = 0;
	}
	return ret;
}

#define ADD(ctx, action, calls) add(ctx, action, calls, ARRAY_SIZE(calls))

/* A thread, not a process. Of clone3 a filter can't see which: C libraries
 * then fall back to clone. */
static int add_threads(scmp_filter_ctx ctx)
{
	int ret = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), S(clone3), 0);

	if (ret == 0)
		ret = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, S(clone), 1,
				       SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD,
					       CLONE_THREAD));
	if (ret == 0)
		ret = seccomp_rule_add(ctx, SCMP_ACT_KILL_PROCESS, S(clone), 1,
				       SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD,
					       0));
	return ret;
}

static int read_program(int fd, struct confine_filter *out)
{
	off_t size = lseek(fd, 0, SEEK_END);

	if (size <= 0)
		return -EIO;
	out->code = malloc((size_t)size);
	if (!out->code)
		return -ENOMEM;
	out->len = (size_t)size / sizeof(struct sock_filter);
	lseek(fd, 0, SEEK_SET);
	return fd_read_full(fd, out->code, (size_t)size);
}

/* As BPF: a filter that is only loaded later, without delay. */
static int export(scmp_filter_ctx ctx, struct confine_filter *out)
{
	int fd = memfd_create("seccomp", MFD_CLOEXEC);
	int ret = fd < 0 ? -errno : seccomp_export_bpf(ctx, fd);

	if (ret == 0)
		ret = read_program(fd, out);
	fd_close(&fd);
	return ret;
}

/* A tree rather than a list: the kernel tries every call when it loads one. */
static scmp_filter_ctx start_filter(void)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));

	if (ctx)
		(void)!seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	return ctx;
}

static int make_process(struct confine_filter *out)
{
	scmp_filter_ctx ctx = start_filter();
	int ret = ctx ? 0 : -ENOMEM;

	if (ret == 0)
		ret = ADD(ctx, SCMP_ACT_ALLOW, vcpu_calls);
	if (ret == 0)
		ret = ADD(ctx, SCMP_ACT_ALLOW, process_calls);
	if (ret == 0)
		ret = ADD(ctx, SCMP_ACT_KILL_PROCESS, forbidden);
	if (ret == 0)
		ret = add_threads(ctx);
	if (ret == 0)
		ret = export(ctx, out);
	seccomp_release(ctx);
	return ret;
}

static int make_vcpu(struct confine_filter *out)
{
	scmp_filter_ctx ctx = start_filter();
	int ret = ctx ? 0 : -ENOMEM;

	if (ret == 0)
		ret = ADD(ctx, SCMP_ACT_ALLOW, vcpu_calls);
	if (ret == 0)
		ret = ADD(ctx, SCMP_ACT_KILL_PROCESS, forbidden);
	if (ret == 0)
		ret = export(ctx, out);
	seccomp_release(ctx);
	return ret;
}

int confine_filter_make(struct confine *c, struct error *err)
{
	int ret = make_process(&c->process);

	if (ret == 0)
		ret = make_vcpu(&c->vcpu);
	if (ret < 0)
		return error_set(err, -ret, "seccomp filter: %s",
				 strerror(-ret));
	return 0;
}
