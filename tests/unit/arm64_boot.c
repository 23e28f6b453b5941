/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Kernels as Debian ships them, and the tree that the guest gets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <libfdt.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "arch/arm64/arm64.h"
#include "vmm/base/byteorder.h"
#include "vmm/base/util.h"
#include "vmm/tree.h"

#define IMAGE_BYTES 4096

static uint8_t *new_image(void)
{
	uint8_t *p = calloc(1, IMAGE_BYTES);

	put_le64(p + 8, 0x10000);
	put_le64(p + 16, 8192);
	memcpy(p + 56, "ARM\x64", 4);
	p[IMAGE_BYTES - 1] = 0x5a;
	return p;
}

/* gzip of new_image() behind @head bytes; malloc'ed. */
static uint8_t *zipped(size_t head, size_t *len)
{
	uint8_t *image = new_image(), *out = calloc(1, head + 2 * IMAGE_BYTES);
	z_stream z = { .next_in = image, .avail_in = IMAGE_BYTES,
		       .next_out = out + head, .avail_out = 2 * IMAGE_BYTES };

	assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 31, 8,
				      Z_DEFAULT_STRATEGY), Z_OK);
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	*len = head + z.total_out;
	deflateEnd(&z);
	free(image);
	return out;
}

static void expect_image(uint8_t *data, size_t len)
{
	struct error err = ERROR_INIT;
	struct arm64_image image;

	assert_int_equal(arm64_image_parse(data, len, &image, &err), 0);
	assert_int_equal(image.len, IMAGE_BYTES);
	assert_int_equal(image.text_offset, 0x10000);
	assert_int_equal(image.memory, 8192);
	assert_int_equal(image.data[IMAGE_BYTES - 1], 0x5a);
	free(image.data);
}

static void expect_refusal(uint8_t *data, size_t len, const char *why)
{
	struct error err = ERROR_INIT;
	struct arm64_image image;

	assert_true(arm64_image_parse(data, len, &image, &err) < 0);
	if (!strstr(err.msg, why))
		fail_msg("%s", err.msg);
}

static void a_plain_image_is_taken(void **state)
{
	expect_image(new_image(), IMAGE_BYTES);
}

static void a_gzipped_image_is_taken(void **state)
{
	size_t len;
	uint8_t *p = zipped(0, &len);

	expect_image(p, len);
}

static uint8_t *zboot(size_t *len)
{
	uint8_t *p = zipped(512, len);

	memcpy(p, "MZ\0\0zimg", 8);
	put_le32(p + 8, 512);
	put_le32(p + 12, (uint32_t)(*len - 512));
	memcpy(p + 24, "gzip", 5);
	return p;
}

static void an_efi_program_with_an_image_is_taken(void **state)
{
	size_t len;
	uint8_t *p = zboot(&len);

	expect_image(p, len);
}

static void an_unknown_compression_is_named(void **state)
{
	size_t len;
	uint8_t *p = zboot(&len);

	memcpy(p + 24, "lzma", 5);
	expect_refusal(p, len, "\"lzma\"");
}

static void a_payload_outside_of_the_file_is_refused(void **state)
{
	size_t len;
	uint8_t *p = zboot(&len);

	put_le32(p + 12, UINT32_MAX);
	expect_refusal(p, len, "EFI program");
}

static void a_cut_gzip_is_refused(void **state)
{
	size_t len;
	uint8_t *p = zipped(0, &len);

	expect_refusal(p, len / 2, "damaged");
}

static void another_file_is_refused(void **state)
{
	expect_refusal(calloc(1, IMAGE_BYTES), IMAGE_BYTES, "no arm64 Image");
	expect_refusal(calloc(1, 8), 0, "no arm64 Image");
}

static void a_big_endian_kernel_is_refused(void **state)
{
	uint8_t *p = new_image();

	put_le64(p + 24, 1);
	expect_refusal(p, IMAGE_BYTES, "big-endian");
}

static void add_device(void *fdt, const char *node, const char *compatible,
		       uint32_t gsi)
{
	uint8_t reg[16] = { 0 };

	fdt_begin_node(fdt, node);
	fdt_property_string(fdt, "compatible", compatible);
	fdt_property(fdt, "reg", reg, sizeof(reg));
	fdt_property_u32(fdt, "interrupts", gsi);
	fdt_property_string(fdt, "backend", "/secret/disk.img");
	fdt_end_node(fdt);
}

