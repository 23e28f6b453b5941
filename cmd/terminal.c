/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "cmd/escape.h"
#include "vmm/base/fd.h"
#include "vmm/base/util.h"

/* How long a vCPU waits for a terminal that takes nothing, once. */
#define STUCK_MS 200

static const char help_text[] =
	"\ngodwit: Ctrl-A x  quit        Ctrl-A c  monitor (and back)\n"
	"        Ctrl-A h  this help   Ctrl-A Ctrl-A  send Ctrl-A\n";

struct terminal {
	struct chardev chr;
	struct terminal_config cfg;

	/* input, loop's thread */
	struct loop_fd in;
	struct loop_timer first;	/* the first look at a file */
	struct escape escape;
	bool is_tty;		/* raw mode is on, the escape key works */
	bool always_ready;	/* a file: epoll refuses it, reads never wait */
	bool ended;		/* end of file was seen */
	struct termios saved;
	char held[4096];	/* bytes that the device did not take yet */
	size_t nheld;

	/* output, any thread */
	pthread_mutex_t lock;
	int out_fd;
	bool stuck;		/* the far end takes nothing: drop, don't wait */
	unsigned long dropped;
};

static struct terminal *to_terminal(struct chardev *chr)
{
	return container_of(chr, struct terminal, chr);
}

/* -- output */

static bool wait_writable(struct terminal *t)
{
	struct pollfd p = { .fd = t->out_fd, .events = POLLOUT };
	int n = poll(&p, 1, t->stuck ? 0 : STUCK_MS);

	t->stuck = n <= 0;
	return n > 0 && !(p.revents & (POLLERR | POLLNVAL));
}

static void write_locked(struct terminal *t, const char *buf, size_t len)
{
	while (len && wait_writable(t)) {
		ssize_t n = write(t->out_fd, buf, len);

		if (n < 0 && errno != EAGAIN && errno != EINTR)
			break;
		if (n > 0) {
			buf += n;
			len -= (size_t)n;
		}
	}
	t->dropped += len;
}

static void terminal_write(struct chardev *chr, const void *buf, size_t len)
{
	struct terminal *t = to_terminal(chr);

	pthread_mutex_lock(&t->lock);
	write_locked(t, buf, len);
	pthread_mutex_unlock(&t->lock);
}

void terminal_print(struct terminal *t, const char *text)
{
	pthread_mutex_lock(&t->lock);
	write_locked(t, text, strlen(text));
	pthread_mutex_unlock(&t->lock);
}

/*
 * A description of our own, so that O_NONBLOCK doesn't leak to the shell that
 * shares fd 1. Where that can't be had, poll() before each write must do.
 */
static int open_output(void)
{
	struct stat st;
	int fd = -1;

	if (!fstat(STDOUT_FILENO, &st) &&
	    (S_ISFIFO(st.st_mode) || isatty(STDOUT_FILENO)))
		fd = open("/proc/self/fd/1",
			  O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return fd >= 0 ? fd : fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
}

/* -- input */

static void for_us(struct terminal *t, enum escape_action action,
		   unsigned char byte)
{
	char echo[2] = { (char)byte, '\0' };

	switch (action) {
	case ESCAPE_QUIT:
		t->cfg.quit(t->cfg.arg);
		break;
	case ESCAPE_HELP:
		terminal_print(t, help_text);
		break;
	case ESCAPE_ENTER:
		terminal_print(t, "\n(godwit) ");
		break;
	case ESCAPE_LEAVE:
		terminal_print(t, "\n");
		break;
	case ESCAPE_ECHO:
		terminal_print(t, echo);
		break;
	case ESCAPE_ERASE:
		terminal_print(t, "\b \b");
		break;
	case ESCAPE_COMMAND:
		terminal_print(t, "\n");
		t->cfg.command(t->cfg.arg, t->escape.line);
		terminal_print(t, "(godwit) ");
		break;
	case ESCAPE_NONE:
	case ESCAPE_PASS:
		break;
	}
}

/* Keep of the bytes read what is the guest's; do what is for us. */
static void filter(struct terminal *t, const char *buf, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++) {
		unsigned char byte = (unsigned char)buf[i];
		enum escape_action a = t->is_tty ?
			escape_feed(&t->escape, byte) : ESCAPE_PASS;

		if (a != ESCAPE_PASS)
			for_us(t, a, byte);
		else if (t->nheld < sizeof(t->held))
			t->held[t->nheld++] = (char)byte;
	}
}

/* Give the device what it takes. */
static void give(struct terminal *t)
{
	size_t taken = 0;

	if (t->nheld && t->chr.receive)
		taken = t->chr.receive(t->chr.receive_arg, t->held, t->nheld);
	t->nheld -= taken;
	memmove(t->held, t->held + taken, t->nheld);
}

static void fill(struct terminal *t)
{
	char buf[256];
	ssize_t n = read(STDIN_FILENO, buf, sizeof(buf));

	if (n > 0)
		filter(t, buf, (size_t)n);
	else if (!n || (errno != EINTR && errno != EAGAIN))
		t->ended = true;
}

/*
 * Whether to read on. A guest that takes no input must not lock the user out:
 * on a terminal the escape key is looked for in all that is typed, and what
 * doesn't fit any more is lost.
 */
