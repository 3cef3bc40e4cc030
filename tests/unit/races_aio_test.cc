// SPDX-License-Identifier: Apache-2.0
//
// Entries of the race catalogue (docs/testing.md) that concern the event loop alone, each made to happen on purpose.

#include <unistd.h>

#include <array>
#include <memory>
#include <thread>
#include <utility>

#include "gtest/gtest.h"
#include "job-common/aio_context.h"
#include "job-common/aio_wait.h"
#include "job-common/coroutine.h"
#include "support/virtual_time.h"

namespace jobcore {
namespace {

using support::VirtualLoop;

// Acknowledge first, work second: what is notified while the loop works is not part of what it acknowledges.
TEST(AioRace, R03ANotifyDuringATurnIsGoodForAnotherTurn) {
  VirtualLoop loop;  // aborts where a real loop would sleep for ever
  bool notified = false;
  loop.context().Post("work", [&] {
    std::thread([&] { loop.context().Notify(); }).join();
    notified = true;
  });
  loop.context().RunOnce(true);
  EXPECT_TRUE(notified);
  loop.context().RunOnce(true);
}

Co<void> WaitWhile(AioContext& context, const bool& holds, bool& done) {
  const auto condition = [&holds] { return holds; };
  (void)co_await AioWaitWhile(context, condition);
  done = true;
}

// Waiters are counted: "somebody waits" is no flag that the first one to leave takes with it.
TEST(AioRace, R09TheEndOfOneWaitLeavesTheOtherRegistered) {
  for (const size_t first : {0u, 1u}) {
    VirtualLoop loop;
    std::array<bool, 2> holds = {true, true};
    std::array<bool, 2> done = {false, false};
    for (size_t i = 0; i < 2; ++i) Spawn("wait", WaitWhile(loop, holds[i], done[i]));
    for (const size_t i : {first, 1 - first}) {
      EXPECT_FALSE(done[i]);
      holds[i] = false;
      loop.context().wait_domain().Kick();
      loop.RunReady();
      EXPECT_TRUE(done[i]) << "the kick has not reached wait " << i;
    }
  }
}

class AioRaceDeathTest : public ::testing::Test {
 protected:
  AioRaceDeathTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

// A handler's record belongs to the thread that calls it: nobody else can change it meanwhile.
TEST_F(AioRaceDeathTest, R13AHandlerThatIsChangedOrDestroyedOnAForeignThreadDies) {
  const auto with_handler = [](const auto& use) {
    std::array<int, 2> ends;
    if (pipe(ends.data()) != 0) _exit(1);
    const auto context = AioContext::Create({});
    const AioHome home(*context);
    auto handler = *FdHandler::Create(*context, "pipe", ends[0], FdEvents::kReadable, [](FdEvents) {});
    std::thread([&] { use(*context, handler); }).join();
  };
  EXPECT_DEATH(with_handler([](AioContext&, auto& handler) { (void)handler->SetInterest(FdEvents::kNone); }),
               "FdHandler::SetInterest: context 'main' used from a thread that is not its home");
  EXPECT_DEATH(with_handler([](AioContext&, auto& handler) { handler.reset(); }),
               "~FdHandler: context 'main' used from a thread that is not its home");
  EXPECT_DEATH(with_handler([](AioContext& context, auto&) {
                 (void)FdHandler::Create(context, "other", 0, FdEvents::kReadable, [](FdEvents) {});
               }),
               "FdHandler::Create: context 'main' used from a thread that is not its home");
}

}  // namespace
}  // namespace jobcore
