// SPDX-License-Identifier: Apache-2.0

#include "job-common/job_event.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "aio/probe.h"

namespace jobcore::inline JOBCORE_ABI {

JobEvent& JobEventRing::Append() {
  const size_t slot = last_ % capacity_;
  if (slot == slots_.size()) slots_.emplace_back();
  JobEvent& event = slots_[slot];
  event.sequence = ++last_;
  event.kind = JobEvent::Kind::kStatus;
  event.io_error.reset();
  event.waits_for.clear();
  return event;
}

void JobEventRing::Reserve(size_t job_id_size) {
  const size_t slot = last_ % capacity_;
  if (slot == slots_.size()) slots_.emplace_back();
  slots_[slot].job_id.reserve(job_id_size);
}

EventPage JobEventRing::Read(EventCursor& cursor, size_t max) const {
  EventPage page;
  const uint64_t oldest = last_ - std::min<uint64_t>(last_, slots_.size()) + 1;
  if (cursor.next < oldest) {
    internal::Reached("events.lost");
    page.lost = oldest - cursor.next;
    cursor.next = oldest;
  }
  if (cursor.next > last_) return page;
  const size_t count = std::min<uint64_t>(max, last_ - cursor.next + 1);
  page.events.reserve(count);
  for (size_t i = 0; i < count; ++i) page.events.push_back(slots_[(cursor.next++ - 1) % capacity_]);
  return page;
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
