// SPDX-License-Identifier: Apache-2.0

#include "job-monitor/contention.h"

#include <execinfo.h>

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/debugging/symbolize.h"
#include "absl/strings/str_cat.h"
#include "aio/mutex_profile.h"
#include "job-common/job_core.h"

namespace jobcore::inline JOBCORE_ABI::monitor {
namespace {

using internal::MutexProfile;

std::vector<std::string> Names(const MutexProfile::Stack& stack) {
  std::vector<std::string> names;
  for (const void* const address : stack) {
    if (address == nullptr) break;
    char name[256];
    if (absl::Symbolize(static_cast<const char*>(address) - 1, name, sizeof name)) {  // within the call
      names.emplace_back(name);
    } else {
      names.push_back(absl::StrCat("0x", absl::Hex(reinterpret_cast<uintptr_t>(address))));
    }
  }
  return names;
}

}  // namespace

void CountContention(JobCore& core, bool on) {
  std::unique_ptr<MutexProfile> profile;
  if (on) {
    // The first call loads a library, which should not happen under the mutex.
    MutexProfile::Stack warm_up;
    (void)backtrace(warm_up.data(), static_cast<int>(warm_up.size()));
    profile = std::make_unique<MutexProfile>();
  }
  JobLock lock(core);
  core.mutex().SwapProfile(profile);  // what there was is let go of when the mutex is free
}

std::optional<ContentionReport> ReadContention(JobCore& core) {
  ContentionReport report;
  MutexProfile::Stack longest_hold;
  {
    JobLock lock(core);
    const MutexProfile* const profile = core.mutex().profile();
    if (profile == nullptr) return std::nullopt;
    report.lasted = Clock::System().Now() - profile->since;
    report.acquisitions = profile->acquisitions;
    report.waits = profile->waits;
    report.holds = profile->holds;
    longest_hold = profile->longest_hold;
  }
  report.longest_hold = Names(longest_hold);
  return report;
}

}  // namespace jobcore::inline JOBCORE_ABI::monitor
