// SPDX-License-Identifier: Apache-2.0
//
// The fuzz target of a monitor's commands: the bytes choose them, with arguments made from the table that checks them,
// and a daemon carries them out.

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "qmp/random_talk.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  size_t next = 0;
  const auto choose = [&](uint32_t n) -> uint32_t {
    const uint32_t low = next < size ? data[next++] : 0;
    if (n <= 256) return low % n;
    const uint32_t high = next < size ? data[next++] : 0;
    return (high << 8 | low) % n;
  };
  const int commands = static_cast<int>(size / 8 < 60 ? size / 8 : 60);
  if (!jobcore_test::RandomTalk(choose, commands)) std::abort();
  return 0;
}
