/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The real-time clock of a PC: Motorola MC146818 with 128 bytes of CMOS RAM
 * at ports 0x70 (index) and 0x71 (data), century at index 0x32.
 *
 * Time is the host's CLOCK_REALTIME, in UTC, plus an offset that the guest
 * moves by setting the clock and that travels with it. Calendar registers are
 * computed when they are read; UIP is up for the 244 us before each second.
 *
 * Left out: alarm, periodic and update-ended interrupts, whose enable bits
 * are kept but do nothing; daylight saving; the square wave.
 */
#include <time.h>

#include "vmm/device.h"

/* Registers by index (data sheet, figure 11). */
enum {
	RTC_SECONDS = 0x00,
	RTC_MINUTES = 0x02,
	RTC_HOURS = 0x04,
	RTC_WEEKDAY = 0x06,
	RTC_DAY = 0x07,
	RTC_MONTH = 0x08,
	RTC_YEAR = 0x09,
	RTC_A = 0x0a,
	RTC_B = 0x0b,
	RTC_C = 0x0c,
	RTC_D = 0x0d,
	RTC_CENTURY = 0x32,
	RTC_BYTES = 128,
};

#define A_UIP		0x80
#define A_DEFAULT	0x26	/* 32768 Hz divider, 1024 Hz rate */
#define B_SET		0x80
#define B_BINARY	0x04	/* DM: binary, else BCD */
#define B_24H		0x02
#define B_ENABLES	0x78	/* PIE, AIE, UIE, SQWE: cleared by reset */
#define D_VALID		0x80	/* VRT: the battery is good */
#define HOUR_PM		0x80

#define UIP_NS		(244 * NSEC_PER_USEC)

struct rtc {
	struct device dev;

	/* guest-visible state */
	uint8_t index;
	uint64_t offset_ns;	/* guest's time - host's, modulo 2^64 */
	uint8_t ram[RTC_BYTES];	/* calendar part valid only while SET */
};

static struct rtc *to_rtc(struct device *dev)
{
	return container_of(dev, struct rtc, dev);
}

/* Since 1970, by the guest's clock. */
static uint64_t guest_ns(const struct rtc *rtc)
{
	return clock_ns(CLOCK_REALTIME) + rtc->offset_ns;
}

static uint8_t encode(const struct rtc *rtc, int value)
{
	if (rtc->ram[RTC_B] & B_BINARY)
		return (uint8_t)value;
	return (uint8_t)(value / 10 << 4 | value % 10);
}

static int decode(const struct rtc *rtc, uint8_t value)
{
	if (rtc->ram[RTC_B] & B_BINARY)
		return value;
	return (value >> 4) * 10 + (value & 0x0f);
}

static uint8_t encode_hour(const struct rtc *rtc, int hour)
{
	uint8_t twelve;

	if (rtc->ram[RTC_B] & B_24H)
		return encode(rtc, hour);
	twelve = encode(rtc, hour % 12 ? hour % 12 : 12);
	return hour >= 12 ? twelve | HOUR_PM : twelve;
}

static int decode_hour(const struct rtc *rtc, uint8_t value)
{
	int hour;

	if (rtc->ram[RTC_B] & B_24H)
		return decode(rtc, value);
	hour = decode(rtc, value & ~HOUR_PM) % 12;
	return value & HOUR_PM ? hour + 12 : hour;
}

/* Bring the calendar registers up to date, unless the guest holds them. */
static void update_calendar(struct rtc *rtc)
{
	time_t now = (time_t)(guest_ns(rtc) / NSEC_PER_SEC);
	struct tm tm;

	if ((rtc->ram[RTC_B] & B_SET) || !gmtime_r(&now, &tm))
		return;
	rtc->ram[RTC_SECONDS] = encode(rtc, tm.tm_sec);
	rtc->ram[RTC_MINUTES] = encode(rtc, tm.tm_min);
	rtc->ram[RTC_HOURS] = encode_hour(rtc, tm.tm_hour);
	rtc->ram[RTC_WEEKDAY] = encode(rtc, tm.tm_wday + 1);
	rtc->ram[RTC_DAY] = encode(rtc, tm.tm_mday);
	rtc->ram[RTC_MONTH] = encode(rtc, tm.tm_mon + 1);
	rtc->ram[RTC_YEAR] = encode(rtc, tm.tm_year % 100);
	rtc->ram[RTC_CENTURY] = encode(rtc, (tm.tm_year + 1900) / 100);
}

