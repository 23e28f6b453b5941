/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Starts the parts named on the kernel's command line, then obeys the
 * console, a command a line: check, gap, poweroff, reboot, sh CMD.
 */
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "work.h"

void say(const char *format, ...)
{
	char line[400];
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(line, sizeof(line) - 1, format, ap);
	va_end(ap);
	if (n < 0)
		return;
	if (n > (int)sizeof(line) - 2)
		n = sizeof(line) - 2;
	line[n++] = '\n';
	fwrite(line, 1, n, stdout);
	fflush(stdout);
}

struct report report(enum verdict verdict, const char *format, ...)
{
	struct report r = { .verdict = verdict };
	va_list ap;

	va_start(ap, format);
	vsnprintf(r.detail, sizeof(r.detail), format, ap);
	va_end(ap);
	return r;
}

double seconds(int clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

void sleep_until(double when)
{
	struct timespec t = {
		.tv_sec = (time_t)when,
		.tv_nsec = (long)((when - (time_t)when) * 1e9),
	};

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

bool start_thread(void *(*run)(void *))
{
	pthread_t thread;

	return !pthread_create(&thread, NULL, run, NULL);
}

static const char *verdict_name(enum verdict v)
{
	switch (v) {
	case VERDICT_OK:
		return "ok";
	case VERDICT_SKIP:
		return "skip";
	default:
		return "FAIL";
	}
}

static void check_all(void)
{
	static const struct {
		const char *name;
		struct report (*check)(void);
	} checks[] = {
		{ "filesystem", disk_check },
		{ "memory", mem_check },
		{ "tcp", tcp_check },
		{ "sequence", sequence_check },
		{ "clock", tick_check },
		{ "dmesg", log_check },
	};
	unsigned int i;

	say("CHECK BEGIN");
	for (i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
		struct report r = checks[i].check();

		say("check %s %s %s", checks[i].name, verdict_name(r.verdict),
		    r.detail);
	}
	say("CHECK END");
}

static void shell(const char *command)
{
	int status = system(command);

	say("SH END %d", status);
}

static void obey(char *line)
{
	line[strcspn(line, "\r\n")] = '\0';
	if (!strcmp(line, "check"))
		check_all();
	else if (!strcmp(line, "gap"))
		say("gap %.6f", tick_take_gap());
	else if (!strcmp(line, "poweroff"))
		shell("down poweroff");
	else if (!strcmp(line, "reboot"))
		shell("down reboot");
	else if (!strncmp(line, "sh ", 3))
		shell(line + 3);
	else if (*line)
		say("work: check, gap, poweroff, reboot or sh CMD");
}

static void start_parts(char *cmdline)
{
	static const struct part parts[] = {
		{ "work.disk", disk_start },
		{ "work.mem", mem_start },
		{ "work.tick", tick_start },
		{ "work.tcp", tcp_start },
	};
	char *word;
	unsigned int i;

	for (word = strtok(cmdline, " \n"); word; word = strtok(NULL, " \n")) {
		size_t n = strcspn(word, "=");

		for (i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
			if (n != strlen(parts[i].key) ||
			    memcmp(word, parts[i].key, n))
				continue;
			say("work: %s %s", word,
			    parts[i].start(word[n] ? word + n + 1 : "") ?
			    "started" : "FAILED to start");
		}
	}
}

/* an echo of the commands would only stand between the answers */
static void quiet_console(void)
{
	struct termios t;

	if (tcgetattr(0, &t))
		return;
	t.c_lflag &= ~(ECHO | ECHOE | ECHOK | ECHONL);
	tcsetattr(0, TCSANOW, &t);
}

int main(void)
{
	char line[2048] = "";
	FILE *f = fopen("/proc/cmdline", "r");

	quiet_console();
	log_start();
	if (f && fgets(line, sizeof(line), f))
		start_parts(line);
	if (f)
		fclose(f);
	say("WORK READY cpus=%ld", sysconf(_SC_NPROCESSORS_ONLN));
	for (;;) {
		if (fgets(line, sizeof(line), stdin)) {
			obey(line);
		} else {
			clearerr(stdin);
			sleep(1);
		}
	}
}
