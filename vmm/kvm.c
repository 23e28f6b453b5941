/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "arch/arch.h"
#include "vmm/base/fd.h"
#include "vmm/base/util.h"
#include "vmm/dirty_ring.h"

int kvm_open(struct error *err)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int version;

	if (fd < 0)
		return error_set(err, errno, "can't open /dev/kvm: %s (is KVM loaded, and may this user open it?)",
				 strerror(errno));
	version = ioctl(fd, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION) {
		fd_close(&fd);
		return error_set(err, ENOTSUP, "/dev/kvm speaks API version %d, expected %d",
				 version, KVM_API_VERSION);
	}
	return fd;
}

static void line_set(struct irq_line *line, int level)
{
	struct kvm_line *l = container_of(line, struct kvm_line, line);
	struct kvm_irq_level irq = {
		.irq = arch_irq_line(line->gsi), .level = (uint32_t)level
	};

	/* fails only for a gsi without routing, which kvm_irq_line refused */
	ioctl(l->vm_fd, KVM_IRQ_LINE, &irq);
}

static void line_pulse(struct irq_line *line)
{
	fd_event_signal(container_of(line, struct kvm_line, line)->fd);
}

void kvm_manual_protect(struct kvm_vm *kvm)
{
	int can = ioctl(kvm->vm_fd, KVM_CHECK_EXTENSION,
			KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2);
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
		.args[0] = (uint64_t)can,
	};

	kvm->manual_protect = can > 0 &&
			      ioctl(kvm->vm_fd, KVM_ENABLE_CAP, &cap) == 0;
}

int kvm_vm_create(struct kvm_vm **out, struct error *err)
{
	struct kvm_vm *kvm = calloc(1, sizeof(*kvm));
	int ret;

	if (!kvm)
		return error_set(err, ENOMEM, "no memory for a VM");
	kvm->vm_fd = -1;
	for (unsigned int i = 0; i < KVM_GSIS; i++)
		kvm->line[i].fd = -1;
	kvm->dev_fd = kvm_open(err);
	if (kvm->dev_fd < 0) {
		ret = kvm->dev_fd;
		goto err_free;
	}
	do
		kvm->vm_fd = ioctl(kvm->dev_fd, KVM_CREATE_VM, 0);
	while (kvm->vm_fd < 0 && errno == EINTR);
	if (kvm->vm_fd < 0) {
		ret = error_set(err, errno, "KVM_CREATE_VM: %s", strerror(errno));
		goto err_free;
	}
	ret = ioctl(kvm->dev_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (ret < (int)PAGE_BYTES) {
		ret = error_set(err, EINVAL, "KVM_GET_VCPU_MMAP_SIZE: %d", ret);
		goto err_free;
	}
	kvm->run_bytes = (uint32_t)ret;
	*out = kvm;
	return 0;

err_free:
	kvm_vm_destroy(kvm);
	return ret;
}

void kvm_vm_destroy(struct kvm_vm *kvm)
{
	if (!kvm)
		return;
	for (unsigned int i = 0; i < KVM_GSIS; i++)
		fd_close(&kvm->line[i].fd);
	dirty_rings_destroy(kvm);
	fd_close(&kvm->vm_fd);
	fd_close(&kvm->dev_fd);
	free(kvm->log);
	free(kvm);
}

int kvm_map_memory(struct kvm_vm *kvm, const struct memory *mem,
		   struct error *err)
{
	for (unsigned int i = 0; i < mem->nregions; i++) {
		const struct memory_region *r = &mem->region[i];
		struct kvm_userspace_memory_region slot = {
			.slot = i,
			.flags = kvm->logging ? KVM_MEM_LOG_DIRTY_PAGES : 0,
			.guest_phys_addr = r->range.base,
			.memory_size = r->range.size,
			.userspace_addr = (uintptr_t)r->host,
		};

		if (ioctl(kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
			return error_set(err, errno, "KVM memory slot %u at %#llx, %llu MiB: %s",
					 i, (unsigned long long)r->range.base,
					 (unsigned long long)(r->range.size / MIB),
					 strerror(errno));
	}
	return 0;
}

struct irq_line *kvm_irq_line(struct kvm_vm *kvm, unsigned int gsi,
			      struct error *err)
{
	struct kvm_line *l = &kvm->line[gsi < KVM_GSIS ? gsi : 0];
	struct kvm_irqfd irqfd = { .gsi = gsi };

	if (gsi >= KVM_GSIS) {
		error_set(err, EINVAL, "interrupt %u, limit %d", gsi,
			  KVM_GSIS - 1);
		return NULL;
	}
	if (l->fd >= 0)
		return &l->line;
	l->fd = fd_event();
	if (l->fd < 0) {
		error_set(err, -l->fd, "eventfd: %s", strerror(-l->fd));
		return NULL;
	}
	irqfd.fd = (uint32_t)l->fd;
	if (ioctl(kvm->vm_fd, KVM_IRQFD, &irqfd) < 0) {
		error_set(err, errno, "KVM_IRQFD for interrupt %u: %s", gsi,
			  strerror(errno));
		fd_close(&l->fd);
		return NULL;
	}
	l->vm_fd = kvm->vm_fd;
	l->line = (struct irq_line){
		.gsi = gsi, .set = line_set, .pulse = line_pulse
	};
	return &l->line;
}

int kvm_ioeventfd(struct kvm_vm *kvm, gpa_t addr, uint32_t value, int fd,
		  bool add)
{
	struct kvm_ioeventfd io = {
		.datamatch = value,
		.addr = addr,
		.len = 4,
		.fd = fd,
		.flags = KVM_IOEVENTFD_FLAG_DATAMATCH |
			 (add ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN),
	};

	return ioctl(kvm->vm_fd, KVM_IOEVENTFD, &io) < 0 ? -errno : 0;
}
