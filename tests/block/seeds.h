// SPDX-License-Identifier: Apache-2.0
//
// ForEachSeed: a test with many seeds, in this process; stops at the first that fails. For tests with a real kernel and
// real threads, where a seed chooses what is done, but not in which order it happens. See campaign.h for the others.
//
// Environment, as there: JOBCORE_SEED=n (just that), JOBCORE_FIRST_SEED=n, JOBCORE_SECONDS=n (for as long as this).

#ifndef JOBCORE_TESTS_BLOCK_SEEDS_H_
#define JOBCORE_TESTS_BLOCK_SEEDS_H_

#include <gtest/gtest.h>
#include <stdlib.h>

#include <chrono>
#include <cstdint>
#include <optional>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"

namespace jobcore_test {

inline std::optional<uint64_t> NumberOfEnvironment(const char* name) {
  const char* const text = getenv(name);
  if (text == nullptr) return std::nullopt;
  return strtoull(text, nullptr, 10);
}

// How many were run.
inline uint64_t ForEachSeed(uint64_t seeds, absl::FunctionRef<void(uint32_t)> test) {
  using std::chrono::steady_clock;
  const std::optional<uint64_t> only = NumberOfEnvironment("JOBCORE_SEED");
  const uint64_t first = only.value_or(NumberOfEnvironment("JOBCORE_FIRST_SEED").value_or(1));
  const std::optional<uint64_t> seconds = NumberOfEnvironment("JOBCORE_SECONDS");
  const auto end = steady_clock::now() + std::chrono::seconds(seconds.value_or(0));
  uint64_t run = 0;
  do {
    const auto seed = static_cast<uint32_t>(first + run);
    const testing::ScopedTrace trace(__FILE__, __LINE__, absl::StrCat("JOBCORE_SEED=", seed));
    test(seed);
    ++run;
  } while (!testing::Test::HasFailure() && !only.has_value() &&
           (seconds.has_value() ? steady_clock::now() < end : run < seeds));
  return run;
}

}  // namespace jobcore_test

#endif  // JOBCORE_TESTS_BLOCK_SEEDS_H_
