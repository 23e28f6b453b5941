/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/lib/vm_rig.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cmd/tree_build.h"
#include "vmm/base/util.h"

#define LIMIT_NS (60 * NSEC_PER_SEC)	/* then what is waited for never comes */

/* -- what the VM tells */

static void news(struct vm_rig *r)
{
	pthread_cond_broadcast(&r->news);
	pthread_mutex_unlock(&r->lock);
}

static void chr_write(struct chardev *chr, const void *buf, size_t len)
{
	struct vm_rig *r = container_of(chr, struct vm_rig, chr);

	pthread_mutex_lock(&r->lock);
	len = MIN(len, sizeof(r->text) - 1 - r->len);
	memcpy(r->text + r->len, buf, len);
	r->len += len;
	news(r);
}

static void chr_nothing(struct chardev *chr)
{
}

static const struct chardev_ops chr_ops = {
	.write = chr_write,
	.accept_input = chr_nothing,
	.destroy = chr_nothing,
};

static struct chardev *open_chr(void *arg, const char *name, struct error *err)
{
	struct vm_rig *r = arg;

	r->chr = (struct chardev){ .ops = &chr_ops };
	return &r->chr;
}

static void on_event(void *arg, enum vm_event event, int value,
		     const char *detail)
{
	struct vm_rig *r = arg;

	pthread_mutex_lock(&r->lock);
	r->events[event]++;
	if (event == VM_EVENT_SHUTDOWN)
		r->status = value;
	news(r);
}

/* -- life */

static void *serve(void *arg)
{
	struct vm_rig *r = arg;

	loop_run(&r->loop);
	return NULL;
}

static void check(int ret, const struct error *err)
{
	if (ret < 0)
		fail_msg("%s", err->msg);
}

struct vm_rig *vm_rig_new(void)
{
	struct vm_rig *r = calloc(1, sizeof(*r));
	struct error err = ERROR_INIT;

	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->news, NULL);
	r->log_fd = memfd_create("log", MFD_CLOEXEC);
	check(loop_init(&r->loop, &err), &err);
	assert_int_equal(pthread_create(&r->thread, NULL, serve, r), 0);
	return r;
}

void vm_rig_destroy_vm(struct vm_rig *r)
{
	vm_destroy(r->vm);
	r->vm = NULL;
}

