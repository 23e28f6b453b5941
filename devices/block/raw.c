/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Raw images, files and block devices.
 *
 * The image is opened, locked and measured again by activate: only then does
 * a network file system promise to show what the other host wrote. The lock
 * is an open-file-description lock (fcntl(2)) on the whole file, exclusive
 * for a writer, shared for readers; it goes with the descriptor.
 *
 * direct: requests go past the page cache. Buffers that direct I/O can't use
 * are bounced; requests not aligned to the image's granule take a second,
 * buffered descriptor, which the kernel keeps coherent with the first.
 *
 * Everything in the loop's thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/block/raw.h"
#include "vmm/base/fd.h"

static int image_size(struct raw *r, int fd, uint64_t *size)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	r->is_device = S_ISBLK(st.st_mode);
	if (r->is_device)
		return ioctl(fd, BLKGETSIZE64, size) < 0 ? -errno : 0;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	*size = (uint64_t)st.st_size;
	return 0;
}

static int image_open(struct raw *r, int flags, struct error *err)
{
	int fd;

	flags |= O_CLOEXEC | (r->blk.readonly ? O_RDONLY : O_RDWR);
	fd = open(r->path, flags);
	if (fd >= 0)
		return fd;
	if (errno == EINVAL && (flags & O_DIRECT))
		return error_set(err, EINVAL,
				 "%s: its file system has no direct I/O, leave direct=on out",
				 r->path);
	if ((errno == EACCES || errno == EROFS) && !r->blk.readonly)
		return error_set(err, errno,
				 "cannot open %s for writing: %s (readonly=on would do without)",
				 r->path, strerror(errno));
	return error_set(err, errno, "cannot open %s: %s", r->path,
			 strerror(errno));
}

/* The smallest unit that direct I/O takes here: found by trying. */
static uint32_t find_granule(int fd)
{
	uint32_t granule = RAW_PAGE;
	void *buf;

	if (posix_memalign(&buf, RAW_PAGE, RAW_PAGE))
		return RAW_PAGE;
	if (pread(fd, buf, RAW_SECTOR, RAW_SECTOR) >= 0)
		granule = RAW_SECTOR;
	free(buf);
	return granule;
}

static int image_measure(struct raw *r, int fd, struct error *err)
{
	uint64_t size = 0;
	int ret = image_size(r, fd, &size);

	if (ret)
		return error_set(err, -ret,
				 "%s is neither a file nor a block device",
				 r->path);
	size = align_down(size, RAW_SECTOR);
	if (!size)
		return error_set(err, EINVAL,
				 "%s is empty, a disk has at least %d bytes",
				 r->path, RAW_SECTOR);
	if (r->want_size && size != r->want_size)
		return error_set(err, EINVAL,
				 "%s has %llu bytes, the machine's disk has %llu",
				 r->path, (unsigned long long)size,
				 (unsigned long long)r->want_size);
	r->blk.size = size;
	r->want_size = size;
	return 0;
}

static int image_lock(struct raw *r, struct error *err)
{
	struct flock lock = {
		.l_type = r->blk.readonly ? F_RDLCK : F_WRLCK,
		.l_whence = SEEK_SET,
	};

	if (!fcntl(r->fd, F_OFD_SETLK, &lock))
		return 0;
	if (errno != EAGAIN && errno != EACCES)
		return error_set(err, errno, "cannot lock %s: %s", r->path,
				 strerror(errno));
	return error_set(err, EBUSY,
			 "%s is in use: another VM or tool holds its lock (lslocks and fuser -v %s tell which, on the host where it runs)",
			 r->path, r->path);
}

static void image_close(struct raw *r)
{
	fd_close(&r->buffered_fd);
	fd_close(&r->fd);
}

static int image_take(struct raw *r, struct error *err)
{
	r->fd = image_open(r, r->direct ? O_DIRECT : 0, err);
	if (r->fd < 0)
		return r->fd;
	if (r->direct) {
		r->buffered_fd = image_open(r, 0, err);
		if (r->buffered_fd < 0)
			return r->buffered_fd;
		r->granule = find_granule(r->fd);
	}
	return image_lock(r, err) ?: image_measure(r, r->fd, err);
}

