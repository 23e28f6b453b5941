/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A block backend for whoever copies the disk (vmm/disk.h). Loop's thread. */
#ifndef GODWIT_BLOCK_DISK_H
#define GODWIT_BLOCK_DISK_H

#include "devices/block/block.h"
#include "vmm/disk.h"

void block_disk_submit(struct block *blk, struct vm_disk_io *io);

#endif
