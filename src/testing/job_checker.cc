// SPDX-License-Identifier: Apache-2.0
//
// The rules as they show in events and queries.

#include "job-testing/job_checker.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "aio/check.h"
#include "job-monitor/job_monitor.h"
#include "testing/checker_state.h"

namespace jobcore::inline JOBCORE_ABI::testing {
namespace {

absl::string_view Text(std::string_view s) { return {s.data(), s.size()}; }
absl::string_view Name(JobStatus status) { return Text(JobStatusName(status)); }

// The reference's table, letter by letter: from each status, where a job may go. (X to X is no event.)
bool MayFollow(JobStatus from, JobStatus to) {
  constexpr std::string_view kLetters = "UCRPYSWDXEN";
  constexpr std::array<std::string_view, 11> kTo = {"C", "RXN", "PYWX", "R", "SWX", "Y", "DX", "XE", "E", "N", ""};
  return kTo[static_cast<size_t>(from)].find(kLetters[static_cast<size_t>(to)]) != std::string_view::npos;
}

bool HasOutcome(JobStatus status) {
  return status == JobStatus::kAborting || status == JobStatus::kConcluded || status == JobStatus::kNull;
}

}  // namespace

void JobChecker::State::Broken(const std::string& what) {
  internal::Die(absl::StrCat("JobChecker: ", what, explain ? absl::StrCat("\n", explain()) : ""));
}

void JobChecker::State::SeeEvent(const JobEvent& event) {
  const std::string at =
      absl::StrCat("event ", event.sequence, " of job '", event.job_id, "' (", ToString(event), "): ");
  if (event.sequence != last_sequence + 1) Broken(absl::StrCat(at, "follows number ", last_sequence));
  last_sequence = event.sequence;
  if (event.time < last_time) Broken(absl::StrCat(at, "is earlier than the one before"));
  last_time = event.time;

  WatchedJob& job = jobs[event.job_number];
  if (job.id.empty()) job.id = event.job_id;
  if (job.id != event.job_id) Broken(absl::StrCat(at, "the job was called '", job.id, "'"));
  if (event.kind == JobEvent::Kind::kStatus) {
    if (job.status.has_value() && !MayFollow(*job.status, event.status)) {
      Broken(absl::StrCat(at, "cannot follow '", Name(*job.status), "'"));
    }
    if (job.last_event == 0 && !lost_some && event.status != JobStatus::kCreated)
      Broken(absl::StrCat(at, "is the first"));
    if (HasOutcome(event.status) != event.outcome.has_value()) {
      Broken(absl::StrCat(at, event.outcome.has_value() ? "has an outcome" : "has no outcome"));
    }
    if (event.status == JobStatus::kConcluded && job.status.has_value() &&
        (job.status == JobStatus::kPending) != event.outcome->succeeded()) {
      Broken(absl::StrCat(at, "comes after '", Name(*job.status), "'"));
    }
    job.started |= event.status == JobStatus::kRunning;
    job.status = event.status;
  } else if (job.status.has_value() && job.status != event.status) {
    Broken(absl::StrCat(at, "the job was '", Name(*job.status), "'"));
  }
  if (job.outcome.has_value() && event.outcome.has_value() && *job.outcome != *event.outcome) {
    Broken(absl::StrCat(at, "the outcome was '", job.outcome->ToString(), "'"));
  }
  if (event.outcome.has_value()) job.outcome = event.outcome;
  if (event.status == JobStatus::kAborting && event.outcome.has_value() && event.outcome->succeeded()) {
    Broken(absl::StrCat(at, "has succeeded"));
  }
  job.last_event = event.sequence;
}

void JobChecker::State::SeeJob(uint64_t number, WatchedJob& watched) {
  core.mutex().AssertHeld("JobChecker");
  const Job* const job = monitor::Find(core, number);
  if (job == nullptr) {
    if (watched.status.has_value() && watched.status != JobStatus::kNull) {
      Broken(
          absl::StrCat("job '", watched.id, "' cannot be found, but is '", Name(*watched.status), "' by its events"));
    }
    return;
  }
  const std::string& id = job->id();
  if (!watched.status.has_value()) {  // the events that tell of it are lost
    watched.status = job->status();
    if (!watched.outcome.has_value() && job->outcome() != nullptr) watched.outcome = *job->outcome();
  }
  if (job->status() != watched.status) {
    Broken(
        absl::StrCat("job '", id, "' is '", Name(job->status()), "', and '", Name(*watched.status), "' by its events"));
  }
  const JobOutcome* const outcome = job->outcome();
  if ((outcome != nullptr) != watched.outcome.has_value() || (outcome != nullptr && *outcome != *watched.outcome)) {
    Broken(absl::StrCat("job '", id, "' has another outcome than its events say"));
  }
  const ProgressSnapshot progress = job->progress().Get();
  if (progress.current < watched.current || progress.current > progress.total) {
    Broken(absl::StrCat("job '", id, "' has done ", progress.current, " of ", progress.total, ", and had done ",
                        watched.current));
  }
  watched.current = progress.current;
  const bool parked = watched.status == JobStatus::kPaused || watched.status == JobStatus::kStandby;
  if (parked && job->pause_reasons().empty()) Broken(absl::StrCat("job '", id, "' is parked for no reason"));
  if (parked && job->force_cancelled()) Broken(absl::StrCat("job '", id, "' is parked, and was force-cancelled"));
}

void JobChecker::State::SeeQuery(const monitor::JobInfo& info) {
  const auto found = jobs.find(info.number);
  if (found == jobs.end()) Broken(absl::StrCat("job '", info.id, "' is listed, and has had no event"));
  const WatchedJob& job = found->second;
  if (info.status != job.status || info.outcome != job.outcome || info.id != job.id) {
    Broken(absl::StrCat("the query of job '", info.id, "' does not agree with its events"));
  }
  if (job.last_event != 0 && info.last_event != job.last_event) {
    Broken(absl::StrCat("the query of job '", info.id, "' includes event ", info.last_event, ", the last one was ",
                        job.last_event));
  }
}

JobChecker::JobChecker(JobCore& core, absl::AnyInvocable<std::string()> explain)
    : state_(std::make_shared<State>(core, std::move(explain))) {}

JobChecker::~JobChecker() = default;

void JobChecker::Check() {
  State& s = *state_;
  JobLock lock(s.core);
  const std::scoped_lock own(s.mutex);
  for (;;) {
    const EventPage page = s.core.ReadEvents(s.cursor);
    if (page.lost != 0) {  // the ring is smaller than what one step brings
      s.last_sequence += page.lost;
      s.lost_some = true;
      for (auto& [number, job] : s.jobs) {
        job.status.reset();
        job.last_event = 0;
      }
    }
    for (const JobEvent& event : page.events) s.SeeEvent(event);
    if (page.events.size() < 64) break;
  }
  for (auto& [number, job] : s.jobs) {
    if (job.status != JobStatus::kNull) s.SeeJob(number, job);
  }
  // One full query per call, of one after the other.
  monitor::QueryCursor from{.before = s.look_at};
  const std::vector<monitor::JobInfo> page = monitor::QueryPage(s.core, from, 1);
  s.look_at = page.empty() ? monitor::QueryCursor().before : from.before;
  for (const monitor::JobInfo& info : page) s.SeeQuery(info);
}

void JobChecker::Finish() {
  Check();
  State& s = *state_;
  const std::scoped_lock own(s.mutex);
  for (const auto& [number, job] : s.jobs) {
    if (job.status.has_value() && job.status != JobStatus::kNull) {
      s.Broken(absl::StrCat("at the end job '", job.id, "' is '", Name(*job.status), "'"));
    }
  }
  for (const std::shared_ptr<WatchedHooks>& h : s.hooks) {
    if (!h->destroyed) s.Broken(absl::StrCat("at the end the driver of job '", h->id, "' lives"));
    const auto job = s.jobs.find(h->job);
    if (h->refused || job == s.jobs.end() || !job->second.outcome.has_value()) continue;
    const bool abandoned = job->second.outcome->message == "abandoned before it was started";
    if (h->clean == abandoned) {
      s.Broken(absl::StrCat("job '", h->id, "' has ended ", abandoned ? "abandoned, with hooks" : "without its hooks"));
    }
    if (h->abort && job->second.outcome->succeeded()) {
      s.Broken(absl::StrCat("job '", h->id, "' has succeeded, and was aborted"));
    }
    if (h->commit && job->second.outcome->kind == JobOutcome::Kind::kCancelled) {
      s.Broken(absl::StrCat("job '", h->id, "' was cancelled, and committed"));
    }
    if (h->run && !job->second.started) s.Broken(absl::StrCat("job '", h->id, "' ran, and was never started"));
  }
  for (const std::shared_ptr<WatchedReply>& reply : s.replies) {
    if (reply->accepted && reply->answers == 0) s.Broken("a verb that was accepted has had no answer");
  }
}

// --- Replies ---

absl::Status JobChecker::Ask(AioContext& where, absl::FunctionRef<absl::Status(VerbReply)> verb) {
  auto reply = std::make_shared<WatchedReply>();
  {
    const std::scoped_lock own(state_->mutex);
    state_->replies.push_back(reply);
  }
  VerbReply answer(where, [state = state_, reply, &where](const absl::Status&) {
    state->CheckPlace("reply", "(any)", where);
    const std::scoped_lock own(state->mutex);
    if (++reply->answers != 1) state->Broken("a verb was answered twice");
    if (reply->asked && !reply->accepted) state->Broken("a verb that was refused was answered");
  });
  const absl::Status status = verb(std::move(answer));
  const std::scoped_lock own(state_->mutex);
  reply->asked = true;
  reply->accepted = status.ok();
  if (!status.ok() && reply->answers != 0) state_->Broken("a verb that was refused was answered");
  return status;
}

}  // namespace jobcore::inline JOBCORE_ABI::testing
