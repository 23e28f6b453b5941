/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * NBD disks against real servers, nbdkit and qemu-nbd, on unix sockets. The
 * server inherits a listening socket (LISTEN_FDS), so that a connection made
 * at any moment after its start is answered.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "devices/block/nbd.h"
#include "tests/lib/disk.h"
#include "vmm/base/fd.h"

#define SIZE (8 * MIB)
#define NREQ 64

struct rig {
	struct disk d;
	pid_t server;
	char uri[192];
	char image[128];
};

static int listen_at(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	unlink(path);
	strncpy(addr.sun_path, path, sizeof(addr.sun_path) - 1);
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    listen(fd, 8) < 0)
		abort();
	return fd;
}

static void exec_server(int fd, char *const argv[])
{
	char pid[16];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", "1", 1);
	dup2(fd, 3);
	execvp(argv[0], argv);
	_exit(127);
}

static void start(struct rig *r, char *const argv[])
{
	char path[128];
	int fd = listen_at(disk_path(&r->d, "sock", path));

	r->server = fork();
	if (!r->server)
		exec_server(fd, argv);
	close(fd);
}

static void stop(struct rig *r, int signal)
{
	if (r->server <= 0)
		return;
	kill(r->server, signal);
	waitpid(r->server, NULL, 0);
	r->server = 0;
}

static void start_nbdkit(struct rig *r)
{
	char file[160];
	char *argv[] = {
		(char[]){ "nbdkit" }, (char[]){ "-f" }, (char[]){ "file" },
		file, NULL
	};

	snprintf(file, sizeof(file), "file=%s", r->image);
	start(r, argv);
}

static void start_qemu_nbd(struct rig *r, bool readonly)
{
	char *argv[] = {
		(char[]){ "qemu-nbd" }, (char[]){ "-f" }, (char[]){ "raw" },
		(char[]){ "-t" }, (char[]){ "--discard=unmap" }, r->image,
		readonly ? (char[]){ "-r" } : NULL, NULL
	};

	start(r, argv);
}

/* It offers several connections to a client, then. */
static void start_shared_qemu_nbd(struct rig *r)
{
	char *argv[] = {
		(char[]){ "qemu-nbd" }, (char[]){ "-f" }, (char[]){ "raw" },
		(char[]){ "-t" }, (char[]){ "-e" }, (char[]){ "0" }, r->image,
		NULL
	};

	start(r, argv);
}

static bool have(const char *program)
{
	char cmd[64];

	snprintf(cmd, sizeof(cmd), "command -v %s >/dev/null", program);
	return !system(cmd);
}

static int setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	char path[128];

	disk_init(&r->d);
	disk_image(&r->d, "image", SIZE, r->image);
	snprintf(r->uri, sizeof(r->uri), "nbd+unix:///?socket=%s",
		 disk_path(&r->d, "sock", path));
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	stop(r, SIGKILL);
	disk_exit(&r->d);
	free(r);
	return 0;
}

static void need(const char *program)
{
	if (have(program))
		return;
	print_message("SKIP %s is not installed\n", program);
	skip();
}

static int try_open(struct rig *r, bool readonly, uint64_t size,
		    struct error *err)
{
	struct block_options opt = {
		.uri = r->uri, .readonly = readonly, .size = size
	};

	if (disk_open(&r->d, &opt, err))
		return -err->code;
	return block_activate(r->d.blk, err);
}

static void open_disk(struct rig *r)
{
	struct error err = ERROR_INIT;

	if (try_open(r, false, 0, &err))
		fail_msg("%s", err.msg);
}

static void fill(uint8_t *buf, size_t len, unsigned int seed)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)(seed * 31 + i * 7 + (i >> 8));
}

