// SPDX-License-Identifier: Apache-2.0
//
// What the compiler cannot see of the rules of job_mutex is checked at run time. Each of these checks fires:
// the wrong core's lock, or none; a lock that is held where a coroutine suspends, a callback returns or a
// thread waits; and the use of a core that is gone. The calls go through std::function, where clang's
// analysis ends. (What the compiler does see: tests/compile_fail.)

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "job-common/aio_context.h"
#include "job-common/aio_wait.h"
#include "job-common/io_engine.h"
#include "job-common/iothread.h"
#include "job-common/job_core.h"
#include "job-common/task_scope.h"
#include "job-driver/job_context.h"
#include "job-driver/job_driver.h"
#include "job-monitor/event_observer.h"
#include "job-monitor/job_monitor.h"
#include "job-monitor/job_query.h"
#include "job-monitor/job_wait.h"

namespace jobcore {
namespace {

// A driver whose Run is given; by default it sleeps until it is cancelled.
class Driver final : public JobDriver {
 public:
  using Body = std::function<Co<absl::Status>(JobContext&)>;
  explicit Driver(Body body = {}) : body_(std::move(body)) {}
  Co<absl::Status> Run(JobContext& job) override {
    if (body_) co_return co_await body_(job);
    for (;;) {
      if (absl::Status status = co_await job.Yield(); !status.ok()) co_return status;
    }
  }

 private:
  const Body body_;
};

// Made inside of the statement that dies.
struct Scene {
  JobCore core;
  JobCore other;  // a second one, with a mutex of its own
  IOThread io{"io0"};
  JobRef job = Make("job", {});

