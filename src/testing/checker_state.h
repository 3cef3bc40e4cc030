// SPDX-License-Identifier: Apache-2.0
//
// What JobChecker has seen so far. One mutex, a leaf: nothing is called with it held that takes another one, so that it
// can be taken under job_mutex. What is looked at with it held may switch controlled threads.

#ifndef JOBCORE_TESTING_CHECKER_STATE_H_
#define JOBCORE_TESTING_CHECKER_STATE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "job-common/job_event.h"
#include "job-common/job_outcome.h"
#include "job-common/job_status.h"
#include "job-common/sync.h"
#include "job-monitor/job_query.h"
#include "job-testing/job_checker.h"

namespace jobcore::inline JOBCORE_ABI::testing {

// One watched driver.
struct WatchedHooks {
  std::string id;
  uint64_t job = 0;    // its number; 0: not known yet
  uint64_t group = 0;  // 0: not known yet
  bool run = false;
  bool run_ended = false;
  bool in_gate = false;  // between Pause and the end of Resume
  bool in_resume = false;
  bool in_request = false;  // Complete or Change
  bool soft_cancel = false;
  bool force_cancel = false;
  bool prepare = false;
  bool prepared = false;  // Prepare has succeeded
  bool commit = false;
  bool abort = false;
  bool clean = false;
  bool in_end = false;   // in Prepare, Commit, Abort or Clean
  bool refused = false;  // the job never came to be
  bool destroyed = false;
};

// One job, as events and queries show it.
struct WatchedJob {
  std::string id;
  std::optional<JobStatus> status;  // none: events have been lost
  std::optional<JobOutcome> outcome;
  uint64_t last_event = 0;
  uint64_t current = 0;  // progress
  bool started = false;
};

struct WatchedReply {
  bool asked = false;  // the verb has returned
  bool accepted = false;
  int answers = 0;
};

struct JobChecker::State {
  State(JobCore& c, absl::AnyInvocable<std::string()> e) : core(c), explain(std::move(e)) {}

  [[noreturn]] void Broken(const std::string& what);
  // Where a hook may run, and that nothing is held.
  void CheckPlace(const char* hook, const std::string& id, const AioContext& expected);

  // --- job_checker.cc: with `mutex` and job_mutex held ---
  void SeeEvent(const JobEvent& event);
  void SeeJob(uint64_t number, WatchedJob& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  void SeeQuery(const monitor::JobInfo& info);

  JobCore& core;
  absl::AnyInvocable<std::string()> explain;

  internal::Mutex mutex;
  EventCursor cursor;
  uint64_t last_sequence = 0;
  TimePoint last_time{};
  bool lost_some = false;  // events
  std::map<uint64_t, WatchedJob> jobs;
  uint64_t look_at = 0;  // which of them is queried next
  std::vector<std::shared_ptr<WatchedHooks>> hooks;
  std::map<uint64_t, bool> committed;  // by group: what its first member was told
  std::vector<std::shared_ptr<WatchedReply>> replies;
};

// Forwards everything to `driver`, and tells `state`.
std::unique_ptr<JobDriver> WatchDriver(std::shared_ptr<JobChecker::State> state, std::shared_ptr<WatchedHooks> hooks,
                                       std::unique_ptr<JobDriver> driver);

}  // namespace jobcore::inline JOBCORE_ABI::testing

#endif  // JOBCORE_TESTING_CHECKER_STATE_H_