static int raw_activate(struct block *blk, struct error *err)
{
	struct raw *r = to_raw(blk);
	int ret = image_take(r, err);

	if (ret) {
		image_close(r);
		return ret;
	}
	/* Another host may have written to it: forget the pages read before. */
	if (r->is_device)
		posix_fadvise(r->fd, 0, 0, POSIX_FADV_DONTNEED);
	return 0;
}

static int raw_deactivate(struct block *blk, struct error *err)
{
	struct raw *r = to_raw(blk);

	if (!blk->readonly && fdatasync(r->fd) < 0)
		return error_set(err, errno, "cannot flush %s: %s", r->path,
				 strerror(errno));
	image_close(r);
	return 0;
}

/* Holes read as zeroes. A file system that knows none shows all as data. */
static bool raw_has_data(struct block *blk, uint64_t offset, uint64_t *len)
{
	struct raw *r = to_raw(blk);
	off_t at = (off_t)offset, data, hole;

	if (r->is_device)
		return true;
	data = lseek(r->fd, at, SEEK_DATA);
	if (data < 0)
		return errno != ENXIO;	/* that: no data up to the end */
	if (data > at) {
		*len = MIN(*len, (uint64_t)(data - at));
		return false;
	}
	hole = lseek(r->fd, at, SEEK_HOLE);
	if (hole > at)
		*len = MIN(*len, (uint64_t)(hole - at));
	return true;
}

/* A device is grown by others (lvextend), and so may a file have been. The
 * next host measures it: it must be as large as the guest's disk. */
static int raw_resize(struct block *blk, uint64_t size, struct error *err)
{
	struct raw *r = to_raw(blk);
	uint64_t has = 0;
	int ret = image_size(r, r->fd, &has);

	if (!ret && has < size && !r->is_device) {
		ret = ftruncate(r->fd, (off_t)size) < 0 ? -errno : 0;
		has = size;
	}
	if (ret)
		return error_set(err, -ret, "cannot make it %llu bytes: %s",
				 (unsigned long long)size, strerror(-ret));
	if (align_down(has, RAW_SECTOR) != size)
		return error_set(err, EINVAL,
				 "%s has %llu bytes: make it %llu first, or take it as it is",
				 r->path, (unsigned long long)has,
				 (unsigned long long)size);
	r->want_size = blk->size = size;
	return 0;
}

static void raw_close(struct block *blk)
{
	struct raw *r = to_raw(blk);

	raw_io_exit(r);
	image_close(r);
	free(r->path);
	free(r);
}

/* See that the image is there and fits, without keeping it. */
static int image_probe(struct raw *r, struct error *err)
{
	int fd = image_open(r, r->direct ? O_DIRECT : 0, err);
	int ret;

	if (fd < 0)
		return fd;
	ret = image_measure(r, fd, err);
	close(fd);
	return ret;
}

static int raw_open(struct block **out, const struct block_options *opt,
		    const struct block_events *events, struct loop *loop,
		    const struct log *log, struct error *err)
{
	bool scheme = !strncmp(opt->uri, "file:", 5);
	struct raw *r = calloc(1, sizeof(*r));
	int ret;

	if (!r)
		return error_set(err, ENOMEM, "no memory");
	r->blk = (struct block){
		.block_size = RAW_SECTOR, .readonly = opt->readonly,
		.can_flush = true, .can_fua = true,
		.can_discard = true, .can_write_zeroes = true,
	};
	r->loop = loop;
	r->log = log;
	r->direct = opt->direct;
	r->want_size = opt->size;
	r->fd = r->buffered_fd = -1;
	r->path = strdup(opt->uri + (scheme ? 5 : 0));
	if (!r->path) {
		free(r);
		return error_set(err, ENOMEM, "no memory");
	}
	ret = raw_io_init(r, err) ?: image_probe(r, err);
	if (ret)
		raw_close(&r->blk);
	else
		*out = &r->blk;
	return ret;
}

static const struct block_driver raw_driver = {
	.scheme = "file",
	.doc = "raw image file or block device (io_uring)",
	.fence = "a lock on the file, as far as its file system carries it",
	.open = raw_open,
	.activate = raw_activate,
	.deactivate = raw_deactivate,
	.submit = raw_io_submit,
	.has_data = raw_has_data,
	.resize = raw_resize,
	.close = raw_close,
};

BLOCK_DRIVER(raw_driver);
