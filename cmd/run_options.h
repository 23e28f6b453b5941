/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What `godwit run` was told, parsed. Strings point into argv, or are owned. */
#ifndef GODWIT_CMD_RUN_OPTIONS_H
#define GODWIT_CMD_RUN_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "cmd/options.h"
#include "migration/allow.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/dirty.h"

#define RUN_MAX_DISKS 16
#define RUN_MAX_NETS 8
#define RUN_MAX_RECONNECT_S 86400

struct disk_option {
	char *copy;		/* owned: what the others point into */
	const char *uri;
	const char *id;		/* NULL: "disk" and its index */
	const char *serial;
	const char *werror;	/* NULL: not given, as the next two */
	const char *rerror;
	uint32_t reconnect_s;	/* 0: not given */
	bool readonly;
	bool direct;
	bool overwrite;
};

struct net_option {
	char *copy;
	const char *backend;	/* "tap:NAME", "passt", ... */
	const char *id;		/* NULL: "net" and its index */
	uint8_t mac[6];
	bool has_mac;
};

struct run_config {
	const char *name;	/* NULL: not given, as all that follow */
	const char *kernel;
	const char *initrd;
	const char *append;
	const char *cpu_model;
	const char *serial;
	const char *console;	/* "serial", "virtio[:BACKEND]", "none" */
	const char *control;
	const char *incoming;
	const char *take_over;	/* a control socket: see `godwit upgrade` */
	const char *restore;	/* a file of `godwit save` */
	bool again, verify;	/* of restore */
	const char *tls;
	bool plain;
	bool no_seccomp;
	const char *user, *chroot;
	struct allow allow;
	uint32_t cpus;		/* 0: not given */
	uint64_t memory;	/* bytes, 0: not given */
	bool shared;
	bool rng;
	bool debug_exit;
	bool paused;
	struct dirty_config dirty;
	enum log_level log_level;
	struct disk_option disk[RUN_MAX_DISKS];
	unsigned int ndisks;
	struct net_option net[RUN_MAX_NETS];
	unsigned int nnets;
};

/* The table of `godwit run`, over a struct run_config. */
extern const struct option_spec run_option_table[];
extern const unsigned int run_option_count;

void run_config_init(struct run_config *c);
void run_config_exit(struct run_config *c);
/* Those of them that a VM from elsewhere leaves open, and of `restore`. */
extern const struct option_spec restore_option_table[];
extern const unsigned int restore_option_count;

/* What the options say together: ids twice, what --incoming forbids. Every
 * reason is in @err. */
int run_config_check(const struct run_config *c, struct error *err)
	__must_check;

#endif
