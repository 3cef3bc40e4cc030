// SPDX-License-Identifier: Apache-2.0
//
// Events: one per change of a job's status (and per I/O error, and for a job that does not end although it was
// cancelled), numbered without gaps in the order in which they happened, kept in a bounded ring. Readers have a
// cursor each; who falls behind learns how many it has lost and goes on.

#ifndef JOBCORE_JOB_COMMON_JOB_EVENT_H_
#define JOBCORE_JOB_COMMON_JOB_EVENT_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "job-common/boxed.h"
#include "job-common/clock.h"
#include "job-common/error_policy.h"
#include "job-common/fwd.h"
#include "job-common/job_outcome.h"
#include "job-common/job_status.h"

namespace jobcore::inline JOBCORE_ABI {

// A read or write of a job that failed, and what is done about it.
struct IoError {
  IoOperation operation = IoOperation::kRead;
  ErrorAction action = ErrorAction::kReport;
  int error = 0;     // an errno
  std::string text;  // the same for people: "No space left on device"

  friend bool operator==(const IoError&, const IoError&) = default;
};

struct JobEvent {
  enum class Kind : unsigned char {
    kStatus,        // the job's status has changed
    kIoError,       // see io_error; comes before the pause that it may lead to
    kUnresponsive,  // force-cancelled long ago (JobCore::Options::unresponsive_after), and Run has not ended
  };

  uint64_t sequence = 0;  // 1, 2, 3 … per core
  uint64_t job_number = 0;
  std::string job_id;
  Kind kind = Kind::kStatus;
  JobStatus status = JobStatus::kUndefined;  // kStatus: the new one; else as it is
  // From kAborting on: how the job ends. Decided once, under job_mutex; the same in all later events.
  SharedOutcome outcome;
  // Monotonic, on the clock of the core's main context; events made in one turn of a loop may share one reading.
  TimePoint time{};
  Boxed<IoError> io_error;  // kIoError
  std::string waits_for;    // kUnresponsive: what the job is at, for people
};

// "created", "running", … and the outcome where there is one; "error write stop (No space left on device)";
// "unresponsive: …". For people.
std::string ToString(const JobEvent& event);

// Where a reader is. Value-initialised: before the first event there was; `lost` then counts those that the
// ring no longer has.
struct EventCursor {
  uint64_t next = 1;  // sequence number of the next event to read
};

struct EventPage {
  static constexpr size_t kMax = 64;  // events in a page

  std::vector<JobEvent> events;
  uint64_t lost = 0;  // events between the cursor and the first of these that the ring no longer has
};

// The ring. No locking of its own: part of a JobCore, under its job_mutex.
class JobEventRing {
 public:
  explicit JobEventRing(size_t capacity) : capacity_(capacity) {}

  // The slot for the next event, numbered, a kStatus one; job, status, outcome and time are the caller's to
  // overwrite (the strings keep their memory), the rest is reset.
  JobEvent& Append();
  // The next Append, and giving its event a job_id of that size, will not allocate.
  void Reserve(size_t job_id_size);
  // Makes `page` one of at most `max` events from `cursor` on, which advances past them.
  void Read(EventCursor& cursor, size_t max, EventPage& page) const;
  uint64_t last_sequence() const { return last_; }

 private:
  size_t capacity_;
  uint64_t last_ = 0;
  size_t next_slot_ = 0;         // last_ % capacity_
  std::vector<JobEvent> slots_;  // event n in slot (n - 1) % capacity; grows to capacity; the last may be reserved
};

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_JOB_COMMON_JOB_EVENT_H_
