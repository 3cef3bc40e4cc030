// SPDX-License-Identifier: Apache-2.0

#include "job-monitor/wait_dump.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "job-monitor/job_query.h"
#include "job/job_ops.h"
#include "job/resource_ops.h"
#include "job/wait_text.h"

namespace jobcore::inline JOBCORE_ABI {

bool JobOps::TryVisitAll(JobCore& core, Nanoseconds limit, absl::FunctionRef<void(const Job&)> visit) {
  uint64_t after = 0;
  size_t visited = 0;
  do {
    const bool locked = TryLocked(core, limit, [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) {
      visited = VisitAfter(core, after, monitor::kMaxPage, [&](Job& job) {
        after = job.number_;
        visit(job);
      });
    });
    if (!locked) return false;
  } while (visited == monitor::kMaxPage);
  return true;
}

namespace monitor {
namespace {

using internal::DurationText;

// The name that a thread of this process has given itself; "" if it is gone.
std::string ThreadName(int thread) {
  const std::string path = absl::StrCat("/proc/self/task/", thread, "/comm");
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"), &std::fclose);
  char name[32];
  if (file == nullptr || std::fgets(name, sizeof(name), file.get()) == nullptr) return "";
  return std::string(absl::StripSuffix(name, "\n"));
}

std::string Quoted(const std::string& name) { return absl::StrCat("'", name, "'"); }

std::string Headline(const JobWait& job) {
  return absl::StrCat(job.id.empty() ? absl::StrCat("job #", job.number) : absl::StrCat("job ", Quoted(job.id)), ", ",
                      Absl(JobStatusName(job.status)), ": ", job.what);
}

std::string WhoWaits(const ListedWait& wait) {
  if (wait.kind == WaitDescription::Kind::kCoroutine) {
    std::string who = absl::StrCat("coroutine in ", Quoted(wait.home));
    if (wait.callback != nullptr) absl::StrAppend(&who, ", from ", Quoted(wait.callback));
    return who;
  }
  std::string who = absl::StrCat("thread ", wait.thread);
  if (const std::string name = ThreadName(wait.thread); !name.empty()) absl::StrAppend(&who, " (", name, ")");
  if (wait.kind == WaitDescription::Kind::kLoop) absl::StrAppend(&who, ", home of ", Quoted(wait.home));
  return who;
}

class Dumper {
 public:
  explicit Dumper(JobCore& core) : core_(core) {}

  WaitDump Run() JOBCORE_EXCLUDES(job_mutex) {
    std::vector<std::shared_ptr<AioContext>> contexts = {core_.main_context().shared_from_this()};
    bool complete = JobOps::TryLocked(core_, internal::kMutexPatience, [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) {
      contexts = JobOps::Contexts(core_);
    });
    for (uint64_t next = 0; complete && next != UINT64_MAX;) {
      complete = JobOps::TryLocked(core_, internal::kMutexPatience, [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) {
        next = ResourceOps::ObservePage(core_, next, dump_.resources);
      });
    }
    for (const std::shared_ptr<AioContext>& context : contexts) {
      dump_.loops.push_back(internal::Observe(*context));
      dump_.loops.back().main = context == contexts.front();
      AddWaits(*context);
    }
    complete =
        complete && JobOps::TryVisitAll(core_, internal::kMutexPatience,
                                        [&](const Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) { AddJob(job); });
    if (!complete) dump_.obstacle = internal::StuckMutexText(core_);
    for (const auto& [job, wait] : in_wait_) {
      std::vector<std::string>& held_by = dump_.jobs[job].held_by;
      held_by.push_back(absl::StrCat("wait ", Quoted(wait->what)));
      held_by.insert(held_by.end(), wait->held_by.begin(), wait->held_by.end());
    }
    return std::move(dump_);
  }

 private:
  void AddWaits(AioContext& context) JOBCORE_EXCLUDES(job_mutex) {
    const TimePoint now = context.clock().Now();
    for (const ListedWait& wait : context.wait_domain().List()) {
      WaitRecord& record = dump_.waits.emplace_back();
      record.id = wait.id;
      record.loop = context.name();
      record.who = WhoWaits(wait);
      record.what = wait.name;
      record.lasted = std::max(Nanoseconds::zero(), now - wait.since);
      if (wait.deadline != kNoDeadline) record.left = wait.deadline - now;
      record.watched = wait.watched;
      by_name_.emplace(wait.name, dump_.waits.size() - 1);
      if (wait.chain != nullptr) by_chain_.emplace(wait.chain, dump_.waits.size() - 1);
    }
  }

