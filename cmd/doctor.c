/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * godwit doctor: what this host can do, what it can't, and what follows. What
 * depends on the processor is told by arch_doctor().
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "arch/arch.h"
#include "cmd/commands.h"
#include "cmd/version.h"
#include "devices/block/block.h"
#include "devices/net/net.h"
#include "vmm/base/fd.h"
#include "vmm/device.h"

enum { DOCTOR_OK = 0, DOCTOR_NO_LINUX = 1, DOCTOR_NO_KVM = 2 };

/* The linker's: bounds of the sections that drivers register in. Weak, since a
 * build may leave out every driver. */
extern const struct block_driver *const __start_block_drivers[]
	__attribute__((weak));
extern const struct block_driver *const __stop_block_drivers[]
	__attribute__((weak));
extern const struct net_driver *const __start_net_drivers[]
	__attribute__((weak));
extern const struct net_driver *const __stop_net_drivers[]
	__attribute__((weak));

static void line(const char *what, bool ok, const char *then)
{
	printf("  %-28s %s%s%s\n", what, ok ? "yes" : "no", *then ? ": " : "",
	       then);
}

static int open_kvm(void)
{
	int version, fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		printf("/dev/kvm: %s: %s\n", strerror(errno),
		       errno == EACCES ?
		       "join the group that owns it, usually kvm" :
		       "no KVM here; is the module loaded, virtualization on?");
		return -1;
	}
	version = ioctl(fd, KVM_GET_API_VERSION, 0);
	printf("/dev/kvm: open, API version %d\n", version);
	if (version != KVM_API_VERSION) {
		printf("  needed: version %d\n", KVM_API_VERSION);
		fd_close(&fd);
	}
	return fd;
}

static void check_tun(void)
{
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	line("tun", fd >= 0, fd >= 0 ? "" :
	     "no --net tap (passt works without)");
	fd_close(&fd);
}

/* For post-copy; faults of KVM are the kernel's, which not everyone may
 * handle. */
static void check_userfaultfd(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	line("userfaultfd", fd >= 0, fd >= 0 ? "" :
	     "no post-copy (vm.unprivileged_userfaultfd = 1 allows it)");
	fd_close(&fd);
}

static void check_huge_pages(void)
{
	char buf[128] = "";
	int fd = open("/sys/kernel/mm/transparent_hugepage/enabled",
		      O_RDONLY | O_CLOEXEC);
	bool on = fd >= 0 && read(fd, buf, sizeof(buf) - 1) > 0 &&
		  !strstr(buf, "[never]");

	line("transparent huge pages", on, on ? "" :
	     "guests and migrations are slower");
	fd_close(&fd);
}

static void check_pagemap(void)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	line("pagemap", fd >= 0, fd >= 0 ? "" :
	     "migration reads memory that was never touched");
	fd_close(&fd);
}

static void list_drivers(void)
{
	const struct block_driver *const *b;
	const struct net_driver *const *n;
	const struct device_class *const *d;

	printf("Disks on:\n");
	for (b = __start_block_drivers; b < __stop_block_drivers; b++)
		printf("  %-28s %s\n", (*b)->scheme, (*b)->doc);
	printf("Networks through:\n");
	for (n = __start_net_drivers; n < __stop_net_drivers; n++)
		printf("  %-28s %s\n", (*n)->scheme, (*n)->doc);
	printf("Devices:\n");
	for (d = device_class_first(); d < device_class_end(); d++)
		printf("  %-28s %s\n", (*d)->compatible, (*d)->doc);
}

static int diagnose(void)
{
	struct utsname host;
	bool linux_runs = false;
	int fd;

	uname(&host);
	printf("godwit %s, %s guests, on Linux %s\n", VERSION_TEXT,
	       arch_board.name, host.release);
	fd = open_kvm();
	if (fd >= 0)
		linux_runs = arch_doctor(stdout, fd);
	printf("Host:\n");
	check_tun();
	check_userfaultfd();
	check_huge_pages();
	check_pagemap();
	list_drivers();
	if (fd < 0)
		return DOCTOR_NO_KVM;
	fd_close(&fd);
	return linux_runs ? DOCTOR_OK : DOCTOR_NO_LINUX;
}

static int doctor_main(const struct command *cmd, int argc, char **argv)
{
	const char *args[OPTIONS_MAX_ARGS + 1];
	int status;

	if (!command_parse(cmd, argc, argv, NULL, args, &status))
		return status;
	return diagnose();
}

const struct command cmd_doctor = {
	.name = "doctor",
	.args = "",
	.summary = "Tell what this host can do, and what it can't.",
	.about = "The exit status is 0 when all that is needed works, 1 when stock Linux\n"
		 "guests can't run, 2 when there is no KVM.",
	.run = doctor_main,
};
