/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/lib/disk.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/disk.h"

static void die(const char *what)
{
	perror(what);
	abort();
}

static void lost(void *arg, const char *why)
{
	struct disk *d = arg;

	d->lost++;
}

static void found(void *arg)
{
	struct disk *d = arg;

	d->found++;
}

bool disk_driver_built(const char *uri)
{
	struct block_options opt = { .uri = uri };
	struct error err = ERROR_INIT;
	struct disk d;
	bool built;

	disk_init(&d);
	built = !disk_open(&d, &opt, &err) || !strstr(err.msg, "no such kind");
	disk_exit(&d);
	if (!built)
		printf("1..1\nok 1 - all # SKIP not in this build: %s\n", uri);
	return built;
}

void disk_init(struct disk *d)
{
	struct error err = ERROR_INIT;

	memset(d, 0, sizeof(*d));
	d->log = (struct log){ .level = LOG_ERROR, .fd = 2, .name = "test" };
	d->events = (struct block_events){
		.lost = lost, .found = found, .arg = d
	};
	strcpy(d->dir, "/tmp/godwit-disk-XXXXXX");
	if (!mkdtemp(d->dir) || loop_init(&d->loop, &err))
		die("disk_init");
	/* servers may run as another user */
	chmod(d->dir, 0755);
}

void disk_exit(struct disk *d)
{
	char cmd[128];

	block_close(d->blk);
	loop_exit(&d->loop);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", d->dir);
	if (system(cmd))
		die(cmd);
}

const char *disk_path(struct disk *d, const char *name, char buf[128])
{
	snprintf(buf, 128, "%s/%s", d->dir, name);
	return buf;
}

const char *disk_image(struct disk *d, const char *name, uint64_t size,
		       char buf[128])
{
	int fd = open(disk_path(d, name, buf), O_CREAT | O_RDWR, 0666);

	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		die(buf);
	close(fd);
	return buf;
}

int disk_open(struct disk *d, const struct block_options *opt,
	      struct error *err)
{
	return block_open(&d->blk, opt, &d->events, &d->loop, &d->log, err);
}

static void done(struct block_request *req, int result)
{
	struct disk_io *io = container_of(req, struct disk_io, req);

	io->finished = true;
	io->result = result;
}

void disk_submit(struct disk *d, struct disk_io *io, enum block_op op,
		 uint64_t offset, void *buf, uint64_t len)
{
	memset(io, 0, sizeof(*io));
	io->iov = (struct iovec){ buf, len };
	io->req = (struct block_request){
		.op = op, .offset = offset, .len = len, .done = done,
		.unmap = d->unmap,
	};
	if (op == BLOCK_READ || op == BLOCK_WRITE || op == BLOCK_MAP) {
		io->req.iov = &io->iov;
		io->req.niov = 1;
	}
	block_submit(d->blk, &io->req);
}

void disk_submit_own(struct disk *d, struct disk_io *io)
{
	io->finished = false;
	io->req.done = done;
	block_submit(d->blk, &io->req);
}

static bool is_finished(void *arg)
{
	struct disk_io *io = arg;

	return io->finished;
}

void disk_until(struct disk *d, bool (*cond)(void *arg), void *arg)
{
	uint64_t end = now_ns() + 20 * NSEC_PER_SEC;

	while (!cond(arg)) {
		if (now_ns() > end)
			die("condition not reached in 20 s");
		loop_run_once(&d->loop, 100);
	}
}

int disk_wait(struct disk *d, struct disk_io *io)
{
	disk_until(d, is_finished, io);
	return io->result;
}

int disk_do(struct disk *d, enum block_op op, uint64_t offset, void *buf,
	    uint64_t len)
{
	struct disk_io io;

	disk_submit(d, &io, op, offset, buf, len);
	return disk_wait(d, &io);
}

const char *disk_map(struct disk *d, char *buf)
{
	size_t bytes = d->blk->size / VM_DISK_PIECE / 8 + sizeof(long);
	uint64_t at = 0, n = 0;

	while (at < d->blk->size) {
		unsigned long *map = calloc(1, bytes);
		struct disk_io io;

		disk_submit(d, &io, BLOCK_MAP, at, map, d->blk->size - at);
		if (disk_wait(d, &io) || !io.req.len)
			die("no map");
		for (uint64_t i = 0; i * VM_DISK_PIECE < io.req.len; i++)
			buf[n++] = map[i / (8 * sizeof(long))] >>
				   (i % (8 * sizeof(long))) & 1 ? '#' : '.';
		at += io.req.len;
		free(map);
	}
	buf[n] = '\0';
	return buf;
}
