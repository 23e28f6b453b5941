/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options as people type them, over the table of godwit run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/run_options.h"
#include "vmm/base/util.h"

struct parsed {
	struct run_config config;
	struct error err;
	bool help;
	int ret;
};

/* Parse words up to a NULL. */
static void parse(struct parsed *p, const char *const *words)
{
	struct command cmd = {
		.name = "run", .args = "", .summary = "Run.",
		.options = run_option_table, .noptions = run_option_count,
	};
	const char *args[OPTIONS_MAX_ARGS + 1];
	char *argv[64];
	int argc = 0;

	memset(p, 0, sizeof(*p));
	run_config_init(&p->config);
	for (; words[argc]; argc++)
		argv[argc] = strdup(words[argc]);
	p->ret = options_parse(&cmd, argc, argv, &p->config, args, &p->help,
			       &p->err);
	if (!p->ret && !p->help)
		p->ret = run_config_check(&p->config, &p->err);
	/* values point into argv: these tests look at none of them later */
	while (argc)
		free(argv[--argc]);
}

#define PARSE(p, ...) parse(p, (const char *const[]){ __VA_ARGS__, NULL })

static void done(struct parsed *p)
{
	run_config_exit(&p->config);
}

static void both_spellings_of_a_value_work(void **state)
{
	struct parsed p;

	PARSE(&p, "--kernel", "k", "--cpus=3", "--memory", "2G,shared=on");
	assert_int_equal(p.ret, 0);
	assert_int_equal(p.config.cpus, 3);
	assert_int_equal(p.config.memory, 2 * GIB);
	assert_true(p.config.shared);
	done(&p);
}

static void memory_without_a_suffix_is_mebibytes(void **state)
{
	struct parsed p;

	PARSE(&p, "--kernel", "k", "--memory", "64");
	assert_int_equal(p.config.memory, 64 * MIB);
	done(&p);
}

/* Every refusal names the option, the value, and what is accepted. */
static void a_wrong_value_is_explained(void **state)
{
	static const struct {
		const char *option, *value, *accepted;
	} t[] = {
		{ "--memory", "12Q", "SIZE[,shared=on]" },
		{ "--memory", "1G,shared=maybe", "SIZE[,shared=on]" },
		{ "--memory", "100K", "SIZE[,shared=on]" },
		{ "--cpus", "0", "N" },
		{ "--cpus", "two", "N" },
		{ "--name", "a/b", "NAME" },
		{ "--disk", "a,b", "URI[,id=ID]" },
		{ "--disk", "id=x", "URI[,id=ID]" },
		{ "--disk", "a,cache=none", "URI[,id=ID]" },
		{ "--disk", "a,serial=123456789012345678901", "URI[,id=ID]" },
		{ "--net", "tap,mac=1:2", "tap[:NAME]|passt" },
		{ "--console", "vga", "serial|virtio" },
		{ "--disk", "ftp://host/x", "URI[,id=ID]" },
		{ "--net", "eth0", "tap[:NAME]|passt" },
		{ "--serial", "com1", "stdio|null|file:PATH" },
		{ "--serial", "file", "stdio|null|file:PATH" },
		{ "--console", "virtio:com1", "serial|virtio" },
		{ "--incoming", "udp:h:1", "tcp:HOST:PORT|unix:PATH" },
		{ "--incoming", "tcp:h", "tcp:HOST:PORT|unix:PATH" },
		{ "--incoming", "tcp:h:65536", "tcp:HOST:PORT|unix:PATH" },
		{ "--incoming", "unix:", "tcp:HOST:PORT|unix:PATH" },
		{ "--log", "loud", "error|warn|info|debug" },
		{ "--incoming", "", "tcp:HOST:PORT|unix:PATH" },
	};
	struct parsed p;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(t); i++) {
		PARSE(&p, "--kernel", "k", t[i].option, t[i].value);
		assert_int_not_equal(p.ret, 0);
		assert_non_null(strstr(p.err.msg, t[i].option));
		assert_non_null(strstr(p.err.msg, t[i].value));
		assert_non_null(strstr(p.err.msg, t[i].accepted));
		done(&p);
	}
}

static void a_typing_error_gets_the_nearest_name(void **state)
{
	struct parsed p;

	PARSE(&p, "--memroy", "5");
	assert_non_null(strstr(p.err.msg, "--memroy"));
	assert_non_null(strstr(p.err.msg, "did you mean --memory"));
	done(&p);
	PARSE(&p, "-m", "512");
	assert_non_null(strstr(p.err.msg, "-m: did you mean --memory"));
	assert_null(strstr(p.err.msg, "512"));
	done(&p);
	PARSE(&p, "--zzzzzzzzz");
	assert_non_null(strstr(p.err.msg, "--help lists all"));
	done(&p);
}

