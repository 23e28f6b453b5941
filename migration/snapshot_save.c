/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "migration/crc32c.h"
#include "migration/snapshot_private.h"
#include "vmm/base/byteorder.h"
#include "vmm/base/fd.h"
#include "vmm/base/thread.h"

#define MAX_ROUNDS 20
#define QUIESCE_NS (30 * NSEC_PER_SEC)

static void stage(struct snapshot_save *s, enum migration_stage stage)
{
	struct migration_stats now;

	migration_progress_stage(&s->progress, stage);
	snapshot_save_stats(s, &now);
	if (s->cfg.notify)
		s->cfg.notify(s->cfg.arg, &now);
}

static int prepare(struct snapshot_save *s)
{
	int ret = 0;

	for (unsigned int r = 0; r < s->mem->nregions; r++) {
		s->dirty[r] = calloc(bits_longs(memory_pages(s->mem, r)),
				     sizeof(long));
		if (!s->dirty[r])
			ret = -ENOMEM;
	}
	s->header.memory_len = memory_file_size(s->mem);
	s->blocks = snapshot_blocks(s->header.memory_len);
	s->table = malloc(4 * s->blocks);
	s->block = calloc(1, SNAPSHOT_BLOCK);
	if (ret < 0 || !s->table || !s->block)
		return error_set(&s->err, ENOMEM, "no memory to save a VM");
	s->zero_crc = crc32c(0, s->block, SNAPSHOT_BLOCK);
	for (uint64_t i = 0; i < s->blocks; i++)
		put_be32(s->table + 4 * i, s->zero_crc);
	ret = snapshot_open_part(s);
	if (ret < 0)
		return ret;
	s->first = true;
	ret = s->ops->dirty_start(s->cfg.vm, &s->err);
	s->tracking = ret == 0;
	return ret == 0 ? snapshot_sync_dirty(s) : ret;
}

/* Bytes/s of what was just written; never 0. */
static uint64_t rate(uint64_t pages, uint64_t since)
{
	double seconds = (double)(now_ns() - since + 1) / NSEC_PER_SEC;

	return (uint64_t)((double)(pages << PAGE_SHIFT) / seconds) + 1;
}

/*
 * Rounds until the rest takes less than the wished pause, or they do not get
 * smaller: then the pause is what it is, for the file can't be given up on.
 */
static int copy_live(struct snapshot_save *s)
{
	uint64_t wished = s->cfg.downtime_ms * NSEC_PER_MSEC;
	uint64_t expected = UINT64_MAX, before;
	int ret = 0;

	for (unsigned int i = 0; ret == 0 && i < MAX_ROUNDS; i++) {
		uint64_t start = now_ns(), pages = s->dirty_pages;

		ret = snapshot_write_dirty(s);
		s->bandwidth = rate(pages, start);
		if (ret == 0)
			ret = snapshot_sync_dirty(s);
		before = expected;
		expected = (uint64_t)((double)(s->dirty_pages << PAGE_SHIFT) *
				      NSEC_PER_SEC / (double)s->bandwidth);
		pthread_mutex_lock(&s->progress.lock);
		s->progress.now.iteration = i + 1;
		s->progress.now.memory_remaining = s->dirty_pages << PAGE_SHIFT;
		s->progress.now.memory_bandwidth = s->bandwidth;
		s->progress.now.expected_downtime_us = expected / NSEC_PER_USEC;
		pthread_mutex_unlock(&s->progress.lock);
		if (expected <= wished || expected > before - before / 8)
			break;
	}
	return ret;
}

static void end_pause(struct snapshot_save *s)
{
	pthread_mutex_lock(&s->progress.lock);
	s->progress.now.downtime_us = (now_ns() - s->paused) / NSEC_PER_USEC;
	pthread_mutex_unlock(&s->progress.lock);
}

/* As it was before the pause; first the locks, if they were given up. */
static void run_again(struct snapshot_save *s)
{
	struct error err = ERROR_INIT;
	int ret = 0;

	if (s->gave_up)
		ret = s->ops->activate(s->cfg.vm, &err);
	if (ret < 0)
		s->ops->pause(s->cfg.vm, VM_PAUSED);
	else if (s->before != VM_RUNNING)
		s->ops->pause(s->cfg.vm, s->before);
	else
		ret = s->ops->run(s->cfg.vm, &err);
	if (ret < 0)
		error_add(&s->err, err.code, "the VM stays paused: %s",
			  err.msg);
}

static int give_up_disks(struct snapshot_save *s)
{
	int ret;

	s->gave_up = true;	/* even if it fails half-way */
	ret = s->ops->deactivate(s->cfg.vm, &s->err);
	if (ret < 0)
		run_again(s);
	s->gave_up = ret == 0;
	return ret;
}

