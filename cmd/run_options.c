/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/run_options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arch/arch.h"
#include "cmd/confine_user.h"
#include "cmd/parse.h"
#include "devices/block/block.h"
#include "devices/char/char.h"
#include "devices/net/net.h"
#include "migration/channel.h"
#include "migration/tls.h"
#include "vmm/base/util.h"

static int option_name(const struct option_spec *spec, void *field,
		       const char *value, struct error *err)
{
	*(const char **)field = value;
	return parse_name(value, err);
}

static int option_cpus(const struct option_spec *spec, void *field,
		       const char *value, struct error *err)
{
	uint64_t v;
	int ret = parse_number(value, 1, arch_board.max_vcpus, &v, err);

	if (!ret)
		*(uint32_t *)field = (uint32_t)v;
	return ret;
}

static int memory_key(struct run_config *c, const char *key, const char *value,
		      struct error *err)
{
	if (!key)
		return parse_size(value, MIB, &c->memory, err);
	if (!strcmp(key, "shared"))
		return parse_bool(value, &c->shared, err);
	return error_set(err, EINVAL, "unknown key '%s'", key);
}

static int option_memory(const struct option_spec *spec, void *field,
			 const char *value, struct error *err)
{
	struct run_config *c = field;
	char *copy = strdup(value), *cursor = copy, *key, *word;
	int ret = copy ? 0 : error_set(err, ENOMEM, "no memory");

	while (!ret && parse_list_next(&cursor, &key, &word))
		ret = memory_key(c, key, word, err);
	free(copy);
	if (!ret && (c->memory < MIB || c->memory % PAGE_BYTES))
		return error_set(err, EINVAL, "at least 1 MiB, in whole pages of 4 KiB");
	return ret;
}

/* "URI,key=value,...": @set takes each pair, with key NULL for plain words. */
static int parse_device(const char *value, char **copy, void *obj,
			int (*set)(void *obj, const char *key,
				   const char *value, struct error *err),
			struct error *err)
{
	char *cursor, *key, *word;
	int ret = 0;

	*copy = cursor = strdup(value);
	if (!cursor)
		return error_set(err, ENOMEM, "no memory");
	while (!ret && parse_list_next(&cursor, &key, &word))
		ret = set(obj, key, word, err);
	return ret;
}

static int on_error_key(const char **out, const char *value,
			struct error *err)
{
	if (strcmp(value, "auto") && strcmp(value, "report") &&
	    strcmp(value, "stop"))
		return error_set(err, EINVAL, "on an error '%s'; accepted: auto, report, stop",
				 value);
	*out = value;
	return 0;
}

static int reconnect_key(struct disk_option *d, const char *value,
			 struct error *err)
{
	uint64_t v;
	int ret = parse_number(value, 1, RUN_MAX_RECONNECT_S, &v, err);

	if (!ret)
		d->reconnect_s = (uint32_t)v;
	return ret;
}

static int disk_key(void *obj, const char *key, const char *value,
		    struct error *err)
{
	struct disk_option *d = obj;

	if (!key || !strcmp(key, "uri") || !strcmp(key, "file")) {
		if (d->uri || !*value)
			return error_set(err, EINVAL, "one image, please");
		d->uri = value;
		return 0;
	}
	if (!strcmp(key, "id")) {
		d->id = value;
		return parse_name(value, err);
	}
	if (!strcmp(key, "readonly"))
		return parse_bool(value, &d->readonly, err);
	if (!strcmp(key, "direct"))
		return parse_bool(value, &d->direct, err);
	if (!strcmp(key, "werror"))
		return on_error_key(&d->werror, value, err);
	if (!strcmp(key, "rerror"))
		return on_error_key(&d->rerror, value, err);
	if (!strcmp(key, "reconnect-delay"))
		return reconnect_key(d, value, err);
	if (!strcmp(key, "overwrite"))
		return parse_bool(value, &d->overwrite, err);
	if (strcmp(key, "serial"))
		return error_set(err, EINVAL, "unknown key '%s'", key);
	if (strlen(value) > 20)		/* virtio 1.2, 5.2.6 */
		return error_set(err, EINVAL, "a serial number has at most 20 bytes");
	d->serial = value;
	return 0;
}

