// SPDX-License-Identifier: Apache-2.0
//
// What a job waits for, in words. Read under job_mutex and from atomics only, so from any thread.

#include "job/wait_text.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "job/job_ops.h"

namespace jobcore::inline JOBCORE_ABI {

namespace internal {

std::string DurationText(Nanoseconds duration) {
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
  if (ms < 1000) return absl::StrCat(ms, " ms");
  if (ms < 100'000) return absl::StrCat(ms / 1000, ".", ms / 100 % 10, " s");
  return absl::StrCat(ms / 1000, " s");
}

std::string StuckMutexText(const JobCore& core) {
  const int owner = core.mutex().owner();
  if (owner == 0) return "job_mutex was not to be had, but nobody holds it now";
  return absl::StrCat("job_mutex is held by thread ", owner, "; jobs are not shown");
}

monitor::LoopState Observe(const AioContext& context) {
  const char* const callback = context.callback();
  return {.name = context.name(),
          .asleep = context.sleeping(),
          .has_work = context.HasWork(),
          .callback = callback != nullptr ? callback : "",
          .polled_ago = std::max(Nanoseconds::zero(), context.clock().Now() - context.last_polled())};
}

std::string LoopText(const monitor::LoopState& loop) {
  std::string text;
  if (!loop.callback.empty()) {
    text = absl::StrCat("in callback '", loop.callback, "'");
  } else if (loop.asleep) {
    text = "asleep";
  } else {
    text = "in no callback";
  }
  absl::StrAppend(&text, ", polled ", DurationText(loop.polled_ago), " ago");
  if (loop.has_work) absl::StrAppend(&text, ", has work");
  return text;
}

}  // namespace internal

namespace {

using internal::DurationText;

// How many members of a group are named, and looked at.
constexpr size_t kMaxNamed = 4;
constexpr size_t kMaxLooked = 64;

// " for 3.2 s".
std::string For(const CoRoot& chain, AioContext& context) {
  return absl::StrCat(" for ", DurationText(std::max(Nanoseconds::zero(), context.clock().Now() - chain.since())));
}

// Of a chain of coroutines whose home is `context`.
std::string ChainText(const CoRoot& chain, AioContext& context) {
  if (const char* const in = chain.suspended_in()) return absl::StrCat(in, For(chain, context));
  if (chain.since() == TimePoint()) return absl::StrCat("its first turn in '", context.name(), "'");
  std::string text = absl::StrCat("running code", For(chain, context));
  if (const char* const callback = context.callback()) absl::StrAppend(&text, " in callback '", callback, "'");
  return text;
}

std::string HeldByLoop(const AioContext& context) {
  return absl::StrCat("loop '", context.name(), "', ", internal::LoopText(internal::Observe(context)));
}

}  // namespace

std::string JobOps::NameOf(const Job& job) {
  return job.internal() ? absl::StrCat("job #", job.number_) : absl::StrCat("job '", job.id_, "'");
}

std::string JobOps::WaitName(const Job& job) { return absl::StrCat("wait for ", NameOf(job)); }

bool JobOps::IsWatched(const CoRoot& chain) {
  const char* const in = chain.suspended_in();
  return in != nullptr && in != kYield && in != kSleep && in != kParked && in != kNextTurn && in != kThrottled;
}

void JobOps::ForEachChain(const Job& job, absl::FunctionRef<void(std::string_view part, const CoRoot& chain)> visit) {
  const bool runs = job.started_ && !IsCompleted(job.status_);
  if (runs) visit("", job.run_root_);
  if (runs && job.pending_ != nullptr && job.pending_->serving != nullptr) {
    visit(job.pending_->serving_hook, *job.pending_->serving);
  }
  const internal::Finaliser* const finaliser = job.txn_->finaliser_;
  if (finaliser == nullptr) return;
  const char* const hook = finaliser->hook.load(std::memory_order_acquire);
  if (hook == nullptr || hook == internal::Finaliser::kDrain || finaliser->root == nullptr) return;
  if (finaliser->job.load(std::memory_order_relaxed) == &job) visit(hook, *finaliser->root);
}

std::string JobOps::RunWaitsFor(const Job& job) {
  const CoRoot& run = job.run_root_;
  AioContext& context = job.context();
  const char* const in = run.suspended_in();
  const bool idles = in == kYield || in == kSleep || in == kParked || in == kNextTurn || in == kThrottled;
  if (idles && job.word_.activity() == JobWord::Activity::kRunning) {  // its resumption has been posted
    const std::string after = in == kNextTurn ? "" : absl::StrCat(", after ", in);
    return absl::StrCat("its turn in '", context.name(), "'", after, For(run, context));
  }
  std::string text = ChainText(run, context);
  const Job::Hook hook = job.in_hook_;
  if (hook != Job::Hook::kNone)
    absl::StrAppend(&text, " in its ", hook == Job::Hook::kPause ? "Pause" : "Resume", " hook");
  return text;
}

std::string JobOps::GroupWaitsFor(const Job& job) {
  JobTxn& txn = *job.txn_;
  if (txn.unfinished_ != 0) return absl::StrCat(txn.unfinished_, " member(s) of its group to finish");
  if (txn.phase_ == JobTxn::Phase::kOpen) return "its group to be sealed";
  if (txn.phase_ == JobTxn::Phase::kSealed) return "its group to be finalized, on request";
  const internal::Finaliser* const finaliser = txn.finaliser_;
  if (finaliser == nullptr) return "the finalisation of its group, posted to the main context";
  const char* const hook = finaliser->hook.load(std::memory_order_acquire);
  if (hook == nullptr) return "the finalisation of its group, about to begin";
  if (hook == internal::Finaliser::kDrain) return "the resources that are to stand still at the end of its group";
  const Job& at = *finaliser->job.load(std::memory_order_relaxed);  // the finaliser has a reference
  AioContext& main = *job.core_.main_context_;
  return absl::StrCat("the ", hook, " hook of ", &at == &job ? "its own" : NameOf(at), ", ",
                      finaliser->root != nullptr ? absl::StrCat("in ", ChainText(*finaliser->root, main))
                                                 : internal::LoopText(internal::Observe(main)));
}

std::string JobOps::WaitsFor(const Job& job) {
  job.core_.mutex_.AssertHeld("JobOps::WaitsFor");
  switch (job.status_) {
    case JobStatus::kCreated:
      return "to be started";
    case JobStatus::kRunning:
    case JobStatus::kReady:
      return RunWaitsFor(job);
    case JobStatus::kPaused:
    case JobStatus::kStandby:
      return absl::StrCat("parked by ", absl::StrJoin(job.pause_reasons(), ", "), For(job.run_root_, job.context()));
    case JobStatus::kWaiting:
    case JobStatus::kPending:
    case JobStatus::kAborting:
      return GroupWaitsFor(job);
    case JobStatus::kConcluded:
      return "to be dismissed";
    case JobStatus::kUndefined:
    case JobStatus::kNull:
      break;
  }
  return "nothing: it is gone";
}

std::vector<std::string> JobOps::HeldBy(const Job& job) {
  std::vector<std::string> held_by;
  if (IsPaused(job.status_)) {
    for (const std::string& reason : job.pause_reasons()) held_by.push_back(absl::StrCat("pause '", reason, "'"));
  } else if (job.started_ && !IsCompleted(job.status_)) {
    const bool posted = job.run_root_.suspended_in() != nullptr && !IsWatched(job.run_root_) &&
                        job.word_.activity() == JobWord::Activity::kRunning;
    if (posted || job.run_root_.since() == TimePoint()) held_by.push_back(HeldByLoop(job.context()));
    if (job.pending_ != nullptr && job.pending_->serving != nullptr) {
      held_by.push_back(absl::StrCat("its ", job.pending_->serving_hook, " hook, in ",
                                     ChainText(*job.pending_->serving, job.context())));
    }
  } else if (IsCompleted(job.status_) && !IsConcluded(job.status_)) {
    JobTxn& txn = *job.txn_;
    if (txn.unfinished_ == 0) {
      const bool posted = txn.phase_ == JobTxn::Phase::kFinalizing && txn.finaliser_ == nullptr;
      if (posted) held_by.push_back(HeldByLoop(*job.core_.main_context_));
      return held_by;
    }
    size_t looked = 0;
    for (const Job* member : txn.members_) {
      if (++looked > kMaxLooked || held_by.size() == kMaxNamed) break;
      if (IsCompleted(member->status_)) continue;
      held_by.push_back(
          absl::StrCat(NameOf(*member), ", ", Absl(JobStatusName(member->status_)), ": ", WaitsFor(*member)));
    }
    if (held_by.size() < txn.unfinished_) held_by.push_back(absl::StrCat(txn.unfinished_ - held_by.size(), " more"));
  }
  return held_by;
}

}  // namespace jobcore::inline JOBCORE_ABI
