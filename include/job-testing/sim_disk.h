// SPDX-License-Identifier: Apache-2.0
//
// SimDisk: files in memory behind an IoEngine. Requests take a while, and complete in an order that is chosen; they
// fail where faults are on (probes.h): "disk.eio", "disk.enospc", "disk.early_end" (as at the end of the file),
// "disk.no_copy_range", "disk.no_holes". A descriptor that it has not made itself is one of the process: what is done
// with it is done to that file, so that drivers that open files can be run. (Nothing is synced there.) Instrumented
// build only.
//
// In a Simulation it is a device; elsewhere somebody calls Run, as long as NextDue says that there is something.

#ifndef JOBCORE_JOB_TESTING_SIM_DISK_H_
#define JOBCORE_JOB_TESTING_SIM_DISK_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <span>
#include <vector>

#include "job-common/clock.h"
#include "job-common/fwd.h"
#include "job-common/io_engine.h"
#include "job-testing/choices.h"
#include "job-testing/simulation.h"

namespace jobcore::inline JOBCORE_ABI::testing {

// Any thread; `choices` and `clock` outlive it.
class SimDisk final : public IoEngine, public SimDevice {
 public:
  SimDisk(Choices& choices, Clock& clock) : choices_(choices), clock_(clock) {}
  ~SimDisk() override;  // aborts if a request is in flight

  // A new file; returns its descriptor, which means nothing to anybody else.
  int Create(std::vector<std::byte> content);
  std::vector<std::byte> Content(int fd) const;

  void Submit(IoRequest& request) override;

  const char* name() const override { return "disk"; }
  TimePoint NextDue() override;
  void Run(TimePoint now) override;

 private:
  struct InFlight {
    IoRequest* request;
    TimePoint due;
  };
  IoResult Perform(const IoRequest& request);
  size_t ReadAt(int fd, uint64_t offset, std::span<std::byte> buffer) const;
  int WriteAt(int fd, uint64_t offset, std::span<const std::byte> buffer);  // an errno, or 0

  Choices& choices_;
  Clock& clock_;
  mutable std::mutex mutex_;  // a leaf: nothing is called with it but faults
  int next_fd_ = 1'000'000;   // no descriptor that a process could have
  std::map<int, std::vector<std::byte>> files_;
  std::vector<InFlight> in_flight_;
};

}  // namespace jobcore::inline JOBCORE_ABI::testing

#endif  // JOBCORE_JOB_TESTING_SIM_DISK_H_
