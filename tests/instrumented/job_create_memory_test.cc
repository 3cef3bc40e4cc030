// SPDX-License-Identifier: Apache-2.0
//
// Creation is all or nothing, also where memory runs out in the middle of it.

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include "job-common/job_core.h"
#include "job-common/job_txn.h"
#include "job-driver/job_driver.h"
#include "job-driver/resource.h"
#include "job-monitor/job_monitor.h"
#include "job-monitor/job_wait.h"
#include "job-testing/choices.h"
#include "job-testing/probes.h"

namespace jobcore {
namespace {

struct Nothing final : JobDriver {
  explicit Nothing(int& drivers) : drivers(drivers) { ++drivers; }
  ~Nothing() override { --drivers; }
  Co<absl::Status> Run(JobContext&) override { co_return absl::OkStatus(); }
  int& drivers;
};

// What testing::Faults decides: the site is on, and fires when it is asked for the time after `before`.
testing::Choices FireAfter(uint32_t before) {
  std::vector<uint32_t> record(before + 2, 0);
  record.front() = record.back() = 3;
  return testing::Choices::Replay(record);
}

TEST(JobCreate, LeavesNothingBehindWhereverMemoryRunsOut) {
  int drivers = 0;
  uint32_t failed = 0;
  for (uint32_t before = 0;; ++before) {
    JobCore core;
    Resource disk(core, "disk");
    JobTxnBuilder group(core);
    const JobSpec spec{.id = "a", .group = &group, .speed = 1, .resources = {&disk}};
    auto driver = std::make_unique<Nothing>(drivers);
    try {
      testing::Choices choices = FireAfter(before);
      const testing::Faults faults(choices);
      const absl::StatusOr<JobRef> job = CreateJob(core, spec, std::move(driver));
      ASSERT_TRUE(job.ok()) << job.status();
      ASSERT_TRUE(AbandonJob(**job).ok());
      break;  // no site is left
    } catch (const std::bad_alloc&) {
      ++failed;
    }
    EXPECT_EQ(drivers, 0) << before;
    EXPECT_EQ(core.main_context().users(), 0) << before;
    {
      JobLock lock(core);
      EXPECT_EQ(core.job_count(), 0u) << before;
      EXPECT_EQ(core.last_event(), 0u) << before;
      EXPECT_EQ(monitor::Find(core, "a"), nullptr) << before;
    }
    // The id is free, and the group goes on as if nothing had been.
    const absl::StatusOr<JobRef> again = CreateJob(core, spec, std::make_unique<Nothing>(drivers));
    ASSERT_TRUE(again.ok()) << before << ": " << again.status();
    ASSERT_TRUE(group.Seal().ok());
    ASSERT_TRUE(StartJob(**again).ok());
    const absl::StatusOr<JobOutcome> outcome = monitor::WaitFor(*again);
    ASSERT_TRUE(outcome.ok());
    EXPECT_TRUE(outcome->succeeded()) << before;
  }
  EXPECT_EQ(failed, 6u);
}

}  // namespace
}  // namespace jobcore
