/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/options.h"

#include <errno.h>
#include <string.h>

#include "cmd/parse.h"
#include "vmm/base/util.h"

#define HELP_COLUMN 30

int option_string(const struct option_spec *spec, void *field,
		  const char *value, struct error *err)
{
	if (!*value)
		return error_set(err, EINVAL, "empty");
	*(const char **)field = value;
	return 0;
}

int option_text(const struct option_spec *spec, void *field,
		const char *value, struct error *err)
{
	*(const char **)field = value;
	return 0;
}

int option_bool(const struct option_spec *spec, void *field,
		const char *value, struct error *err)
{
	return parse_bool(value, field, err);
}

int option_u32(const struct option_spec *spec, void *field,
	       const char *value, struct error *err)
{
	uint64_t v, max = spec->max ? spec->max : UINT32_MAX;
	int ret = parse_number(value, spec->min, max, &v, err);

	if (!ret)
		*(uint32_t *)field = (uint32_t)v;
	return ret;
}

int option_size(const struct option_spec *spec, void *field,
		const char *value, struct error *err)
{
	return parse_size(value, spec->unit ? spec->unit : 1, field, err);
}

static const struct option_spec *find(const struct command *cmd,
				      const char *name, size_t len)
{
	unsigned int i;

	for (i = 0; i < cmd->noptions; i++)
		if (strlen(cmd->options[i].name) == len &&
		    !memcmp(cmd->options[i].name, name, len))
			return &cmd->options[i];
	return NULL;
}

/* The option whose name looks most like @name, if any is near. */
static const struct option_spec *nearest(const struct command *cmd,
					 const char *name)
{
	const struct option_spec *best = NULL;
	unsigned int i, d, least = 3;

	for (i = 0; i < cmd->noptions; i++) {
		const struct option_spec *spec = &cmd->options[i];

		d = edit_distance(name, spec->name);
		if (!strncmp(name, spec->name, strlen(name)))
			d = 0;
		if (d < least) {
			best = spec;
			least = d;
		}
	}
	return best;
}

static void unknown(const struct command *cmd, const char *dashes,
		    const char *name, size_t len, struct error *err)
{
	char word[64];
	const struct option_spec *near;

	snprintf(word, sizeof(word), "%.*s", (int)MIN(len, 60u), name);
	near = nearest(cmd, word);
	if (near)
		error_add(err, EINVAL, "unknown option %s%s: did you mean --%s%s%s?",
			  dashes, word, near->name, near->value ? " " : "",
			  near->value ? near->value : "");
	else
		error_add(err, EINVAL, "unknown option %s%s (godwit %s --help lists all)",
			  dashes, word, cmd->name);
}

static void set_option(const struct option_spec *spec, void *config,
		       const char *value, struct error *err)
{
	struct error why = ERROR_INIT;

	if (spec->parse(spec, (char *)config + spec->offset, value, &why))
		error_add(err, why.code, "option --%s: value '%s': %s; accepted: --%s%s%s",
			  spec->name, value, why.msg, spec->name,
			  spec->may_omit || !spec->value ? "=" : " ",
			  spec->value ? spec->value : "on|off");
}

/* What follows an unknown option is most likely its value: one error, not
 * two. Returns how many words to leave out. */
static int skip_unknown(const struct command *cmd, int argc, char **argv, int i)
{
	return !strchr(argv[i], '=') && !cmd->max_args && i + 1 < argc &&
	       argv[i + 1][0] != '-' ? 2 : 1;
}

/* argv[i] is an option; returns how many words it took. */
static int take_option(const struct command *cmd, int argc, char **argv, int i,
		       void *config, struct error *err)
{
	const char *name = argv[i] + 2, *eq = strchr(name, '=');
	size_t len = eq ? (size_t)(eq - name) : strlen(name);
	const struct option_spec *spec = find(cmd, name, len);

	if (!spec) {
		unknown(cmd, "--", name, len, err);
		return skip_unknown(cmd, argc, argv, i);
	}
	if (eq || !spec->value || spec->may_omit) {
		set_option(spec, config, eq ? eq + 1 : "on", err);
		return 1;
	}
	if (i + 1 >= argc || !strncmp(argv[i + 1], "--", 2)) {
		error_add(err, EINVAL, "option --%s: no value; accepted: --%s %s",
			  spec->name, spec->name, spec->value);
		return 1;
	}
	set_option(spec, config, argv[i + 1], err);
	return 2;
}