static void check_bytes(struct disk *d)
{
	static uint8_t out[256 * KIB], in[256 * KIB];

	fill(out, sizeof(out), 1);
	assert_int_equal(d->blk->size, SIZE);
	assert_int_equal(disk_do(d, BLOCK_WRITE, 4096, out, sizeof(out)), 0);
	assert_int_equal(disk_do(d, BLOCK_FLUSH, 0, NULL, 0), 0);
	assert_int_equal(disk_do(d, BLOCK_READ, 4096, in, sizeof(in)), 0);
	assert_memory_equal(in, out, sizeof(in));
	assert_int_equal(disk_do(d, BLOCK_WRITE_ZEROES, 8192, NULL, 4096), 0);
	assert_int_equal(disk_do(d, BLOCK_DISCARD, 16384, NULL, 4096), 0);
	assert_int_equal(disk_do(d, BLOCK_READ, 4096, in, sizeof(in)), 0);
	memset(out + 4096, 0, 4096);
	memset(out + 12288, 0, 4096);
	assert_memory_equal(in, out, sizeof(in));
}

static void nbdkit_keeps_bytes(void **state)
{
	struct rig *r = *state;

	need("nbdkit");
	start_nbdkit(r);
	open_disk(r);
	check_bytes(&r->d);
}

static void qemu_nbd_keeps_bytes(void **state)
{
	struct rig *r = *state;

	need("qemu-nbd");
	start_qemu_nbd(r, false);
	open_disk(r);
	check_bytes(&r->d);
}

/* The server has neither flush, trim nor zero: the guest's disk still does. */
static void a_poor_server_makes_the_same_disk(void **state)
{
	struct rig *r = *state;
	char *argv[] = {
		(char[]){ "nbdkit" }, (char[]){ "-f" },
		(char[]){ "--filter=nozero" }, (char[]){ "--filter=fua" },
		(char[]){ "eval" },
		(char[]){ "get_size=echo 8M" },
		(char[]){ "pread=dd if=$IMG skip=$4 count=$3 iflag=skip_bytes,count_bytes" },
		(char[]){ "pwrite=dd of=$IMG seek=$4 conv=notrunc oflag=seek_bytes" },
		NULL
	};
	static uint8_t buf[2 * MIB];

	need("nbdkit");
	setenv("IMG", r->image, 1);
	start(r, argv);
	open_disk(r);
	memset(buf, 0xff, sizeof(buf));
	assert_int_equal(disk_do(&r->d, BLOCK_WRITE, 0, buf, sizeof(buf)), 0);
	assert_int_equal(disk_do(&r->d, BLOCK_FLUSH, 0, NULL, 0), 0);
	assert_int_equal(disk_do(&r->d, BLOCK_DISCARD, 0, NULL, 4096), 0);
	assert_int_equal(disk_do(&r->d, BLOCK_WRITE_ZEROES, 512, NULL,
				 2 * MIB - 1024), 0);
	assert_int_equal(disk_do(&r->d, BLOCK_READ, 0, buf, sizeof(buf)), 0);
	assert_int_equal(buf[511], 0xff);
	assert_int_equal(buf[512], 0);
	assert_int_equal(buf[2 * MIB - 513], 0);
	assert_int_equal(buf[2 * MIB - 512], 0xff);
}

static void a_request_of_several_buffers_is_gathered(void **state)
{
	struct rig *r = *state;
	uint8_t out[3072], in[3072];
	struct iovec iov[3];
	struct disk_io io;

	need("nbdkit");
	start_nbdkit(r);
	open_disk(r);
	fill(out, sizeof(out), 5);
	assert_int_equal(disk_do(&r->d, BLOCK_WRITE, 0, out, sizeof(out)), 0);
	iov[0] = (struct iovec){ in + 2048, 1024 };
	iov[1] = (struct iovec){ in, 512 };
	iov[2] = (struct iovec){ in + 512, 1536 };
	disk_submit(&r->d, &io, BLOCK_FLUSH, 0, NULL, 0);
	assert_int_equal(disk_wait(&r->d, &io), 0);
	io.finished = false;
	io.req.op = BLOCK_READ;
	io.req.len = sizeof(in);
	io.req.iov = iov;
	io.req.niov = 3;
	block_submit(r->d.blk, &io.req);
	assert_int_equal(disk_wait(&r->d, &io), 0);
	assert_memory_equal(in + 2048, out, 1024);
	assert_memory_equal(in, out + 1024, 512);
	assert_memory_equal(in + 512, out + 1536, 1536);
}