/* From now on time goes on from the calendar registers. */
static void take_calendar(struct rtc *rtc)
{
	struct tm tm = {
		.tm_sec = decode(rtc, rtc->ram[RTC_SECONDS]),
		.tm_min = decode(rtc, rtc->ram[RTC_MINUTES]),
		.tm_hour = decode_hour(rtc, rtc->ram[RTC_HOURS]),
		.tm_mday = decode(rtc, rtc->ram[RTC_DAY]),
		.tm_mon = decode(rtc, rtc->ram[RTC_MONTH]) - 1,
		.tm_year = decode(rtc, rtc->ram[RTC_CENTURY]) * 100 +
			   decode(rtc, rtc->ram[RTC_YEAR]) - 1900,
	};

	/* The first update comes half a second after the divider chain is
	 * released (data sheet, "divider stages"), and drivers set the clock
	 * with that in mind. */
	rtc->offset_ns = (uint64_t)timegm(&tm) * NSEC_PER_SEC +
			 NSEC_PER_SEC / 2 - clock_ns(CLOCK_REALTIME);
}

static bool is_calendar(uint8_t index)
{
	switch (index) {
	case RTC_SECONDS:
	case RTC_MINUTES:
	case RTC_HOURS:
	case RTC_WEEKDAY:
	case RTC_DAY:
	case RTC_MONTH:
	case RTC_YEAR:
	case RTC_CENTURY:
		return true;
	default:
		return false;
	}
}

static void write_b(struct rtc *rtc, uint8_t value)
{
	bool was_set = rtc->ram[RTC_B] & B_SET;

	update_calendar(rtc);
	rtc->ram[RTC_B] = value;
	if (was_set && !(value & B_SET))
		take_calendar(rtc);
}

static void write_data(struct rtc *rtc, uint8_t value)
{
	switch (rtc->index) {
	case RTC_A:
		rtc->ram[RTC_A] = value & ~A_UIP;
		break;
	case RTC_B:
		write_b(rtc, value);
		break;
	case RTC_C:
	case RTC_D:
		break;		/* read-only */
	default:
		if (!is_calendar(rtc->index)) {
			rtc->ram[rtc->index] = value;
			break;
		}
		update_calendar(rtc);
		rtc->ram[rtc->index] = value;
		if (!(rtc->ram[RTC_B] & B_SET))
			take_calendar(rtc);
	}
}

static uint8_t read_a(const struct rtc *rtc)
{
	uint64_t ns = guest_ns(rtc) % NSEC_PER_SEC;
	bool uip = ns >= NSEC_PER_SEC - UIP_NS && !(rtc->ram[RTC_B] & B_SET);

	return uip ? rtc->ram[RTC_A] | A_UIP : rtc->ram[RTC_A];
}

static uint8_t read_data(struct rtc *rtc)
{
	switch (rtc->index) {
	case RTC_A:
		return read_a(rtc);
	case RTC_C:
		return 0;	/* no interrupt ever happened */
	case RTC_D:
		return D_VALID;
	default:
		if (is_calendar(rtc->index))
			update_calendar(rtc);
		return rtc->ram[rtc->index];
	}
}

static enum bus_result rtc_access(struct device *dev,
				  struct bus_access *access)
{
	struct rtc *rtc = to_rtc(dev);

	if (access->len != 1 || access->offset > 1)
		return BUS_UNHANDLED;
	if (!access->offset && access->is_write)
		rtc->index = access->value & 0x7f;	/* bit 7 masks NMI */
	else if (!access->offset)
		access->value = 0xff;			/* write-only */
	else if (access->is_write)
		write_data(rtc, (uint8_t)access->value);
	else
		access->value = read_data(rtc);
	return BUS_OK;
}

/* The battery keeps time and memory; only the interrupt enables go. */
static void rtc_reset(struct device *dev)
{
	struct rtc *rtc = to_rtc(dev);

	device_lock(dev);
	rtc->index = 0;
	rtc->ram[RTC_B] &= ~B_ENABLES;
	device_unlock(dev);
}

static const struct state_table rtc_table = {
	.name = "rtc",
	.doc = "MC146818 real-time clock and CMOS RAM",
	.size = sizeof(struct rtc),
	STATE_VISIBLE(struct rtc, index, ram),
	STATE_FIELDS(
		STATE_U8(struct rtc, index, .max = RTC_BYTES - 1,
			 .doc = "register selected"),
		STATE_U64(struct rtc, offset_ns,
			  .doc = "guest's time minus the wall clock, modulo 2^64"),
		STATE_RAW(struct rtc, ram,
			  .doc = "registers and RAM; calendar valid while SET"),
	),
};

static const struct device_class rtc_class;

static int rtc_create(struct device_env *env, int node,
		      struct device **out, struct error *err)
{
	int ret = device_new(out, &rtc_class, env, node, rtc_access, err);

	if (!ret) {
		to_rtc(*out)->ram[RTC_A] = A_DEFAULT;
		to_rtc(*out)->ram[RTC_B] = B_24H;
	}
	return ret;
}

static const struct device_class rtc_class = {
	.compatible = "motorola,mc146818",
	.doc = "MC146818 real-time clock",
	.state = &rtc_table,
	.create = rtc_create,
	.destroy = device_free,
	.reset = rtc_reset,
};

DEVICE_CLASS(rtc_class);
