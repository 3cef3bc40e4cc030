// SPDX-License-Identifier: Apache-2.0
//
// The controlled scheduler itself: that it finds, on toys with a known bug, what it is there to find.

#include "job-testing/controlled_threads.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "job-common/aio_context.h"
#include "job-common/aio_wait.h"
#include "job-common/iothread.h"
#include "job-testing/campaign.h"
#include "job-testing/choices.h"
#include "job-testing/probes.h"
#include "testing/tsan.h"

namespace jobcore {
namespace {

using testing::Atomic;
using testing::CampaignResult;
using testing::Choices;
using testing::CondVar;
using testing::ControlledThreads;
using testing::Mutex;
using testing::Thread;
using Strategy = testing::ControlledThreads::Strategy;

[[noreturn]] void Fail(const char* why) {
  std::fprintf(stderr, "%s\n", why);
  std::abort();
}

// A driver acts on what it read under the lock, after it has let go of it.
void StaleRead(Choices& choices, Strategy strategy) {
  const ControlledThreads threads(choices, {.strategy = strategy, .expected_steps = 20});
  Mutex mutex;
  bool cancelled = false;
  bool committed = false;
  Thread driver([&] {
    bool go_on;
    {
      const std::scoped_lock lock(mutex);
      go_on = !cancelled;
    }
    const std::scoped_lock lock(mutex);
    if (go_on && cancelled) Fail("committed what was cancelled");
    committed = go_on;
  });
  {
    const std::scoped_lock lock(mutex);
    if (!committed) cancelled = true;
  }
  driver.join();
}

class BothStrategies : public ::testing::TestWithParam<Strategy> {};
INSTANTIATE_TEST_SUITE_P(Strategies, BothStrategies, ::testing::Values(Strategy::kRandom, Strategy::kPct),
                         [](const auto& info) { return info.param == Strategy::kRandom ? "random" : "pct"; });

TEST_P(BothStrategies, FindTheStaleReadAndShrinkIt) {
  const CampaignResult result = testing::RunCampaign({.seeds = 1000}, [](Choices& c) { StaleRead(c, GetParam()); });
  ASSERT_TRUE(result.failure.has_value());
  EXPECT_LT(result.failure->seed, 200u);
  EXPECT_LE(result.failure->choices.size(), 20u) << result.ToString();
  EXPECT_NE(result.failure->output.find("committed what was cancelled"), std::string::npos) << result.ToString();
}

TEST_P(BothStrategies, ReportAWakeUpThatIsNeverSentAsADeadlock) {
  const CampaignResult result = testing::RunCampaign({.seeds = 1000}, [](Choices& choices) {
    const ControlledThreads threads(choices, {.strategy = GetParam(), .expected_steps = 20});
    Mutex mutex;
    CondVar changed;
    bool done = false;
    Thread waiter([&] {
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return done; });
    });
    {
      const std::scoped_lock lock(mutex);
      done = true;  // and no notify
    }
    waiter.join();
  });
  ASSERT_TRUE(result.failure.has_value());
  EXPECT_NE(result.failure->output.find("deadlock"), std::string::npos) << result.ToString();
}

TEST_P(BothStrategies, FindTwoLocksTakenInOppositeOrders) {
  const CampaignResult result = testing::RunCampaign({.seeds = 1000}, [](Choices& choices) {
    const ControlledThreads threads(choices, {.strategy = GetParam(), .expected_steps = 20});
    Mutex a;
    Mutex b;
    Thread other([&] {
      const std::unique_lock first(b);
      const std::unique_lock second(a);
    });
    {
      const std::unique_lock first(a);
      const std::unique_lock second(b);
    }
    other.join();
  });
  ASSERT_TRUE(result.failure.has_value());
  EXPECT_NE(result.failure->output.find("deadlock"), std::string::npos) << result.ToString();
}