static bool wants_input(const struct terminal *t)
{
	return !t->ended && (t->is_tty || !t->nheld);
}

static void watch(struct terminal *t)
{
	struct error ignored = ERROR_INIT;

	if (t->always_ready)
		return;
	/* not events = 0: a hang-up would be reported all the same, for ever */
	if (!wants_input(t))
		loop_del(t->cfg.loop, &t->in);
	else if (!t->in.added)
		loop_add(t->cfg.loop, &t->in, &ignored);
}

static void on_input(void *arg, uint32_t events)
{
	struct terminal *t = arg;

	give(t);
	if (wants_input(t)) {
		fill(t);
		give(t);
	}
	watch(t);
}

static void terminal_accept_input(struct chardev *chr)
{
	struct terminal *t = to_terminal(chr);

	give(t);
	while (t->always_ready && wants_input(t)) {
		fill(t);
		give(t);
	}
	watch(t);
}

static void on_first(void *arg)
{
	struct terminal *t = arg;

	terminal_accept_input(&t->chr);
}

/* -- modes */

/*
 * A crash: whatever thread it is, nothing of ours can be trusted, not even a
 * pointer to the saved modes. Set what raw mode cleared; all calls here are
 * async-signal-safe.
 */
static void on_crash(int sig)
{
	struct termios tio;

	if (!tcgetattr(STDIN_FILENO, &tio)) {
		tio.c_lflag |= ICANON | ECHO | ISIG | IEXTEN;
		tio.c_iflag |= ICRNL | IXON;
		tcsetattr(STDIN_FILENO, TCSANOW, &tio);
	}
	raise(sig);	/* SA_RESETHAND: now the default action */
}

static void catch_crashes(void)
{
	static const int signals[] = {
		SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS,
	};
	struct sigaction sa = {
		.sa_handler = on_crash,
		.sa_flags = SA_RESETHAND | SA_NODEFER,
	};
	unsigned int i;

	/* leave the handlers of a sanitizer, or of a test, alone */
	for (i = 0; i < ARRAY_SIZE(signals); i++) {
		struct sigaction old;

		if (!sigaction(signals[i], NULL, &old) &&
		    old.sa_handler == SIG_DFL)
			sigaction(signals[i], &sa, NULL);
	}
}

static void make_raw(struct terminal *t)
{
	struct termios raw;

	if (tcgetattr(STDIN_FILENO, &t->saved))
		return;
	/* give the modes back even from the background */
	signal(SIGTTOU, SIG_IGN);
	raw = t->saved;
	/* OPOST stays: "\n" starts a line for us and for bare guests */
	raw.c_iflag &= ~(tcflag_t)(BRKINT | ICRNL | INPCK | ISTRIP | IXON);
	raw.c_lflag &= ~(tcflag_t)(ECHO | ICANON | IEXTEN | ISIG);
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	catch_crashes();
	t->is_tty = !tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}

static void terminal_destroy(struct chardev *chr)
{
	struct terminal *t = to_terminal(chr);

	if (t->cfg.gone)
		t->cfg.gone(t->cfg.arg);
	loop_timer_cancel(&t->first);
	loop_del(t->cfg.loop, &t->in);
	if (t->is_tty)
		tcsetattr(STDIN_FILENO, TCSANOW, &t->saved);
	fd_close(&t->out_fd);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

static const struct chardev_ops terminal_ops = {
	.write = terminal_write,
	.accept_input = terminal_accept_input,
	.destroy = terminal_destroy,
};

/* Started with "&": the terminal is someone else's, as SIGTTIN would say. */
static bool in_background(void)
{
	return isatty(STDIN_FILENO) && tcgetpgrp(STDIN_FILENO) != getpgrp();
}

static int watch_input(struct terminal *t, struct error *err)
{
	struct error why = ERROR_INIT;

	t->ended = in_background();
	t->in = (struct loop_fd){
		.fd = STDIN_FILENO,
		.events = EPOLLIN,
		.fn = on_input,
		.arg = t,
	};
	if (t->ended || !loop_add(t->cfg.loop, &t->in, &why))
		return 0;
	if (why.code == EBADF) {	/* started with standard input closed */
		t->ended = true;
		return 0;
	}
	if (why.code != EPERM) {
		*err = why;
		return -err->code;
	}
	t->always_ready = true;
	loop_timer_set(t->cfg.loop, &t->first, 0);
	return 0;
}

int terminal_create(struct terminal **out, const struct terminal_config *cfg,
		    struct error *err)
{
	struct terminal *t = calloc(1, sizeof(*t));
	int ret;

	if (!t)
		return error_set(err, ENOMEM, "no memory for a terminal");
	t->cfg = *cfg;
	t->chr.ops = &terminal_ops;
	pthread_mutex_init(&t->lock, NULL);
	loop_timer_init(&t->first, on_first, t);
	t->out_fd = open_output();
	ret = watch_input(t, err);
	if (ret) {
		t->cfg.gone = NULL;
		terminal_destroy(&t->chr);
		return ret;
	}
	if (isatty(STDIN_FILENO) && !t->ended)
		make_raw(t);
	*out = t;
	return 0;
}

struct chardev *terminal_chardev(struct terminal *t)
{
	return &t->chr;
}
