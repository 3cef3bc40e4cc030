// SPDX-License-Identifier: Apache-2.0
//
// JournalWriter: the thread that commits to a journal, so that nobody else waits for the disk. Transitions that come
// while it flushes are committed together by the next flush.

#ifndef JOBCORE_JOB_JOURNAL_JOURNAL_WRITER_H_
#define JOBCORE_JOB_JOURNAL_JOURNAL_WRITER_H_

#include <cstdint>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "job-common/fwd.h"
#include "job-common/job_mutex.h"
#include "job-common/sync.h"
#include "job-journal/journal.h"

namespace jobcore::inline JOBCORE_ABI::journal {

class JournalWriter {
 public:
  using Done = absl::AnyInvocable<void(const absl::Status&)>;

  // Nobody else may use the journal, CheckOwned apart, as long as this lives.
  explicit JournalWriter(Journal& journal);
  // Commits what has been submitted, first.
  ~JournalWriter();
  JournalWriter(const JournalWriter&) = delete;
  JournalWriter& operator=(const JournalWriter&) = delete;

  // One transition: all of the edits or none. Any thread, under job_mutex too. Transitions are committed in the order
  // in which they are submitted. `done` is called once, on the writer's thread, with what Journal::Commit has returned:
  // OK means durable. It must not block; it may post.
  void Submit(std::vector<Edit> edits, Done done);
  // The same, and waits. Plain threads only: the loop of a home thread would stand still.
  absl::Status Commit(std::vector<Edit> edits) JOBCORE_EXCLUDES(job_mutex);

  struct Counts {
    uint64_t transitions = 0;
    uint64_t commits = 0;  // that took them
  };
  Counts counts() const;

 private:
  struct Transition {
    std::vector<Edit> edits;
    Done done;
  };
  void Run() JOBCORE_EXCLUDES(job_mutex);
  void CommitTogether(std::vector<Transition>& transitions) JOBCORE_EXCLUDES(job_mutex);

  Journal& journal_;
  mutable jobcore::internal::Mutex mutex_;  // a leaf; guards the rest
  jobcore::internal::CondVar more_;
  std::vector<Transition> queue_;
  Counts counts_;
  bool stopping_ = false;
  jobcore::internal::Thread thread_;
};

}  // namespace jobcore::inline JOBCORE_ABI::journal

#endif  // JOBCORE_JOB_JOURNAL_JOURNAL_WRITER_H_
