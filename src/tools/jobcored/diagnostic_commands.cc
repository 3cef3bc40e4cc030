// SPDX-License-Identifier: Apache-2.0
//
// Why nothing happens, or too slowly: see docs/monitor.md.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "job-common/duration_stats.h"
#include "job-common/job_status.h"
#include "job-monitor/contention.h"
#include "job-monitor/wait_dump.h"
#include "qmp/job_report.h"
#include "tools/jobcored/commands.h"
#include "tools/jobcored/daemon.h"

namespace jobcored {
namespace {

namespace monitor = jobcore::monitor;
using jobcore::DurationStats;
using jobcore::qmp::Arguments;
using jobcore::qmp::Field;
using jobcore::qmp::InNanoseconds;
using jobcore::qmp::JsonArray;
using jobcore::qmp::JsonObject;
using jobcore::qmp::kBool;
using jobcore::qmp::Reply;
using jobcore::qmp::StringList;
using jobcore::qmp::Type;

constexpr Field kContentionFields[] = {
    {.name = "enable", .type = &kBool, .optional = true},
    {.name = "reset", .type = &kBool, .optional = true, .otherwise = false},
};
constexpr Type kContention = jobcore::qmp::ObjectOf(kContentionFields);

JsonObject Shown(const monitor::LoopState& loop) {
  JsonObject shown = {{"name", loop.name}, {"main", loop.main}, {"asleep", loop.asleep}, {"has-work", loop.has_work}};
  if (!loop.callback.empty()) shown.Set("callback", loop.callback);
  shown.Set("polled-ago", InNanoseconds(loop.polled_ago));
  return shown;
}

JsonObject Shown(const monitor::WaitRecord& wait) {
  JsonObject shown = {
      {"loop", wait.loop}, {"who", wait.who}, {"what", wait.what}, {"lasted", InNanoseconds(wait.lasted)}};
  if (wait.left.has_value()) shown.Set("left", InNanoseconds(*wait.left));
  shown.Set("held-by", StringList(wait.held_by));
  return shown;
}

JsonObject Shown(const monitor::JobWait& job) {
  return {{"id", job.id},
          {"number", job.number},
          {"status", jobcore::JobStatusName(job.status)},
          {"what", job.what},
          {"reasons", StringList(job.pause_reasons)},
          {"held-by", StringList(job.held_by)}};
}

JsonObject Shown(const monitor::ResourceState::Section& section) {
  JsonObject shown = {{"name", section.name}, {"lasted", InNanoseconds(section.lasted)}, {"granted", section.granted}};
  if (!section.held_by.empty()) shown.Set("held-by", section.held_by);
  return shown;
}

template <typename T>
JsonArray List(const std::vector<T>& items);

JsonObject Shown(const monitor::ResourceState& resource) {
  return {{"name", resource.name},
          {"in-flight", resource.in_flight},
          {"parked", resource.parked},
          {"sections", List(resource.sections)}};
}

template <typename T>
JsonArray List(const std::vector<T>& items) {
  JsonArray list;
  list.reserve(items.size());
  for (const T& item : items) list.push_back(Shown(item));
  return list;
}

Reply QueryWaits(Daemon& daemon) {
  const monitor::WaitDump dump = monitor::DumpWaits(daemon.core);
  JsonObject shown;
  if (!dump.obstacle.empty()) shown.Set("obstacle", dump.obstacle);
  shown.Set("loops", List(dump.loops));
  shown.Set("waits", List(dump.waits));
  shown.Set("jobs", List(dump.jobs));
  shown.Set("resources", List(dump.resources));
  return shown;
}

JsonArray Histogram(const DurationStats& stats) {
  JsonArray list;
  for (size_t i = 0; i < stats.counts.size(); ++i) {
    if (stats.counts[i] == 0) continue;
    list.push_back(JsonObject{{"below", InNanoseconds(DurationStats::Below(i))}, {"count", stats.counts[i]}});
  }
  return list;
}

Reply QueryContention(Daemon& daemon, Arguments args) {
  std::optional<monitor::ContentionReport> report = monitor::ReadContention(daemon.core);
  const bool enable = args.Has("enable") ? args.Bool("enable") : report.has_value();
  // What is switched on here is told from the next time on; what is switched off, for the last time.
  if (enable != report.has_value() || (enable && args.Bool("reset"))) monitor::CountContention(daemon.core, enable);
  JsonObject shown = {{"enabled", enable}};
  if (!report.has_value()) report.emplace();
  shown.Set("lasted", InNanoseconds(report->lasted));
  shown.Set("acquisitions", report->acquisitions);
  shown.Set("contended", report->waits.count);
  shown.Set("wait", JsonObject{{"total", InNanoseconds(report->waits.total)},
                               {"longest", InNanoseconds(report->waits.longest)},
                               {"histogram", Histogram(report->waits)}});
  shown.Set("hold", JsonObject{{"sampled", report->holds.count},
                               {"total", InNanoseconds(report->holds.total)},
                               {"longest", InNanoseconds(report->holds.longest)},
                               {"where", StringList(report->longest_hold)},
                               {"histogram", Histogram(report->holds)}});
  return shown;
}

}  // namespace

void AddDiagnosticCommands(jobcore::qmp::CommandTable& table, Daemon& daemon) {
  table.Add("x-query-waits", "who waits for what, since when, and held up by whom", jobcore::qmp::kNoArguments,
            [&daemon](Arguments) { return QueryWaits(daemon); });
  table.Add("x-query-contention", "how often job_mutex is taken, waited for, and held for how long", kContention,
            [&daemon](Arguments args) { return QueryContention(daemon, args); });
}

}  // namespace jobcored
