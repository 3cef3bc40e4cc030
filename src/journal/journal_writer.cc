// SPDX-License-Identifier: Apache-2.0

#include "job-journal/journal_writer.h"

#include <mutex>
#include <optional>
#include <utility>

namespace jobcore::inline JOBCORE_ABI::journal {

using jobcore::internal::CondVar;
using jobcore::internal::Mutex;
using jobcore::internal::Thread;

JournalWriter::JournalWriter(Journal& journal)
    : journal_(journal), thread_([this]() JOBCORE_EXCLUDES(job_mutex) { Run(); }) {}

JournalWriter::~JournalWriter() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    more_.notify_one();
  }
  thread_.join();
}

void JournalWriter::Submit(std::vector<Edit> edits, Done done) {
  std::lock_guard lock(mutex_);
  queue_.push_back({.edits = std::move(edits), .done = std::move(done)});
  more_.notify_one();
}

absl::Status JournalWriter::Commit(std::vector<Edit> edits) {
  Mutex mutex;
  CondVar answered;
  std::optional<absl::Status> answer;
  Submit(std::move(edits), [&](const absl::Status& status) {
    std::lock_guard lock(mutex);  // notified under it: `answered` goes when it is released
    // A status of this thread's own: counted references to one are a race in the eyes of ThreadSanitizer.
    answer = absl::Status(status.code(), status.message());
    answered.notify_one();
  });
  std::unique_lock lock(mutex);
  answered.wait(lock, [&] { return answer.has_value(); });
  return *std::move(answer);
}

JournalWriter::Counts JournalWriter::counts() const {
  std::lock_guard lock(mutex_);
  return counts_;
}

void JournalWriter::Run() {
  for (;;) {
    std::vector<Transition> transitions;
    {
      std::unique_lock lock(mutex_);
      more_.wait(lock, [this] { return !queue_.empty() || stopping_; });
      if (queue_.empty()) return;
      transitions.swap(queue_);
    }
    CommitTogether(transitions);
  }
}

void JournalWriter::CommitTogether(std::vector<Transition>& transitions) {
  std::vector<Edit> all;
  for (const Transition& transition : transitions) {
    all.insert(all.end(), transition.edits.begin(), transition.edits.end());
  }
  absl::Status together = journal_.Commit(all);
  uint64_t commits = 1;
  // One that is refused must not take the others with it: a job that ends is not to wait for one that cannot begin.
  const bool alone =
      !together.ok() && transitions.size() > 1 &&
      (together.code() == absl::StatusCode::kResourceExhausted || together.code() == absl::StatusCode::kAlreadyExists);
  std::vector<absl::Status> statuses(transitions.size(), together);
  if (alone) {
    for (size_t i = 0; i < transitions.size(); ++i) statuses[i] = journal_.Commit(transitions[i].edits);
    commits = transitions.size();
  }
  {
    std::lock_guard lock(mutex_);
    counts_.transitions += transitions.size();
    counts_.commits += commits;
  }
  for (size_t i = 0; i < transitions.size(); ++i) std::exchange(transitions[i].done, nullptr)(statuses[i]);
}

}  // namespace jobcore::inline JOBCORE_ABI::journal
