// SPDX-License-Identifier: Apache-2.0
//
// Poller: how an event loop sleeps and learns of file descriptors. One of the seams that tests replace: a
// simulated poller returns at once and moves virtual time instead.

#ifndef JOBCORE_JOB_COMMON_POLLER_H_
#define JOBCORE_JOB_COMMON_POLLER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "job-common/clock.h"
#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI {

// What a file descriptor is watched for, or was found to be; a bit set. Errors are always watched for; a
// hang-up shows as kReadable (end of file) and kError.
enum class FdEvents : uint32_t { kNone = 0, kReadable = 1, kWritable = 2, kError = 4 };
constexpr FdEvents operator|(FdEvents a, FdEvents b) {
  return static_cast<FdEvents>(static_cast<uint32_t>(a) | static_cast<uint32_t>(b));
}
constexpr bool Has(FdEvents set, FdEvents bit) {
  return (static_cast<uint32_t>(set) & static_cast<uint32_t>(bit)) != 0;
}

class Poller {
 public:
  struct Ready {
    uint64_t token;  // as given to Add
    FdEvents events;
  };

  virtual ~Poller() = default;

  // Home thread of the loop. `token` comes back in Ready; the caller never reuses one.
  virtual absl::Status Add(int fd, FdEvents interest, uint64_t token) = 0;
  virtual absl::Status Modify(int fd, FdEvents interest, uint64_t token) = 0;
  virtual void Remove(int fd) = 0;

  // Home thread. Waits until a descriptor is ready, Wake() was called since the last Wait, or `timeout` has
  // passed (negative: forever; zero: does not wait). Fills `ready`; may return early with nothing.
  virtual void Wait(Nanoseconds timeout, std::vector<Ready>& ready) = 0;

  // Any thread; ends the Wait that runs now, or else the next one.
  virtual void Wake() = 0;

  // A descriptor that becomes readable when Wait would not block, for embedding in a foreign loop; -1: none.
  virtual int fd() const { return -1; }

  // epoll + eventfd, nanosecond timeouts where the kernel has them.
  static std::unique_ptr<Poller> Epoll();
};

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_JOB_COMMON_POLLER_H_