static void *machine_tree(void)
{
	void *fdt = calloc(1, 65536);

	fdt_create(fdt, 65536);
	fdt_finish_reservemap(fdt);
	fdt_begin_node(fdt, "");
	fdt_begin_node(fdt, "chosen");
	fdt_property_string(fdt, "bootargs", "hello");
	fdt_property_string(fdt, "godwit,kernel", "/secret/vmlinuz");
	fdt_end_node(fdt);
	fdt_begin_node(fdt, "cpus");
	fdt_begin_node(fdt, "cpu@0");
	fdt_end_node(fdt);
	fdt_end_node(fdt);
	fdt_begin_node(fdt, "platform");
	add_device(fdt, "serial@9000000", "ns16550a", 1);
	add_device(fdt, "gpio@9030000", "arm,pl061", 7);
	fdt_end_node(fdt);
	fdt_begin_node(fdt, "soc");
	add_device(fdt, "virtio-blk@a000000", "godwit,virtio-blk", 16);
	fdt_end_node(fdt);
	fdt_end_node(fdt);
	assert_int_equal(fdt_finish(fdt), 0);
	return fdt;
}

static void *guest_tree(void)
{
	void *machine = machine_tree(), *guest;
	struct error err = ERROR_INIT;

	if (arm64_fdt_make(machine, 0x48000000, 4096, &guest, &err) < 0)
		fail_msg("%s", err.msg);
	free(machine);
	assert_int_equal(fdt_check_full(guest, fdt_totalsize(guest)), 0);
	return guest;
}

static void expect_cells(const void *fdt, const char *path, const char *prop,
			 const uint32_t *want, int n)
{
	int len;
	const uint8_t *p = fdt_getprop(fdt, fdt_path_offset(fdt, path), prop,
				       &len);

	assert_non_null(p);
	assert_int_equal(len, 4 * n);
	for (int i = 0; i < n; i++)
		assert_int_equal(get_be32(p + 4 * i), want[i]);
}

static void interrupts_have_the_gics_three_cells(void **state)
{
	const uint32_t edge[] = { 0, 16, 1 }, level[] = { 0, 1, 4 };
	void *fdt = guest_tree();

	expect_cells(fdt, "/soc/virtio-blk@a000000", "interrupts", edge, 3);
	expect_cells(fdt, "/platform/serial@9000000", "interrupts", level, 3);
	free(fdt);
}

static void nothing_of_the_host_reaches_the_guest(void **state)
{
	void *fdt = guest_tree();

	assert_null(memmem(fdt, fdt_totalsize(fdt), "secret", 6));
	free(fdt);
}

static void the_kernel_finds_its_initrd_and_words(void **state)
{
	void *fdt = guest_tree();
	int chosen = fdt_path_offset(fdt, "/chosen");

	assert_string_equal(tree_str(fdt, chosen, "bootargs", ""), "hello");
	assert_int_equal(tree_u64(fdt, chosen, "linux,initrd-start", 0),
			 0x48000000);
	assert_int_equal(tree_u64(fdt, chosen, "linux,initrd-end", 0),
			 0x48001000);
	free(fdt);
}

static void the_power_key_hangs_on_the_gpio(void **state)
{
	void *fdt = guest_tree();
	int gpio = fdt_path_offset(fdt, "/platform/gpio@9030000");
	const uint32_t line[] = { fdt_get_phandle(fdt, gpio), 3, 0 };

	expect_cells(fdt, "/gpio-keys/power", "gpios", line, 3);
	free(fdt);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_plain_image_is_taken),
		cmocka_unit_test(a_gzipped_image_is_taken),
		cmocka_unit_test(an_efi_program_with_an_image_is_taken),
		cmocka_unit_test(an_unknown_compression_is_named),
		cmocka_unit_test(a_payload_outside_of_the_file_is_refused),
		cmocka_unit_test(a_cut_gzip_is_refused),
		cmocka_unit_test(another_file_is_refused),
		cmocka_unit_test(a_big_endian_kernel_is_refused),
		cmocka_unit_test(interrupts_have_the_gics_three_cells),
		cmocka_unit_test(nothing_of_the_host_reaches_the_guest),
		cmocka_unit_test(the_kernel_finds_its_initrd_and_words),
		cmocka_unit_test(the_power_key_hangs_on_the_gpio),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