static int option_disk(const struct option_spec *spec, void *field,
		       const char *value, struct error *err)
{
	struct run_config *c = field;
	struct disk_option *d = &c->disk[c->ndisks];
	int ret;

	if (c->ndisks == RUN_MAX_DISKS)
		return error_set(err, E2BIG, "more than %d disks",
				 RUN_MAX_DISKS);
	c->ndisks++;
	ret = parse_device(value, &d->copy, d, disk_key, err);
	if (!ret && !d->uri)
		return error_set(err, EINVAL, "no image");
	return ret ? ret : block_uri_check(d->uri, err);
}

static int net_key(void *obj, const char *key, const char *value,
		   struct error *err)
{
	struct net_option *n = obj;

	if (!key) {
		if (n->backend || !*value)
			return error_set(err, EINVAL, "one network, please");
		n->backend = value;
		return 0;
	}
	if (!strcmp(key, "id")) {
		n->id = value;
		return parse_name(value, err);
	}
	if (strcmp(key, "mac"))
		return error_set(err, EINVAL, "unknown key '%s'", key);
	n->has_mac = true;
	return parse_mac(value, n->mac, err);
}

static int option_net(const struct option_spec *spec, void *field,
		      const char *value, struct error *err)
{
	struct run_config *c = field;
	struct net_option *n = &c->net[c->nnets];
	int ret;

	if (c->nnets == RUN_MAX_NETS)
		return error_set(err, E2BIG, "more than %d NICs", RUN_MAX_NETS);
	c->nnets++;
	ret = parse_device(value, &n->copy, n, net_key, err);
	if (!ret && !n->backend)
		return error_set(err, EINVAL, "no network");
	return ret ? ret : net_check(n->backend, err);
}

static int backend_check(const char *name, struct error *err)
{
	return strcmp(name, "stdio") ? char_check(name, err) : 0;
}

static int option_serial(const struct option_spec *spec, void *field,
			 const char *value, struct error *err)
{
	*(const char **)field = value;
	return backend_check(value, err);
}

static int option_uri(const struct option_spec *spec, void *field,
		      const char *value, struct error *err)
{
	*(const char **)field = value;
	return channel_uri_check(value, err);
}

static int option_tls(const struct option_spec *spec, void *field,
		      const char *value, struct error *err)
{
	*(const char **)field = value;
	return tls_spec_check(value, err);
}

static int option_allow(const struct option_spec *spec, void *field,
			const char *value, struct error *err)
{
	return allow_add(field, value, err);
}

/* Off is what has to be said. */
static int option_seccomp(const struct option_spec *spec, void *field,
			  const char *value, struct error *err)
{
	bool on = true;
	int ret = parse_bool(value, &on, err);

	*(bool *)field = !on;
	return ret;
}

static int option_console(const struct option_spec *spec, void *field,
			  const char *value, struct error *err)
{
	if (strcmp(value, "serial") && strcmp(value, "none") &&
	    strcmp(value, "virtio") && strncmp(value, "virtio:", 7))
		return error_set(err, EINVAL, "no such console");
	*(const char **)field = value;
	return strncmp(value, "virtio:", 7) ? 0 :
	       backend_check(value + 7, err);
}

static int option_log(const struct option_spec *spec, void *field,
		      const char *value, struct error *err)
{
	static const char *const levels[] = {
		[LOG_ERROR] = "error", [LOG_WARN] = "warn",
		[LOG_INFO] = "info", [LOG_DEBUG] = "debug",
	};
	unsigned int i;

	for (i = LOG_ERROR; i <= LOG_DEBUG; i++)
		if (!strcmp(value, levels[i])) {
			*(enum log_level *)field = (enum log_level)i;
			return 0;
		}
	return error_set(err, EINVAL, "no such level");
}

static int option_dirty(const struct option_spec *spec, void *field,
			const char *value, struct error *err)
{
	return parse_dirty(value, field, err);
}

