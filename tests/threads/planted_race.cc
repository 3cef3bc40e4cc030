// SPDX-License-Identifier: Apache-2.0
//
// A data race between two controlled threads, planted. They never run at the same time, and ThreadSanitizer has to
// report it all the same; and it must say nothing of the same program with --fixed, where a mutex is held.

#include <cstdio>
#include <cstring>
#include <mutex>

#include "job-common/sync.h"
#include "job-testing/choices.h"
#include "job-testing/controlled_threads.h"

namespace {

using jobcore::internal::Mutex;
using jobcore::internal::Thread;

void Run(uint64_t seed, bool fixed) {
  jobcore::testing::Choices choices(seed);
  const jobcore::testing::ControlledThreads threads(choices);
  Mutex mutex;
  Mutex unrelated;
  int counter = 0;
  const auto count = [&](Mutex& held) {
    for (int i = 0; i < 3; ++i) {
      const std::scoped_lock lock(held);
      ++counter;
    }
  };
  Thread other([&] { count(mutex); });
  count(fixed ? mutex : unrelated);
  other.join();
}

}  // namespace

int main(int argc, char** argv) {
  const bool fixed = argc > 1 && std::strcmp(argv[1], "--fixed") == 0;
  for (uint64_t seed = 1; seed <= 50; ++seed) Run(seed, fixed);
  std::puts("done");
  return 0;
}
