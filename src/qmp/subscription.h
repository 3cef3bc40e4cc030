// SPDX-License-Identifier: Apache-2.0
//
// Subscription: all that happens to the jobs of a core, from a number on, for one client: a line for each event, and
// one where events are missing. What the client cannot take yet stays where it is, in the core's ring.

#ifndef JOBCORE_QMP_SUBSCRIPTION_H_
#define JOBCORE_QMP_SUBSCRIPTION_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "job-common/fwd.h"
#include "job-common/job_core.h"
#include "job-common/job_event.h"
#include "job-common/job_mutex.h"
#include "job-monitor/event_observer.h"
#include "qmp/event_source.h"
#include "qmp/job_report.h"
#include "qmp/session.h"

namespace jobcore::inline JOBCORE_ABI::qmp {

// On the home thread of the core's main context. A part of the session, so it does not outlive it.
class Subscription final : public EventSource {
 public:
  // From the event with that number on, or the oldest that is still there.
  Subscription(JobCore& core, Session& session, uint64_t from) JOBCORE_EXCLUDES(job_mutex);
  void Pump() override JOBCORE_EXCLUDES(job_mutex);

  // What comes first, and how many before that are not there any more.
  uint64_t next() const { return cursor_.next; }
  uint64_t missed() const { return missed_; }

 private:
  struct Page {
    EventPage events;
    std::vector<EventSubject> subjects;  // of each of them
  };
  Page Read() JOBCORE_EXCLUDES(job_mutex);

  JobCore& core_;
  Session& session_;
  EventCursor cursor_;
  uint64_t missed_ = 0;
  bool pumping_ = false;
  monitor::EventObserver observer_;
};

}  // namespace jobcore::inline JOBCORE_ABI::qmp

#endif  // JOBCORE_QMP_SUBSCRIPTION_H_
