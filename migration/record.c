/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/fd.h"

#define RECORD_MAX (2 * PATH_MAX)

/* Of one length, at one place: a write of them can't be torn. */
static const char ready[] = "ready";
static const char going[] = "going";
#define STATE_AT 6		/* behind "state " */

void record_init(struct record *r)
{
	r->fd = r->dir = -1;
	r->going = false;
	r->path[0] = '\0';
}

static const char *role_name(enum record_role role)
{
	return role == RECORD_SOURCE ? "source" : "destination";
}

static void job_text(const struct wire_job *job, char text[2 * WIRE_JOB + 1])
{
	for (unsigned int i = 0; i < WIRE_JOB; i++)
		snprintf(text + 2 * i, 3, "%02x", job->id[i]);
}

static int path_of(char path[PATH_MAX], const char *dir,
		   const struct record_info *info, struct error *err)
{
	char job[2 * WIRE_JOB + 1];

	job_text(&info->job, job);
	if (snprintf(path, PATH_MAX, "%s/%s.%s", dir, job,
		     role_name(info->role)) >= PATH_MAX)
		return error_set(err, ENAMETOOLONG, "%s: the path is too long",
				 dir);
	return 0;
}

static int failed(struct error *err, const char *what, const char *path)
{
	return error_set(err, errno, "can't %s the migration's record %s: %s",
			 what, path, strerror(errno));
}

static int sync_dir(const char *dir, struct error *err)
{
	errno = -fd_sync_dir(dir);
	return errno ? failed(err, "sync the directory of", dir) : 0;
}

static int write_new(struct record *r, const char *dir, const char *tmp,
		     const struct record_info *info, struct error *err)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char text[RECORD_MAX], job[2 * WIRE_JOB + 1];
	int len;

	job_text(&info->job, job);
	len = snprintf(text, sizeof(text),
		       "state %s\nrole %s\njob %s\nuri %s\nvm %s\n"
		       "plain %d\ntls %s\nname %s\n", ready,
		       role_name(info->role), job, info->uri, info->vm,
		       info->plain, info->tls, info->tls_name);
	r->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r->dir < 0)
		return failed(err, "open the directory of", r->path);
	r->fd = open(tmp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (r->fd < 0)
		return failed(err, "make", tmp);
	errno = -fd_write_full(r->fd, text, (size_t)len);
	if (errno || fcntl(r->fd, F_OFD_SETLK, &lock) || fsync(r->fd) ||
	    rename(tmp, r->path))
		return failed(err, "write", tmp);
	return 0;
}

static bool parse_job(const char *text, struct wire_job *job)
{
	for (unsigned int i = 0; i < WIRE_JOB; i++) {
		unsigned int byte;

		if (sscanf(text + 2 * i, "%2x", &byte) != 1)
			return false;
		job->id[i] = (uint8_t)byte;
	}
	return strlen(text) == 2 * WIRE_JOB;
}

/* The rest of the line that begins with @word; "" if there is none. */
static void parse_line(const char *text, const char *word, char *out,
		       size_t size)
{
	const char *at = strstr(text, word);

	out[0] = '\0';
	if (at)
		snprintf(out, size, "%.*s",
			 (int)strcspn(at + strlen(word), "\n"),
			 at + strlen(word));
}

static bool parse(const char *text, struct record_info *info)
{
	char state[8], role[16], job[2 * WIRE_JOB + 1];

	memset(info, 0, sizeof(*info));
	if (sscanf(text, "state %7s role %15s job %32s uri %255s vm %63[^\n]",
		   state, role, job, info->uri, info->vm) != 5)
		return false;
	info->role = strcmp(role, "source") ? RECORD_DESTINATION :
					      RECORD_SOURCE;
	/* what is neither is taken for the one that promises nothing */
	info->going = strcmp(state, ready) != 0;
	info->plain = strstr(text, "\nplain 1\n") != NULL;
	parse_line(text, "\ntls ", info->tls, sizeof(info->tls));
	parse_line(text, "\nname ", info->tls_name, sizeof(info->tls_name));
	return parse_job(job, &info->job);
}

/* Nothing of what is hidden, or not yet whole. */
static bool load(int dirfd, const char *name, struct record_info *info)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	bool ok = name[0] != '.' && !strstr(name, ".new");
	int fd = ok ? openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) :
		      -1;
	char text[RECORD_MAX];
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	ok = n > 0;
	if (ok) {
		text[n] = '\0';
		ok = parse(text, info);
		info->alive = !fcntl(fd, F_OFD_GETLK, &lock) &&
			      lock.l_type != F_UNLCK;
	}
	fd_close(&fd);
	return ok;
}

/*
 * What processes that were killed left: nothing, if GO could not be sent yet; and
 * that @vm came here is told no more when it is on its way again.
 */
static void sweep(const char *dir, const char *vm)
{
	struct record_info info;
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d && (e = readdir(d)))
		if (load(dirfd(d), e->d_name, &info) && !info.alive &&
		    (!info.going || (info.role == RECORD_DESTINATION &&
				     !strcmp(info.vm, vm))))
			unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
}

int record_open(struct record *r, const char *dir,
		const struct record_info *info, struct error *err)
{
	char tmp[PATH_MAX + 4];
	int ret;

	record_init(r);
	if (!dir)
		return 0;
	sweep(dir, info->vm);
	ret = path_of(r->path, dir, info, err);
	if (ret < 0)
		return ret;
	snprintf(tmp, sizeof(tmp), "%s.new", r->path);
	ret = write_new(r, dir, tmp, info, err);
	if (ret == 0)
		ret = sync_dir(dir, err);
	if (ret < 0) {
		unlink(tmp);
		record_done(r);
	}
	return ret;
}

int record_going(struct record *r, struct error *err)
{
	if (r->fd < 0 || r->going)
		return 0;
	if (pwrite(r->fd, going, strlen(going), STATE_AT) !=
	    (ssize_t)strlen(going) || fdatasync(r->fd))
		return failed(err, "write", r->path);
	r->going = true;
	return 0;
}

/* Not made durable: a record too many is settled by asking once more. */
void record_done(struct record *r)
{
	if (r->fd >= 0)
		unlinkat(r->dir, strrchr(r->path, '/') + 1, 0);
	record_leave(r);
}

void record_leave(struct record *r)
{
	fd_close(&r->fd);
	fd_close(&r->dir);
}

int record_find(const char *dir, const char *vm, enum record_role role,
		struct record_info *out, struct error *err)
{
	DIR *d = opendir(dir);
	bool found = false;
	struct dirent *e;

	while (d && !found && (e = readdir(d)))
		found = load(dirfd(d), e->d_name, out) &&
			out->role == role && !strcmp(out->vm, vm);
	if (d)
		closedir(d);
	if (found)
		return 0;
	return error_set(err, ENOENT, "%s: no record of a migration of '%s'",
			 dir, vm);
}

int record_remove(const char *dir, const struct record_info *info,
		  struct error *err)
{
	char path[PATH_MAX];
	int ret = path_of(path, dir, info, err);

	if (ret == 0 && unlink(path))
		ret = failed(err, "remove", path);
	return ret < 0 ? ret : sync_dir(dir, err);
}