/* The buffer's second half, then its first, as one request; @io was used. */
static void submit_halves(struct rig *r, struct disk_io *io, enum block_op op,
			  uint8_t *buf, size_t len, struct iovec iov[2])
{
	iov[0] = (struct iovec){ buf + len / 2, len / 2 };
	iov[1] = (struct iovec){ buf, len / 2 };
	io->finished = false;
	io->req.op = op;
	io->req.offset = 512;
	io->req.len = len;
	io->req.iov = iov;
	io->req.niov = 2;
	block_submit(r->d.blk, &io->req);
}

static void a_request_of_large_buffers_is_whole(void **state)
{
	size_t len = 256 * KIB;
	uint8_t *buf = malloc(2 * len);
	struct rig *r = *state;
	struct iovec iov[2];
	struct disk_io io;

	need("nbdkit");
	start_nbdkit(r);
	open_disk(r);
	fill(buf, len, 7);
	disk_submit(&r->d, &io, BLOCK_FLUSH, 0, NULL, 0);
	assert_int_equal(disk_wait(&r->d, &io), 0);
	submit_halves(r, &io, BLOCK_WRITE, buf, len, iov);
	assert_int_equal(disk_wait(&r->d, &io), 0);
	assert_int_equal(disk_do(&r->d, BLOCK_READ, 512, buf + len, len), 0);
	assert_memory_equal(buf + len, buf + len / 2, len / 2);
	assert_memory_equal(buf + 3 * len / 2, buf, len / 2);
	memset(buf, 0, len);
	submit_halves(r, &io, BLOCK_READ, buf, len, iov);
	assert_int_equal(disk_wait(&r->d, &io), 0);
	assert_memory_equal(buf + len, buf + len / 2, len / 2);
	assert_memory_equal(buf + 3 * len / 2, buf, len / 2);
	/* one that is on its way when the disk is closed is forgotten */
	stop(r, SIGKILL);
	submit_halves(r, &io, BLOCK_READ, buf, len, iov);
	assert_false(io.finished);
	block_close(r->d.blk);
	r->d.blk = NULL;
	free(buf);
}

static void a_flush_completes_whatever_its_length_says(void **state)
{
	struct rig *r = *state;

	need("nbdkit");
	start_nbdkit(r);
	open_disk(r);
	assert_int_equal(disk_do(&r->d, BLOCK_FLUSH, 0, NULL, 4096), 0);
}

static void a_readonly_export_refuses_a_writable_disk(void **state)
{
	struct rig *r = *state;
	struct error err = ERROR_INIT;

	need("qemu-nbd");
	start_qemu_nbd(r, true);
	assert_int_equal(try_open(r, false, 0, &err), -EROFS);
	assert_non_null(strstr(err.msg, "readonly=on"));
}

static void a_readonly_disk_reads_a_readonly_export(void **state)
{
	struct rig *r = *state;
	struct error err = ERROR_INIT;
	uint8_t buf[512];

	need("qemu-nbd");
	start_qemu_nbd(r, true);
	assert_int_equal(try_open(r, true, 0, &err), 0);
	assert_int_equal(disk_do(&r->d, BLOCK_READ, 0, buf, 512), 0);
}

static void an_export_of_another_size_is_refused(void **state)
{
	struct rig *r = *state;
	struct error err = ERROR_INIT;

	need("nbdkit");
	start_nbdkit(r);
	assert_int_equal(try_open(r, false, SIZE / 2, &err), -EINVAL);
}

static void no_server_is_an_error_that_says_so(void **state)
{
	struct rig *r = *state;
	struct error err = ERROR_INIT;

	assert_int_not_equal(try_open(r, false, 0, &err), 0);
	assert_non_null(strstr(err.msg, "is the server running?"));
}

