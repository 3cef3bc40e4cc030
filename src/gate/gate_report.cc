// SPDX-License-Identifier: Apache-2.0
//
// What a gate says of itself: who is in, and who is in the way. The words of the errors are those that programs and
// people know, and are followed by what those do not say.

#include <mutex>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "gate/text.h"
#include "job-monitor/job_gate.h"

namespace jobcore::inline JOBCORE_ABI::gate {
namespace {

constexpr char kHolderPayload[] = "type.jobs/holder";
constexpr std::array<std::string_view, 5> kSlotNames = {"normal", "nested", "async", "agent", "recovery"};

int64_t Milliseconds(Nanoseconds time) { return std::chrono::duration_cast<std::chrono::milliseconds>(time).count(); }

// "key=value;…"; the name of the caller comes last, as it may be anything.
absl::Cord ToPayload(const HolderInfo& holder) {
  std::string text = absl::StrCat("slot=", View(kSlotNames[static_cast<size_t>(holder.slot)]), ";task=", holder.task,
                                  ";held_ms=", Milliseconds(holder.held_for), ";what=", holder.what);
  if (holder.job) absl::StrAppend(&text, ";job=", ToString(holder.job), ";phase=", holder.phase);
  absl::StrAppend(&text, ";api=", holder.api);
  return absl::Cord(text);
}

}  // namespace

std::optional<HolderInfo> HolderOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kHolderPayload);
  if (!payload.has_value()) return std::nullopt;
  const std::string text(*payload);
  const size_t api = text.find(";api=");
  HolderInfo holder;
  holder.api = text.substr(api + 5);
  for (const absl::string_view field : absl::StrSplit(absl::string_view(text).substr(0, api), ';')) {
    const std::pair<absl::string_view, absl::string_view> pair = absl::StrSplit(field, absl::MaxSplits('=', 1));
    const std::string value(pair.second);
    if (pair.first == "slot") {
      for (size_t i = 0; i < kSlotNames.size(); ++i) {
        if (kSlotNames[i] == value) holder.slot = static_cast<Slot>(i);
      }
    } else if (pair.first == "task") {
      (void)absl::SimpleAtoi(value, &holder.task);
    } else if (pair.first == "held_ms") {
      int64_t milliseconds = 0;
      (void)absl::SimpleAtoi(value, &milliseconds);
      holder.held_for = std::chrono::milliseconds(milliseconds);
    } else if (pair.first == "what") {
      holder.what = value;
    } else if (pair.first == "job") {
      holder.job = ParseJobId(value).value_or(JobId());
    } else if (pair.first == "phase") {
      holder.phase = value;
    }
  }
  return holder;
}

HolderInfo JobGate::Describe(const Holder& holder) const {
  HolderInfo info{.slot = holder.slot, .api = std::string(holder.api), .task = holder.task};
  info.held_for = clock_.Now() - holder.since;
  switch (holder.slot) {
    case Slot::kNormal:
      info.what = std::string(ToString(holder.job_class));
      break;
    case Slot::kNested:
      info.what = "async nested";
      if (async_ != nullptr) {
        info.job = async_->id;
        info.phase = std::string(InfoOf(async_->kind).phases[async_->phase].name);
      }
      break;
    case Slot::kAgent:
      info.what = "agent";
      break;
    case Slot::kRecovery:
    case Slot::kAsync:
      info.what = "recovery";
      break;
  }
  return info;
}

HolderInfo JobGate::Describe(const detail::AsyncHolder& job) const {
  return {.slot = Slot::kAsync,
          .api = job.api,
          .task = job.task,
          .held_for = clock_.Now() - job.since,
          .what = std::string(ToString(job.kind)),
          .job = job.id,
          .phase = std::string(InfoOf(job.kind).phases[job.phase].name)};
}

absl::Status JobGate::Busy(absl::StatusCode code, Obstacle obstacle) const {
  std::string text = "cannot acquire state change lock";
  std::optional<HolderInfo> holder;
  // The queue may be full although nobody is in the way of this one: then whoever is in is named.
  if (obstacle == Obstacle::kAsync || (obstacle == Obstacle::kNone && monitor_.serial == 0 && async_ != nullptr)) {
    holder = Describe(*async_);
  } else if (obstacle == Obstacle::kAgent) {
    holder = Describe(agent_);
  } else if (monitor_.serial != 0) {
    holder = Describe(monitor_);
  }
  if (holder.has_value() && !holder->api.empty()) {
    absl::StrAppend(&text, " (held by ", holder->slot == Slot::kAgent ? "agent=" : "monitor=", holder->api, ")");
  }
  if (code == absl::StatusCode::kResourceExhausted) {
    absl::StrAppend(&text, " due to max_queued limit");
  } else if (holder.has_value()) {
    absl::StrAppendFormat(&text, " for %.3f s: %s", static_cast<double>(Milliseconds(holder->held_for)) / 1000,
                          holder->what);
    if (!holder->phase.empty()) absl::StrAppend(&text, ", phase ", holder->phase);
  }
  absl::Status status(code, text);
  if (holder.has_value()) status.SetPayload(kHolderPayload, ToPayload(*holder));
  return status;
}

absl::Status JobGate::Dead() const {
  return absl::AbortedError(absl::StrCat("'", options_.name, "': object is no longer running"));
}
absl::Status JobGate::Cancelled() const {
  return absl::CancelledError(absl::StrCat("'", options_.name, "': the wait for it was cancelled"));
}
absl::Status JobGate::JobOver() const {
  return absl::AbortedError(absl::StrCat("'", options_.name, "': the asynchronous job is over"));
}
absl::Status JobGate::Removed() const {
  return absl::NotFoundError(absl::StrCat("'", options_.name, "' is being removed"));
}
absl::Status JobGate::Quarantined() const {
  return absl::DataLossError(
      absl::StrCat("'", options_.name, "' is in quarantine, and can be queried and destroyed only"));
}

GateInfo JobGate::Info() const {
  GateInfo info;
  const std::scoped_lock lock(mutex_);
  info.live = live_;
  info.incarnation = incarnation_;
  info.removed = removed_;
  info.quarantine = quarantine_;
  info.queued = queued_;
  info.waiting = waiting_;
  if (monitor_.serial != 0) info.monitor = Describe(monitor_);
  if (agent_.serial != 0) info.agent = Describe(agent_);
  if (async_ != nullptr) {
    info.async = AsyncInfo{.id = async_->id,
                           .kind = async_->kind,
                           .phase = async_->phase,
                           .allowed = async_->allowed,
                           .api = async_->api,
                           .task = async_->task,
                           .since = async_->since,
                           .abort_requested = async_->abort_requested,
                           .parked = async_->parked};
  }
  return info;
}

}  // namespace jobcore::inline JOBCORE_ABI::gate
