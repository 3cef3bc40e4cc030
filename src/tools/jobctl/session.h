// SPDX-License-Identifier: Apache-2.0
//
// A session: runs jobs of this process, shows them, does what keys, signals and answers ask for, and ends when the jobs
// have.

#ifndef JOBCORE_TOOLS_JOBCTL_SESSION_H_
#define JOBCORE_TOOLS_JOBCTL_SESSION_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tools/jobctl/work.h"

namespace jobctl {

// What jobctl exits with.
inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;        // nothing has changed: what has been made is gone again
inline constexpr int kExitCancelled = 130;  // as if ended by SIGINT

// What all commands that run jobs have in common.
struct SessionOptions {
  std::vector<std::string> paths = {};  // source, target, source, target, …
  bool group = false;                   // all or nothing
  bool ask_to_complete = false;         // jobs that get ready; otherwise they are completed at once
  bool ask_to_finalize = false;
  bool json = false;
  int64_t bytes_per_second = 0;  // of each job; 0: no limit
  double watchdog_seconds = 0;   // zero: none
  int io_threads = 1;
  int in_flight = 4;  // requests of each job
  int writers = 0;    // clients beside each job, with a request each
  enum class Engine { kAuto, kUring, kThreads } engine = Engine::kAuto;
};

// On the main thread of a process that has no other thread yet. Returns the exit status.
int RunSession(const SessionOptions& options, std::unique_ptr<Work> work);

}  // namespace jobctl

#endif  // JOBCORE_TOOLS_JOBCTL_SESSION_H_
