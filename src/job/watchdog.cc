// SPDX-License-Identifier: Apache-2.0

#include "job-monitor/watchdog.h"

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <map>
#include <mutex>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "aio/check.h"
#include "job/job_ops.h"
#include "job/wait_text.h"

namespace jobcore::inline JOBCORE_ABI::monitor {
namespace {

using internal::DurationText;

// How long a look waits for a job_mutex.
constexpr Nanoseconds kPatience = std::chrono::milliseconds(100);

// Something that is stuck if it stays as it is. Compared only, never followed.
struct Sighting {
  enum class Kind : unsigned char { kWait, kOverdue, kChain, kLoop, kMutex };
  Kind kind;
  const void* where;  // context or chain
  uint64_t number;    // of the wait, the job, or the turn
  TimePoint since;    // kChain: when the suspension began

  friend auto operator<=>(const Sighting&, const Sighting&) = default;
};

}  // namespace

class Watchdog::State {
 public:
  State(JobCore& core, Options options)
      : core_(core),
        options_(std::move(options)),
        clock_(options_.clock != nullptr ? *options_.clock : Clock::System()) {
    if (options_.callback == nullptr) internal::Die("Watchdog: has no callback");
    if (options_.start_thread) thread_ = std::thread([this]() JOBCORE_EXCLUDES(job_mutex) { Run(); });
  }

  ~State() {
    {
      const std::scoped_lock lock(mutex_);
      stopping_ = true;
    }
    stop_.notify_all();
    if (thread_.joinable()) thread_.join();
  }

  bool has_thread() const { return thread_.joinable(); }

  void Check() JOBCORE_EXCLUDES(job_mutex) {
    now_ = clock_.Now();
    ++round_;
    Look();
    std::erase_if(seen_, [this](const auto& entry) { return entry.second.round != round_; });
    if (stuck_.empty()) return;
    const WaitDump dump = DumpWaits(core_);
    for (const std::string& reason : std::exchange(stuck_, {})) options_.callback(dump, reason);
  }

 private:
  struct Seen {
    TimePoint first;
    uint64_t round = 0;  // the last one in which it was seen
    bool reported = false;
  };

  void Run() JOBCORE_EXCLUDES(job_mutex) {
    std::unique_lock lock(mutex_);
    while (!stop_.wait_for(lock, options_.interval, [this] { return stopping_; })) {
      lock.unlock();
      Check();
      lock.lock();
    }
  }

  // Null: it has not been seen for `limit` yet, or has been reported. Else for how long.
  std::string Stuck(const Sighting& sighting, Nanoseconds limit) {
    Seen& seen = seen_.try_emplace(sighting, Seen{.first = now_}).first->second;
    seen.round = round_;
    if (seen.reported || now_ - seen.first < limit) return "";
    seen.reported = true;
    return DurationText(now_ - seen.first);
  }

  void Look() JOBCORE_EXCLUDES(job_mutex) {
    std::vector<std::shared_ptr<AioContext>> contexts = {core_.main_context().shared_from_this()};
    bool locked = JobOps::TryLocked(
        core_, kPatience, [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) { contexts = JobOps::Contexts(core_); });
    locked =
        locked && JobOps::TryVisitAll(core_, kPatience,
                                      [&](const Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) { LookAtJob(job); });
    if (!locked && !Stuck({Sighting::Kind::kMutex, &core_, 0, {}}, options_.loop_limit).empty()) {
      stuck_.push_back(internal::StuckMutexText(core_));
    }
    for (const std::shared_ptr<AioContext>& context : contexts) {
      LookAtLoop(*context);
      LookAtWaits(*context);
    }
  }

  void LookAtJob(const Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) {
    JobOps::ForEachChain(job, [&](std::string_view part, const CoRoot& chain) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) {
      if (!JobOps::IsWatched(chain)) return;
      const std::string time =
          Stuck({Sighting::Kind::kChain, &chain, job.number(), chain.since()}, options_.wait_limit);
      if (time.empty()) return;
      const std::string who =
          part.empty() ? JobOps::NameOf(job) : absl::StrCat("the ", Absl(part), " hook of ", JobOps::NameOf(job));
      const char* const in = chain.suspended_in();
      stuck_.push_back(absl::StrCat(who, " has been suspended in '", in != nullptr ? in : "", "' for ", time));
    });
  }

  void LookAtLoop(const AioContext& context) {
    const LoopState loop = internal::Observe(context);
    if (loop.asleep || (loop.callback.empty() && !loop.has_work)) return;
    const std::string time = Stuck({Sighting::Kind::kLoop, &context, context.turns(), {}}, options_.loop_limit);
    if (time.empty()) return;
    stuck_.push_back(loop.callback.empty()
                         ? absl::StrCat("loop '", loop.name, "' has had work and has not been run for ", time)
                         : absl::StrCat("loop '", loop.name, "' has been in one turn for ", time,
                                        ", and is in callback '", loop.callback, "'"));
  }

  void LookAtWaits(AioContext& context) JOBCORE_EXCLUDES(job_mutex) {
    const TimePoint now = context.clock().Now();
    for (const ListedWait& wait : context.wait_domain().List()) {
      if (!wait.watched) continue;
      if (wait.deadline == kNoDeadline) {
        const std::string time = Stuck({Sighting::Kind::kWait, &context, wait.id, {}}, options_.wait_limit);
        if (!time.empty()) stuck_.push_back(absl::StrCat("wait '", wait.name, "' has lasted for ", time));
      } else if (wait.deadline < now) {
        const std::string time = Stuck({Sighting::Kind::kOverdue, &context, wait.id, {}}, options_.overdue_limit);
        if (!time.empty()) {
          stuck_.push_back(absl::StrCat("wait '", wait.name, "' still goes on ", time, " after its deadline"));
        }
      }
    }
  }

  JobCore& core_;
  const Options options_;
  Clock& clock_;

  // The thread of Check only.
  TimePoint now_{};
  uint64_t round_ = 0;
  std::map<Sighting, Seen> seen_;
  std::vector<std::string> stuck_;  // found by this look

  std::mutex mutex_;
  std::condition_variable stop_;
  bool stopping_ = false;  // guarded by mutex_
  std::thread thread_;     // last
};

Watchdog::Watchdog(JobCore& core, Options options) : state_(std::make_unique<State>(core, std::move(options))) {}

Watchdog::~Watchdog() = default;

void Watchdog::Check() {
  if (state_->has_thread()) internal::Die("Watchdog::Check: it has a thread that does that");
  state_->Check();
}

Watchdog::Callback Watchdog::ToStderr() {
  return [](const WaitDump& dump, const std::string& reason) {
    // One write, so that it stays in one piece.
    std::fputs(absl::StrCat("watchdog: ", reason, "\n", ToString(dump)).c_str(), stderr);
  };
}

}  // namespace jobcore::inline JOBCORE_ABI::monitor
