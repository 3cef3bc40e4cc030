// SPDX-License-Identifier: Apache-2.0
//
// Checks a stream of events: sequence numbers without gaps (or what is lost reported), every transition legal,
// an outcome from ABORTING on that never changes, time that does not go back.

#ifndef JOBCORE_TESTS_STRESS_STRESS_CHECKER_H_
#define JOBCORE_TESTS_STRESS_STRESS_CHECKER_H_

#include <cstdint>
#include <map>
#include <optional>

#include "job-common/clock.h"
#include "job-common/job_event.h"
#include "job-common/job_outcome.h"
#include "job-common/job_status.h"
#include "stress/stress_driver.h"

namespace jobcore::stress {

// What the stream said of one job.
struct JobTrace {
  JobStatus last = JobStatus::kUndefined;
  bool running = false;  // it was started
  bool ready = false;
  bool pending = false;
  bool aborting = false;
  std::optional<JobOutcome> outcome;
};

// Not thread-safe: one reader.
class EventChecker {
 public:
  // `from_start`: the stream begins with event 1, so every job begins with CREATED.
  explicit EventChecker(bool from_start) : complete_(from_start), next_(from_start ? 1 : 0) {}

  void Consume(const EventPage& page);

  uint64_t next() const { return next_; }
  // Nothing has been missed since event 1.
  bool complete() const { return complete_; }
  const std::map<uint64_t, JobTrace>& traces() const { return traces_; }

 private:
  void Consume(const JobEvent& event);

  bool complete_;
  uint64_t next_;  // 0: any
  TimePoint time_{};
  std::map<uint64_t, JobTrace> traces_;
};

// At the end: what the events and the hooks of one job say is the same story.
void CheckStory(const JobRecord& record, const JobTrace& trace);
// The hooks alone, for jobs that no complete stream tells of.
void CheckHooks(const JobRecord& record);

}  // namespace jobcore::stress

#endif  // JOBCORE_TESTS_STRESS_STRESS_CHECKER_H_
