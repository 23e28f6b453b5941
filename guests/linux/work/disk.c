/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Numbered records, each written with fdatasync, to a file that starts anew
 * when it is full. Memory knows which numbers must be in it, the disk says
 * which are.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "work.h"

#define PATH "/mnt/records"
#define MAGIC 0x64726f6365722020u
#define RECORD 4096
#define FULL 1024

struct record {
	uint64_t magic, number, sum;
	uint64_t words[RECORD / 8 - 3];
};

static struct {
	pthread_mutex_t lock;	/* of all below; "check" is another thread */
	bool on;
	int fd;
	double interval;
	uint64_t first, next;	/* the file holds first..next-1 */
	uint64_t errors, verified;
	struct record record;
	char why[120];
} disk = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void wrong(const char *what, uint64_t number)
{
	if (!disk.errors++)
		snprintf(disk.why, sizeof(disk.why), "%s, record %llu: %s", what,
			 (unsigned long long)number,
			 errno ? strerror(errno) : "not as written");
	say("disk ERROR %s record=%llu errno=%d", what,
	    (unsigned long long)number, errno);
}

static uint64_t fill(struct record *r)
{
	uint64_t x = r->number * 0x9e3779b97f4a7c15 + 1, sum = 0;
	unsigned int i;

	for (i = 0; i < RECORD / 8 - 3; i++) {
		x = x * 6364136223846793005 + 1442695040888963407;
		r->words[i] = x;
		sum += x;
	}
	return sum;
}

static bool good(const struct record *r, uint64_t number)
{
	uint64_t sum = 0;
	unsigned int i;

	for (i = 0; i < RECORD / 8 - 3; i++)
		sum += r->words[i];
	return r->magic == MAGIC && r->number == number && r->sum == sum;
}

static void start_anew(void)
{
	errno = 0;
	if (ftruncate(disk.fd, 0))
		wrong("truncate", disk.next);
	disk.first = disk.next;
}

static void append(void)
{
	off_t at = (disk.next - disk.first) * RECORD;

	disk.record.magic = MAGIC;
	disk.record.number = disk.next;
	disk.record.sum = fill(&disk.record);
	errno = 0;
	if (pwrite(disk.fd, &disk.record, RECORD, at) != RECORD)
		wrong("write", disk.next);
	else if (fdatasync(disk.fd))
		wrong("fdatasync", disk.next);
	disk.next++;
}

/* From the disk, not from the page cache, as far as advice goes. */
static void verify(void)
{
	uint64_t n;

	posix_fadvise(disk.fd, 0, 0, POSIX_FADV_DONTNEED);
	for (n = disk.first; n < disk.next; n++) {
		off_t at = (n - disk.first) * RECORD;

		errno = 0;
		if (pread(disk.fd, &disk.record, RECORD, at) != RECORD)
			wrong("read", n);
		else if (!good(&disk.record, n))
			wrong("contents", n);
	}
	errno = 0;
	if (lseek(disk.fd, 0, SEEK_END) != (off_t)(n - disk.first) * RECORD)
		wrong("length", n);
	disk.verified += n - disk.first;
}

static void *run(void *unused)
{
	double when = seconds(CLOCK_MONOTONIC), verify_at = when + 5;

	for (;;) {
		pthread_mutex_lock(&disk.lock);
		if (disk.next - disk.first == FULL)
			start_anew();
		append();
		if (when >= verify_at) {
			verify();
			verify_at = when + 5;
		}
		pthread_mutex_unlock(&disk.lock);
		when += disk.interval;
		if (when < seconds(CLOCK_MONOTONIC))
			when = seconds(CLOCK_MONOTONIC) + disk.interval;
		sleep_until(when);
	}
	return unused;
}

bool disk_start(const char *value)
{
	double rate = atof(value);

	disk.interval = 1 / (rate > 0 ? rate : 20);
	disk.fd = open(PATH, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	disk.on = disk.fd >= 0 && start_thread(run);
	return disk.on;
}

static bool mounted_writable(void)
{
	char line[256];
	bool found = false;
	FILE *f = fopen("/proc/mounts", "r");

	while (f && fgets(line, sizeof(line), f))
		found |= strstr(line, " /mnt ext4 rw") != NULL;
	if (f)
		fclose(f);
	return found;
}

static void drop_caches(void)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);

	sync();
	if (fd < 0 || write(fd, "3", 1) != 1)
		say("disk: cannot drop caches");
	if (fd >= 0)
		close(fd);
}

struct report disk_check(void)
{
	struct report r;

	if (!disk.on)
		return report(VERDICT_SKIP, "work.disk is off");
	pthread_mutex_lock(&disk.lock);
	drop_caches();
	verify();
	if (disk.errors)
		r = report(VERDICT_FAIL, "%llu errors, first: %s",
			   (unsigned long long)disk.errors, disk.why);
	else if (!mounted_writable())
		r = report(VERDICT_FAIL, "/mnt is no longer writable");
	else if (log_has("EXT4-fs error"))
		r = report(VERDICT_FAIL, "the kernel logged an EXT4-fs error");
	else
		r = report(VERDICT_OK, "%llu records written, %llu verified",
			   (unsigned long long)disk.next,
			   (unsigned long long)disk.verified);
	pthread_mutex_unlock(&disk.lock);
	return r;
}

bool disk_sequence(uint64_t *errors)
{
	pthread_mutex_lock(&disk.lock);
	*errors = disk.errors;
	pthread_mutex_unlock(&disk.lock);
	return disk.on;
}