  void AddJob(const Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) {
    if (IsConcluded(job.status())) return;
    const JobWait& added = dump_.jobs.emplace_back(JobWait{.number = job.number(),
                                                           .id = job.id(),
                                                           .status = job.status(),
                                                           .what = JobOps::WaitsFor(job),
                                                           .pause_reasons = job.pause_reasons(),
                                                           .held_by = JobOps::HeldBy(job)});
    for (auto [wait, end] = by_name_.equal_range(JobOps::WaitName(job)); wait != end; ++wait) {
      dump_.waits[wait->second].held_by.push_back(Headline(added));
    }
    JobOps::ForEachChain(job, [&](std::string_view part, const CoRoot& chain) {
      const auto wait = by_chain_.find(&chain);
      if (wait == by_chain_.end()) return;
      WaitRecord& record = dump_.waits[wait->second];
      record.who = JobOps::NameOf(job);
      if (!part.empty()) absl::StrAppend(&record.who, ", its ", Absl(part), " hook");
      in_wait_.emplace_back(dump_.jobs.size() - 1, &record);
    });
  }

  JobCore& core_;
  WaitDump dump_;  // its waits are complete before the first job is looked at
  std::multimap<std::string, size_t> by_name_;
  std::map<const CoRoot*, size_t> by_chain_;
  std::vector<std::pair<size_t, const WaitRecord*>> in_wait_;  // a job, and the wait that it is in
};

// Lines of columns, each as wide as its widest cell.
class Table {
 public:
  void Row(std::vector<std::string> cells) { rows_.push_back({std::move(cells), false}); }
  void Note(std::string text) { rows_.push_back({{std::move(text)}, true}); }

  std::string ToString() const {
    std::vector<size_t> widths;
    for (const Line& row : rows_) {
      if (row.note) continue;
      widths.resize(std::max(widths.size(), row.cells.size()));
      for (size_t i = 0; i < row.cells.size(); ++i) widths[i] = std::max(widths[i], row.cells[i].size());
    }
    std::string text;
    for (const Line& row : rows_) {
      text.append(row.note ? "    " : "  ");
      for (size_t i = 0; i < row.cells.size(); ++i) {
        text.append(row.cells[i]);
        if (i + 1 < row.cells.size()) text.append(widths[i] - row.cells[i].size() + 2, ' ');
      }
      text.push_back('\n');
    }
    return text;
  }

 private:
  struct Line {
    std::vector<std::string> cells;
    bool note;
  };
  std::vector<Line> rows_;
};

std::string Duration(const WaitRecord& wait) {
  const std::string lasted = DurationText(wait.lasted);
  if (!wait.left) return absl::StrCat(lasted, ", no deadline");
  if (*wait.left >= Nanoseconds::zero()) return absl::StrCat(lasted, ", ", DurationText(*wait.left), " left");
  return absl::StrCat(lasted, ", ", DurationText(-*wait.left), " past its deadline");
}

}  // namespace

WaitDump DumpWaits(JobCore& core) { return Dumper(core).Run(); }

std::string ToString(const WaitDump& dump) {
  std::string text;
  if (!dump.obstacle.empty()) absl::StrAppend(&text, dump.obstacle, "\n");
  Table loops;
  for (const LoopState& loop : dump.loops) loops.Row({loop.name, internal::LoopText(loop)});
  absl::StrAppend(&text, "loops\n", loops.ToString());

  Table waits;
  for (const WaitRecord& wait : dump.waits) {
    waits.Row({wait.who, wait.what, Duration(wait)});
    for (const std::string& holder : wait.held_by) waits.Note(absl::StrCat("held by ", holder));
  }
  absl::StrAppend(&text, "waits\n", dump.waits.empty() ? "  none\n" : waits.ToString());

  Table jobs;
  for (const JobWait& job : dump.jobs) {
    jobs.Row({job.id.empty() ? absl::StrCat("#", job.number, " (internal)") : Quoted(job.id),
              std::string(JobStatusName(job.status)), job.what});
    if (!IsPaused(job.status)) {
      for (const std::string& reason : job.pause_reasons) jobs.Note(absl::StrCat("asked to pause by ", reason));
    }
    for (const std::string& holder : job.held_by) jobs.Note(absl::StrCat("held by ", holder));
  }
  absl::StrAppend(&text, "jobs\n", dump.jobs.empty() ? "  none\n" : jobs.ToString());
  if (dump.resources.empty()) return text;

  Table resources;
  for (const ResourceState& resource : dump.resources) {
    resources.Row({resource.name, absl::StrCat(resource.in_flight, " in flight, ", resource.parked, " parked")});
    for (const ResourceState::Section& section : resource.sections) {
      resources.Note(absl::StrCat("section ", Quoted(section.name), section.granted ? " open for " : " waits for ",
                                  DurationText(section.lasted), section.held_by.empty() ? "" : ": ", section.held_by));
    }
  }
  absl::StrAppend(&text, "resources\n", resources.ToString());
  return text;
}

}  // namespace monitor
}  // namespace jobcore::inline JOBCORE_ABI