void vm_rig_free(struct vm_rig *r)
{
	vm_rig_destroy_vm(r);
	loop_stop(&r->loop);
	pthread_join(r->thread, NULL);
	loop_exit(&r->loop);
	close(r->log_fd);
	pthread_cond_destroy(&r->news);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

void *vm_rig_tree(const struct vm_spec *spec)
{
	const char *build = getenv("O");
	struct error err = ERROR_INIT;
	struct run_config c;
	char path[4096];
	void *tree;
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	snprintf(path, sizeof(path), "%s/guests/%s.elf",
		 build ? build : "build", spec->guest);
	run_config_init(&c);
	c.kernel = strchr(spec->guest, '/') ? spec->guest : path;
	c.append = spec->append;
	c.memory = spec->memory ? spec->memory : 64 * MIB;
	c.cpus = spec->cpus ? spec->cpus : 1;
	c.rng = spec->rng;
	c.debug_exit = spec->debug_exit;
	check(tree_build(&c, "test", fd, &tree, &err), &err);
	run_config_exit(&c);
	close(fd);
	return tree;
}

struct create_call {
	struct vm_rig *r;
	const void *tree;
	bool incoming;
	struct error *err;
	int ret;
};

static void do_create(void *arg)
{
	struct create_call *c = arg;
	struct vm_config cfg = {
		.tree = c->tree,
		.loop = &c->r->loop,
		.log = { .level = LOG_INFO, .fd = c->r->log_fd },
		.incoming = c->incoming,
		.dirty = c->r->dirty,
		.event = on_event,
		.event_arg = c->r,
		.chardev = open_chr,
		.chardev_arg = c->r,
	};

	c->ret = vm_create(&c->r->vm, &cfg, c->err);
}

int vm_rig_create(struct vm_rig *r, const void *tree, bool incoming,
		  struct error *err)
{
	struct create_call c = { r, tree, incoming, err, 0 };

	loop_call(&r->loop, do_create, &c);
	return c.ret;
}

struct run_call {
	struct vm *vm;
	int (*fn)(struct vm *vm, struct error *err);
	struct error *err;
	int ret;
};

static void do_run(void *arg)
{
	struct run_call *c = arg;

	c->ret = c->fn(c->vm, c->err);
}

static int in_loop(struct vm_rig *r, int (*fn)(struct vm *, struct error *),
		   struct error *err)
{
	struct run_call c = { r->vm, fn, err, 0 };

	loop_call(&r->loop, do_run, &c);
	return c.ret;
}

static int boot_and_run(struct vm *vm, struct error *err)
{
	int ret = vm_boot(vm, err);

	if (!ret)
		ret = vm_activate(vm, err);
	return ret ? ret : vm_run(vm, err);
}

void vm_rig_run(struct vm_rig *r)
{
	struct error err = ERROR_INIT;

	check(in_loop(r, boot_and_run, &err), &err);
}

static void do_reset(void *arg)
{
	vm_reset(arg);
}

void vm_rig_reset(struct vm_rig *r)
{
	loop_call(&r->loop, do_reset, r->vm);
}

struct vm_rig *vm_rig_boot(const struct vm_spec *spec)
{
	struct vm_rig *r = vm_rig_new();
	struct error err = ERROR_INIT;
	void *tree = vm_rig_tree(spec);

	r->dirty = spec->dirty;
	check(vm_rig_create(r, tree, false, &err), &err);
	free(tree);
	vm_rig_run(r);
	return r;
}

/* -- what the test waits for */

/* False when the time is over. Under the lock. */
static bool wait_news(struct vm_rig *r, uint64_t until)
{
	return !cond_wait_until(&r->news, &r->lock, until);
}

size_t vm_rig_expect(struct vm_rig *r, const char *text, size_t from)
{
	uint64_t until = now_ns() + LIMIT_NS;
	bool in_time = true, found;
	size_t len;

	pthread_mutex_lock(&r->lock);
	while (!(found = strstr(r->text + from, text)) && in_time)
		in_time = wait_news(r, until);
	len = r->len;
	pthread_mutex_unlock(&r->lock);
	if (!found)
		fail_msg("the guest never said \"%s\", but \"%s\"", text,
			 r->text + from);
	return len;
}

void vm_rig_expect_event(struct vm_rig *r, enum vm_event event,
			 unsigned int times)
{
	uint64_t until = now_ns() + LIMIT_NS;
	bool in_time = true, there;

	pthread_mutex_lock(&r->lock);
	while (!(there = r->events[event] >= times) && in_time)
		in_time = wait_news(r, until);
	pthread_mutex_unlock(&r->lock);
	if (!there)
		fail_msg("event %d did not come %u times", event, times);
}

unsigned int vm_rig_events(struct vm_rig *r, enum vm_event event)
{
	unsigned int n;

	pthread_mutex_lock(&r->lock);
	n = r->events[event];
	pthread_mutex_unlock(&r->lock);
	return n;
}

size_t vm_rig_len(struct vm_rig *r)
{
	size_t len;

	pthread_mutex_lock(&r->lock);
	len = r->len;
	pthread_mutex_unlock(&r->lock);
	return len;
}

bool vm_rig_printed(struct vm_rig *r, const char *text)
{
	bool found;

	pthread_mutex_lock(&r->lock);
	found = strstr(r->text, text);
	pthread_mutex_unlock(&r->lock);
	return found;
}

bool vm_rig_logged(struct vm_rig *r, const char *text)
{
	char log[16384];
	ssize_t n = pread(r->log_fd, log, sizeof(log) - 1, 0);

	log[MAX(n, 0)] = '\0';
	return strstr(log, text);
}

/* -- tiny kernels */

struct tiny {
	Elf64_Ehdr eh;
	Elf64_Phdr load, notes;
	Elf64_Nhdr note;
	char name[4];
	uint32_t entry, pad;
};

void vm_rig_tiny(char path[64], const void *code, size_t len)
{
	const uint64_t base = MIB;
	struct tiny t = {
		.eh = {
			.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64,
				     ELFDATA2LSB, EV_CURRENT },
			.e_type = ET_EXEC, .e_machine = EM_X86_64,
			.e_version = EV_CURRENT,
			.e_phoff = offsetof(struct tiny, load),
			.e_ehsize = sizeof(Elf64_Ehdr),
			.e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 2,
		},
		.load = {
			.p_type = PT_LOAD, .p_offset = sizeof(struct tiny),
			.p_paddr = base, .p_filesz = len, .p_memsz = len,
		},
		.notes = {
			.p_type = PT_NOTE,
			.p_offset = offsetof(struct tiny, note),
			.p_filesz = offsetof(struct tiny, pad) -
				    offsetof(struct tiny, note),
		},
		/* XEN_ELFNOTE_PHYS32_ENTRY */
		.note = { .n_namesz = 4, .n_descsz = 4, .n_type = 18 },
		.name = "Xen", .entry = (uint32_t)base,
	};
	int fd;

	strcpy(path, "/tmp/godwit-tiny-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, &t, sizeof(t)), sizeof(t));
	assert_int_equal(write(fd, code, len), len);
	close(fd);
}

/* -- running them */

int vm_rig_run_group(const struct CMUnitTest *tests, size_t n)
{
	if (access("/dev/kvm", R_OK | W_OK) == 0)
		return _cmocka_run_group_tests("tests", tests, n, NULL, NULL);
	for (size_t i = 0; i < n; i++)
		printf("ok %zu - %s # SKIP /dev/kvm can't be opened\n", i + 1,
		       tests[i].name);
	return 0;
}
