// SPDX-License-Identifier: Apache-2.0
//
// Counts what a piece of code does, whatever the clock says: allocations, locks and system calls.
//
// Allocations and locks are those of all threads: malloc and its kin, and pthread_mutex_lock and _trylock, are
// replaced in the program that links counting.cc. System calls are those of the calling thread: a parent process
// traces it.

#ifndef JOBCORE_TESTS_HOT_PATH_COUNTING_H_
#define JOBCORE_TESTS_HOT_PATH_COUNTING_H_

#include <cstdint>
#include <optional>

#include "absl/functional/function_ref.h"
#include "hot_path/paths.h"

namespace jobcore::hot_path {

struct Counts {
  uint64_t allocations = 0;
  uint64_t locks = 0;
  std::optional<uint64_t>
      system_calls;  // none: this process may not be traced (it is already, or a sandbox forbids it)
};

// Runs `code` in a child process and returns what it did in its region. None: it failed, or had no region. The caller
// has no other threads.
std::optional<Counts> Count(absl::FunctionRef<void(Region&)> code);

}  // namespace jobcore::hot_path

#endif  // JOBCORE_TESTS_HOT_PATH_COUNTING_H_
