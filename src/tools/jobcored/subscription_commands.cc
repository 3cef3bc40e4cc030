// SPDX-License-Identifier: Apache-2.0
//
// Events with numbers, for those who ask for them: see docs/monitor.md.

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "qmp/session.h"
#include "qmp/subscription.h"
#include "tools/jobcored/commands.h"
#include "tools/jobcored/daemon.h"

namespace jobcored {
namespace {

using jobcore::qmp::Arguments;
using jobcore::qmp::Field;
using jobcore::qmp::JsonObject;
using jobcore::qmp::Reply;
using jobcore::qmp::Session;
using jobcore::qmp::Subscription;
using jobcore::qmp::Type;

constexpr Field kSubscribeFields[] = {
    {.name = "from", .type = &jobcore::qmp::kInt, .optional = true, .help = "the number of the first event to be sent"},
};
constexpr Type kSubscribe = jobcore::qmp::ObjectOf(kSubscribeFields);

Reply Subscribe(Daemon& daemon, Session& session, Arguments args) {
  uint64_t next = 0;
  {
    jobcore::JobLock lock(daemon.core);
    next = daemon.core.last_event() + 1;
  }
  const uint64_t from = args.Has("from") ? static_cast<uint64_t>(args.Int("from")) : next;
  if (from < 1 || from > next) {
    return jobcore::qmp::GenericError(absl::StrCat("Parameter 'from' expects an event from 1 to ", next));
  }
  auto subscription = std::make_unique<Subscription>(daemon.core, session, from);
  JsonObject reply = {{"next", subscription->next()}, {"missed", subscription->missed()}};
  session.SetEventSource(std::move(subscription));
  return reply;
}

}  // namespace

void AddSubscriptionCommands(jobcore::qmp::CommandTable& table, Daemon& daemon) {
  table.Add(
      {.name = "x-subscribe",
       .help = "from now on this client gets an X_JOB_EVENT for each event, in order",
       .arguments = &kSubscribe,
       .session_handler = [&daemon](Session& session, Arguments args) { return Subscribe(daemon, session, args); }});
  table.Add(
      {.name = "x-unsubscribe", .help = "no X_JOB_EVENT any more", .session_handler = [](Session& session, Arguments) {
         session.SetEventSource(nullptr);
         return Reply();
       }});
}

}  // namespace jobcored
