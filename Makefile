# SPDX-License-Identifier: GPL-2.0-or-later
# make           build build/godwit       V=1 shows commands, O=dir builds there
# make check     all tests (installs what they need)
# make check-unit   the tests that need no KVM
# make lint      style, arrows, builds with clang and sanitizers
# make demo      boot Linux, move it to another host and back (ARCH=arm64: there)
# make bench     side by side with QEMU
# make fuzz      fuzz each parser     T=name for one, SECONDS=60 each
# make golden    accept changed state tables
# make help      every target
# make ARCH=arm64   cross-build into build/arm64, with Debian's compiler and the
#                libraries that "tests/deps arm64" unpacks
HOST_ARCH := $(patsubst aarch64,arm64,$(patsubst x86_64,x86,$(shell uname -m)))
ARCH ?= $(HOST_ARCH)
include arch/$(ARCH)/Makefile
# libraries of this machine are no use to a cross-build, nor are its programs
ifneq ($(ARCH),$(HOST_ARCH))
O ?= build/$(ARCH)
SYSROOT ?= build/sysroot-$(ARCH)
CROSS_COMPILE ?= $(triplet)-
sysroot := --sysroot=$(abspath $(SYSROOT))
PKG_CONFIG ?= PKG_CONFIG_SYSROOT_DIR=$(abspath $(SYSROOT)) PKG_CONFIG_LIBDIR=$(abspath $(SYSROOT))/usr/lib/$(triplet)/pkgconfig pkg-config
RUNNER ?= qemu-$(qemu-arch)-static -L $(SYSROOT)
ifeq ($(wildcard $(SYSROOT)/usr)$(filter clean help check demo,$(MAKECMDGOALS)),)
$(error no $(SYSROOT): tests/deps $(ARCH) makes it)
endif
endif
O ?= build
CC = $(CROSS_COMPILE)gcc $(sysroot)
HOSTCC ?= gcc
PKG_CONFIG ?= pkg-config
PYTHON ?= /usr/bin/python3
prefix ?= /usr/local
SAN ?=
MAKEFLAGS += -rR --no-print-directory
.DELETE_ON_ERROR:
.SECONDARY:
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-7s %s\n' $(1) $(2))

all: $(O)/godwit

# -- configuration: Kconfig where kconfiglib is installed, else the defconfig
$(O)/.config: Kconfig configs/default_defconfig
	@mkdir -p $(@D)
	$(Q)KCONFIG_CONFIG=$@ $(PYTHON) -m defconfig --kconfig Kconfig \
		configs/default_defconfig >/dev/null 2>&1 || \
		cp configs/default_defconfig $@
menuconfig: $(O)/.config
	KCONFIG_CONFIG=$(O)/.config $(PYTHON) -m menuconfig Kconfig
ifeq ($(filter clean help check demo bench,$(MAKECMDGOALS)),)
-include $(O)/.config
endif

# -- libraries: one that is missing switches its backend off, in one line
need = $(if $(shell $(or $(3),$(PKG_CONFIG)) --exists $(2) && echo y),,$(if $($(1)),$(warning $(2) not found: $(1) is off)$(eval override $(1) :=)))
$(call need,CONFIG_BLOCK_RAW,liburing)
$(call need,CONFIG_BLOCK_NBD,libnbd)
$(call need,CONFIG_TLS,gnutls)
$(call need,CONFIG_ZSTD,libzstd)
# runs here, while building
$(call need,CONFIG_SECCOMP,libseccomp,pkg-config)
# Ceph has no .pc files
need-header = $(if $($(1)),$(if $(shell $(CC) -fsyntax-only -include $(2) -xc /dev/null 2>/dev/null && echo y),,$(warning $(2) not found: $(1) is off)$(eval override $(1) :=)))
$(call need-header,CONFIG_BLOCK_RBD,rbd/librbd.h)
pkgs := jansson $(arch-pkgs) $(if $(CONFIG_BLOCK_RAW),liburing) $(if $(CONFIG_BLOCK_NBD),libnbd)

warn := -Wall -Wextra -Wshadow -Wmissing-prototypes -Wstrict-prototypes \
	-Wcast-qual -Wvla -Wwrite-strings -Wimplicit-fallthrough -Wundef \
	-Wno-missing-field-initializers -Wno-unused-parameter \
	$(if $(findstring clang,$(CC)),-Wno-gnu-variable-sized-type-not-at-end)
