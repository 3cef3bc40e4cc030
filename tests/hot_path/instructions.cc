// SPDX-License-Identifier: Apache-2.0
//
// The hot paths under callgrind: instructions.sh runs this in valgrind and reads the counts. Without valgrind it does
// the same and nobody counts. Prints each path's name and how often it was executed.

#include <cstdio>

#include "hot_path/paths.h"
#include "valgrind/callgrind.h"

namespace jobcore::hot_path {
namespace {

class CallgrindRegion final : public Region {
 public:
  explicit CallgrindRegion(const char* name) : name_(name) {}
  void Begin() override { CALLGRIND_ZERO_STATS; }
  void End() override { CALLGRIND_DUMP_STATS_AT(name_); }

 private:
  const char* const name_;
};

void CountAll() {
  for (const Path& path : Paths()) {
    if (!path.one_thread) continue;
    CallgrindRegion region(path.name);
    path.run(region, path.executions);
    std::printf("%s %d\n", path.name, path.executions);
  }
}

}  // namespace
}  // namespace jobcore::hot_path

int main() { jobcore::hot_path::CountAll(); }