static void a_server_s_error_fails_the_request(void **state)
{
	struct rig *r = *state;
	char *argv[] = {
		(char[]){ "nbdkit" }, (char[]){ "-f" },
		(char[]){ "--filter=error" }, (char[]){ "memory" },
		(char[]){ "8M" }, (char[]){ "error-pread-rate=1" },
		(char[]){ "error=ENOSPC" }, NULL
	};
	uint8_t buf[512], large[128 * KIB];
	struct iovec iov[2];
	struct disk_io io;

	need("nbdkit");
	start(r, argv);
	open_disk(r);
	disk_submit(&r->d, &io, BLOCK_READ, 0, buf, 512);
	assert_int_equal(disk_wait(&r->d, &io), -ENOSPC);
	submit_halves(r, &io, BLOCK_READ, large, sizeof(large), iov);
	assert_int_equal(disk_wait(&r->d, &io), -ENOSPC);
	assert_int_equal(r->d.lost, 0);
}

/* qemu-nbd serves one client at a time: the second waits for the first. */
static void deactivate_gives_the_connection_away(void **state)
{
	struct rig *r = *state;
	struct error err = ERROR_INIT;
	uint8_t out[512], in[512];

	need("qemu-nbd");
	start_qemu_nbd(r, false);
	open_disk(r);
	fill(out, sizeof(out), 9);
	assert_int_equal(disk_do(&r->d, BLOCK_WRITE, 0, out, 512), 0);
	assert_int_equal(block_deactivate(r->d.blk, &err), 0);
	block_close(r->d.blk);
	open_disk(r);
	assert_int_equal(disk_do(&r->d, BLOCK_READ, 0, in, 512), 0);
	assert_memory_equal(in, out, 512);
}

struct batch {
	struct disk_io io[NREQ];
	uint8_t buf[NREQ][8192];
};

static void submit_batch(struct rig *r, struct batch *b)
{
	for (unsigned int i = 0; i < NREQ; i++) {
		fill(b->buf[i], sizeof(b->buf[i]), i);
		disk_submit(&r->d, &b->io[i], BLOCK_WRITE, i * 8192,
			    b->buf[i], 8192);
	}
}

static void await_batch(struct rig *r, struct batch *b)
{
	uint8_t in[8192];

	for (unsigned int i = 0; i < NREQ; i++)
		assert_int_equal(disk_wait(&r->d, &b->io[i]), 0);
	for (unsigned int i = 0; i < NREQ; i++) {
		assert_int_equal(disk_do(&r->d, BLOCK_READ, i * 8192, in,
					 8192), 0);
		assert_memory_equal(in, b->buf[i], 8192);
	}
}

static bool is_lost(void *arg)
{
	struct rig *r = arg;

	return r->d.lost;
}

static bool is_found(void *arg)
{
	struct rig *r = arg;

	return r->d.found;
}

static void restart_under_load(struct rig *r, void (*again)(struct rig *r))
{
	struct batch *b = calloc(1, sizeof(*b));

	/* stopped first, so that it dies with the requests unanswered */
	kill(r->server, SIGSTOP);
	waitpid(r->server, NULL, WUNTRACED);
	submit_batch(r, b);
	stop(r, SIGKILL);
	disk_until(&r->d, is_lost, r);
	for (unsigned int i = 0; i < NREQ; i++)
		assert_false(b->io[i].finished);
	again(r);
	await_batch(r, b);
	assert_int_equal(r->d.lost, 1);
	assert_int_equal(r->d.found, 1);
	free(b);
}

static void qemu_again(struct rig *r)
{
	start_qemu_nbd(r, false);
}

static void requests_survive_the_death_of_nbdkit(void **state)
{
	struct rig *r = *state;

	need("nbdkit");
	start_nbdkit(r);
	open_disk(r);
	restart_under_load(r, start_nbdkit);
}

static void requests_survive_the_death_of_qemu_nbd(void **state)
{
	struct rig *r = *state;

	need("qemu-nbd");
	start_qemu_nbd(r, false);
	open_disk(r);
	restart_under_load(r, qemu_again);
}

