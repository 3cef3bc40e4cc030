// SPDX-License-Identifier: Apache-2.0
//
// What is done to all members of a group in one critical section: see docs/monitor.md.

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "job-common/job_status.h"
#include "job-monitor/job_monitor.h"
#include "tools/jobcored/commands.h"
#include "tools/jobcored/daemon.h"
#include "tools/jobcored/later_answer.h"

namespace jobcored {
namespace {

namespace monitor = jobcore::monitor;
using jobcore::Co;
using jobcore::Job;
using jobcore::qmp::Arguments;
using jobcore::qmp::Field;
using jobcore::qmp::JsonArray;
using jobcore::qmp::JsonObject;
using jobcore::qmp::kInt;
using jobcore::qmp::kString;
using jobcore::qmp::Reply;
using jobcore::qmp::Type;

constexpr Field kGroupFields[] = {{.name = "group", .type = &kInt, .help = "its number"}};
constexpr Type kGroup = jobcore::qmp::ObjectOf(kGroupFields);
constexpr Field kGroupPauseFields[] = {
    {.name = "group", .type = &kInt},
    {.name = "reason", .type = &kString, .optional = true, .otherwise = monitor::kUserPause},
};
constexpr Type kGroupPause = jobcore::qmp::ObjectOf(kGroupPauseFields);

// The members, or an error, as they are while the mutex is held.
using Members = std::vector<Job*>;
using Verb = absl::FunctionRef<Reply(const Members&)>;

Reply OnGroup(Daemon& daemon, Arguments args, Verb verb) JOBCORE_EXCLUDES(jobcore::job_mutex) {
  jobcore::JobLock lock(daemon.core);
  const Members members = monitor::FindGroup(daemon.core, static_cast<uint64_t>(args.Int("group")));
  return members.empty() ? Reply(jobcore::qmp::GenericError("Group not found")) : verb(members);
}

JsonObject DoneTo(JsonArray jobs) { return {{"jobs", std::move(jobs)}}; }

JsonArray IdsOf(const Members& members) {
  JsonArray ids;
  ids.reserve(members.size());
  for (const Job* const job : members) ids.push_back(job->id());
  return ids;
}

// To those that take it; if none does, the error of the first.
template <typename Each>
Reply ToThoseWhoTakeIt(const Members& members, Each each) ABSL_EXCLUSIVE_LOCKS_REQUIRED(jobcore::job_mutex) {
  JsonArray done;
  std::optional<absl::Status> refused;
  for (Job* const job : members) {
    absl::Status status = each(*job);
    if (status.ok()) {
      done.push_back(job->id());
    } else if (!refused.has_value()) {
      refused = std::move(status);
    }
  }
  if (done.empty()) return *refused;
  return DoneTo(std::move(done));
}

Reply Pause(Daemon& daemon, Arguments args) JOBCORE_EXCLUDES(jobcore::job_mutex) {
  const std::string& reason = args.String("reason");
  const auto pause = [&reason](Job& job)
                         ABSL_EXCLUSIVE_LOCKS_REQUIRED(jobcore::job_mutex) { return monitor::Pause(job, reason); };
  return OnGroup(daemon, args, [&pause](const Members& members) ABSL_EXCLUSIVE_LOCKS_REQUIRED(jobcore::job_mutex) {
    return ToThoseWhoTakeIt(members, pause);
  });
}

Reply Resume(Daemon& daemon, Arguments args) JOBCORE_EXCLUDES(jobcore::job_mutex) {
  const std::string& reason = args.String("reason");
  const auto resume = [&reason](Job& job)
                          ABSL_EXCLUSIVE_LOCKS_REQUIRED(jobcore::job_mutex) { return monitor::Resume(job, reason); };
  return OnGroup(daemon, args, [&resume](const Members& members) ABSL_EXCLUSIVE_LOCKS_REQUIRED(jobcore::job_mutex) {
    return ToThoseWhoTakeIt(members, resume);
  });
}

// One is cancelled, and the others with it.
Reply Cancel(const Members& members) ABSL_EXCLUSIVE_LOCKS_REQUIRED(jobcore::job_mutex) {
  const absl::Status cancelled = monitor::Cancel(*members.front(), jobcore::CancelMode::kForce);
  if (!cancelled.ok()) return cancelled;
  return DoneTo(IdsOf(members));
}

Reply DismissAll(const Members& members) ABSL_EXCLUSIVE_LOCKS_REQUIRED(jobcore::job_mutex) {
  JsonArray ids = IdsOf(members);
  // All or none: one that cannot be dismissed comes first, and says why.
  const auto open = std::find_if(members.begin(), members.end(),
                                 [](const Job* job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(jobcore::job_mutex) {
                                   return !jobcore::VerbAllowed(jobcore::JobVerb::kDismiss, job->status());
                                 });
  if (open != members.end()) return monitor::Dismiss(**open);
  for (Job* const job : members) {
    if (absl::Status s = monitor::Dismiss(*job); !s.ok()) return s;
  }
  return DoneTo(std::move(ids));
}

Co<Reply> Finalize(Daemon& daemon, Arguments args) JOBCORE_EXCLUDES(jobcore::job_mutex) {
  LaterAnswer answer(daemon.core);
  jobcore::VerbReply later = answer.ToBeSent();
  const auto finalize = [&later](const Members& members) ABSL_EXCLUSIVE_LOCKS_REQUIRED(jobcore::job_mutex) -> Reply {
    const absl::Status accepted = monitor::Finalize(*members.front(), std::move(later));
    if (!accepted.ok()) return accepted;
    return DoneTo(IdsOf(members));
  };
  Reply reply = OnGroup(daemon, args, finalize);
  if (reply.error() != nullptr) co_return reply;
  const absl::Status finalized = co_await answer.Await("x-group-finalize");
  if (!finalized.ok()) co_return finalized;
  co_return reply;
}

}  // namespace

void AddGroupCommands(jobcore::qmp::CommandTable& table, Daemon& daemon) {
  table.Add("x-group-pause", "pauses the jobs of a group that do not have that reason yet", kGroupPause,
            [&daemon](Arguments args) { return Pause(daemon, args); });
  table.Add("x-group-resume", "takes that reason back from the jobs of a group", kGroupPause,
            [&daemon](Arguments args) { return Resume(daemon, args); });
  table.Add("x-group-cancel", "the jobs of a group end now", kGroup,
            [&daemon](Arguments args) { return OnGroup(daemon, args, Cancel); });
  table.Add("x-group-dismiss", "forgets the jobs of a group, which have all concluded", kGroup,
            [&daemon](Arguments args) { return OnGroup(daemon, args, DismissAll); });
  table.Add({.name = "x-group-finalize",
             .help = "makes the result of a group's pending jobs definite",
             .arguments = &kGroup,
             .handler = [&daemon](Arguments args) { return Finalize(daemon, args); }});
}

}  // namespace jobcored
