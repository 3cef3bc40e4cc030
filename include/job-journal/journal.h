// SPDX-License-Identifier: Apache-2.0
//
// Journal: what must be known after a crash. Its contract, for whoever acts on an object:
//
//   intent → effect → outcome   The intent is durable before the effect begins, the outcome is written behind it.
//   a commit that fails         has failed the transition. Begin: refuse it. Phase: do not begin its effect; try again
//                               later, or abort. End: keep the slot, and try again: who lets go of it before the end is
//                               durable lets a restart bring the job back.
//   record, then wake           Nobody acts on a state that a crash would undo.
//
// Commits cost a flush of the disk: they belong on a thread of their own (journal_writer.h).

#ifndef JOBCORE_JOB_JOURNAL_JOURNAL_H_
#define JOBCORE_JOB_JOURNAL_JOURNAL_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "job-common/fwd.h"
#include "job-common/job_mutex.h"
#include "job-journal/record.h"

namespace jobcore::inline JOBCORE_ABI::journal {

struct Edit {
  enum class What : uint8_t {
    kBegin,  // writes a record that there was none of; the first to be refused when the disk is full
    kPut,    // writes a record, whether there was one or not
    kErase,  // removes it, if it is there; only `record.key` matters
  };
  What what = What::kPut;
  Record record{};
};

// What is wrong with what was loaded. Nothing is ever thrown away because of it.
struct Problem {
  Key key{};  // of the record that it concerns. Its job is not known: whoever has the object must quarantine it
  std::string what{};
};

struct LoadReport {
  std::vector<Record> records{};
  std::vector<Problem> problems{};
  // Commits that had been acknowledged may be missing: that there is no record of an object proves nothing.
  bool journal_lost = false;
  std::string why_lost{};
};

// One thread at a time, whichever: no lock is taken for it. Blocks.
class Journal {
 public:
  virtual ~Journal() = default;

  // All of the edits, in order, or none; durable when it returns OK.
  //   ResourceExhausted   the disk is full. Nothing has changed. kBegin finds less room than the others, for which some
  //                       is kept
  //   AlreadyExists       kBegin of what is there
  //   Aborted             another process has taken over: fenced() from now on, nothing is written, and whoever
  //                       owns jobs by this journal must not begin any effect
  //   FailedPrecondition  read_only()
  //   Unavailable         failed(): the disk did not take what was written, or does not say so. The edits may be there
  //                       after Reopen, which is to be looked at; nothing is written before that
  virtual absl::Status Commit(std::span<const Edit> edits) JOBCORE_EXCLUDES(job_mutex) = 0;
  virtual absl::StatusOr<LoadReport> Load() JOBCORE_EXCLUDES(job_mutex) = 0;
  // Nothing: there is none. DataLoss: it is damaged.
  virtual absl::StatusOr<std::optional<Record>> Find(const Key& key) JOBCORE_EXCLUDES(job_mutex) = 0;
  // After failed(): closes the file, on which a flush has failed (a second one would say OK, of pages that the kernel
  // has dropped), and opens it again. What Load returns then is what is there.
  virtual absl::Status Reopen() JOBCORE_EXCLUDES(job_mutex) = 0;

  // Larger than that of each process that has had this journal before.
  virtual uint64_t epoch() const = 0;
  virtual bool read_only() const = 0;
  virtual bool failed() const = 0;
  // OK, or Aborted: see Commit. Asks the file system, not the disk; any thread.
  virtual absl::Status CheckOwned() const = 0;
};

}  // namespace jobcore::inline JOBCORE_ABI::journal

#endif  // JOBCORE_JOB_JOURNAL_JOURNAL_H_
