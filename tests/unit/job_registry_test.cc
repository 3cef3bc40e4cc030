// SPDX-License-Identifier: Apache-2.0

#include "job-common/job_registry.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace jobcore {
namespace {

using internal::JobRegistry;

// The registry never looks at a job.
Job* Fake(uint64_t number) { return reinterpret_cast<Job*>(number * alignof(std::max_align_t)); }

std::vector<uint64_t> Forwards(const JobRegistry& registry) {
  std::vector<uint64_t> numbers;
  for (auto i = registry.begin(); i != registry.end(); ++i) numbers.push_back(i->number);
  return numbers;
}

TEST(JobRegistry, IsEmptyAtFirstAndAfterTheLastHasGone) {
  JobRegistry registry;
  EXPECT_EQ(registry.begin(), registry.end());
  EXPECT_EQ(registry.Find(1), nullptr);
  registry.Erase(1);
  registry.Insert(1, Fake(1));
  EXPECT_EQ(registry.Find(1), Fake(1));
  registry.Erase(1);
  EXPECT_EQ(registry.size(), 0u);
  EXPECT_EQ(registry.begin(), registry.end());
  EXPECT_EQ(registry.LowerBound(0), registry.end());
}

TEST(JobRegistry, AWalkGoesOnFromANumberThatIsGone) {
  JobRegistry registry;
  for (uint64_t n = 1; n <= 300; ++n) registry.Insert(n, Fake(n));
  for (uint64_t n = 100; n <= 250; ++n) registry.Erase(n);
  EXPECT_EQ(registry.UpperBound(99)->number, 251u);
  EXPECT_EQ(registry.LowerBound(200)->number, 251u);
  auto next = registry.LowerBound(200);
  EXPECT_EQ((--next)->number, 99u);
  EXPECT_EQ(registry.UpperBound(300), registry.end());
  EXPECT_EQ(registry.UpperBound(UINT64_MAX), registry.end());
}

// Numbers are given outside of the mutex, so one may come late, when all those before it have gone.
TEST(JobRegistry, ALateNumberFindsItsPlace) {
  JobRegistry registry;
  for (uint64_t n = 2; n <= 200; ++n) registry.Insert(n, Fake(n));
  for (uint64_t n = 2; n <= 150; ++n) registry.Erase(n);
  registry.Insert(1, Fake(1));
  EXPECT_EQ(registry.begin()->number, 1u);
  EXPECT_EQ(registry.Find(1), Fake(1));
  for (uint64_t n = 149; n >= 2; --n) registry.Insert(n, Fake(n));
  const std::vector<uint64_t> numbers = Forwards(registry);
  ASSERT_EQ(numbers.size(), 199u);
  for (size_t i = 0; i < 149; ++i) EXPECT_EQ(numbers[i], i + 1);
}

void Compare(const JobRegistry& registry, const std::map<uint64_t, Job*>& model, std::mt19937& random) {
  ASSERT_EQ(registry.size(), model.size());
  auto i = registry.begin();
  for (const auto& [number, job] : model) {
    ASSERT_NE(i, registry.end());
    ASSERT_EQ(i->number, number);
    ASSERT_EQ(i->job, job);
    ++i;
  }
  ASSERT_EQ(i, registry.end());
  for (auto m = model.rbegin(); m != model.rend(); ++m) ASSERT_EQ((--i)->number, m->first);
  ASSERT_EQ(i, registry.begin());
  for (int look = 0; look < 20; ++look) {
    const uint64_t number = random() % 4000;
    const auto lower = model.lower_bound(number);
    const auto upper = model.upper_bound(number);
    ASSERT_EQ(registry.LowerBound(number) == registry.end(), lower == model.end());
    ASSERT_EQ(registry.UpperBound(number) == registry.end(), upper == model.end());
    if (lower != model.end()) {
      ASSERT_EQ(registry.LowerBound(number)->number, lower->first);
    }
    if (upper != model.end()) {
      ASSERT_EQ(registry.UpperBound(number)->number, upper->first);
    }
    ASSERT_EQ(registry.Find(number), model.contains(number) ? model.at(number) : nullptr);
  }
}

// Against a map: mostly new numbers, some late ones; taken out in order, from the end, or anywhere; from nothing to
// hundreds and back.
TEST(JobRegistry, DoesWhatAMapDoes) {
  std::mt19937 random(2026);
  for (int round = 0; round < 30; ++round) {
    JobRegistry registry;
    std::map<uint64_t, Job*> model;
    uint64_t newest = 0;
    for (int step = 0; step < 3000; ++step) {
      const unsigned growth = step / 500 % 2 == 0 ? 70 : 35;  // of a hundred
      if (random() % 100 < growth) {
        const uint64_t number = random() % 10 != 0 ? ++newest : 1 + random() % (newest + 3);
        if (model.contains(number)) continue;
        newest = std::max(newest, number);
        registry.Insert(number, Fake(number));
        model.emplace(number, Fake(number));
      } else if (!model.empty()) {
        uint64_t number = 1 + random() % (newest + 1);
        const unsigned which = random() % 3;
        if (which == 0) number = model.begin()->first;
        if (which == 1 && round % 2 == 0) number = model.rbegin()->first;
        if (which == 2 && model.lower_bound(number) != model.end()) number = model.lower_bound(number)->first;
        registry.Erase(number);
        model.erase(number);
      }
      if (step % 100 == 0) Compare(registry, model, random);
      if (HasFatalFailure()) return;
    }
    while (!model.empty()) {
      auto victim = std::next(model.begin(), static_cast<std::ptrdiff_t>(random() % model.size()));
      registry.Erase(victim->first);
      model.erase(victim);
      if (model.size() % 50 == 0) Compare(registry, model, random);
      if (HasFatalFailure()) return;
    }
  }
}

}  // namespace
}  // namespace jobcore