/* The last pages twice: saving state may write guest memory. */
static int save_paused(struct snapshot_save *s, void **state, size_t *len)
{
	int ret = s->ops->quiesce(s->cfg.vm, now_ns() + QUIESCE_NS, &s->err);

	if (ret == 0)
		ret = snapshot_sync_dirty(s);
	if (ret == 0)
		ret = snapshot_write_dirty(s);
	if (ret == 0)
		ret = s->ops->save(s->cfg.vm, state, len, &s->err);
	if (ret == 0)
		ret = snapshot_sync_dirty(s);
	return ret == 0 ? snapshot_write_dirty(s) : ret;
}

static void stop_tracking(struct snapshot_save *s)
{
	if (s->tracking)
		s->ops->dirty_stop(s->cfg.vm);
	s->tracking = false;
}

static int save(struct snapshot_save *s)
{
	void *state = NULL;
	size_t len = 0;
	int ret;

	stage(s, MIGRATION_STAGE_STOP_AND_COPY);
	s->before = s->ops->get_state(s->cfg.vm);
	if (s->before != VM_RUNNING && s->before != VM_PAUSED &&
	    s->before != VM_IO_ERROR)
		return error_set(&s->err, EBUSY, "the VM came to its end meanwhile (%s)",
				 vm_state_name(s->before));
	s->paused = now_ns();
	s->ops->pause(s->cfg.vm, VM_FINISH_MIGRATE);
	ret = save_paused(s, &state, &len);
	stop_tracking(s);
	if (ret < 0 || s->cfg.keep)
		run_again(s);
	else
		ret = give_up_disks(s);
	end_pause(s);
	stage(s, MIGRATION_STAGE_CLEAN_UP);
	if (ret == 0)
		ret = snapshot_finish_file(s, state, len);
	free(state);
	if (s->gave_up && ret < 0)
		run_again(s);
	else if (s->gave_up)
		s->ops->pause(s->cfg.vm, VM_POSTMIGRATE);
	return ret;
}

static void clean_up(struct snapshot_save *s)
{
	stop_tracking(s);
	if (s->part[0])
		unlink(s->part);
	fd_close(&s->fd);
	for (unsigned int r = 0; r < s->mem->nregions; r++)
		free(s->dirty[r]);
	free(s->table);
	free(s->block);
}

static void *save_thread(void *arg)
{
	struct snapshot_save *s = arg;
	enum migration_outcome outcome = MIGRATION_COMPLETED;
	struct migration_stats now;
	int ret = prepare(s);

	if (ret == 0) {
		stage(s, MIGRATION_STAGE_PRECOPY);
		ret = copy_live(s);
	}
	if (ret == 0)
		ret = save(s);
	if (s->err.code)
		outcome = ret == -ECANCELED ? MIGRATION_CANCELLED :
					      MIGRATION_FAILED;
	clean_up(s);
	migration_progress_end(&s->progress, outcome,
			       s->err.code ? &s->err : NULL);
	snapshot_save_stats(s, &now);
	if (s->cfg.notify)
		s->cfg.notify(s->cfg.arg, &now);
	return NULL;
}

int snapshot_save_start(struct snapshot_save **out,
			const struct snapshot_save_config *cfg,
			struct error *err)
{
	struct snapshot_save *s;

	if (strlen(cfg->path) >= sizeof(s->path))
		return error_set(err, ENAMETOOLONG, "%s: the path is too long",
				 cfg->path);
	s = calloc(1, sizeof(*s));
	if (!s)
		return error_set(err, ENOMEM, "no memory to save a VM");
	s->cfg = *cfg;
	strcpy(s->path, cfg->path);
	s->ops = cfg->ops ? cfg->ops : &migration_vm_ops;
	s->mem = &cfg->vm->mem;
	s->fd = -1;
	migration_progress_init(&s->progress);
	s->progress.now.type = "save";
	s->progress.now.memory_total = s->mem->size;
	s->progress.now.memory_remaining = s->mem->size;
	migration_progress_stage(&s->progress, MIGRATION_STAGE_PRE_MIGRATION);
	if (thread_start(&s->thread, "save", save_thread, s)) {
		migration_progress_exit(&s->progress);
		free(s);
		return error_set(err, EAGAIN, "no thread to save a VM");
	}
	*out = s;
	return 0;
}

void snapshot_save_cancel(struct snapshot_save *s)
{
	atomic_store(&s->cancelled, true);
}

void snapshot_save_stats(struct snapshot_save *s, struct migration_stats *out)
{
	migration_progress_get(&s->progress, out);
}

void snapshot_save_destroy(struct snapshot_save *s)
{
	if (!s)
		return;
	snapshot_save_cancel(s);
	pthread_join(s->thread, NULL);
	migration_progress_exit(&s->progress);
	free(s);
}
