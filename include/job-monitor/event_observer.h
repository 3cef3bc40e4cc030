// SPDX-License-Identifier: Apache-2.0
//
// EventObserver: has the events of a core brought to it, in a context of its choice. (To fetch them instead:
// JobCore::ReadEvents.)

#ifndef JOBCORE_JOB_MONITOR_EVENT_OBSERVER_H_
#define JOBCORE_JOB_MONITOR_EVENT_OBSERVER_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/functional/any_invocable.h"
#include "job-common/aio_context.h"
#include "job-common/fwd.h"
#include "job-common/job_core.h"
#include "job-common/job_event.h"
#include "job-common/job_mutex.h"

namespace jobcore::inline JOBCORE_ABI::monitor {

class EventObserver {
 public:
  // Called in the observer's context, not under job_mutex, with one or more events in order (and how many were
  // lost before the first of them), once per batch. May do anything that a callback may, except waiting.
  using Callback = absl::AnyInvocable<void(const EventPage& page)>;

  // Any thread. From `from` on; by default only what happens from now on.
  EventObserver(JobCore& core, AioContext& context, Callback callback, std::optional<EventCursor> from = {})
      JOBCORE_EXCLUDES(job_mutex);
  // Closes.
  ~EventObserver() JOBCORE_EXCLUDES(job_mutex);
  EventObserver(const EventObserver&) = delete;
  EventObserver& operator=(const EventObserver&) = delete;

  // No call begins after this has returned, and none is in progress (but the one that this was called from).
  // On the observer's home thread: at once. Elsewhere it waits for a call in progress: outside of callbacks
  // only, aborts otherwise; coroutines await CloseAsync.
  void Close() JOBCORE_EXCLUDES(job_mutex);
  Co<void> CloseAsync() JOBCORE_EXCLUDES(job_mutex);

 private:
  std::shared_ptr<internal::ObserverState> state_;
};

}  // namespace jobcore::inline JOBCORE_ABI::monitor

#endif  // JOBCORE_JOB_MONITOR_EVENT_OBSERVER_H_
