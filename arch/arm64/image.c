/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Kernels: an arm64 Image (Documentation/arch/arm64/booting.rst), gzip of one,
 * or an EFI program with a compressed one in it (EFI_ZBOOT). An Image with an
 * EFI stub is an Image too.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "arch/arm64/arm64.h"
#include "vmm/base/byteorder.h"
#include "vmm/base/util.h"

#define KERNEL_MAX (256 * MIB)

/* booting.rst, "Call the kernel image" */
#define IMAGE_TEXT_OFFSET 8
#define IMAGE_SIZE 16
#define IMAGE_FLAGS 24
#define IMAGE_MAGIC 56
#define IMAGE_HEADER 64
#define FLAG_BIG_ENDIAN 1
#define OLD_TEXT_OFFSET 0x80000	/* of kernels that give no size */

/* drivers/firmware/efi/libstub/zboot-header.S */
#define ZBOOT_MAGIC 4
#define ZBOOT_OFFSET 8
#define ZBOOT_SIZE 12
#define ZBOOT_TYPE 24

static int inflate_to(z_stream *z, uint8_t **out, uint64_t *len)
{
	uint64_t room = 0;
	int ret = Z_OK;

	*out = NULL;
	*len = 0;
	while (ret == Z_OK && room < KERNEL_MAX) {
		uint8_t *more = realloc(*out, room + 16 * MIB);

		if (!more)
			return Z_MEM_ERROR;
		*out = more;
		z->next_out = more + room;
		z->avail_out = 16 * MIB;
		room += 16 * MIB;
		ret = inflate(z, Z_NO_FLUSH);
		*len = room - z->avail_out;
	}
	return ret;
}

/* Takes over @data. */
static int unzip(uint8_t *data, uint64_t offset, uint64_t size,
		 uint8_t **out, uint64_t *len, struct error *err)
{
	z_stream z = { .next_in = data + offset, .avail_in = (uInt)size };
	int ret = inflateInit2(&z, 16 + MAX_WBITS);	/* gzip's header */

	*out = NULL;
	if (ret == Z_OK) {
		ret = inflate_to(&z, out, len);
		inflateEnd(&z);
	}
	free(data);
	if (ret == Z_STREAM_END)
		return 0;
	free(*out);
	*out = NULL;
	return error_set(err, ENOEXEC, "kernel: the compressed image is damaged, or larger than %llu MiB",
			 KERNEL_MAX / MIB);
}

static int unwrap(uint8_t **data, uint64_t *len, struct error *err)
{
	uint64_t offset = 0, size = *len;
	uint8_t *in = *data;

	if (*len > IMAGE_HEADER && !memcmp(in, "MZ", 2) &&
	    !memcmp(in + ZBOOT_MAGIC, "zimg", 4)) {
		offset = get_le32(in + ZBOOT_OFFSET);
		size = get_le32(in + ZBOOT_SIZE);
		if (!range_within(offset, size, *len) ||
		    strncmp((char *)in + ZBOOT_TYPE, "gzip", 5))
			return error_set(err, ENOEXEC, "kernel: an EFI program whose image is compressed by \"%.8s\"; accepted: gzip",
					 in + ZBOOT_TYPE);
	} else if (*len < 3 || memcmp(in, "\x1f\x8b\x08", 3)) {
		return 0;
	}
	*data = NULL;
	return unzip(in, offset, size, data, len, err);
}

int arm64_image_parse(uint8_t *data, uint64_t len, struct arm64_image *image,
		      struct error *err)
{
	int ret;

	*image = (struct arm64_image){ 0 };
	ret = unwrap(&data, &len, err);
	if (!ret && (len < IMAGE_HEADER ||
		     memcmp(data + IMAGE_MAGIC, "ARM\x64", 4)))
		ret = error_set(err, ENOEXEC, "the kernel is no arm64 Image, nor gzip or an EFI program of one");
	if (!ret && get_le64(data + IMAGE_FLAGS) & FLAG_BIG_ENDIAN)
		ret = error_set(err, ENOEXEC, "the kernel is big-endian");
	if (ret) {
		free(data);
		return ret;
	}
	image->data = data;
	image->len = len;
	image->memory = MAX(get_le64(data + IMAGE_SIZE), len);
	image->text_offset = get_le64(data + IMAGE_SIZE) ?
			     get_le64(data + IMAGE_TEXT_OFFSET) :
			     OLD_TEXT_OFFSET;
	return 0;
}

int arm64_image_read(int fd, struct arm64_image *image, struct error *err)
{
	uint64_t done = 0, len;
	struct stat st;
	uint8_t *data;

	if (fstat(fd, &st) < 0)
		return error_set(err, errno, "kernel: %s", strerror(errno));
	len = (uint64_t)st.st_size;
	if (len > KERNEL_MAX)
		return error_set(err, EFBIG, "kernel of %llu MiB, limit %llu",
				 (unsigned long long)(len / MIB),
				 KERNEL_MAX / MIB);
	data = malloc(len + 1);
	if (!data)
		return error_set(err, ENOMEM, "no memory for the kernel");
	while (done < len) {
		ssize_t n = pread(fd, data + done, len - done, (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			free(data);
			return error_set(err, n ? errno : ENOEXEC, "kernel: read %llu of %llu bytes",
					 (unsigned long long)done,
					 (unsigned long long)len);
		}
		done += (uint64_t)n;
	}
	return arm64_image_parse(data, len, image, err);
}
