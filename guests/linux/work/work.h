/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The Linux guest's workload. Each part is a thread that makes trouble and
 * keeps count; "check" on the console asks all of them for a verdict.
 */
#ifndef GUESTS_LINUX_WORK_H
#define GUESTS_LINUX_WORK_H

#include <stdbool.h>
#include <stdint.h>

/* A part's verdict: VERDICT_SKIP when it was not asked for. */
enum verdict { VERDICT_OK, VERDICT_FAIL, VERDICT_SKIP };

struct report {
	enum verdict verdict;
	char detail[200];
};

struct part {
	const char *key;	/* of the kernel's command line */
	bool (*start)(const char *value);
};

bool disk_start(const char *value);	/* work.disk[=RECORDS a second] */
bool mem_start(const char *value);	/* work.mem=MB,MB a second */
bool tick_start(const char *value);	/* work.tick[=ms] */
bool tcp_start(const char *value);	/* work.tcp=HOST:PORT */

struct report disk_check(void);		/* all records, from the disk */
struct report mem_check(void);		/* all words of all pages */
struct report tick_check(void);		/* the clock never stepped back */
struct report tcp_check(void);		/* an echo comes, in time */
struct report sequence_check(void);	/* disk's and tcp's numbers */
struct report log_check(void);		/* what the kernel logged since start */

/* numbers that were lost or came twice; false: the part was not asked for */
bool disk_sequence(uint64_t *errors);
bool tcp_sequence(uint64_t *errors);

/* the largest gap between two looks at the clock since the last call */
double tick_take_gap(void);

void log_start(void);
bool log_has(const char *text);

/* one whole line to the console, whoever else writes */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
struct report report(enum verdict verdict, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
double seconds(int clock);
void sleep_until(double when);
bool start_thread(void *(*run)(void *));

#endif
