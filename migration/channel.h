/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A channel: one connection of a migration, over whichever transport its URI
 * names. File descriptors are non-blocking underneath; the calls here wait,
 * until done, until a deadline (now_ns() clock, 0 = none), until nothing moved
 * for idle_ns, or until cancel_fd becomes readable (-ECANCELED).
 *
 * Threads: one reader and one writer at a time. channel_shutdown() and the
 * counters from any thread.
 */
#ifndef GODWIT_MIGRATION_CHANNEL_H
#define GODWIT_MIGRATION_CHANNEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "vmm/base/error.h"

#define CHANNEL_URI_MAX 256

struct allow;
struct channel;
struct tls;
struct tls_credentials;

/*
 * What is asked of a connection before anything is said over it. All is
 * borrowed, and outlives the channel.
 */
struct channel_security {
	const struct tls_credentials *tls;	/* NULL: none */
	const char *tls_name;	/* the server's; NULL: as in the URI */
	const struct allow *allow;	/* who may come in; NULL: everybody */
	bool plain;	/* TCP without TLS, which was asked for in words */
};

/* Bytes in and out; return what was moved, 0 at the end, or -errno. */
struct channel_ops {
	ssize_t (*readv)(struct channel *ch, const struct iovec *iov, int n);
	ssize_t (*writev)(struct channel *ch, const struct iovec *iov, int n);
	/* NULL where there is nothing to do: bytes that wait here and in no
	 * socket; the last word; what is owned besides the fd */
	bool (*pending)(const struct channel *ch);
	void (*finish)(struct channel *ch);
	void (*close)(struct channel *ch);
	bool passes_fd;		/* descriptors go along with bytes */
};

struct channel {
	const struct channel_ops *ops;
	struct tls *tls;		/* owned; NULL: none */
	const char *_Atomic why;	/* the last error's words, static */
	int fd;				/* -1: not open */
	int cancel_fd;			/* eventfd, not owned; -1: none */
	uint64_t idle_ns;		/* limit without progress, 0: none */
	int fd_out;			/* goes with the next bytes, not owned; -1 */
	int fd_in;			/* came, owned; -1: none */
	unsigned int fds_came;		/* since one was taken */
	atomic_ullong sent, received;	/* bytes */
	char peer[CHANNEL_URI_MAX];	/* for messages */
};

/* How a URI scheme makes connections. */
struct transport {
	const char *scheme;	/* "tcp" */
	const char *syntax;	/* "tcp:HOST:PORT" */
	bool exposed;		/* strangers may listen or connect */
	/* Is @rest well formed? Connects to nothing. */
	int (*check)(const char *rest, struct error *err);
	/* Return a connected, non-blocking fd. @rest follows "scheme:". */
	int (*connect)(const char *rest, int cancel_fd, uint64_t deadline,
		       struct error *err);
	/* Return a listening, non-blocking fd; write its real URI. */
	int (*listen)(const char *rest, char uri[CHANNEL_URI_MAX],
		      struct error *err);
	void (*unlisten)(const char *rest);	/* may be NULL */
	void (*tune)(int fd);	/* of each connection */
	const struct channel_ops *ops;	/* of it; NULL: any socket's */
	/* The host that @rest names; NULL: it names none. */
	void (*host)(const char *rest, char name[CHANNEL_URI_MAX]);
	/* Who is at the other end, for messages; NULL: the URI. */
	void (*peer)(int fd, char name[CHANNEL_URI_MAX]);
};

extern const struct transport transport_tcp;
extern const struct transport transport_unix;

struct listener {
	const struct transport *transport;
	int fd;
	char uri[CHANNEL_URI_MAX];
};

/* A channel that is not open: closing it is harmless. */
void channel_init(struct channel *ch);
/* With the handshake, if there is TLS. @security NULL: none is asked for,
 * which is refused where strangers are. */
int channel_connect(struct channel *ch, const char *uri,
		    const struct channel_security *security, int cancel_fd,
		    uint64_t deadline, struct error *err) __must_check;
int channel_listen(struct listener *l, const char *uri,
		   const struct channel_security *security, struct error *err)
	__must_check;
/* -EAGAIN when nobody is waiting. TLS has not begun: see door.h. */
int channel_accept(struct listener *l, struct channel *ch, struct error *err)
	__must_check;
void listener_close(struct listener *l);
/* Two ends within this process. */
int channel_pair(struct channel *a, struct channel *b, struct error *err)
	__must_check;
void channel_close(struct channel *ch);
/* Whoever waits on it, here or there, sees its end. */
void channel_shutdown(struct channel *ch);
/* Nothing more will be written; the other side reads the end. */
void channel_finish(struct channel *ch);
/* Is @uri one that a transport understands? */
int channel_uri_check(const char *uri, struct error *err);
/* ... and @security what it asks for? */
int channel_security_check(const char *uri,
			   const struct channel_security *security,
			   struct error *err);

/* Move exactly what was asked for. The iovec is used up. */
int channel_read(struct channel *ch, void *buf, size_t len, uint64_t deadline,
		 struct error *err) __must_check;
int channel_writev(struct channel *ch, struct iovec *iov, int n,
		   uint64_t deadline, struct error *err) __must_check;
/* Read @want bytes at least, up to all of the iovec; returns how many. */
ssize_t channel_readv(struct channel *ch, struct iovec *iov, int n,
		      size_t want, uint64_t deadline, struct error *err)
	__must_check;
/* A unix socket without TLS carries open files, too. @fd, which stays the
 * caller's, goes along with what is written next. -ENOTSUP elsewhere. */
int channel_attach_fd(struct channel *ch, int fd, struct error *err)
	__must_check;
/* The one that came with what was read last, now the caller's. -EPROTO if that
 * was none, or several (of which none is kept open). */
int channel_take_fd(struct channel *ch, struct error *err) __must_check;
/* Could a read move something (bytes, or the end) right now? */
bool channel_readable(const struct channel *ch);
/* ... even though its fd has nothing to read? Ask before polling it. */
bool channel_pending(const struct channel *ch);

/* Wait for @events on @fd: 0, -ETIMEDOUT, -ECANCELED or another -errno. */
int channel_wait_fd(int fd, short events, int cancel_fd, uint64_t deadline);

/* Scatter/gather helper: drop the first @len bytes of the vector. */
void iovec_skip(struct iovec **iov, int *n, size_t len);

#endif
