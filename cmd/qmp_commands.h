/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The control socket's commands, by theme. Their object is an instance. */
#ifndef GODWIT_CMD_QMP_COMMANDS_H
#define GODWIT_CMD_QMP_COMMANDS_H

#include "cmd/qmp.h"
#include "migration/stats.h"

#define QMP_VM_COMMANDS 14
#define QMP_MIGRATION_COMMANDS 10

extern const struct qmp_command qmp_vm_commands[QMP_VM_COMMANDS];
extern const struct qmp_command qmp_migration_commands[QMP_MIGRATION_COMMANDS];

/* As query-migrate and the event MIGRATION tell it. */
const char *qmp_migration_status(const struct migration_stats *stats);
json_t *qmp_migration_report(const struct migration_stats *stats);
/* Add to it, in x-job.disks, what fences each disk of the machine @tree. */
void qmp_migration_disks(json_t *report, const void *tree);

#endif