/* nbdkit that writes "connection=N Write ..." into a log. */
static void start_logging(struct rig *r, const char *filter, const char *word)
{
	char file[160], logfile[160], path[128];
	char *argv[] = {
		(char[]){ "nbdkit" }, (char[]){ "-f" }, strdup(filter),
		(char[]){ "--filter=log" }, (char[]){ "file" }, file, logfile,
		strdup(word), NULL
	};

	snprintf(file, sizeof(file), "file=%s", r->image);
	snprintf(logfile, sizeof(logfile), "logfile=%s",
		 disk_path(&r->d, "log", path));
	start(r, argv);
	free(argv[2]);
	free(argv[7]);
}

static unsigned int connections_that_wrote(struct rig *r)
{
	char path[128], line[512];
	unsigned int seen = 0, n;
	FILE *f = fopen(disk_path(&r->d, "log", path), "r");

	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		const char *at = strstr(line, "connection=");

		if (at && strstr(at, " Write ") &&
		    sscanf(at, "connection=%u", &n) == 1)
			seen |= 1u << n;
	}
	fclose(f);
	return (unsigned int)__builtin_popcount(seen);
}

static unsigned int ready_conns(struct rig *r)
{
	struct nbd_disk *d = container_of(r->d.blk, struct nbd_disk, blk);
	unsigned int n = 0;

	for (unsigned int i = 0; i < NBD_MAX_CONNS; i++)
		n += d->conn[i].ready;
	return n;
}

static bool all_ready(void *arg)
{
	return ready_conns(arg) == NBD_MAX_CONNS;
}

/* None is on its way any more. */
static bool none_connecting(void *arg)
{
	struct rig *r = arg;
	struct nbd_disk *d = container_of(r->d.blk, struct nbd_disk, blk);

	for (unsigned int i = 0; i < NBD_MAX_CONNS; i++)
		if (d->conn[i].h && !d->conn[i].ready)
			return false;
	return true;
}

static void do_batch(struct rig *r)
{
	struct batch *b = calloc(1, sizeof(*b));

	submit_batch(r, b);
	await_batch(r, b);
	assert_int_equal(disk_do(&r->d, BLOCK_FLUSH, 0, NULL, 0), 0);
	free(b);
}

/* More than one connection takes at a time. */
static void do_large(struct rig *r)
{
	struct disk_io io[8];
	char *buf = calloc(8, MIB);

	for (unsigned int i = 0; i < 8; i++)
		disk_submit(&r->d, &io[i], BLOCK_WRITE, i * MIB, buf + i * MIB,
			    MIB);
	for (unsigned int i = 0; i < 8; i++)
		assert_int_equal(disk_wait(&r->d, &io[i]), 0);
	free(buf);
}

static void requests_are_spread_over_what_the_server_offers(void **state)
{
	struct rig *r = *state;

	need("nbdkit");
	start_logging(r, "--filter=multi-conn", "multi-conn-mode=auto");
	open_disk(r);
	disk_until(&r->d, all_ready, r);
	do_large(r);
	assert_int_equal(connections_that_wrote(r), NBD_MAX_CONNS);
}

static void one_connection_where_no_more_is_offered(void **state)
{
	struct rig *r = *state;

	need("nbdkit");
	start_logging(r, "--filter=multi-conn", "multi-conn-mode=disable");
	open_disk(r);
	disk_until(&r->d, none_connecting, r);
	do_batch(r);
	assert_int_equal(ready_conns(r), 1);
	assert_int_equal(connections_that_wrote(r), 1);
}

static void a_server_with_room_for_one_client_is_enough(void **state)
{
	struct rig *r = *state;
	struct error err = ERROR_INIT;

	need("nbdkit");
	start_logging(r, "--filter=limit", "limit=1");
	for (unsigned int i = 0; i < 3; i++) {
		open_disk(r);
		disk_until(&r->d, none_connecting, r);
		do_batch(r);
		assert_int_equal(ready_conns(r), 1);
		assert_int_equal(r->d.lost, 0);
		assert_int_equal(block_deactivate(r->d.blk, &err), 0);
		block_close(r->d.blk);
		r->d.blk = NULL;
	}
}

