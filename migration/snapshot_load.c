/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "migration/crc32c.h"
#include "migration/snapshot.h"
#include "vmm/base/byteorder.h"
#include "vmm/base/fd.h"

/* All of @len bytes at @at; what lies behind the file's end is an error. */
static int read_at(const struct snapshot *s, void *buf, uint64_t len,
		   uint64_t at, struct error *err)
{
	uint64_t done = 0;

	while (done < len) {
		ssize_t n = pread(s->fd, (uint8_t *)buf + done, len - done,
				  (off_t)(at + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set(err, errno, "can't read it at %llu: %s",
					 (unsigned long long)(at + done),
					 strerror(errno));
		if (n == 0)
			return error_set(err, EBADMSG, "it was cut: it ends at %llu",
					 (unsigned long long)(at + done));
		done += (uint64_t)n;
	}
	return 0;
}

static int read_part(struct snapshot *s, enum snapshot_part part,
		     struct error *err)
{
	const struct snapshot_extent *x = &s->header.part[part];
	int ret;

	s->part[part] = malloc(x->len ? x->len : 1);
	if (!s->part[part])
		return error_set(err, ENOMEM, "no memory for its %s of %llu bytes",
				 snapshot_part_name(part),
				 (unsigned long long)x->len);
	ret = read_at(s, s->part[part], x->len, x->at, err);
	if (ret == 0 && crc32c(0, s->part[part], x->len) != x->crc)
		return error_set(err, EBADMSG, "its %s was altered (wrong checksum)",
				 snapshot_part_name(part));
	return ret;
}

static int open_file(struct snapshot *s, const char *path, uint64_t *size,
		     struct error *err)
{
	struct stat st;

	s->fd = open(path, O_RDWR | O_CLOEXEC);
	if (s->fd < 0 && (errno == EACCES || errno == EROFS || errno == EPERM))
		s->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (s->fd < 0 || fstat(s->fd, &st))
		return error_set(err, errno, "can't open it: %s",
				 strerror(errno));
	if (!S_ISREG(st.st_mode))
		return error_set(err, EINVAL, "it is no regular file");
	*size = (uint64_t)st.st_size;
	if (*size < SNAPSHOT_HEADER)
		return error_set(err, EINVAL, "it is no file of `godwit save`: %llu bytes",
				 (unsigned long long)*size);
	return 0;
}

int snapshot_open(struct snapshot *s, const char *path, struct error *err)
{
	uint8_t header[SNAPSHOT_HEADER];
	uint64_t size = 0;
	int ret;

	memset(s, 0, sizeof(*s));
	snprintf(s->path, sizeof(s->path), "%s", path);
	ret = open_file(s, path, &size, err);
	if (ret == 0)
		ret = read_at(s, header, sizeof(header), 0, err);
	if (ret == 0)
		ret = snapshot_header_decode(header, size, &s->header, err);
	for (unsigned int i = 0; ret == 0 && i < SNAPSHOT_NPARTS; i++)
		ret = read_part(s, i, err);
	if (ret < 0) {
		error_prefix(err, "%s", path);
		snapshot_close(s);
	}
	return ret;
}

void snapshot_close(struct snapshot *s)
{
	for (unsigned int i = 0; i < SNAPSHOT_NPARTS; i++) {
		free(s->part[i]);
		s->part[i] = NULL;
	}
	fd_close(&s->fd);
}

static int verify_block(const struct snapshot *s, uint64_t block, void *buf,
			struct error *err)
{
	uint64_t offset = block * SNAPSHOT_BLOCK;
	uint64_t len = MIN(SNAPSHOT_BLOCK, s->header.memory_len - offset);
	const uint8_t *sum = (uint8_t *)s->part[SNAPSHOT_TABLE] + 4 * block;
	int ret;

	memset((uint8_t *)buf + len, 0, SNAPSHOT_BLOCK - len);
	ret = read_at(s, buf, len, SNAPSHOT_MEMORY_AT + offset, err);
	if (ret == 0 && crc32c(0, buf, SNAPSHOT_BLOCK) != get_be32(sum))
		ret = error_set(err, EBADMSG, "its memory was altered (wrong checksum) in the 64 KiB at %llu of the file",
				(unsigned long long)(SNAPSHOT_MEMORY_AT + offset));
	return ret;
}

/* The next block with data at or behind @block; those before it are holes. */
static uint64_t next_data(const struct snapshot *s, uint64_t block)
{
	off_t at = (off_t)(SNAPSHOT_MEMORY_AT + block * SNAPSHOT_BLOCK);
	off_t data = lseek(s->fd, at, SEEK_DATA);

	if (data < 0)
		return errno == ENXIO ? UINT64_MAX : block;
	return ((uint64_t)data - SNAPSHOT_MEMORY_AT) / SNAPSHOT_BLOCK;
}

/* A hole has the checksum of zeroes. */
static int verify_hole(const struct snapshot *s, uint64_t block, uint32_t zero,
		       struct error *err)
{
	const uint8_t *sum = (uint8_t *)s->part[SNAPSHOT_TABLE] + 4 * block;

	if (get_be32(sum) == zero)
		return 0;
	return error_set(err, EBADMSG, "its memory has a hole in the 64 KiB at %llu of the file, where there was data",
			 (unsigned long long)(SNAPSHOT_MEMORY_AT +
					      block * SNAPSHOT_BLOCK));
}

int snapshot_verify(const struct snapshot *s, const atomic_bool *stop,
		    struct error *err)
{
	uint64_t blocks = snapshot_blocks(s->header.memory_len);
	uint8_t *buf = calloc(1, SNAPSHOT_BLOCK);
	uint32_t zero = buf ? crc32c(0, buf, SNAPSHOT_BLOCK) : 0;
	uint64_t data = 0;
	int ret = 0;

	if (!buf)
		return error_set(err, ENOMEM, "no memory");
	for (uint64_t i = 0; ret == 0 && i < blocks; i++) {
		if (stop && atomic_load(stop))
			ret = error_set(err, ECANCELED, "cancelled");
		else if (i >= data && (data = next_data(s, i)) <= i)
			ret = verify_block(s, i, buf, err);
		else
			ret = verify_hole(s, i, zero, err);
	}
	free(buf);
	if (ret < 0)
		error_prefix(err, "%s", s->path);
	return ret;
}

int snapshot_mark_restored(struct snapshot *s, struct error *err)
{
	uint8_t header[SNAPSHOT_HEADER];

	s->header.restored_ns = clock_ns(CLOCK_REALTIME);
	snapshot_header_encode(header, &s->header);
	if (pwrite(s->fd, header, sizeof(header), 0) != sizeof(header) ||
	    fdatasync(s->fd))
		return error_set(err, errno, "%s: can't write into it that it was restored: %s",
				 s->path, strerror(errno));
	return 0;
}
