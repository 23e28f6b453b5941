/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Each claim in a child: what is given up doesn't come back. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "cmd/confine.h"

struct rig {
	struct confine confine;
	void (*act)(void);
	bool as_vcpu, programs;
};

static void *vcpu(void *arg)
{
	struct rig *r = arg;
	struct error err = ERROR_INIT;

	if (confine_vcpu(&r->confine, r->programs, &err) < 0)
		_exit(99);
	if (r->as_vcpu)
		r->act();
	return NULL;
}

static void *other(void *arg)
{
	((struct rig *)arg)->act();
	return NULL;
}

/* In a process whose vCPU has started: the exit status, or minus a signal. */
static int confined_so(void (*act)(void), bool as_vcpu, bool programs)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct rig r = { .act = act, .as_vcpu = as_vcpu,
				 .programs = programs };
		struct error err = ERROR_INIT;
		pthread_t thread;

		prctl(PR_SET_DUMPABLE, 0);
		confine_capabilities(false);
		if (confine_init(&r.confine, true, &err) < 0)
			_exit(98);
		pthread_create(&thread, NULL, vcpu, &r);
		pthread_join(thread, NULL);
		if (!as_vcpu) {
			/* threads are made as before */
			if (pthread_create(&thread, NULL, other, &r))
				_exit(97);
			pthread_join(thread, NULL);
		}
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static int confined(void (*act)(void), bool as_vcpu)
{
	return confined_so(act, as_vcpu, false);
}

static void run_program(void)
{
	execl("/bin/true", "true", (char *)NULL);
}

static void make_process(void)
{
	syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

static void look_into_another(void)
{
	syscall(SYS_ptrace, 0, 0, 0, 0);
}

static void change_user(void)
{
	syscall(SYS_setuid, 0);
}

static void open_file(void)
{
	if (open("/dev/null", O_RDONLY) < 0)
		_exit(errno == EPERM ? 1 : 2);
}

static void make_socket(void)
{
	if (socket(AF_UNIX, SOCK_STREAM, 0) < 0)
		_exit(errno == EPERM ? 1 : 2);
}

static void call_something_rare(void)
{
	if (syscall(SYS_lookup_dcookie, 0, 0, 0) != -1 || errno != EPERM)
		_exit(1);
}

static void work(void)
{
	time_t now = time(NULL);
	struct tm tm;

	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	free(malloc(1 << 20));
	/* as the RTC does */
	if (!gmtime_r(&now, &tm) || p == MAP_FAILED || munmap(p, 4096) || write(-1, "", 1) != -1 ||
	    errno != EBADF)
		_exit(1);
}

static void no_privileges(void)
{
	char line[128];
	FILE *f = fopen("/proc/thread-self/status", "r");

	while (f && fgets(line, sizeof(line), f))
		if ((!strncmp(line, "NoNewPrivs:", 11) && !strchr(line, '1')) ||
		    (!strncmp(line, "Seccomp:", 8) && !strchr(line, '2')))
			_exit(1);
	_exit(f ? 0 : 2);
}

static void a_forbidden_call_kills_the_process(void **state)
{
	static void (*const acts[])(void) = {
		run_program, make_process, look_into_another, change_user,
	};

	(void)state;
	for (size_t i = 0; i < sizeof(acts) / sizeof(*acts); i++) {
		assert_int_equal(confined(acts[i], false), -SIGSYS);
		assert_int_equal(confined(acts[i], true), -SIGSYS);
	}
}

static void a_vcpu_opens_nothing(void **state)
{
	(void)state;
	assert_int_equal(confined(open_file, true), 1);
	assert_int_equal(confined(make_socket, true), 1);
}

static void others_open_files_and_sockets(void **state)
{
	(void)state;
	assert_int_equal(confined(open_file, false), 0);
	assert_int_equal(confined(make_socket, false), 0);
}

static void both_do_their_work(void **state)
{
	(void)state;
	assert_int_equal(confined(work, true), 0);
	assert_int_equal(confined(work, false), 0);
}

static void what_nobody_thought_of_is_refused_and_no_more(void **state)
{
	(void)state;
	assert_int_equal(confined(call_something_rare, true), 0);
	assert_int_equal(confined(call_something_rare, false), 0);
}

static void no_program_gives_new_privileges(void **state)
{
	(void)state;
	assert_int_equal(confined(no_privileges, false), 0);
}

static void where_a_disk_runs_programs_a_vcpu_alone_is_confined(void **state)
{
	(void)state;
	assert_int_equal(confined_so(run_program, false, true), 0);
	assert_int_equal(confined_so(run_program, true, true), -SIGSYS);
}

static void off_changes_nothing(void **state)
{
	struct error err = ERROR_INIT;
	struct confine c;

	(void)state;
	assert_int_equal(confine_init(&c, false, &err), 0);
	assert_int_equal(confine_vcpu(&c, false, &err), 0);
	assert_int_equal(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 0);
	confine_exit(&c);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_forbidden_call_kills_the_process),
		cmocka_unit_test(a_vcpu_opens_nothing),
		cmocka_unit_test(others_open_files_and_sockets),
		cmocka_unit_test(both_do_their_work),
		cmocka_unit_test(what_nobody_thought_of_is_refused_and_no_more),
		cmocka_unit_test(no_program_gives_new_privileges),
		cmocka_unit_test(
			where_a_disk_runs_programs_a_vcpu_alone_is_confined),
		cmocka_unit_test(off_changes_nothing),
	};
	struct error err = ERROR_INIT;
	struct confine c;
	int ret = confine_init(&c, true, &err);

	confine_exit(&c);
	if (ret == -ENOTSUP) {
		printf("1..0 # SKIP %s\n", err.msg);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