static void one_connection_lost_of_several_loses_no_request(void **state)
{
	struct rig *r = *state;
	struct batch *b = calloc(1, sizeof(*b));
	struct nbd_disk *d;

	/* nbdkit 1.32 may crash of this */
	need("qemu-nbd");
	start_shared_qemu_nbd(r);
	open_disk(r);
	disk_until(&r->d, all_ready, r);
	d = container_of(r->d.blk, struct nbd_disk, blk);
	kill(r->server, SIGSTOP);
	waitpid(r->server, NULL, WUNTRACED);
	submit_batch(r, b);
	shutdown(d->nbd.aio_get_fd(d->conn[2].h), SHUT_RDWR);
	disk_until(&r->d, is_lost, r);
	kill(r->server, SIGCONT);
	await_batch(r, b);
	assert_int_equal(r->d.found, 1);
	disk_until(&r->d, all_ready, r);
	free(b);
}

static void a_disk_of_another_size_takes_another_server(void **state)
{
	struct rig *r = *state;
	struct error err = ERROR_INIT;

	need("nbdkit");
	start_nbdkit(r);
	open_disk(r);
	assert_int_equal(block_resize(r->d.blk, 2 * SIZE, &err), -ENOTSUP);
	assert_non_null(strstr(err.msg, "what the server said"));
	assert_int_equal(r->d.blk->size, SIZE);
}

/* 8 MiB: 192 KiB of data in it, at 1 MiB and in the last sector. */
static const char map_of_data[] =
	"................###............................................."
	"...............................................................#";

static void write_data(struct rig *r)
{
	static uint8_t buf[160 * KIB];
	int fd = open(r->image, O_WRONLY);

	memset(buf, 5, sizeof(buf));
	assert_int_equal(pwrite(fd, buf, sizeof(buf), MIB), sizeof(buf));
	assert_int_equal(pwrite(fd, buf, 512, SIZE - 512), 512);
	close(fd);
}

static void expect_map(struct rig *r, const char *want)
{
	char map[SIZE / (64 * KIB) + 1];

	assert_string_equal(disk_map(&r->d, map), want);
}

static void nbdkit_tells_its_holes(void **state)
{
	struct rig *r = *state;

	need("nbdkit");
	write_data(r);
	start_nbdkit(r);
	open_disk(r);
	expect_map(r, map_of_data);
}

static void qemu_nbd_tells_its_holes(void **state)
{
	struct rig *r = *state;

	need("qemu-nbd");
	write_data(r);
	start_qemu_nbd(r, false);
	open_disk(r);
	expect_map(r, map_of_data);
}

static void expect_all_data(struct rig *r)
{
	char want[SIZE / (64 * KIB) + 1] = { 0 };

	memset(want, '#', sizeof(want) - 1);
	open_disk(r);
	expect_map(r, want);
	assert_int_equal(r->d.lost, 0);
}

static void a_server_that_knows_no_holes_has_none(void **state)
{
	struct rig *r = *state;
	char file[160];
	char *argv[] = {
		(char[]){ "nbdkit" }, (char[]){ "-f" }, (char[]){ "--no-sr" },
		(char[]){ "file" }, file, NULL
	};

	need("nbdkit");
	snprintf(file, sizeof(file), "file=%s", r->image);
	start(r, argv);
	expect_all_data(r);
}

static void a_server_that_fails_to_tell_has_no_holes(void **state)
{
	struct rig *r = *state;
	char *argv[] = {
		(char[]){ "nbdkit" }, (char[]){ "-f" },
		(char[]){ "--filter=error" }, (char[]){ "memory" },
		(char[]){ "8M" }, (char[]){ "error-extents-rate=1" }, NULL
	};

	need("nbdkit");
	start(r, argv);
	expect_all_data(r);
}