static void check_args(const struct command *cmd, unsigned int n,
		       struct error *err)
{
	if (n < cmd->min_args)
		error_add(err, EINVAL, "too few words; accepted: godwit %s %s",
			  cmd->name, cmd->args);
}

int options_parse(const struct command *cmd, int argc, char **argv,
		  void *config, const char **args, bool *help,
		  struct error *err)
{
	unsigned int n = 0;
	bool plain = false;
	int i;

	*help = false;
	for (i = 0; i < argc && !*help; i++)
		*help = !strcmp(argv[i], "--help") || !strcmp(argv[i], "-h");
	for (i = 0; i < argc && !*help;) {
		if (!plain && !strcmp(argv[i], "--")) {
			plain = true;
			i++;
		} else if (!plain && !strncmp(argv[i], "--", 2)) {
			i += take_option(cmd, argc, argv, i, config, err);
		} else if (!plain && argv[i][0] == '-' && argv[i][1]) {
			unknown(cmd, "-", argv[i] + 1, strlen(argv[i] + 1),
				err);
			i += skip_unknown(cmd, argc, argv, i);
		} else if (n < MIN(cmd->max_args, OPTIONS_MAX_ARGS)) {
			args[n++] = argv[i++];
		} else {
			error_add(err, EINVAL, "unexpected word '%s'; accepted: godwit %s%s%s%s",
				  argv[i++], cmd->name,
				  cmd->noptions ? " [OPTION...]" : "",
				  *cmd->args ? " " : "", cmd->args);
		}
	}
	args[n] = NULL;
	if (!*help)
		check_args(cmd, n, err);
	return -err->code;
}

static void help_line(FILE *out, const struct option_spec *spec)
{
	int n = fprintf(out, "  --%s%s%s%s", spec->name,
			!spec->value ? "" : spec->may_omit ? "[=" : " ",
			spec->value ? spec->value : "",
			spec->value && spec->may_omit ? "]" : "");
	const char *p = spec->help, *nl;

	if (n >= HELP_COLUMN) {
		fputc('\n', out);
		n = 0;
	}
	while ((nl = strchr(p, '\n'))) {
		fprintf(out, "%*s%.*s\n", HELP_COLUMN - n, "", (int)(nl - p), p);
		p = nl + 1;
		n = 0;
	}
	fprintf(out, "%*s%s\n", HELP_COLUMN - n, "", p);
}

void options_help(FILE *out, const struct command *cmd)
{
	unsigned int i;

	fprintf(out, "Usage: godwit %s%s%s%s\n\n%s\n", cmd->name,
		cmd->noptions ? " [OPTION...]" : "", *cmd->args ? " " : "",
		cmd->args, cmd->summary);
	if (cmd->about)
		fprintf(out, "\n%s\n", cmd->about);
	fprintf(out, "\nOptions:\n");
	for (i = 0; i < cmd->noptions; i++)
		help_line(out, &cmd->options[i]);
	fprintf(out, "  --help%*sThis text\n", HELP_COLUMN - 8, "");
}

int command_fail(const struct error *err)
{
	fprintf(stderr, "godwit: %s\n", err->msg);
	return 1;
}

bool command_parse(const struct command *cmd, int argc, char **argv,
		   void *config, const char **args, int *status)
{
	struct error err = ERROR_INIT;
	bool help;

	if (options_parse(cmd, argc, argv, config, args, &help, &err)) {
		command_fail(&err);
		*status = 2;
		return false;
	}
	if (help) {
		options_help(stdout, cmd);
		*status = 0;
	}
	return !help;
}
