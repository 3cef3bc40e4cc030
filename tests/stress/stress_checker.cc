// SPDX-License-Identifier: Apache-2.0

#include "stress/stress_checker.h"

#include "stress/stress_util.h"

namespace jobcore::stress {

void EventChecker::Consume(const EventPage& page) {
  Count(Totals().events, page.events.size());
  if (page.lost != 0) {
    Count(Totals().lost_events, page.lost);
    complete_ = false;
    traces_.clear();
    if (next_ != 0) next_ += page.lost;
  }
  for (const JobEvent& event : page.events) Consume(event);
}

void EventChecker::Consume(const JobEvent& event) {
  const std::string text =
      absl::StrCat("event ", event.sequence, " of job ", event.job_number, " '", event.job_id, "': ", ToString(event));
  STRESS_CHECK(next_ == 0 || event.sequence == next_, text, ", expected ", next_);
  next_ = event.sequence + 1;
  STRESS_CHECK(!event.job_id.empty(), text, ", of an internal job");
  STRESS_CHECK(event.time >= time_, text, ", time goes back");
  time_ = event.time;

  const auto [found, is_new] = traces_.try_emplace(event.job_number);
  JobTrace& trace = found->second;
  if (event.kind != JobEvent::Kind::kStatus) {  // nothing has changed
    STRESS_CHECK(is_new ? !complete_ : trace.last == event.status && trace.outcome == event.outcome, text,
                 ", in status ", View(JobStatusName(event.status)), ", after ", View(JobStatusName(trace.last)));
  } else if (!is_new || complete_) {
    STRESS_CHECK(trace.last != event.status && MayTransition(trace.last, event.status), text, ", after ",
                 View(JobStatusName(trace.last)));
  }
  trace.last = event.status;
  trace.running |= event.status == JobStatus::kRunning;
  trace.ready |= event.status == JobStatus::kReady;
  trace.pending |= event.status == JobStatus::kPending;
  trace.aborting |= event.status == JobStatus::kAborting;
  const bool decided = event.status >= JobStatus::kAborting;
  STRESS_CHECK(event.outcome.has_value() == decided, text, decided ? ", without outcome" : ", with an outcome");
  STRESS_CHECK(!trace.outcome.has_value() || trace.outcome == event.outcome, text, ", was ", trace.outcome->ToString());
  STRESS_CHECK(!decided || event.status != JobStatus::kAborting || !event.outcome->succeeded(), text);
  trace.outcome = event.outcome;
}

void CheckHooks(const JobRecord& r) {
  const std::string text = absl::StrCat("job ", r.number, " '", r.id, "'");
  STRESS_CHECK(r.destroyed.load(), text, ": its driver outlived the core, at '", r.note.load(), "'");
  if (r.number == 0 || r.abandoned) return;  // the driver's destructor has looked
  STRESS_CHECK(r.runs <= 1 && r.prepares <= 1 && r.commits + r.aborts == 1 && r.cleans == 1, text, ": runs ", r.runs,
               " prepares ", r.prepares, " commits ", r.commits, " aborts ", r.aborts, " cleans ", r.cleans);
  STRESS_CHECK(r.commits == 0 || r.group->aborts == 0, text, ": committed in a group of which ", r.group->aborts,
               " members were aborted");
}

void CheckStory(const JobRecord& r, const JobTrace& trace) {
  const std::string text = absl::StrCat("job ", r.number, " '", r.id, "'");
  STRESS_CHECK(trace.last == JobStatus::kNull, text, ": ends in ", View(JobStatusName(trace.last)));
  STRESS_CHECK(trace.outcome.has_value(), text);
  const JobOutcome& outcome = *trace.outcome;
  Count(outcome.succeeded()                         ? Totals().succeeded
        : outcome.kind == JobOutcome::Kind::kFailed ? Totals().failed
                                                    : Totals().cancelled);
  const std::string how = absl::StrCat(text, ", ", outcome.ToString());
  STRESS_CHECK(!r.abandoned || (!trace.running && !trace.aborting), how, ", abandoned");
  STRESS_CHECK(r.runs == 0 || trace.running, how, ": Run without RUNNING");
  STRESS_CHECK(r.prepares == 0 || trace.pending, how, ": Prepare without PENDING");
  STRESS_CHECK(!trace.pending || r.run_ok, how, ": PENDING, but Run has not succeeded");
  switch (outcome.kind) {
    case JobOutcome::Kind::kSucceeded:
      STRESS_CHECK(r.commit_ok && !trace.aborting, how, ": not committed");
      break;
    case JobOutcome::Kind::kFailed: {
      const bool run_failed = r.runs == 1 && !r.run_ok;
      const bool prepare_failed = r.prepares == 1 && !r.prepare_ok;
      const bool commit_failed = r.commits == 1 && !r.commit_ok;
      STRESS_CHECK(run_failed || prepare_failed || commit_failed, how, ": but no hook has failed");
      break;
    }
    case JobOutcome::Kind::kCancelled:
      STRESS_CHECK(r.commits == 0 && (r.abandoned || r.aborts == 1), how, ": committed");
      break;
  }
}

}  // namespace jobcore::stress
