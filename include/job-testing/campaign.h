// SPDX-License-Identifier: Apache-2.0
//
// A campaign runs one scenario with many seeds, and stops at the first that fails: by abort, crash, sanitizer report,
// a nonzero exit, or by not coming to an end. It then shrinks what the scenario decided, while it still fails.
//
// Seeds run in a child process, so a failure of any kind is one of a seed, and the campaign lives to tell it. The
// scenario may use threads; the caller must not have any. Instrumented build only.
//
// Environment:
//   JOBCORE_SEED=n            runs just that seed, in this process (for a debugger)
//   JOBCORE_CHOICES=...       runs just these decisions (what a shrunk failure prints), in this process
//   JOBCORE_FIRST_SEED=n      from this seed on
//   JOBCORE_SEEDS=n           this many seeds instead
//   JOBCORE_SEED_DIVISOR=n    one n-th of the seeds: for builds that are slower by as much
//   JOBCORE_SECONDS=n         for as long as this instead, however many seeds that makes
//   JOBCORE_SHRINK_SECONDS=n  shrinks for no longer than this; 0: not at all

#ifndef JOBCORE_JOB_TESTING_CAMPAIGN_H_
#define JOBCORE_JOB_TESTING_CAMPAIGN_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "job-common/fwd.h"
#include "job-testing/choices.h"

namespace jobcore::inline JOBCORE_ABI::testing {

struct CampaignOptions {
  uint64_t first_seed = 1;
  uint64_t seeds = 1000;
  std::chrono::seconds hang_limit{30};    // of real time, for one seed
  std::chrono::seconds shrink_limit{20};  // of real time, for all of the shrinking; 0: none
  std::vector<std::string> must_reach{};  // see probes.h; not checked where a single seed is run
};

struct CampaignFailure {
  uint64_t seed = 0;
  std::string how;     // "signal 6 (Aborted)", "exit status 66", "no end within 30 s"
  std::string output;  // what it printed, of the shrunk run if there is one
  std::vector<uint32_t> choices;
  size_t choices_before_shrinking = 0;
};

struct CampaignResult {
  uint64_t seeds_run = 0;
  double seconds = 0;
  std::optional<CampaignFailure> failure;
  std::vector<std::string> not_reached;

  bool ok() const { return !failure.has_value() && not_reached.empty(); }
  // For people: what failed, and how to run it again.
  std::string ToString() const;
};

CampaignResult RunCampaign(const CampaignOptions& options, absl::FunctionRef<void(Choices&)> scenario);

}  // namespace jobcore::inline JOBCORE_ABI::testing

#endif  // JOBCORE_JOB_TESTING_CAMPAIGN_H_