static void all_wrong_options_are_told_at_once(void **state)
{
	struct parsed p;

	PARSE(&p, "--cpus", "0", "--log", "loud", "--kernal", "x", "word");
	assert_non_null(strstr(p.err.msg, "--cpus"));
	assert_non_null(strstr(p.err.msg, "--log"));
	assert_non_null(strstr(p.err.msg, "--kernal"));
	assert_non_null(strstr(p.err.msg, "'word'"));
	done(&p);
}

static void a_missing_value_is_told(void **state)
{
	struct parsed p;

	PARSE(&p, "--cpu", "--memory", "64");
	assert_non_null(strstr(p.err.msg, "--cpu: no value; accepted: --cpu MODEL"));
	assert_int_equal(p.config.memory, 64 * MIB);
	done(&p);
}

static void flags_and_switches_need_no_value(void **state)
{
	struct parsed p;

	PARSE(&p, "--kernel", "k", "--rng", "--paused", "--debug-exit=off");
	assert_int_equal(p.ret, 0);
	assert_true(p.config.rng);
	assert_true(p.config.paused);
	assert_false(p.config.debug_exit);
	done(&p);
}

static void disks_repeat_and_keep_their_keys(void **state)
{
	struct parsed p;

	PARSE(&p, "--kernel", "k", "--disk", "a,,b.img,id=x,direct=on",
	      "--disk", "file=c,readonly=on,serial=S1");
	assert_int_equal(p.ret, 0);
	assert_int_equal(p.config.ndisks, 2);
	assert_string_equal(p.config.disk[0].uri, "a,b.img");
	assert_string_equal(p.config.disk[0].id, "x");
	assert_true(p.config.disk[0].direct);
	assert_string_equal(p.config.disk[1].uri, "c");
	assert_true(p.config.disk[1].readonly);
	assert_string_equal(p.config.disk[1].serial, "S1");
	done(&p);
}

static void an_id_given_twice_is_refused(void **state)
{
	struct parsed p;

	PARSE(&p, "--kernel", "k", "--disk", "a,id=x", "--net", "tap,id=x");
	assert_non_null(strstr(p.err.msg, "id=x"));
	done(&p);
}

static void incoming_refuses_what_the_source_decides(void **state)
{
	struct parsed p;

	PARSE(&p, "--incoming", "tcp:localhost:1", "--cpus", "2", "--memory",
	      "1G", "--disk", "a");
	assert_non_null(strstr(p.err.msg, "--cpus"));
	assert_non_null(strstr(p.err.msg, "--memory"));
	assert_non_null(strstr(p.err.msg, "id=ID"));
	done(&p);
}

static void a_vm_without_a_kernel_is_refused(void **state)
{
	struct parsed p;

	PARSE(&p, "--memory", "64");
	assert_non_null(strstr(p.err.msg, "--kernel"));
	done(&p);
}

static void help_lists_every_option(void **state)
{
	struct command cmd = {
		.name = "run", .args = "", .summary = "Run.",
		.options = run_option_table, .noptions = run_option_count,
	};
	char *text = NULL, word[64];
	size_t len;
	FILE *out = open_memstream(&text, &len);
	unsigned int i;

	options_help(out, &cmd);
	fclose(out);
	for (i = 0; i < run_option_count; i++) {
		snprintf(word, sizeof(word), "  --%s",
			 run_option_table[i].name);
		assert_non_null(strstr(text, word));
	}
	free(text);
}

static void help_wins_over_errors(void **state)
{
	struct parsed p;

	PARSE(&p, "--cpus", "0", "--help");
	assert_int_equal(p.ret, 0);
	assert_true(p.help);
	done(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_spellings_of_a_value_work),
		cmocka_unit_test(memory_without_a_suffix_is_mebibytes),
		cmocka_unit_test(a_wrong_value_is_explained),
		cmocka_unit_test(a_typing_error_gets_the_nearest_name),
		cmocka_unit_test(all_wrong_options_are_told_at_once),
		cmocka_unit_test(a_missing_value_is_told),
		cmocka_unit_test(flags_and_switches_need_no_value),
		cmocka_unit_test(disks_repeat_and_keep_their_keys),
		cmocka_unit_test(an_id_given_twice_is_refused),
		cmocka_unit_test(incoming_refuses_what_the_source_decides),
		cmocka_unit_test(a_vm_without_a_kernel_is_refused),
		cmocka_unit_test(help_lists_every_option),
		cmocka_unit_test(help_wins_over_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
