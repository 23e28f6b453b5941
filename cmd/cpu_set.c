/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/cpu_set.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "arch/arch.h"
#include "vmm/base/fd.h"

bool cpu_set_is_file(const char *word)
{
	return strpbrk(word, "/.");
}

int cpu_set_read(const char *path, struct nameset *out, struct error *err)
{
	FILE *in = fopen(path, "re");
	int ret;

	out->n = 0;
	if (!in)
		return error_set(err, errno, "%s: %s", path, strerror(errno));
	ret = nameset_read(out, in, err);
	fclose(in);
	if (!ret && !out->n)
		ret = error_set(err, EINVAL, "it names no feature");
	if (ret)
		error_prefix(err, "%s: no set of CPU features", path);
	return ret;
}

int cpu_set_of(const char *word, struct nameset *out, struct error *err)
{
	int ret, fd;

	if (cpu_set_is_file(word))
		return cpu_set_read(word, out, err);
	fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return error_set(err, errno, "can't open /dev/kvm: %s",
				 strerror(errno));
	ret = arch_cpu_features(word, fd, out, err);
	fd_close(&fd);
	return ret;
}
