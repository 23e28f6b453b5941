/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/userfault.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/base/fd.h"

#define DEVICE "/dev/userfaultfd"

/* By the device, whose owner and mode say who may (Linux 6.1), else by the
 * call, which wants CAP_SYS_PTRACE for faults of the kernel: KVM's are. */
static int make(void)
{
	int dev = open(DEVICE, O_RDWR | O_CLOEXEC);
	int fd = -1;

	if (dev >= 0)
		fd = ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	fd_close(&dev);
	if (fd < 0)
		fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	return fd;
}

int userfault_open(struct error *err)
{
	struct uffdio_api api = {
		.api = UFFD_API, .features = UFFD_FEATURE_MISSING_SHMEM,
	};
	int fd = make();

	if (fd < 0)
		return error_set(err, errno, "userfaultfd: %s (it takes root, or a right to " DEVICE ")",
				 strerror(errno));
	if (ioctl(fd, UFFDIO_API, &api)) {
		error_set(err, errno, "userfaultfd: %s", strerror(errno));
		fd_close(&fd);
		return -err->code;
	}
	return fd;
}

int userfault_register(int fd, void *start, uint64_t len, struct error *err)
{
	struct uffdio_register r = {
		.range = { .start = (uintptr_t)start, .len = len },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	if (ioctl(fd, UFFDIO_REGISTER, &r))
		return error_set(err, errno, "userfaultfd: %llu bytes of guest memory: %s",
				 (unsigned long long)len, strerror(errno));
	return 0;
}

void userfault_unregister(int fd, void *start, uint64_t len)
{
	struct uffdio_range r = { .start = (uintptr_t)start, .len = len };

	ioctl(fd, UFFDIO_UNREGISTER, &r);
}

static void wake(int fd, uintptr_t start, uint64_t len)
{
	struct uffdio_range r = { .start = start, .len = len };

	ioctl(fd, UFFDIO_WAKE, &r);
}

/*
 * What a call that made @done bytes and then failed with @error leaves to do:
 * how many bytes to go on behind, or -errno.
 */
static int64_t step(int fd, uintptr_t at, int64_t done, int error)
{
	if (done > 0)
		return done;
	if (error == EAGAIN)		/* the address space is changing */
		return 0;
	if (error != EEXIST)
		return -error;
	wake(fd, at, 4096);
	return 4096;
}

int userfault_copy(int fd, void *to, const void *from, uint64_t len,
		   struct error *err)
{
	uint64_t at = 0;

	while (at < len) {
		struct uffdio_copy c = {
			.dst = (uintptr_t)to + at,
			.src = (uintptr_t)from + at,
			.len = len - at,
		};
		int failed = ioctl(fd, UFFDIO_COPY, &c) ? errno : 0;
		int64_t n = step(fd, c.dst, c.copy, failed);

		if (n < 0)
			return error_set(err, (int)-n, "userfaultfd: copying a page: %s",
					 strerror((int)-n));
		at += (uint64_t)n;
	}
	return 0;
}

int userfault_zero(int fd, void *to, uint64_t len, struct error *err)
{
	uint64_t at = 0;

	while (at < len) {
		struct uffdio_zeropage z = {
			.range = { .start = (uintptr_t)to + at,
				   .len = len - at },
		};
		int failed = ioctl(fd, UFFDIO_ZEROPAGE, &z) ? errno : 0;
		int64_t n = step(fd, z.range.start, z.zeropage, failed);

		if (n < 0)
			return error_set(err, (int)-n, "userfaultfd: a page of zeroes: %s",
					 strerror((int)-n));
		at += (uint64_t)n;
	}
	return 0;
}

int userfault_next(int fd, uintptr_t *addr, struct error *err)
{
	struct uffd_msg m;
	ssize_t n = read(fd, &m, sizeof(m));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n != sizeof(m) || m.event != UFFD_EVENT_PAGEFAULT)
		return error_set(err, EIO, "userfaultfd: reading a fault: %s",
				 n < 0 ? strerror(errno) : "unexpected event");
	*addr = m.arg.pagefault.address & ~(uintptr_t)4095;
	return 1;
}
