/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Claim: the PVH entry is reached and long mode works; ring 0. */
#include "lib/guest.h"

void guest_start(const struct start_info *info)
{
	cmdline_init(info);
	print("\nhello from long mode\n");
	leave(0);
}
