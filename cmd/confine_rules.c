/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which system calls a VM's process makes once its guest runs: seen with
 * strace(1) in the tests, and what the libraries behind disks, names and TLS
 * may want besides.
 *
 * A program of its own, run while building: it turns the lists into filters for
 * the kernel, as C for cmd/confine_filter.h. They never change, and making them
 * took a third of the time in which a VM starts.
 *
 *	confine_rules ARCH	x86 or arm64, whatever this machine is
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

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
	S(sched_getattr), S(sched_setattr),
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

/* What runs in a VM's process, and what it may do; @threads: make others. */
static const struct role {
	const char *name;
	const int *calls[2];
	size_t ncalls[2];
	bool threads;
} roles[] = {
	{ .name = "process", .threads = true,
	  .calls = { vcpu_calls, process_calls },
	  .ncalls = { ARRAY_SIZE(vcpu_calls), ARRAY_SIZE(process_calls) } },
	{ .name = "vcpu",
	  .calls = { vcpu_calls }, .ncalls = { ARRAY_SIZE(vcpu_calls) } },
};

static const struct {
	const char *name;
	uint32_t token;
} archs[] = {
	{ "x86", SCMP_ARCH_X86_64 },
	{ "arm64", SCMP_ARCH_AARCH64 },
};

/* A call that the architecture doesn't have needs no rule. */
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

/* A tree rather than a list: the kernel tries every call when it loads one. */
static scmp_filter_ctx start_filter(uint32_t arch)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));

	if (!ctx)
		return NULL;
	(void)!seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (arch != seccomp_arch_native() &&
	    (seccomp_arch_add(ctx, arch) ||
	     seccomp_arch_remove(ctx, SCMP_ARCH_NATIVE))) {
		seccomp_release(ctx);
		return NULL;
	}
	return ctx;
}

static int fill(scmp_filter_ctx ctx, const struct role *r)
{
	int ret = 0;

	for (size_t i = 0; i < ARRAY_SIZE(r->calls) && ret == 0; i++)
		ret = add(ctx, SCMP_ACT_ALLOW, r->calls[i], r->ncalls[i]);
	if (ret == 0)
		ret = add(ctx, SCMP_ACT_KILL_PROCESS, forbidden,
			  ARRAY_SIZE(forbidden));
	if (ret == 0 && r->threads)
		ret = add_threads(ctx);
	return ret;
}

static int print_program(FILE *f, const char *name)
{
	struct sock_filter op;

	rewind(f);
	printf("\nstatic const struct sock_filter %s[] = {\n", name);
	while (fread(&op, sizeof(op), 1, f) == 1)
		printf("\t{ %#x, %u, %u, %#x },\n", op.code, op.jt, op.jf,
		       op.k);
	printf("};\nconst struct confine_filter confine_%s_filter = {\n"
	       "\t.code = %s, .len = sizeof(%s) / sizeof(*%s),\n};\n",
	       name, name, name, name);
	return ferror(f) ? -EIO : 0;
}

static int print_role(const struct role *r, uint32_t arch)
{
	scmp_filter_ctx ctx = start_filter(arch);
	FILE *f = tmpfile();
	int ret = ctx && f ? fill(ctx, r) : -ENOMEM;

	if (ret == 0)
		ret = seccomp_export_bpf(ctx, fileno(f));
	if (ret == 0)
		ret = print_program(f, r->name);
	if (f)
		fclose(f);
	seccomp_release(ctx);
	return ret;
}

static int print_all(uint32_t arch)
{
	int ret = 0;

	printf("/* made by cmd/confine_rules.c */\n"
	       "#include \"cmd/confine_filter.h\"\n");
	for (size_t i = 0; i < ARRAY_SIZE(roles) && ret == 0; i++)
		ret = print_role(&roles[i], arch);
	return ret;
}

int main(int argc, char **argv)
{
	int ret = -EINVAL;

	for (size_t i = 0; argc == 2 && i < ARRAY_SIZE(archs); i++)
		if (!strcmp(argv[1], archs[i].name))
			ret = print_all(archs[i].token);
	if (ret < 0)
		fprintf(stderr, "confine_rules %s: no filter: %s\n",
			argc == 2 ? argv[1] : "", strerror(-ret));
	return ret < 0;
}