/* One that lies in between two pieces, or is smaller, is none. */
static void a_hole_of_less_than_a_piece_is_none(void **state)
{
	struct rig *r = *state;
	char *argv[] = {
		(char[]){ "nbdkit" }, (char[]){ "-f" }, (char[]){ "eval" },
		(char[]){ "get_size=echo 256K" }, (char[]){ "pread=false" },
		(char[]){ "pwrite=false" },
		(char[]){ "can_extents=exit 0" },
		(char[]){ "extents=echo 0 100000 hole,zero; echo 100000 31072; echo 131072 32256 hole,zero; echo 163328 512 hole; echo 163840 98304 zero" },
		NULL
	};
	char map[5];

	need("nbdkit");
	start(r, argv);
	open_disk(r);
	assert_string_equal(disk_map(&r->d, map), ".##.");
}

static void a_map_waits_for_a_lost_server(void **state)
{
	struct rig *r = *state;
	unsigned long map[2] = { 0 };
	struct disk_io io;

	need("nbdkit");
	write_data(r);
	start_nbdkit(r);
	open_disk(r);
	kill(r->server, SIGSTOP);
	waitpid(r->server, NULL, WUNTRACED);
	disk_submit(&r->d, &io, BLOCK_MAP, 0, map, SIZE);
	stop(r, SIGKILL);
	disk_until(&r->d, is_lost, r);
	assert_false(io.finished);
	start_nbdkit(r);
	assert_int_equal(disk_wait(&r->d, &io), 0);
	assert_int_equal(map[0], 7ul << 16);
}

/* One that is durable when it is done. */
static int write_through(struct rig *r, uint64_t offset, void *buf,
			 uint64_t len)
{
	struct disk_io io = {
		.iov = { buf, len },
		.req = { .op = BLOCK_WRITE, .fua = true, .offset = offset,
			 .len = len, .iov = &io.iov, .niov = 1 },
	};

	disk_submit_own(&r->d, &io);
	return disk_wait(&r->d, &io);
}

/* How many lines of the server's log have @word. */
static unsigned int logged(struct rig *r, const char *word)
{
	char path[128], line[512];
	unsigned int n = 0;
	FILE *f = fopen(disk_path(&r->d, "log", path), "r");

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		n += !!strstr(line, word);
	fclose(f);
	return n;
}

static void a_durable_write_is_one_command(void **state)
{
	struct rig *r = *state;
	uint8_t buf[4096] = { 1 };

	need("nbdkit");
	start_logging(r, "--filter=multi-conn", "multi-conn-mode=disable");
	open_disk(r);
	assert_int_equal(write_through(r, 0, buf, sizeof(buf)), 0);
	assert_int_equal(logged(r, "fua=1"), 1);
	assert_int_equal(logged(r, " Flush id="), 0);
}

/* All its pieces, then a flush. */
static void a_server_that_can_t_write_through_is_flushed(void **state)
{
	struct rig *r = *state;
	size_t len = 3 * MIB;
	char *buf = calloc(1, len);

	need("nbdkit");
	/* by default that takes it away */
	start_logging(r, "--filter=fua", "cache=default");
	open_disk(r);
	assert_int_equal(disk_do(&r->d, BLOCK_WRITE, 0, buf, 512), 0);
	assert_int_equal(logged(r, " Flush id="), 0);
	assert_int_equal(write_through(r, 512, buf, len), 0);
	assert_int_equal(logged(r, "fua=1"), 0);
	assert_int_equal(logged(r, " Flush id="), 1);
	free(buf);
}

static void a_request_made_while_lost_waits(void **state)
{
	struct rig *r = *state;
	struct disk_io io;
	uint8_t buf[512];

	need("nbdkit");
	start_nbdkit(r);
	open_disk(r);
	stop(r, SIGKILL);
	disk_until(&r->d, is_lost, r);
	disk_submit(&r->d, &io, BLOCK_READ, 0, buf, 512);
	loop_run_once(&r->d.loop, 150);		/* an attempt fails */
	assert_false(io.finished);
	start_nbdkit(r);
	assert_int_equal(disk_wait(&r->d, &io), 0);
	assert_int_equal(r->d.lost, 1);
	assert_int_equal(r->d.found, 1);
}

