/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the options of `godwit run` and `restore` say together. */
#include "cmd/run_options.h"

#include <errno.h>
#include <string.h>

#include "migration/channel.h"
#include "vmm/base/util.h"

static void check_incoming(const struct run_config *c, struct error *err)
{
	const struct {
		const char *option;
		bool given;
	} taken[] = {
		{ "--append", c->append },
		{ "--cpus", c->cpus },
		{ "--memory", c->memory },
		{ "--cpu", c->cpu_model },
		{ "--console", c->console },
		{ "--rng", c->rng },
		{ "--debug-exit", c->debug_exit },
		{ "--paused", c->paused && c->incoming },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(taken); i++)
		if (taken[i].given)
			error_add(err, EINVAL, "option %s: not for a VM that arrives: the machine is described by the side that it comes from",
				  taken[i].option);
	for (i = 0; i < c->ndisks; i++)
		if (!c->disk[i].id)
			error_add(err, EINVAL, "option --disk %s: of a VM that arrives: it needs id=ID, to say which disk it stands behind",
				  c->disk[i].uri);
	for (i = 0; i < c->nnets; i++)
		if (!c->net[i].id)
			error_add(err, EINVAL, "option --net %s: of a VM that arrives: it needs id=ID, to say which card it stands behind",
				  c->net[i].backend);
}

/* What asks for nobody's name is asked for in words. */
static void check_security(const struct run_config *c, struct error *err)
{
	struct channel_security security = { .plain = c->plain };
	struct error why = ERROR_INIT;

	if (c->tls && c->plain)
		error_add(err, EINVAL, "options --tls and --plain: only one of them can be meant");
	else if (c->incoming && !c->tls &&
		 channel_security_check(c->incoming, &security, &why) < 0)
		error_add(err, EINVAL, "option --incoming: %s", why.msg);
	if (c->allow.n && !c->incoming)
		error_add(err, EINVAL, "option --allow: nobody comes in without --incoming");
}

static void check_user(const struct run_config *c, struct error *err)
{
	if (c->chroot && !c->user)
		error_add(err, EINVAL, "option --chroot: missing --user: root leaves such a directory when it likes");
	if (c->user && c->incoming && !c->name)
		error_add(err, EINVAL, "option --user: missing --name: when the VM has arrived, its user can't give the control socket its name");
}

static void check_here(const struct run_config *c, struct error *err)
{
	unsigned int i;

	for (i = 0; i < c->ndisks; i++)
		if (c->disk[i].overwrite)
			error_add(err, EINVAL, "option --disk %s: overwrite=on: accepted with --incoming only",
				  c->disk[i].uri);
}

static const char *device_id(const struct run_config *c, unsigned int i)
{
	return i < c->ndisks ? c->disk[i].id : c->net[i - c->ndisks].id;
}

static void check_ids(const struct run_config *c, struct error *err)
{
	unsigned int n = c->ndisks + c->nnets, i, j;

	for (i = 0; i < n; i++)
		for (j = 0; j < i; j++)
			if (device_id(c, i) && device_id(c, j) &&
			    !strcmp(device_id(c, i), device_id(c, j)))
				error_add(err, EINVAL, "id=%s: given to two devices; accepted: an id for each",
					  device_id(c, i));
}

int run_config_check(const struct run_config *c, struct error *err)
{
	if (c->incoming || c->restore)
		check_incoming(c, err);
	else
		check_here(c, err);
	if (!c->incoming && !c->restore && !c->kernel)
		error_add(err, EINVAL, "option --kernel: missing; accepted: --kernel FILE, a Linux bzImage or an ELF file with a PVH note (or --incoming URI)");
	if (c->take_over && !c->incoming)
		error_add(err, EINVAL, "option --take-over: accepted with --incoming only");
	check_security(c, err);
	check_user(c, err);
	check_ids(c, err);
	return -err->code;
}
