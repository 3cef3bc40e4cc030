// SPDX-License-Identifier: Apache-2.0
//
// Ownership: who owns an object's jobs, and a token that says since when. Of two owners the later has the larger token;
// where an effect lands, the one who has seen a token refuses smaller ones, and so stops an owner who does not know yet
// that he is none (a lease by itself does not: he may have been asleep when it ran out).
//
// Here, and nowhere else, is it decided whether one machine or several share the objects: the gate does not know it,
// the journal keeps the token (Record::token) without knowing what it counts, drivers hand it on.

#ifndef JOBCORE_JOB_JOURNAL_OWNERSHIP_H_
#define JOBCORE_JOB_JOURNAL_OWNERSHIP_H_

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "job-common/fwd.h"
#include "job-common/job_mutex.h"
#include "job-journal/journal.h"

namespace jobcore::inline JOBCORE_ABI::journal {

struct FencingToken {
  uint64_t value = 0;  // 0: of nobody
  auto operator<=>(const FencingToken&) const = default;
};

// Any thread. All but Check may block.
class Ownership {
 public:
  virtual ~Ownership() = default;

  // Becomes the owner of the object's jobs. Claiming what one owns gives the same token.
  //   FailedPrecondition  somebody else is; the message says who
  //   Unavailable         that cannot be found out at present
  virtual absl::StatusOr<FencingToken> Claim(std::string_view object) JOBCORE_EXCLUDES(job_mutex) = 0;
  // Before each effect. OK: the owner by this token, for the time that an effect needs to begin. Aborted: no longer.
  virtual absl::Status Check(std::string_view object, FencingToken token) const = 0;
  // Lets somebody else claim it. OK if that was so already.
  virtual absl::Status Release(std::string_view object, FencingToken token) JOBCORE_EXCLUDES(job_mutex) = 0;
};

// One machine: whoever has the journal, by its lock file, owns all objects. The token is its epoch. The journal must
// outlive this.
class LocalOwnership final : public Ownership {
 public:
  explicit LocalOwnership(const Journal& journal) : journal_(journal) {}

  absl::StatusOr<FencingToken> Claim(std::string_view object) override JOBCORE_EXCLUDES(job_mutex);
  absl::Status Check(std::string_view object, FencingToken token) const override;
  absl::Status Release(std::string_view object, FencingToken token) override JOBCORE_EXCLUDES(job_mutex);

 private:
  const Journal& journal_;
};

}  // namespace jobcore::inline JOBCORE_ABI::journal

#endif  // JOBCORE_JOB_JOURNAL_OWNERSHIP_H_