// Each says that it is coming, then looks for the other: one of them must see the other.
void Dekker(Choices& choices, std::memory_order order) {
  const ControlledThreads threads(choices);
  Atomic<bool> a{false};
  Atomic<bool> b{false};
  bool seen_by_other = false;
  Thread other([&] {
    b.store(true, order);
    seen_by_other = a.load(order == std::memory_order_seq_cst ? order : std::memory_order_acquire);
  });
  a.store(true, order);
  const bool seen = b.load(order == std::memory_order_seq_cst ? order : std::memory_order_acquire);
  other.join();
  if (!seen && !seen_by_other) Fail("neither has seen the other");
}

TEST(StoreBuffer, ReleaseStoresLoseADekkerPairAndSequentialOnesDoNot) {
  if (internal::kUnderTsan) GTEST_SKIP() << "a store that is delayed would hide races from ThreadSanitizer";
  const CampaignResult weak =
      testing::RunCampaign({.seeds = 2000}, [](Choices& c) { Dekker(c, std::memory_order_release); });
  EXPECT_TRUE(weak.failure.has_value());
  const CampaignResult strong =
      testing::RunCampaign({.seeds = 2000}, [](Choices& c) { Dekker(c, std::memory_order_seq_cst); });
  EXPECT_TRUE(strong.ok()) << strong.ToString();
}

TEST(StoreBuffer, AThreadSeesWhatWasStoredBeforeItWasStarted) {
  const CampaignResult result = testing::RunCampaign({.seeds = 200}, [](Choices& choices) {
    ControlledThreads threads(choices);
    Atomic<int> value{0};
    value.store(1, std::memory_order_relaxed);
    Thread([&value] {
      if (value.load(std::memory_order_relaxed) != 1) Fail("an old value");
    }).join();
  });
  EXPECT_TRUE(result.ok()) << result.ToString();
}

TEST(ControlledClock, MovesToTheNextDeadlineWhenNobodyCanGoOn) {
  Choices choices(1);
  ControlledThreads threads(choices);
  const TimePoint start = threads.clock().Now();
  IOThread io("io", {.clock = &threads.clock(), .poller = threads.NewPoller()});
  auto main = AioContext::Create({.clock = &threads.clock(), .poller = threads.NewPoller()});
  const AioHome home(*main);
  const absl::Status status =
      AioWaitWhileUnlocked(*main, [] { return true; }, {.name = "ever", .deadline = start + std::chrono::hours(1)});
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_GE(threads.clock().Now() - start, std::chrono::hours(1));
  EXPECT_LT(threads.clock().Now() - start, std::chrono::hours(2));
}

// Posts of two threads to a loop that stops: each is run, or dropped.
void PostAndStop(Choices& choices) {
  ControlledThreads threads(choices);
  struct Item final : WorkItem {
    Item() : WorkItem("item", [](WorkItem& self, Reason) { ++static_cast<Item&>(self).seen; }) {}
    int seen = 0;
  };
  std::vector<Item> items(6);
  {
    auto io =
        std::make_unique<IOThread>("io", IOThread::Options{.clock = &threads.clock(), .poller = threads.NewPoller()});
    const std::shared_ptr<AioContext> context = io->context().shared_from_this();
    Thread poster([&] {
      for (int i = 0; i < 3; ++i) context->Post(items[static_cast<size_t>(i)]);
    });
    for (int i = 3; i < 6; ++i) context->Post(items[static_cast<size_t>(i)]);
    io.reset();
    poster.join();
  }
  for (const Item& item : items) {
    if (item.seen != 1) Fail("an item was not run exactly once");
  }
}

TEST(ControlledThreads, NoItemPostedToALoopThatStopsIsLost) {
  const CampaignResult result = testing::RunCampaign({.seeds = 2000}, PostAndStop);
  EXPECT_TRUE(result.ok()) << result.ToString();
  RecordProperty("seconds", std::to_string(result.seconds));
  std::printf("%s\n", result.ToString().c_str());
}

TEST(ControlledThreads, TheSameSeedGivesTheSameDecisions) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    Choices first(seed);
    PostAndStop(first);
    Choices second(seed);
    PostAndStop(second);
    ASSERT_EQ(first.record(), second.record()) << "seed " << seed;
  }
}

}  // namespace
}  // namespace jobcore
