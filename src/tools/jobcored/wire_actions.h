// SPDX-License-Identifier: Apache-2.0
//
// The actions of the command "transaction", as the wire spells them, and as the library carries them out. Those that
// are commands, too, are transactions of one.

#ifndef JOBCORE_TOOLS_JOBCORED_WIRE_ACTIONS_H_
#define JOBCORE_TOOLS_JOBCORED_WIRE_ACTIONS_H_

#include <memory>
#include <span>
#include <string_view>

#include "job-monitor/action_transaction.h"
#include "qmp/arguments.h"
#include "qmp/schema.h"
#include "tools/jobcored/daemon.h"

namespace jobcored {

struct WireAction {
  std::string_view type;
  const jobcore::qmp::Type* data;  // its arguments
  bool groups = false;             // completion-mode = grouped means something to it, or does no harm
  std::string_view help = {};      // of the command of that name; empty: there is no such, or it is somewhere else
};
std::span<const WireAction> WireActions();

// Reads `data`, which is of that type and lives until the transaction has ended, when the action's turn comes: it may
// be about something that those before it have made.
std::unique_ptr<jobcore::monitor::Action> MakeAction(Daemon& daemon, const WireAction& action,
                                                     jobcore::qmp::Arguments data);

}  // namespace jobcored

#endif  // JOBCORE_TOOLS_JOBCORED_WIRE_ACTIONS_H_
