// SPDX-License-Identifier: Apache-2.0
//
// JobEvents: the events of a core as those of the wire. Every change of a job's status is a JOB_STATUS_CHANGE. Block
// jobs, which the wire calls by a family of commands of their own, have some more: BLOCK_JOB_READY, _PENDING,
// _COMPLETED, _CANCELLED and _ERROR, with what the job was like when it happened.

#ifndef JOBCORE_QMP_JOB_EVENTS_H_
#define JOBCORE_QMP_JOB_EVENTS_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "absl/functional/any_invocable.h"
#include "job-common/aio_context.h"
#include "job-common/fwd.h"
#include "job-common/job.h"
#include "job-common/job_core.h"
#include "job-common/job_event.h"
#include "job-common/job_mutex.h"
#include "job-common/job_outcome.h"
#include "job-common/job_status.h"
#include "job-common/job_times.h"
#include "job-monitor/event_observer.h"
#include "qmp/json_value.h"

namespace jobcore::inline JOBCORE_ABI::qmp {

// Whether jobs of this type are block jobs.
bool IsBlockJobType(std::string_view type);

// How a job that failed, or was cancelled, is said to have ended.
std::string ErrorText(const JobOutcome& outcome);

// {"timestamp": …, "event": NAME, "data": {…}} on a line.
std::string EventLine(std::string_view name, JsonObject data, WallTime time);

// All on the home thread of the core's main context.
class JobEvents {
 public:
  using SendLine = absl::AnyInvocable<void(const std::string& line)>;

  JobEvents(JobCore& core, SendLine send) JOBCORE_EXCLUDES(job_mutex);

  // Sends what has happened by now. It is called by itself soon after each event; whoever wants to say something that
  // comes after what has happened calls it first.
  void Pump() JOBCORE_EXCLUDES(job_mutex);

 private:
  // A job that can be asked what it is like until it has told its end. Those that came before this did are not here:
  // for them the plain events must do.
  struct Known {
    JobRef job;
    bool started = false;
    bool ready = false;  // it has been said that it is
    bool ended = false;  // … that it has concluded
    JobStatus told = JobStatus::kUndefined;
  };

  // The ring has lost events in front of number `kept`: tells of each job how it has become, unless there is news of it
  // among those that are left. What was in between is not told.
  void CatchUp(uint64_t kept) JOBCORE_EXCLUDES(job_mutex);
  void LearnOfJobs() JOBCORE_EXCLUDES(job_mutex);

  void Send(const JobEvent& event) JOBCORE_EXCLUDES(job_mutex);
  // Of a job that has gone before it was said that it had concluded.
  void SendLostEnd(const JobEvent& gone) JOBCORE_EXCLUDES(job_mutex);
  void SendStatus(const JobEvent& event);
  void SendBlockEvent(std::string_view name, const JobEvent& event, const Job& job, JsonObject more = {})
      JOBCORE_EXCLUDES(job_mutex);
  void SendEnd(const JobEvent& event, const Job& job) JOBCORE_EXCLUDES(job_mutex);
  // Null: it is not, or not a block job.
  const Job* BlockJob(const JobEvent& event) const;

  JobCore& core_;
  SendLine send_;
  EventCursor cursor_;
  std::map<uint64_t, Known> jobs_;
  monitor::EventObserver observer_;
};

}  // namespace jobcore::inline JOBCORE_ABI::qmp

#endif  // JOBCORE_QMP_JOB_EVENTS_H_
