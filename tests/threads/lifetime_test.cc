// SPDX-License-Identifier: Apache-2.0
//
// Who keeps what alive, under controlled threads: contexts and jobs whose last reference goes while somebody is still
// on the way out of a call.

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "job-common/iothread.h"
#include "job-common/poller.h"
#include "job-monitor/job_monitor.h"
#include "job-monitor/job_wait.h"
#include "threads/thread_world.h"

namespace jobcore::threads {
namespace {

// A poller that ends with its context, and sees to it that this does not happen beneath a call of another thread.
class WatchedPoller final : public Poller {
 public:
  // Around a call that must keep the context alive until it returns.
  class Call {
   public:
    explicit Call(std::atomic<std::thread::id>& caller) : caller_(caller) { caller_ = std::this_thread::get_id(); }
    ~Call() { caller_ = std::thread::id(); }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

   private:
    std::atomic<std::thread::id>& caller_;
  };

  WatchedPoller(std::unique_ptr<Poller> poller, std::atomic<std::thread::id>& caller)
      : poller_(std::move(poller)), caller_(caller) {}
  ~WatchedPoller() override {
    const std::thread::id caller = caller_.load();
    Require(caller == std::thread::id() || caller == std::this_thread::get_id(),
            "a context lives until whoever posts to it has returned");
  }
  absl::Status Add(int fd, FdEvents interest, uint64_t token) override { return poller_->Add(fd, interest, token); }
  absl::Status Modify(int fd, FdEvents interest, uint64_t token) override {
    return poller_->Modify(fd, interest, token);
  }
  void Remove(int fd) override { poller_->Remove(fd); }
  void Wait(Nanoseconds timeout, std::vector<Ready>& ready) override { poller_->Wait(timeout, ready); }
  void Wake() override { poller_->Wake(); }

 private:
  const std::unique_ptr<Poller> poller_;
  std::atomic<std::thread::id>& caller_;  // not a point for the scheduler
};

// a bottom half whose callback destroys it, and the I/O thread that ends right after, while the thread that
// has scheduled it is still in that call.
void ABottomHalfKeepsItsContextWhileItIsScheduled(Choices& choices) {
  ControlledThreads threads(choices, StrategyOf(choices));
  std::atomic<std::thread::id> caller{};
  auto io = std::make_unique<IOThread>(
      "io", IOThread::Options{.clock = &threads.clock(),
                              .poller = std::make_unique<WatchedPoller>(threads.NewPoller(), caller)});
  Shared<bool> over;
  std::unique_ptr<BottomHalf> half;
  half = std::make_unique<BottomHalf>(io->context(), "half", [&] {
    half.reset();
    over.Update([](bool& o) { o = true; });
  });
  Thread scheduler([&caller, h = half.get()] {
    const WatchedPoller::Call call(caller);
    h->Schedule();
  });
  over.Await([](bool o) { return o; });
  RequireOk(io->Stop(), "stop");
  io.reset();
  scheduler.join();
}
TEST(Lifetime, ABottomHalfKeepsItsContextWhileItIsScheduled) {
  RunScenario(&ABottomHalfKeepsItsContextWhileItIsScheduled, 2000);
}

// a plain thread drops the last reference to a job; the job ends by that, and then the core, and with it
// its context, while that thread is still on its way out.
void TheLastReferenceKeepsTheContext(Choices& choices) {
  ControlledThreads threads(choices, StrategyOf(choices));
  std::atomic<std::thread::id> caller{};
  struct Destroyed final : JobDriver {
    explicit Destroyed(bool& flag) : flag_(flag) {}
    ~Destroyed() override { flag_ = true; }
    Co<absl::Status> Run(JobContext&) override { co_return absl::OkStatus(); }
    bool& flag_;
  };
  bool destroyed = false;  // in the main context
  auto main = AioContext::Create(
      {.clock = &threads.clock(), .poller = std::make_unique<WatchedPoller>(threads.NewPoller(), caller)});
  std::optional<JobCore> core(std::in_place, JobCore::Options{.main_context = std::move(main)});
  absl::StatusOr<JobRef> job = CreateJob(*core, {.id = "a"}, std::make_unique<Destroyed>(destroyed));
  RequireOk(job.status(), "creation");
  RequireOk(StartJob(**job), "start");
  RequireOk(monitor::WaitFor(*job).status(), "end of the job");
  Thread dropper([&caller, ref = std::make_unique<JobRef>(*std::move(job))] {
    const WatchedPoller::Call call(caller);
    *ref = JobRef();
  });
  while (!destroyed) core->main_context().RunOnce(/*may_block=*/true);
  core.reset();
  dropper.join();
}
TEST(Lifetime, TheLastReferenceKeepsTheContext) { RunScenario(&TheLastReferenceKeepsTheContext, 2000); }

// Run is ended by something else than the core, I/O for instance, which holds no reference to the job; a request
// is still on its way through a former home, and nobody else holds the job.
void ARunEndsWithARequestOnItsWay(Choices& choices) {
  World world(choices, {.io_threads = 2});
  Answers answers;
  int accepted = 0;
  {
    const JobRef job = world.Start({.id = "a", .context = &world.io(0)}, {.run = [](JobContext& j) -> Co<absl::Status> {
                                     if (absl::Status s = co_await j.Sleep(Nanoseconds(0)); !s.ok()) co_return s;
                                     co_await NextTurn();
                                     co_return absl::OkStatus();
                                   }});
    accepted += world.Move(job, world.io(1), answers.Make(world)).ok() ? 1 : 0;
    accepted += world.Change(job, answers.Make(world)).ok() ? 1 : 0;
  }
  world.Await([&] { return answers.count >= accepted; });
  world.EndCore();
  Require(answers.count == accepted, "a request is answered once");
}
TEST(Lifetime, ARunEndsWithARequestOnItsWay) { RunScenario(&ARunEndsWithARequestOnItsWay, 3000); }

// jobs that have concluded are dismissed by a plain thread that holds no reference to them, while
// another one walks over all, and the main loop destroys what nobody holds any more. (A driver is destroyed once.)
void JobsAreDismissedDuringAWalk(Choices& choices) {
  World world(choices);
  constexpr std::array<std::string_view, 3> kIds = {"a", "b", "c"};
  for (const std::string_view id : kIds) {
    const JobRef job = world.Start({.id = std::string(id), .auto_dismiss = false});
    (void)world.AwaitEnd(job);
  }
  Atomic<int> done{0};
  const auto finished = [&] {
    done.fetch_add(1);
    world.Kick();
  };
  Thread dismisser([&] {
    for (const std::string_view id : kIds) {
      JobLock lock(world.core());
      RequireOk(monitor::Dismiss(*monitor::Find(world.core(), id)), "dismiss");
      Require(monitor::Find(world.core(), id) == nullptr, "a dismissed job is not found");
    }
    finished();
  });
  Thread walker([&] {
    Require(monitor::CancelAll(world.core()) == 0, "a job that has concluded is not cancelled");
    finished();
  });
  world.Await([&] { return done.load() == 2; });
  dismisser.join();
  walker.join();
}
TEST(Lifetime, JobsAreDismissedDuringAWalk) { RunScenario(&JobsAreDismissedDuringAWalk, 3000); }

}  // namespace
}  // namespace jobcore::threads
