// SPDX-License-Identifier: Apache-2.0
//
// The commands of jobcored, by what they are about. Each function adds some to the table; their handlers use `daemon`,
// which lives longer than the table is used.

#ifndef JOBCORE_TOOLS_JOBCORED_COMMANDS_H_
#define JOBCORE_TOOLS_JOBCORED_COMMANDS_H_

#include "qmp/command_table.h"

namespace jobcored {

class Daemon;

void AddMiscCommands(jobcore::qmp::CommandTable& table, Daemon& daemon);          // query-version, quit
void AddNodeCommands(jobcore::qmp::CommandTable& table, Daemon& daemon);          // blockdev-add, -del, …
void AddIOThreadCommands(jobcore::qmp::CommandTable& table, Daemon& daemon);      // object-add, -del, …
void AddJobCommands(jobcore::qmp::CommandTable& table, Daemon& daemon);           // job-*, query-jobs
void AddBlockJobCommands(jobcore::qmp::CommandTable& table, Daemon& daemon);      // block-job-*, query-block-jobs
void AddStartCommands(jobcore::qmp::CommandTable& table, Daemon& daemon);         // blockdev-backup, -mirror, …
void AddTransactionCommands(jobcore::qmp::CommandTable& table, Daemon& daemon);   // transaction, block-dirty-bitmap-*
void AddFullJobCommands(jobcore::qmp::CommandTable& table, Daemon& daemon);       // x-query-jobs, x-job-pause, …
void AddGroupCommands(jobcore::qmp::CommandTable& table, Daemon& daemon);         // x-group-*
void AddSubscriptionCommands(jobcore::qmp::CommandTable& table, Daemon& daemon);  // x-subscribe, …
void AddDiagnosticCommands(jobcore::qmp::CommandTable& table, Daemon& daemon);    // x-query-waits, -contention
void AddExportCommands(jobcore::qmp::CommandTable& table, Daemon& daemon);        // nbd-server-*, block-export-*

}  // namespace jobcored

#endif  // JOBCORE_TOOLS_JOBCORED_COMMANDS_H_
