// SPDX-License-Identifier: Apache-2.0
//
// The second build of the core, jobcore::testing: another inline namespace, and a hook at every lock-free step.

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <typeinfo>

#include "job-common/iothread.h"
#include "job-common/sched_point.h"
#include "job-driver/job_context.h"
#include "job-driver/job_driver.h"
#include "job-monitor/job_monitor.h"
#include "job-monitor/job_wait.h"

namespace jobcore {
namespace {

std::mutex mutex;
std::map<std::string, int> passed;  // by name of the point

void Count(const char* point) {
  const std::lock_guard guard(mutex);
  ++passed[point];
}

class Yielder final : public JobDriver {
  Co<absl::Status> Run(JobContext& job) override { co_return co_await job.Yield(); }
};

TEST(InstrumentedBuild, HasAnInlineNamespaceOfItsOwn) {
  const std::string name = typeid(JobCore).name();  // mangled
  EXPECT_NE(name.find("instrumented"), std::string::npos) << name;
}

TEST(InstrumentedBuild, PassesASchedPointAtTheLockFreeStepsOfAJobsLife) {
  const SchedHook before = SetSchedHook(&Count);
  {
    IOThread io("io0");
    JobCore core;
    JobRef job = *CreateJob(core, {.id = "j", .context = &io.context()}, std::make_unique<Yielder>());
    ASSERT_TRUE(StartJob(*job).ok());
    const auto idle = [&] {
      const std::lock_guard guard(mutex);
      return passed["job.word.idle"] == 0;
    };
    while (idle()) core.main_context().RunOnce(/*may_block=*/false);
    Enter(*job);
    EXPECT_TRUE(monitor::WaitFor(job, core.main_context().clock().Now() + std::chrono::seconds(10)).ok());
  }
  SetSchedHook(before);
  const std::lock_guard guard(mutex);
  for (const char* point : {"job.word.idle", "job.word.enter", "aio.post.push", "aio.post.pushed"}) {
    EXPECT_GT(passed[point], 0) << point;
  }
}

}  // namespace
}  // namespace jobcore