#define FIELD(member) .offset = offsetof(struct run_config, member)

/* Rows that two tables have. */
#define OPTION_NAME \
	{ "name", "NAME", "Name of the VM (default: vm and the process id)", \
	  .parse = option_name, FIELD(name) }

#define OPTION_DISK \
	{ "disk", "URI[,id=ID][,KEY=VALUE...]", \
	  "A disk, again for each: a file, nbd://HOST[:PORT]/EXPORT,\n" \
	  "nbd+unix:///EXPORT?socket=PATH, rbd:POOL/IMAGE[:conf=FILE]\n" \
	  "[:id=USER]; \",,\" is a comma. Keys:\n" \
	  "  serial=S, readonly=on, direct=on\n" \
	  "  werror=, rerror= what a write, a read does that fails:\n" \
	  "    report: tell the guest; stop: pause the VM and try again on\n" \
	  "    resume; auto (default): stop if the disk is full or lost\n" \
	  "  reconnect-delay=SECONDS until a lost NBD server counts as lost\n" \
	  "    (default 10); the VM goes on when it is back\n" \
	  "Of a VM that arrives: what stands here behind the disk ID;\n" \
	  "  overwrite=on: to be copied to even if it holds data", \
	  .parse = option_disk }

#define OPTION_NET \
	{ "net", "tap[:NAME]|passt[:SOCKET][,id=ID][,mac=MAC]", \
	  "A network card, again for each.\n" \
	  "Of a VM that arrives: what stands here behind the card ID", \
	  .parse = option_net }

#define OPTION_SERIAL \
	{ "serial", "stdio|null|file:PATH|unix:PATH|pty", \
	  "Behind the serial port (default stdio)", \
	  .parse = option_serial, FIELD(serial) }

#define OPTION_CONTROL \
	{ "control", "PATH", "Control socket (default: NAME.sock in the runtime\n" \
	  "directory, $XDG_RUNTIME_DIR/godwit or /run/godwit)", \
	  .parse = option_string, FIELD(control) }

#define OPTION_PAUSED \
	{ "paused", NULL, "Build the VM, but wait for `godwit resume`", \
	  .parse = option_bool, FIELD(paused) }

#define OPTION_DIRTY \
	{ "dirty", "bitmap|ring|auto[,entries=N]", \
	  "How KVM tells which pages were written (default bitmap).\n" \
	  "ring: by vCPU, so that --auto-converge slows those that write\n" \
	  "most; N, 1024 to 65536, in each (default 16384); auto: the\n" \
	  "ring where there are several vCPUs and KVM has it", \
	  .parse = option_dirty, FIELD(dirty) }

#define OPTION_LOG \
	{ "log", "error|warn|info|debug", "What to tell (default warn)", \
	  .parse = option_log, FIELD(log_level) }

#define OPTION_USER \
	{ "user", "NAME|UID[:GID]", \
	  "Become that user before the guest runs, with no capability. All\n" \
	  "that is given here is opened before, as root; what is named\n" \
	  "later (save, migrate) must be open to that user. Migrations'\n" \
	  "records: in DIR/godwit, /var/lib/godwit-UID/godwit without\n" \
	  "--chroot; XDG_STATE_HOME=DIR lets `godwit resolve` find them", \
	  .parse = confine_user_option, FIELD(user) }

#define OPTION_CHROOT \
	{ "chroot", "DIR", "With --user: see nothing above DIR from then on. Later paths\n" \
	  "are still those of the host, and must lie in DIR; host names\n" \
	  "are not known unless DIR has etc/hosts or etc/resolv.conf", \
	  .parse = option_string, FIELD(chroot) }

