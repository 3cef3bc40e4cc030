// SPDX-License-Identifier: Apache-2.0
//
// What tests learn of, and do to, the inside of the core: branches that were reached, and faults at named sites.
//
// A campaign of seeds that never reached a rare branch has proved nothing about it; so the branches have names, and
// a campaign fails if one that it must reach was not. Instrumented build only.

#ifndef JOBCORE_JOB_TESTING_PROBES_H_
#define JOBCORE_JOB_TESTING_PROBES_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "job-common/fwd.h"
#include "job-testing/choices.h"

namespace jobcore::inline JOBCORE_ABI::testing {

// Counts a pass. Any thread. `name` lives forever. The core's branches and faults count themselves.
void Reached(const char* name);
// How often each name was passed, by this process and those that RunCampaign has made.
std::map<std::string, uint64_t> ReachedCounts();

// While it lives, sites may fail. Per run each site is on with probability 1/4, and then fires 1 time in 4; a fault
// that fires counts as reached, under the name "fault.<site>". One at a time.
class Faults {
 public:
  explicit Faults(Choices& choices);
  ~Faults();
  Faults(const Faults&) = delete;
  Faults& operator=(const Faults&) = delete;

  // Is this one to fail now? For faults of the test's own (a prepare that fails, a monitor that goes away); those of
  // the core are asked for by the core.
  bool Fires(const char* site);

 private:
  Choices& choices_;
  std::map<std::string, bool, std::less<>> on_;
};

}  // namespace jobcore::inline JOBCORE_ABI::testing

#endif  // JOBCORE_JOB_TESTING_PROBES_H_