static void open_impatient(struct rig *r)
{
	struct block_options opt = { .uri = r->uri, .reconnect_s = 1 };
	struct error err = ERROR_INIT;

	if (disk_open(&r->d, &opt, &err) || block_activate(r->d.blk, &err))
		fail_msg("%s", err.msg);
}

static void a_server_that_stays_away_fails_requests_until_it_is_back(void **state)
{
	struct rig *r = *state;
	struct disk_io io;
	uint8_t buf[512];

	need("nbdkit");
	start_nbdkit(r);
	open_impatient(r);
	stop(r, SIGKILL);
	disk_until(&r->d, is_lost, r);
	disk_submit(&r->d, &io, BLOCK_READ, 0, buf, 512);
	assert_false(io.finished);
	assert_int_equal(disk_wait(&r->d, &io), BLOCK_LOST);
	assert_int_equal(disk_do(&r->d, BLOCK_READ, 0, buf, 512), BLOCK_LOST);
	start_nbdkit(r);
	disk_until(&r->d, is_found, r);
	assert_int_equal(disk_do(&r->d, BLOCK_READ, 0, buf, 512), 0);
}

static void a_disk_that_was_given_up_can_be_left(void **state)
{
	struct rig *r = *state;
	struct error err = ERROR_INIT;
	uint8_t buf[512];

	need("nbdkit");
	start_nbdkit(r);
	open_impatient(r);
	stop(r, SIGKILL);
	disk_until(&r->d, is_lost, r);
	assert_int_equal(disk_do(&r->d, BLOCK_READ, 0, buf, 512), BLOCK_LOST);
	assert_int_equal(block_deactivate(r->d.blk, &err), 0);
}

static void a_lost_server_can_t_be_deactivated(void **state)
{
	struct rig *r = *state;
	struct error err = ERROR_INIT;

	need("nbdkit");
	start_nbdkit(r);
	open_disk(r);
	stop(r, SIGKILL);
	disk_until(&r->d, is_lost, r);
	assert_int_equal(block_deactivate(r->d.blk, &err), -EIO);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nbdkit_keeps_bytes),
		TEST(qemu_nbd_keeps_bytes),
		TEST(a_poor_server_makes_the_same_disk),
		TEST(a_request_of_several_buffers_is_gathered),
		TEST(a_request_of_large_buffers_is_whole),
		TEST(a_flush_completes_whatever_its_length_says),
		TEST(a_readonly_export_refuses_a_writable_disk),
		TEST(a_readonly_disk_reads_a_readonly_export),
		TEST(an_export_of_another_size_is_refused),
		TEST(no_server_is_an_error_that_says_so),
		TEST(a_server_s_error_fails_the_request),
		TEST(deactivate_gives_the_connection_away),
		TEST(requests_survive_the_death_of_nbdkit),
		TEST(requests_survive_the_death_of_qemu_nbd),
		TEST(requests_are_spread_over_what_the_server_offers),
		TEST(one_connection_where_no_more_is_offered),
		TEST(a_server_with_room_for_one_client_is_enough),
		TEST(one_connection_lost_of_several_loses_no_request),
		TEST(a_disk_of_another_size_takes_another_server),
		TEST(nbdkit_tells_its_holes),
		TEST(qemu_nbd_tells_its_holes),
		TEST(a_server_that_knows_no_holes_has_none),
		TEST(a_server_that_fails_to_tell_has_no_holes),
		TEST(a_hole_of_less_than_a_piece_is_none),
		TEST(a_map_waits_for_a_lost_server),
		TEST(a_durable_write_is_one_command),
		TEST(a_server_that_can_t_write_through_is_flushed),
		TEST(a_request_made_while_lost_waits),
		TEST(a_server_that_stays_away_fails_requests_until_it_is_back),
		TEST(a_disk_that_was_given_up_can_be_left),
		TEST(a_lost_server_can_t_be_deactivated),
	};

	if (!disk_driver_built("nbd:nowhere"))
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