const struct option_spec run_option_table[] = {
	OPTION_NAME,
	{ "kernel", "FILE", "Linux bzImage, or ELF with a PVH note",
	  .parse = option_string, FIELD(kernel) },
	{ "initrd", "FILE", "Initial RAM disk",
	  .parse = option_string, FIELD(initrd) },
	{ "append", "TEXT", "Kernel command line",
	  .parse = option_text, FIELD(append) },
	{ "cpus", "N", "Virtual CPUs (default 1)",
	  .parse = option_cpus, FIELD(cpus) },
	{ "memory", "SIZE[,shared=on]",
	  "RAM; MiB, or with suffix K, M, G, T (default 512)\n"
	  "shared=on: as a memfd, for other processes",
	  .parse = option_memory },
	{ "cpu", "MODEL|FILE", "host (default), or one of `godwit cpu list`, or a file\n"
	  "of `godwit cpu`, known by a / or a . in its name",
	  .parse = option_string, FIELD(cpu_model) },
	OPTION_DISK,
	OPTION_NET,
	{ "rng", "on|off", "Entropy device (default off)", .may_omit = true,
	  .parse = option_bool, FIELD(rng) },
	{ "console", "serial|virtio[:BACKEND]|none",
	  "What the terminal is to the guest (default serial)",
	  .parse = option_console, FIELD(console) },
	OPTION_SERIAL,
	OPTION_CONTROL,
	{ "incoming", "tcp:HOST:PORT|unix:PATH",
	  "Wait there for a VM that is moved to this host",
	  .parse = option_uri, FIELD(incoming) },
	{ "take-over", "PATH", "With --incoming: wait for one VM alone, and when it is\n"
	  "there be reached by this control socket, whose it was\n"
	  "(what `godwit upgrade` says)",
	  .parse = option_string, FIELD(take_over) },
	{ "tls", "DIR|psk=FILE[,id=NAME]",
	  "Migrations come and go by TLS: by certificates, in DIR as\n"
	  "ca-cert.pem and {server,client}-{cert,key}.pem, or a key\n"
	  "of FILE (lines NAME:HEX, see psktool)",
	  .parse = option_tls, FIELD(tls) },
	{ "plain", "on|off", "Migrations may come and go by plain TCP: nobody proves\n"
	  "who it is, and guest memory can be read and changed",
	  .may_omit = true, .parse = option_bool, FIELD(plain) },
	{ "allow", "ADDRESS[/BITS]|HOST|cert:PATTERN|psk:PATTERN",
	  "With --incoming: who may come, again for each; a pattern is\n"
	  "of a certificate's CN, DNS name or subject, or a key's name",
	  .parse = option_allow, FIELD(allow) },
	{ "seccomp", "on|off", "Confine the process while the guest runs (default on)",
	  .parse = option_seccomp, FIELD(no_seccomp) },
	OPTION_USER,
	OPTION_CHROOT,
	{ "debug-exit", NULL, "Port 0x501: a byte written there ends the VM with\n"
	  "that exit status", .parse = option_bool, FIELD(debug_exit) },
	OPTION_PAUSED,
	OPTION_DIRTY,
	OPTION_LOG,
};
const unsigned int run_option_count = ARRAY_SIZE(run_option_table);

const struct option_spec restore_option_table[] = {
	OPTION_NAME,
	OPTION_DISK,
	OPTION_NET,
	OPTION_SERIAL,
	OPTION_CONTROL,
	OPTION_USER,
	OPTION_CHROOT,
	OPTION_PAUSED,
	OPTION_DIRTY,
	OPTION_LOG,
	{ "verify", NULL, "Read all of the file first, and refuse one that was\n"
	  "altered (without it, that is found while the VM runs)",
	  .parse = option_bool, FIELD(verify) },
	{ "again", NULL, "Although it was restored before: the disks are as they\n"
	  "were when it was saved", .parse = option_bool, FIELD(again) },
};
const unsigned int restore_option_count = ARRAY_SIZE(restore_option_table);

void run_config_init(struct run_config *c)
{
	*c = (struct run_config){ .log_level = LOG_WARN };
}

void run_config_exit(struct run_config *c)
{
	unsigned int i;

	for (i = 0; i < c->ndisks; i++)
		free(c->disk[i].copy);
	for (i = 0; i < c->nnets; i++)
		free(c->net[i].copy);
}
