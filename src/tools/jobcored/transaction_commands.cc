// SPDX-License-Identifier: Apache-2.0

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "job-common/job_txn.h"
#include "job-driver/block/backup.h"
#include "job-driver/job_driver.h"
#include "job-driver/resource.h"
#include "job-monitor/job_monitor.h"
#include "job-monitor/job_wait.h"
#include "tools/jobcored/commands.h"
#include "tools/jobcored/copy_arguments.h"
#include "tools/jobcored/daemon.h"

namespace jobcored {
namespace {

namespace block = jobcore::block;
namespace monitor = jobcore::monitor;
using jobcore::Co;
using jobcore::DrainedSection;
using jobcore::JobRef;
using jobcore::qmp::Arguments;
using jobcore::qmp::Field;
using jobcore::qmp::JsonArray;
using jobcore::qmp::JsonValue;
using jobcore::qmp::Reply;
using jobcore::qmp::Type;

constexpr std::array<std::string_view, 2> kActionTypes = {"abort", "blockdev-backup"};
constexpr Type kActionType = jobcore::qmp::EnumOf(kActionTypes);
constexpr Field kAbortFields[] = {{.name = "data", .type = &jobcore::qmp::kNoArguments}};
constexpr Type kAbort = jobcore::qmp::ObjectOf(kAbortFields);
constexpr Field kBackupFields[] = {{.name = "data", .type = &kBackupArguments}};
constexpr Type kBackup = jobcore::qmp::ObjectOf(kBackupFields);
constexpr jobcore::qmp::Variant kActions[] = {
    {.value = "abort", .object = &kAbort},
    {.value = "blockdev-backup", .object = &kBackup},
};
constexpr Field kActionFields[] = {{.name = "type", .type = &kActionType}};
constexpr Type kAction = jobcore::qmp::UnionOf(kActionFields, "type", kActions);
constexpr Type kActionList = jobcore::qmp::ListOf(kAction);

constexpr std::array<std::string_view, 2> kModes = {"individual", "grouped"};
constexpr Type kMode = jobcore::qmp::EnumOf(kModes);
constexpr Field kPropertiesFields[] = {
    {.name = "completion-mode", .type = &kMode, .optional = true, .otherwise = "individual"}};
constexpr Type kProperties = jobcore::qmp::ObjectOf(kPropertiesFields);
constexpr Field kTransactionFields[] = {
    {.name = "actions", .type = &kActionList},
    {.name = "properties", .type = &kProperties, .optional = true},
};
constexpr Type kTransaction = jobcore::qmp::ObjectOf(kTransactionFields);

// What all the backups are to copy as it is at one and the same moment. Those that do not exist are found to be missing
// when their action's turn comes.
std::vector<NodeRegistry::NodePtr> FindSources(Daemon& daemon, const JsonArray& actions) {
  std::vector<NodeRegistry::NodePtr> sources;
  for (const JsonValue& value : actions) {
    const Arguments action(*value.AsObject());
    if (action.String("type") != "blockdev-backup") continue;
    NodeRegistry::NodePtr source = daemon.nodes.Find(action.Object("data").String("device"));
    if (source == nullptr || std::find(sources.begin(), sources.end(), source) != sources.end()) continue;
    sources.push_back(std::move(source));
  }
  return sources;
}

// `sources` stay at least as long as the section.
Co<absl::StatusOr<DrainedSection>> Drain(Daemon& daemon, const std::vector<NodeRegistry::NodePtr>& sources) {
  if (sources.empty()) co_return DrainedSection();
  std::vector<jobcore::Resource*> resources;
  resources.reserve(sources.size());
  for (const NodeRegistry::NodePtr& source : sources) resources.push_back(&source->resource());
  co_return co_await DrainedSection::Open(resources, {.name = "transaction", .deadline = daemon.Deadline()});
}

absl::StatusOr<JobRef> PrepareBackup(Daemon& daemon, Arguments args, jobcore::JobTxnBuilder* group,
                                     const DrainedSection& section) JOBCORE_EXCLUDES(jobcore::job_mutex) {
  absl::StatusOr<CopyRequest<block::BackupOptions>> request = ReadBackup(daemon, args);
  if (!request.ok()) return request.status();
  request->spec.group = group;
  absl::StatusOr<JobRef> job = block::CreateBackup(daemon.core, request->spec, request->options, section);
  if (!job.ok()) return job;
  if (absl::Status s = SetFirstSpeed(daemon, **job, request->speed); !s.ok()) return s;
  daemon.job_uses.Add(**job, *request->options.source, *request->options.target);
  return job;
}

// The last one first, each until nothing is left of it.
Co<void> RollBack(Daemon& daemon, std::vector<JobRef>& jobs) {
  while (!jobs.empty()) {
    const JobRef job = std::move(jobs.back());
    jobs.pop_back();
    {
      jobcore::JobLock lock(daemon.core);
      (void)monitor::Cancel(*job);  // refused: it has been cancelled with another one of its group
    }
    (void)co_await monitor::AwaitJob(job);
  }
}

Co<Reply> Transaction(Daemon& daemon, Arguments args) {
  const bool grouped = args.Has("properties") && args.Object("properties").String("completion-mode") == "grouped";
  const JsonArray& actions = args.List("actions");
  const std::vector<NodeRegistry::NodePtr> sources = FindSources(daemon, actions);
  absl::StatusOr<DrainedSection> section = co_await Drain(daemon, sources);
  if (!section.ok()) co_return section.status();

  std::optional<jobcore::JobTxnBuilder> group;
  if (grouped) group.emplace(daemon.core);
  std::vector<JobRef> jobs;
  absl::Status failed;
  for (const JsonValue& value : actions) {
    const Arguments action(*value.AsObject());
    if (action.String("type") == "abort") {
      failed = absl::AbortedError("Transaction aborted using Abort action");
      break;
    }
    absl::StatusOr<JobRef> job = PrepareBackup(daemon, action.Object("data"), grouped ? &*group : nullptr, *section);
    failed = job.status();
    if (!failed.ok()) break;
    jobs.push_back(*std::move(job));
  }
  if (failed.ok() && grouped && !jobs.empty()) failed = group->Seal();
  if (!failed.ok()) {
    group.reset();  // a group that was never complete is aborted
    section->End();
    co_await RollBack(daemon, jobs);
    co_return failed;
  }
  // Refused: somebody has cancelled it already.
  for (const JobRef& job : jobs) (void)StartJob(*job);
  co_return Reply();
}

}  // namespace

void AddTransactionCommands(jobcore::qmp::CommandTable& table, Daemon& daemon) {
  table.Add({.name = "transaction",
             .help = "several actions at one moment, or none of them",
             .arguments = &kTransaction,
             .handler = [&daemon](Arguments args) { return Transaction(daemon, args); }});
}

}  // namespace jobcored
