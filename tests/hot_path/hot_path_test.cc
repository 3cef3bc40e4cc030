// SPDX-License-Identifier: Apache-2.0
//
// What the hot paths cost in allocations, locks and system calls. These don't depend on what else the machine does, so
// they hold where times don't. The limits are what it takes today: who makes a path cheaper lowers them, with the line
// that the test prints.

#include <sys/syscall.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hot_path/counting.h"
#include "hot_path/paths.h"
#include "job-common/job_core.h"
#include "job-common/job_mutex.h"

namespace jobcore::hot_path {
namespace {

// Per execution, at most.
struct Limits {
  const char* path;
  double allocations;
  double locks;
  double system_calls;
};

constexpr Limits kLimits[] = {
    {"EmptyLoop", 0, 0, 0},
    {"PausePoint", 0, 0, 0},
    {"Throttle", 0, 0, 0},
    {"ProgressAdvance", 0, 0, 0},
    {"ProgressGet", 0, 0, 0},
    {"CopyOfAJobRef", 0, 0, 0},
    {"EnterOfARunningJob", 0, 0, 0},
    {"KickWithNobodyWaiting", 0, 0, 0},
    {"PostToAnAwakeLoop", 0, 0, 0},
    {"BottomHalfSchedule", 0, 0, 0},
    {"AwaitOfACoroutine", 0, 0, 0},
    {"YieldAndEnter", 0, 0, 0},
    {"SleepZero", 0, 0, 0},
    {"LockAndFind", 0, 1, 0},
    {"QueryOfAPage", 0, 1, 0},
    {"PauseAndResume", 0, 3, 0},
    {"CreateAndAbandon", 3, 2, 0},
    {"LifeOfAJob", 1.1, 5, 0},
    {"LifeOfAJobThatIsCancelled", 13.1, 23, 0},
    {"LifeOfAGroupOf8", 13.25, 28, 0},
    {"PostToASleepingLoop", 0, 0, 1},
};

void PrintTo(const Limits& limits, std::ostream* os) { *os << limits.path; }

const Path* FindPath(std::string_view name) {
  for (const Path& path : Paths()) {
    if (name == path.name) return &path;
  }
  return nullptr;
}

class HotPath : public testing::TestWithParam<Limits> {};

TEST_P(HotPath, StaysWithinItsLimits) {
  const Limits& limits = GetParam();
  const Path* const path = FindPath(limits.path);
  ASSERT_NE(path, nullptr);
  const std::optional<Counts> counts = Count([&](Region& region) { path->run(region, path->executions); });
  ASSERT_TRUE(counts.has_value());
  const auto per_execution = [&](uint64_t count) {  // rounded up to hundredths, so that what is printed is a limit
    return std::ceil(static_cast<double>(count) * 100 / path->executions) / 100;
  };
  const double allocations = per_execution(counts->allocations);
  const double locks = per_execution(counts->locks);
  const double system_calls = per_execution(counts->system_calls.value_or(0));
  std::printf("now: {\"%s\", %g, %g, %g},\n", path->name, allocations, locks, system_calls);
  EXPECT_LE(allocations, limits.allocations);
  EXPECT_LE(locks, limits.locks);
  EXPECT_LE(system_calls, limits.system_calls);
  if (!counts->system_calls) GTEST_SKIP() << "system calls are not counted: this process may not be traced";
}

INSTANTIATE_TEST_SUITE_P(All, HotPath, testing::ValuesIn(kLimits),
                         [](const auto& info) { return std::string(info.param.path); });

TEST(HotPaths, AllHaveLimits) {
  std::vector<std::string> paths;
  for (const Path& path : Paths()) paths.emplace_back(path.name);
  std::vector<std::string> limited;
  for (const Limits& limits : kLimits) limited.emplace_back(limits.path);
  EXPECT_THAT(limited, testing::ElementsAreArray(paths));
}

// --- The counters see what they are there for. A path that never allocates looks the same to one that is blind ---

constexpr uint64_t kTimes = 7;

Counts MustCount(absl::FunctionRef<void()> once) {
  const std::optional<Counts> counts = Count([&](Region& region) {
    region.Begin();
    for (uint64_t i = 0; i < kTimes; ++i) once();
    region.End();
  });
  EXPECT_TRUE(counts.has_value());
  return counts.value_or(Counts());
}

void Keep(void* block) { asm volatile("" ::"r"(block) : "memory"); }

TEST(Counting, SeesNew) {
  EXPECT_EQ(MustCount([] { Keep(std::make_unique<int>().get()); }).allocations, kTimes);
}

TEST(Counting, SeesAlignedNew) {
  struct alignas(128) Line {
    char bytes[128];
  };
  EXPECT_EQ(MustCount([] { Keep(std::make_unique<Line>().get()); }).allocations, kTimes);
}

TEST(Counting, SeesMallocCallocAndRealloc) {
  EXPECT_EQ(MustCount([] {
              void* block = std::malloc(8);
              Keep(block);
              block = std::realloc(block, 4096);
              Keep(block);
              std::free(block);
              block = std::calloc(8, 8);
              Keep(block);
              std::free(block);
            }).allocations,
            3 * kTimes);
}

TEST(Counting, SeesLocksAndAttempts) {
  std::mutex mutex;
  EXPECT_EQ(MustCount([&] {
              mutex.lock();
              if (mutex.try_lock()) std::abort();
              mutex.unlock();
            }).locks,
            2 * kTimes);
}

// If this fails, job_mutex has become something else than a std::mutex, and counting.cc must learn to see it.
TEST(Counting, SeesTheJobMutex) {
  JobMutex mutex;
  EXPECT_EQ(MustCount([&] {
              mutex.Lock();
              mutex.Unlock();
            }).locks,
            kTimes);
}

TEST(Counting, SeesSystemCalls) {
  const Counts counts = MustCount([] { (void)syscall(SYS_getppid); });
  if (!counts.system_calls) GTEST_SKIP() << "this process may not be traced";
  EXPECT_EQ(*counts.system_calls, kTimes);
}

TEST(Counting, SeesNothingOfWhatLiesOutside) {
  const std::optional<Counts> counts = Count([](Region& region) {
    Keep(std::make_unique<int>().get());
    (void)syscall(SYS_getppid);
    region.Begin();
    region.End();
    Keep(std::make_unique<int>().get());
    (void)syscall(SYS_getppid);
  });
  ASSERT_TRUE(counts.has_value());
  EXPECT_EQ(counts->allocations, 0u);
  EXPECT_EQ(counts->locks, 0u);
  EXPECT_EQ(counts->system_calls.value_or(0), 0u);
}

TEST(Counting, SaysSoIfTheCodeFails) {
  EXPECT_FALSE(Count([](Region&) { std::abort(); }).has_value());
  EXPECT_FALSE(Count([](Region&) {}).has_value());
}

}  // namespace
}  // namespace jobcore::hot_path