  JobRef Make(std::string id, Driver::Body body) {
    return *CreateJob(core, {.id = std::move(id)}, std::make_unique<Driver>(std::move(body)));
  }
  // Runs `body` as a job in the main context.
  void RunJob(Driver::Body body) {
    const JobRef running = Make("running", std::move(body));
    ASSERT_TRUE(StartJob(*running).ok());
    Turn();
  }
  void Turn() {
    for (int i = 0; i < 5; ++i) core.main_context().RunOnce(false);
  }
};

using Call = std::function<void(Scene&)>;
struct Case {
  const char* name;
  Call call;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }
std::string NameOf(const testing::TestParamInfo<Case>& info) { return info.param.name; }

void InAScene(const Call& call) {
  Scene scene;
  call(scene);
}

void UnderTheLock(const Call& call) {
  Scene scene;
  JobLock lock(scene.core);
  call(scene);
}

void UnderTheLockOfAnotherCore(const Call& call) {
  Scene scene;
  JobLock lock(scene.other);
  call(scene);
}

class DeathTest : public testing::TestWithParam<Case> {
 protected:
  DeathTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

// --- "The caller holds it": the monitor's side, and what is guarded ---

class HeldByCallerDeathTest : public DeathTest {};

TEST_P(HeldByCallerDeathTest, DiesWithoutTheLock) {
  EXPECT_DEATH(InAScene(GetParam().call), "job_mutex is not held by this thread");
}

TEST_P(HeldByCallerDeathTest, DiesUnderTheLockOfAnotherCore) {
  EXPECT_DEATH(UnderTheLockOfAnotherCore(GetParam().call), "this thread holds the job_mutex of another JobCore");
}

TEST_P(HeldByCallerDeathTest, DiesInAGap) {
  EXPECT_DEATH(
      {
        Scene scene;
        JobLock lock(scene.core);
        const JobUnlock gap(lock);
        GetParam().call(scene);
      },
      "job_mutex is not held by this thread");
}

TEST_P(HeldByCallerDeathTest, DiesWhileAnotherThreadHoldsTheLock) {
  EXPECT_DEATH(
      {
        Scene scene;
        JobLock lock(scene.core);
        std::thread([&] { GetParam().call(scene); }).join();
      },
      "job_mutex is not held by this thread");
}

TEST_P(HeldByCallerDeathTest, LivesUnderTheLock) { UnderTheLock(GetParam().call); }

#define JOBCORE_CASE(name, expression)                                         \
  Case {                                                                       \
    #name, [](Scene& s) ABSL_NO_THREAD_SAFETY_ANALYSIS { (void)(expression); } \
  }

INSTANTIATE_TEST_SUITE_P(
    Monitor, HeldByCallerDeathTest,
    testing::Values(JOBCORE_CASE(FindById, monitor::Find(s.core, "job")),
                    JOBCORE_CASE(FindByNumber, monitor::Find(s.core, 1)), JOBCORE_CASE(Pause, monitor::Pause(*s.job)),
                    JOBCORE_CASE(Resume, monitor::Resume(*s.job)), JOBCORE_CASE(Cancel, monitor::Cancel(*s.job)),
                    JOBCORE_CASE(Complete, monitor::Complete(*s.job)),
                    JOBCORE_CASE(Finalize, monitor::Finalize(*s.job)), JOBCORE_CASE(Dismiss, monitor::Dismiss(*s.job)),
                    JOBCORE_CASE(Query, monitor::Query(*s.job)), JOBCORE_CASE(JobStatus, s.job->status()),
                    JOBCORE_CASE(JobOutcome, s.job->outcome()), JOBCORE_CASE(JobPauseReasons, s.job->pause_reasons()),
                    JOBCORE_CASE(LastEvent, s.core.last_event()), JOBCORE_CASE(JobCount, s.core.job_count())),
    NameOf);

INSTANTIATE_TEST_SUITE_P(Pages, HeldByCallerDeathTest,
                         testing::Values(Case{"QueryPage",
                                              [](Scene& s) ABSL_NO_THREAD_SAFETY_ANALYSIS {
                                                monitor::QueryCursor cursor;
                                                (void)monitor::QueryPage(s.core, cursor);
                                              }},
                                         Case{"ReadEvents",
                                              [](Scene& s) ABSL_NO_THREAD_SAFETY_ANALYSIS {
                                                EventCursor cursor;
                                                (void)s.core.ReadEvents(cursor);
                                              }}),
                         NameOf);

// --- "The callee takes it", or waits: the driver's side, waits and loops ---

class TakenByCalleeDeathTest : public DeathTest {};

TEST_P(TakenByCalleeDeathTest, DiesUnderTheLock) { EXPECT_DEATH(UnderTheLock(GetParam().call), "job_mutex"); }

TEST_P(TakenByCalleeDeathTest, DiesUnderTheLockOfAnotherCore) {
  EXPECT_DEATH(UnderTheLockOfAnotherCore(GetParam().call), "job_mutex");
}

INSTANTIATE_TEST_SUITE_P(
    Driver, TakenByCalleeDeathTest,
    testing::Values(JOBCORE_CASE(CreateJob, CreateJob(s.core, {.id = "another"}, std::make_unique<Driver>())),
                    JOBCORE_CASE(StartJob, StartJob(*s.job)), JOBCORE_CASE(AbandonJob, AbandonJob(*s.job)),
                    JOBCORE_CASE(Ready, JobContext(*s.job).Ready()),
                    JOBCORE_CASE(PublishDetails, JobContext(*s.job).PublishDetails({})),
                    JOBCORE_CASE(Seal, JobTxnBuilder(s.core).Seal())),
    NameOf);

// Each of these would come back at once if the mutex were free: none needs the wait to die.
INSTANTIATE_TEST_SUITE_P(
    Wait, TakenByCalleeDeathTest,
    testing::Values(JOBCORE_CASE(OnACore, AioWaitWhileUnlocked(s.core, [] { return false; })),
                    JOBCORE_CASE(OnAContext, AioWaitWhileUnlocked(s.io.context(), [] { return false; })),
                    JOBCORE_CASE(TheMacro, AIO_WAIT_WHILE_UNLOCKED(s.core, false)),
                    JOBCORE_CASE(WaitFor, monitor::WaitFor(s.job, TimePoint::min())),
                    JOBCORE_CASE(CancelAndWait, monitor::CancelAndWait(s.job)),
                    JOBCORE_CASE(CompleteAndWait, monitor::CompleteAndWait(s.job)),
                    JOBCORE_CASE(CancelAll, monitor::CancelAll(s.core)),
                    JOBCORE_CASE(SnapshotJobs, monitor::SnapshotJobs(s.core)),
                    JOBCORE_CASE(Shutdown, monitor::Shutdown(s.core, monitor::ShutdownMode::kCancel, TimePoint::min())),
                    JOBCORE_CASE(StopAnIOThread, s.io.Stop()),
                    JOBCORE_CASE(OpenAnObserver,
                                 monitor::EventObserver(s.core, s.io.context(), [](const EventPage&) {}))),
    NameOf);

INSTANTIATE_TEST_SUITE_P(Loop, TakenByCalleeDeathTest,
                         testing::Values(JOBCORE_CASE(Kick, s.core.main_context().wait_domain().Kick()),
                                         JOBCORE_CASE(RunOnce, s.core.main_context().RunOnce(false)),
                                         JOBCORE_CASE(PrepareForAForeignLoop, s.core.main_context().Prepare()),
                                         JOBCORE_CASE(DispatchForAForeignLoop, s.core.main_context().Dispatch()),
                                         JOBCORE_CASE(RunMainLoop, s.core.RunMainLoop())),
                         NameOf);

TEST_F(TakenByCalleeDeathTest, ClosingAnObserverUnderTheLockDies) {
  EXPECT_DEATH(
      {
        Scene scene;
        const Call close = [](Scene& s) {
          monitor::EventObserver observer(s.core, s.core.main_context(), [](const EventPage&) {});
          s.core.mutex().Lock();
          observer.Close();
        };
        close(scene);
      },
      "job_mutex is not recursive");
}

TEST_F(TakenByCalleeDeathTest, DestroyingACoreUnderALockDies) {
  EXPECT_DEATH(
      {
        JobCore other;
        const std::function<void()> destroy = [core = std::make_shared<JobCore>()]() mutable { core.reset(); };
        JobLock lock(other);
        destroy();
      },
      "job_mutex");
}

// --- What is legal under the lock ---

TEST(JobLocking, SchedulingAndReferencesAreLegalUnderTheLock) {
  Scene scene;
  int ran = 0;
  int replies = 0;
  std::optional<JobTxnBuilder> group(std::in_place, scene.core);
  const JobRef member = *CreateJob(scene.core, {.id = "member", .group = &*group}, std::make_unique<Driver>());
  ASSERT_TRUE(StartJob(*scene.job).ok());
  {
    JobLock lock(scene.core);
    JobRef copy = scene.job;  // copied, and dropped
    copy = JobRef();
    Enter(*scene.job);
    scene.core.main_context().Post("work", [&] { ++ran; });
    scene.core.main_context().Notify();
    VerbReply(scene.core.main_context(), [&](const absl::Status&) { ++replies; }).Send(absl::OkStatus());
    group.reset();  // unsealed: the abort is posted
    EXPECT_EQ(ran + replies, 0);
    EXPECT_EQ(member->status(), JobStatus::kCreated);
  }
  scene.Turn();
  EXPECT_EQ(ran, 1);
  EXPECT_EQ(replies, 1);
  JobLock lock(scene.core);
  EXPECT_EQ(member->status(), JobStatus::kNull);
}

TEST(JobLocking, AnAwaitThatDoesNotSuspendIsNotNoticed) {
  // The limit of the check at run time: clang-tidy finds this one (tests/compile_fail/lock_across_await.cc).
  Scene scene;
  bool done = false;
  scene.RunJob([&](JobContext& job) ABSL_NO_THREAD_SAFETY_ANALYSIS -> Co<absl::Status> {
    {
      JobLock lock(scene.core);  // NOLINT(misc-coroutine-hostile-raii)
      EXPECT_TRUE((co_await job.PausePoint()).ok());
    }
    done = true;
    co_return absl::OkStatus();
  });
  EXPECT_TRUE(done);
}

// --- Held where a coroutine suspends ---

class SuspendDeathTest : public DeathTest {};

Co<void> Nap(AioContext& context) {
  (void)co_await AioWaitWhile(context, [] { return true; },
                              {.name = "nap", .deadline = SaturatingAdd(Clock::System().Now(), std::chrono::hours(1))});
}

TEST_F(SuspendDeathTest, InASleepOfAJob) {
  EXPECT_DEATH(
      {
        Scene scene;
        scene.RunJob([&](JobContext& job) ABSL_NO_THREAD_SAFETY_ANALYSIS -> Co<absl::Status> {
          JobLock lock(scene.core);  // NOLINT(misc-coroutine-hostile-raii)
          co_return co_await job.Sleep(std::chrono::hours(1));
        });
      },
      "job_mutex is held where it must not be: suspended coroutine");
}

TEST_F(SuspendDeathTest, InAYieldOfAJob) {
  EXPECT_DEATH(
      {
        Scene scene;
        scene.RunJob([&](JobContext& job) ABSL_NO_THREAD_SAFETY_ANALYSIS -> Co<absl::Status> {
          JobLock lock(scene.core);  // NOLINT(misc-coroutine-hostile-raii)
          co_return co_await job.Yield();
        });
      },
      "job_mutex is held where it must not be: suspended coroutine");
}

TEST_F(SuspendDeathTest, InAPausePointThatParks) {
  EXPECT_DEATH(
      {
        Scene scene;
        scene.RunJob([&](JobContext& job) ABSL_NO_THREAD_SAFETY_ANALYSIS -> Co<absl::Status> {
          JobLock lock(scene.core);  // NOLINT(misc-coroutine-hostile-raii)
          (void)monitor::Pause(job.job());
          co_return co_await job.PausePoint();
        });
      },
      "job_mutex");
}

TEST_F(SuspendDeathTest, InFileInputOutput) {
  EXPECT_DEATH(
      {
        Scene scene;
        const std::unique_ptr<IoEngine> engine = IoEngine::ThreadPool(1);
        std::byte buffer[1];
        scene.RunJob([&](JobContext&) ABSL_NO_THREAD_SAFETY_ANALYSIS -> Co<absl::Status> {
          JobLock lock(scene.core);  // NOLINT(misc-coroutine-hostile-raii)
          (void)co_await Read(*engine, -1, 0, buffer);
          co_return absl::OkStatus();
        });
      },
      "job_mutex is held where it must not be");
}

TEST_F(SuspendDeathTest, InAWaitForTasks) {
  EXPECT_DEATH(
      {
        Scene scene;
        TaskScope tasks;
        scene.RunJob([&](JobContext&) ABSL_NO_THREAD_SAFETY_ANALYSIS -> Co<absl::Status> {
          tasks.Spawn(Nap(scene.core.main_context()));
          JobLock lock(scene.core);  // NOLINT(misc-coroutine-hostile-raii)
          co_await tasks.AtMost(0);
          co_return absl::OkStatus();
        });
      },
      "job_mutex is held where it must not be: suspended coroutine");
}

TEST_F(SuspendDeathTest, InACoroutineThatItAwaits) {
  EXPECT_DEATH(
      {
        Scene scene;
        scene.core.main_context().Post("work", [&] {
          Spawn("holder", [](Scene& s) ABSL_NO_THREAD_SAFETY_ANALYSIS -> Co<void> {
            JobLock lock(s.core);  // NOLINT(misc-coroutine-hostile-raii)
            co_await Nap(s.core.main_context());
          }(scene));
        });
        scene.Turn();
      },
      "job_mutex is held where it must not be");
}

TEST_F(SuspendDeathTest, AtTheEndOfACoroutine) {
  EXPECT_DEATH(
      {
        Scene scene;
        scene.RunJob([&](JobContext&) ABSL_NO_THREAD_SAFETY_ANALYSIS -> Co<absl::Status> {
          scene.core.mutex().Lock();
          co_return absl::OkStatus();
        });
      },
      "job_mutex is held where it must not be");
}

// --- Held where a callback returns ---

class CallbackDeathTest : public DeathTest {};

TEST_P(CallbackDeathTest, DiesAtItsReturn) {
  EXPECT_DEATH(
      {
        Scene scene;
        GetParam().call(scene);
        scene.Turn();
      },
      "job_mutex is held where it must not be");
}

// Takes the mutex of `s` and forgets it, as unannotated code can.
void Forget(Scene& s) { s.core.mutex().Lock(); }

INSTANTIATE_TEST_SUITE_P(
    Kinds, CallbackDeathTest,
    testing::Values(
        Case{"APostedCallable", [](Scene& s) { s.core.main_context().Post("forgetful", [&s] { Forget(s); }); }},
        Case{"ABottomHalf",
             [](Scene& s) {
               auto* const half = new BottomHalf(s.core.main_context(), "forgetful", [&s] { Forget(s); });
               half->Schedule();
             }},
        Case{"ATimer",
             [](Scene& s) {
               auto* const timer = new AioTimer(s.core.main_context(), "forgetful", [&s] { Forget(s); });
               timer->ArmAt(TimePoint::min());
             }},
        Case{"AnFdHandler",
             [](Scene& s) {
               const int fd = eventfd(1, EFD_CLOEXEC);
               (void)FdHandler::Create(s.core.main_context(), "forgetful", fd, FdEvents::kReadable, [&s](FdEvents) {
                 Forget(s);
               })->release();
             }},
        Case{"AVerbReply",
             [](Scene& s) {
               VerbReply(s.core.main_context(), [&s](const absl::Status&) { Forget(s); }).Send(absl::OkStatus());
             }}),
    NameOf);

TEST_F(CallbackDeathTest, AnObserver) {  // takes the mutex itself when the callback has returned
  EXPECT_DEATH(
      {
        Scene scene;
        const monitor::EventObserver observer(
            scene.core, scene.core.main_context(), [&](const EventPage&) { Forget(scene); }, EventCursor());
        scene.Turn();
      },
      "job_mutex");
}

TEST_F(CallbackDeathTest, ACancelHook) {
  class Forgetful final : public JobDriver {
   public:
    explicit Forgetful(Scene& s) : scene_(s) {}
    Co<absl::Status> Run(JobContext& job) override { co_return co_await job.Yield(); }
    void Cancel(JobContext&, CancelMode) override { Forget(scene_); }

   private:
    Scene& scene_;
  };
  EXPECT_DEATH(
      {
        Scene scene;
        const JobRef job = *CreateJob(scene.core, {.id = "forgetful"}, std::make_unique<Forgetful>(scene));
        (void)StartJob(*job);
        scene.Turn();
        {
          JobLock lock(scene.core);
          (void)monitor::Cancel(*job);
        }
        scene.Turn();
      },
      "job_mutex");
}

// --- The mutex itself ---

class MutexDeathTest : public DeathTest {};

TEST_F(MutexDeathTest, LockedTwice) {
  const Call lock = [](Scene& s) { JobLock lock(s.core); };
  EXPECT_DEATH(UnderTheLock(lock), "job_mutex is not recursive, and this thread holds it");
  EXPECT_DEATH(UnderTheLockOfAnotherCore(lock), "this thread holds the job_mutex of another JobCore");
}

TEST_F(MutexDeathTest, UnlockedTwice) {
  EXPECT_DEATH(InAScene([](Scene& s) ABSL_NO_THREAD_SAFETY_ANALYSIS {
                 JobLock lock(s.core);
                 const JobUnlock gap(lock);
                 const JobUnlock again(lock);
               }),
               "job_mutex is not held by this thread");
}

TEST_F(MutexDeathTest, UnlockedByAnotherThread) {
  EXPECT_DEATH(UnderTheLock([](Scene& s) { std::thread([&s] { s.core.mutex().Unlock(); }).join(); }),
               "job_mutex is not held by this thread");
}

// --- Loops and waits in the wrong place ---

class LoopDeathTest : public DeathTest {};

TEST_F(LoopDeathTest, NestedInACallback) {
  EXPECT_DEATH(InAScene([](Scene& s) {
                 s.core.main_context().Post("nester", [&s] { s.core.main_context().RunOnce(false); });
                 s.Turn();
               }),
               "loops do not nest");
}

TEST_F(LoopDeathTest, RunByAThreadThatIsNotItsHome) {
  EXPECT_DEATH(InAScene([](Scene& s) { std::thread([&s] { s.core.main_context().RunOnce(false); }).join(); }),
               "not its home");
}

TEST(JobLocking, AWaitInACallbackIsRefused) {
  Scene scene;
  absl::Status status;
  scene.core.main_context().Post("waiter", [&] { status = monitor::WaitFor(scene.job).status(); });
  scene.Turn();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
}

// --- A core that dies, or has died ---

class DyingCoreDeathTest : public DeathTest {};

TEST_F(DyingCoreDeathTest, UsedAfterItsDestructor) {
  EXPECT_DEATH(
      {
        // In memory that outlives it, so that the check has something to look at.
        alignas(JobCore) static std::byte memory[sizeof(JobCore)];
        auto* const core = new (memory) JobCore;
        core->~JobCore();
        JobLock lock(*core);
      },
      "its JobCore is being destroyed");
}

TEST_F(DyingCoreDeathTest, WithAReferenceToAJob) {
  EXPECT_DEATH(
      {
        auto core = std::make_unique<JobCore>();
        const JobRef job = *CreateJob(*core, {.id = "job"}, std::make_unique<Driver>());
        core.reset();
      },
      "a JobCore was destroyed while JobRefs to 1 of its jobs were held");
}

TEST_F(DyingCoreDeathTest, WithAnOpenObserver) {
  EXPECT_DEATH(
      {
        auto core = std::make_unique<JobCore>();
        const monitor::EventObserver observer(*core, core->main_context(), [](const EventPage&) {});
        core.reset();
      },
      "a JobCore was destroyed with 1 EventObservers open");
}

TEST_F(DyingCoreDeathTest, InACallback) {
  EXPECT_DEATH(
      {
        auto core = std::make_unique<JobCore>();
        AioContext& main = core->main_context();
        main.Post("killer", [&] { core.reset(); });
        main.RunOnce(false);
      },
      "jobcore: .*(callback|cannot wait)");
}

TEST_F(DyingCoreDeathTest, OnAnotherThread) {
  EXPECT_DEATH(
      {
        auto core = std::make_unique<JobCore>();
        std::thread([&] { core.reset(); }).join();
      },
      "a JobCore was destroyed on another thread");
}

TEST_F(DyingCoreDeathTest, AnIOThreadUnderItsJobs) {
  EXPECT_DEATH(
      {
        JobCore core;
        auto io = std::make_unique<IOThread>("io0");
        const JobRef job = *CreateJob(core, {.id = "job", .context = &io->context()}, std::make_unique<Driver>());
        io.reset();
      },
      "I/O thread 'io0' is in use by 1 job");
}

}  // namespace
}  // namespace jobcore