WERROR ?= -Werror
san := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer)
CFLAGS ?= -O2 -g
cflags := -std=gnu11 -D_GNU_SOURCE -DGOLDEN_ARCH='"$(ARCH)"' -I. -I$(O)/include $(warn) $(WERROR) $(san) \
	-fno-strict-aliasing -pthread $(shell $(PKG_CONFIG) --cflags $(pkgs))
# libnbd and librbd are loaded by the first disk that wants them, GnuTLS by the
# first credentials, libzstd by the first migration
ldlibs := $(shell $(PKG_CONFIG) --libs $(filter-out libnbd,$(pkgs))) -lfdt -pthread

obj-y :=
include $(sort $(wildcard vmm/Kbuild vmm/*/Kbuild arch/$(ARCH)/Kbuild \
	devices/Kbuild devices/*/Kbuild migration/Kbuild cmd/Kbuild))
objs := $(addprefix $(O)/,$(obj-y))
lib-objs := $(filter-out $(O)/cmd/main.o,$(objs))

$(O)/godwit: $(objs)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(san) -o $@ $^ $(LDFLAGS) $(ldlibs)

$(O)/%.o: %.c $(O)/.config $(O)/.flags
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(cflags) -MMD -MP -c -o $@ $<

# what everything is built with; a change rebuilds
$(O)/.flags: FORCE
	@mkdir -p $(@D); echo '$(CC) $(CFLAGS) $(san)' | cmp -s - $@ || \
	echo '$(CC) $(CFLAGS) $(san)' >$@
FORCE:

# -- tests: each tests/unit/*.c is a program of its own, printing TAP
# (x86_*.c and arm64_*.c for that architecture alone)
arch-only = $(foreach a,$(filter-out $(ARCH),$(notdir $(patsubst %/,%,$(wildcard arch/*/)))),tests/unit/$(a)_%)
unit := $(patsubst %.c,$(O)/%,$(filter-out $(arch-only),$(wildcard tests/unit/*.c tests/contract/*.c)))
test-objs := $(patsubst %.c,$(O)/%.o,$(wildcard tests/lib/*.c))
$(unit): $(O)/%: $(O)/%.o $(test-objs) $(lib-objs)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(san) -o $@ $^ $(LDFLAGS) $(ldlibs) -lcmocka

unit-tests: $(unit)
check-unit: unit-tests
	$(Q)O=$(O) RUNNER="$(RUNNER)" tests/runner $(unit)

include tests/Makefile

# what a fresh machine lacks is installed first, so the work is another make
check:
	tests/deps check
	tests/rig/deps
	$(Q)$(MAKE) -j$$(nproc) all unit-tests vm-tests guests
	$(Q)$(MAKE) check-all
check-all: lint-tests := $(wildcard tests/lint/*)
check-all: all unit-tests vm-tests guests
	$(Q)O=$(O) tests/runner $(lint-tests) $(unit) $(vm-tests) \
		tests/model/test tests/bench/test $(sort $(wildcard tests/migrate/*.py)) \
		$(sort $(wildcard tests/rig/test-*))
demo:
	tests/deps check
	tests/rig/deps
	$(if $(sysroot),tests/deps $(ARCH))
	$(Q)$(MAKE) -j$$(nproc) all
	O=$(O) RIG_ARCH=$(ARCH) tests/demo
lint:
	$(Q)O=$(O) tests/runner $(wildcard tests/lint/*)
guests:
	$(Q)$(MAKE) -C guests O=$(abspath $(O))/guests
# a changed table is a decision: see CHANGES.md
golden: $(O)/tests/contract/state_tables
	$(RUNNER) $< golden >tests/golden/state-$(ARCH).txt

install: $(O)/godwit
	install -D -m 755 $< $(DESTDIR)$(prefix)/bin/godwit
clean:
	rm -rf $(O)
help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile tests/Makefile

.PHONY: all menuconfig unit-tests check-unit check check-all demo lint guests golden \
	install clean help FORCE
-include $(objs:.o=.d) $(unit:=.d) $(test-objs:.o=.d)
