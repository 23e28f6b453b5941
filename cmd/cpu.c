/* SPDX-License-Identifier: GPL-2.0-or-later */
/* godwit cpu: what guests of several hosts can share. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arch/arch.h"
#include "cmd/commands.h"
#include "cmd/cpu_set.h"
#include "vmm/base/util.h"

#define WIDTH 78

static void print_names(const struct nameset *s, const char *indent)
{
	size_t column = 0;

	for (unsigned int i = 0; i < s->n; i++) {
		size_t len = strlen(s->name[i]) + 1;

		if (column && column + len > WIDTH) {
			putchar('\n');
			column = 0;
		}
		column += column ? (size_t)printf(" %s", s->name[i]) :
				   (size_t)printf("%s%s", indent, s->name[i]);
	}
	if (column)
		putchar('\n');
}

static int list(const char **what, struct error *err)
{
	struct nameset host, needs, missing;
	int ret = cpu_set_of("host", &host, err);

	(void)what;
	if (!ret)
		printf("host       %u features\n", host.n);
	for (unsigned int i = 0; !ret && arch_cpu_models[i]; i++) {
		ret = arch_cpu_needs(arch_cpu_models[i], &needs, err);
		printf("%-10s %s\n", arch_cpu_models[i],
		       nameset_missing(&needs, &host, &missing) ?
		       "not here, for this host lacks" : "yes");
		print_names(&missing, "  ");
	}
	return ret;
}

static int show(const char **what, struct error *err)
{
	const char *word = *what ? *what : "host";
	struct nameset set;
	int ret = cpu_set_of(word, &set, err);

	if (ret)
		return ret;
	printf("# CPU features: %s\n", word);
	print_names(&set, "");
	return 0;
}

static const char *vendor_of(const struct nameset *s)
{
	for (unsigned int i = 0; i < s->n; i++)
		if (!strncmp(s->name[i], "vendor=", 7))
			return s->name[i];
	return NULL;
}

static int baseline(const char **what, struct error *err)
{
	struct nameset all, one;
	int ret = cpu_set_of(*what ? *what : "host", &all, err);

	for (unsigned int i = 1; !ret && what[0] && what[i]; i++) {
		ret = cpu_set_of(what[i], &one, err);
		if (!ret)
			nameset_intersect(&all, &one);
	}
	if (!ret && !vendor_of(&all))
		ret = error_set(err, ENOTSUP, "these are CPUs of several vendors: a guest can't move between them");
	if (ret)
		return ret;
	printf("# CPU features that all have:");
	for (unsigned int i = 0; what[i]; i++)
		printf(" %s", what[i]);
	putchar('\n');
	print_names(&all, "");
	return 0;
}

/* What @a has and @b lacks. */
static unsigned int lacks(const char *name, const struct nameset *a,
			  const struct nameset *b)
{
	struct nameset missing;
	unsigned int n = nameset_missing(a, b, &missing);

	printf("%s lacks %u%s\n", name, n, n ? ":" : "");
	print_names(&missing, "  ");
	return n;
}

static int compare(const char **what, struct error *err)
{
	const char *first = *what ? *what : "host";
	const char *second = *what && what[1] ? what[1] : "host";
	struct nameset a, b;
	unsigned int n;
	int ret = cpu_set_of(first, &a, err);

	if (!ret)
		ret = cpu_set_of(second, &b, err);
	if (ret)
		return ret;
	n = lacks(second, &a, &b);
	lacks(first, &b, &a);
	return n ? error_set(err, ENOTSUP, "a guest with %s can't run on %s",
			     first, second) : 0;
}

static const struct {
	const char *word;
	int (*fn)(const char **what, struct error *err);
} verbs[] = {
	{ "list", list }, { "show", show },
	{ "baseline", baseline }, { "compare", compare },
};

static int cpu_main(const struct command *cmd, int argc, char **argv)
{
	const char *args[OPTIONS_MAX_ARGS + 1];
	struct error err = ERROR_INIT;
	int status;

	if (!command_parse(cmd, argc, argv, NULL, args, &status))
		return status;
	for (unsigned int i = 0; i < ARRAY_SIZE(verbs); i++)
		if (!strcmp(args[0], verbs[i].word))
			return verbs[i].fn(args + 1, &err) ?
			       command_fail(&err) : 0;
	error_set(&err, EINVAL, "'%s': no such word; accepted: list, show, baseline, compare",
		  args[0]);
	command_fail(&err);
	return 2;
}

const struct command cmd_cpu = {
	.name = "cpu",
	.args = "list|show|baseline|compare [CPU...]",
	.summary = "CPU models, and what the CPUs of several hosts share.",
	.about = "CPU is host, a model, or a file that `godwit cpu show >FILE` wrote on another\n"
		 "host.\n"
		 "  list               the models, and what this host lacks for them\n"
		 "  show [CPU]         its features\n"
		 "  baseline CPU...    the features that all have; `run --cpu FILE` takes them\n"
		 "  compare CPU [CPU]  what each lacks; the exit status is 0 if a guest of the\n"
		 "                     first can run on the second (default host)",
	.min_args = 1, .max_args = OPTIONS_MAX_ARGS,
	.run = cpu_main,
};
