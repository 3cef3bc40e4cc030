// SPDX-License-Identifier: Apache-2.0

#include "qmp/job_events.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "job-common/job_core.h"
#include "job-driver/job_driver.h"
#include "tools/jobcored/settled_job.h"

namespace jobcore::qmp {
namespace {

TEST(JobEvents, HowEachJobEndedIsToldEvenWhereTheRingHasLostIt) {
  constexpr int kJobs = 5;
  JobCore core({.event_capacity = 1});
  std::vector<std::string> lines;
  JobEvents events(core, [&lines](const std::string& line) { lines.push_back(line); });
  for (int i = 0; i < kJobs; ++i) {
    auto driver = std::make_unique<jobcored::SettledJob>("backup", absl::OkStatus());
    const absl::StatusOr<JobRef> job = CreateJob(core, {.id = absl::StrCat("j", i)}, std::move(driver));
    ASSERT_TRUE(job.ok());
    if (i % 2 == 0) events.Pump();
    ASSERT_TRUE(StartJob(**job).ok());
  }
  const auto count = [&lines](const std::string& name, const std::string& job) {
    return std::count_if(lines.begin(), lines.end(), [&](const std::string& line) {
      return line.find(name) != std::string::npos && line.find(job) != std::string::npos;
    });
  };
  const TimePoint deadline = Clock::System().Now() + std::chrono::seconds(30);
  const auto left = [&core] {
    JobLock lock(core);
    return core.job_count() > 0;
  };
  while (left() && Clock::System().Now() < deadline) {
    core.main_context().RunOnce(/*may_block=*/true, Clock::System().Now() + std::chrono::milliseconds(1));
  }
  events.Pump();
  for (int i = 0; i < kJobs; ++i) {
    const std::string job = absl::StrCat("\"j", i, "\"");
    EXPECT_EQ(count("BLOCK_JOB_COMPLETED", job), 1) << job;
    EXPECT_EQ(count(R"("status":"concluded")", job), 1) << job;
    EXPECT_EQ(count(R"("status":"null")", job), 1) << job;
  }
}

}  // namespace
}  // namespace jobcore::qmp
