/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <libfdt.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "migration/crc32c.h"
#include "migration/snapshot_private.h"
#include "vmm/base/fd.h"

int snapshot_failed(struct snapshot_save *s, const char *what)
{
	return error_set(&s->err, errno, "%s: can't %s: %s", s->path, what,
			 strerror(errno));
}

int snapshot_write_at(struct snapshot_save *s, const void *buf, uint64_t len,
		    uint64_t at)
{
	uint64_t done = 0;

	while (done < len) {
		ssize_t n = pwrite(s->fd, (const uint8_t *)buf + done,
				   len - done, (off_t)(at + done));

		if (n < 0 && errno != EINTR)
			return snapshot_failed(s, "write");
		done += n > 0 ? (uint64_t)n : 0;
	}
	return 0;
}

int snapshot_open_part(struct snapshot_save *s)
{
	if (!access(s->path, F_OK))
		return error_set(&s->err, EEXIST, "%s: it exists; remove it, or choose another name",
				 s->path);
	snprintf(s->part, sizeof(s->part), "%s.part", s->path);
	s->fd = open(s->part, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (s->fd < 0 && errno == EEXIST) {
		s->part[0] = '\0';	/* it is not ours */
		return error_set(&s->err, EEXIST, "%s.part: somebody else saves there, or did and died; if so, remove it",
				 s->path);
	}
	if (s->fd < 0 ||
	    ftruncate(s->fd, (off_t)(SNAPSHOT_MEMORY_AT +
				     s->header.memory_len)))
		return snapshot_failed(s, "make it");
	return 0;
}

/* One after the other behind the memory. */
static int write_part(struct snapshot_save *s, enum snapshot_part part,
		      const void *buf, uint64_t len)
{
	struct snapshot_extent *x = &s->header.part[part];
	const struct snapshot_extent *before = x - 1;

	x->at = part ? align_up(before->at + before->len, 8) :
		       align_up(SNAPSHOT_MEMORY_AT + s->header.memory_len, 8);
	x->len = len;
	x->crc = crc32c(0, buf, len);
	return snapshot_write_at(s, buf, len, x->at);
}

static int sync_dir(struct snapshot_save *s)
{
	char copy[PATH_MAX];

	strcpy(copy, s->path);
	errno = -fd_sync_dir(dirname(copy));
	return errno ? snapshot_failed(s, "sync its directory") : 0;
}

/* All that is not memory, and then the name. */
int snapshot_finish_file(struct snapshot_save *s, const void *state, size_t len)
{
	const void *tree = s->cfg.vm->tree;
	uint8_t header[SNAPSHOT_HEADER];
	int ret = write_part(s, SNAPSHOT_TABLE, s->table, 4 * s->blocks);

	if (ret == 0)
		ret = write_part(s, SNAPSHOT_TREE, tree, fdt_totalsize(tree));
	if (ret == 0)
		ret = write_part(s, SNAPSHOT_STATE, state, len);
	s->header.saved_ns = clock_ns(CLOCK_REALTIME);
	/* one that stopped for a disk tries again there */
	s->header.flags = s->before == VM_PAUSED ? 0 : SNAPSHOT_RUN;
	snapshot_header_encode(header, &s->header);
	if (ret == 0)
		ret = snapshot_write_at(s, header, sizeof(header), 0);
	if (ret == 0 && fsync(s->fd))
		ret = snapshot_failed(s, "sync");
	if (ret == 0 && atomic_load(&s->cancelled))
		ret = error_set(&s->err, ECANCELED, "cancelled");
	if (ret == 0 && renameat2(AT_FDCWD, s->part, AT_FDCWD, s->path,
				  RENAME_NOREPLACE))
		ret = snapshot_failed(s, "give it its name");
	if (ret < 0)
		return ret;
	s->part[0] = '\0';
	return sync_dir(s);
}
