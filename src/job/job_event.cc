// SPDX-License-Identifier: Apache-2.0

#include "job-common/job_event.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "aio/probe.h"

namespace jobcore::inline JOBCORE_ABI {

JobEvent& JobEventRing::Append() {
  if (next_slot_ == slots_.size()) slots_.emplace_back();
  JobEvent& event = slots_[next_slot_];
  if (++next_slot_ == capacity_) next_slot_ = 0;
  event.sequence = ++last_;
  event.kind = JobEvent::Kind::kStatus;
  event.io_error.reset();
  event.waits_for.clear();
  return event;
}

void JobEventRing::Reserve(size_t job_id_size) {
  if (next_slot_ == slots_.size()) slots_.emplace_back();
  slots_[next_slot_].job_id.reserve(job_id_size);
}

void JobEventRing::Read(EventCursor& cursor, size_t max, EventPage& page) const {
  page.lost = 0;
  const uint64_t oldest = last_ - std::min<uint64_t>(last_, slots_.size()) + 1;
  if (cursor.next < oldest) {
    internal::Reached("events.lost");
    page.lost = oldest - cursor.next;
    cursor.next = oldest;
  }
  // Events that are in the page already are overwritten: their strings keep their memory.
  page.events.resize(cursor.next > last_ ? 0 : std::min<uint64_t>(max, last_ - cursor.next + 1));
  if (page.events.empty()) return;
  size_t slot = (cursor.next - 1) % capacity_;
  for (JobEvent& event : page.events) {
    event = slots_[slot];
    if (++slot == capacity_) slot = 0;
  }
  cursor.next += page.events.size();
}

namespace {

absl::string_view ToAbsl(std::string_view text) { return {text.data(), text.size()}; }

}  // namespace

std::string ToString(const JobEvent& event) {
  switch (event.kind) {
    case JobEvent::Kind::kStatus:
      break;
    case JobEvent::Kind::kIoError: {
      const IoError& e = *event.io_error;
      return absl::StrCat("error ", ToAbsl(IoOperationName(e.operation)), " ", ToAbsl(ErrorActionName(e.action)), " (",
                          e.text, ")");
    }
    case JobEvent::Kind::kUnresponsive:
      return absl::StrCat("unresponsive: ", event.waits_for);
  }
  std::string text(JobStatusName(event.status));
  if (event.outcome.has_value()) absl::StrAppend(&text, " (", event.outcome->ToString(), ")");
  return text;
}

}  // namespace jobcore::inline JOBCORE_ABI
