// SPDX-License-Identifier: Apache-2.0
//
// The hot paths, to be counted: by hot_path_test.cc (allocations, locks, system calls) and by instructions.cc.

#ifndef JOBCORE_TESTS_HOT_PATH_PATHS_H_
#define JOBCORE_TESTS_HOT_PATH_PATHS_H_

#include <vector>

namespace jobcore::hot_path {

// What lies between the two calls is counted. Both on the thread that runs the path.
class Region {
 public:
  virtual void Begin() = 0;
  virtual void End() = 0;

 protected:
  ~Region() = default;
};

struct Path {
  const char* name;
  int executions;                               // within the region
  void (*run)(Region& region, int executions);  // sets up, warms up, and then the region
  bool one_thread = true;                       // false: its course depends on the scheduler
};

// The first is an empty loop in a job, the control.
const std::vector<Path>& Paths();

}  // namespace jobcore::hot_path

#endif  // JOBCORE_TESTS_HOT_PATH_PATHS_H_
