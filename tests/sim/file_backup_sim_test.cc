// SPDX-License-Identifier: Apache-2.0
//
// The real backup driver, on a disk that fails, is late, and answers in any order, among monitors that pause, resume,
// move and cancel: a target is either there and the same as its source, or not there at all.

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "block/test_files.h"
#include "job-common/job_core.h"
#include "job-common/job_txn.h"
#include "job-driver/block/file_backup.h"
#include "job-driver/job_driver.h"
#include "job-monitor/job_history.h"
#include "job-monitor/job_monitor.h"
#include "job-monitor/wait_dump.h"
#include "job-testing/campaign.h"
#include "job-testing/choices.h"
#include "job-testing/job_checker.h"
#include "job-testing/probes.h"
#include "job-testing/sim_disk.h"
#include "job-testing/simulation.h"

namespace jobcore::sim {
namespace {

using jobcore_test::Pattern;
using jobcore_test::ReadFile;
using jobcore_test::TempDir;
using jobcore_test::WriteFile;
using testing::Choices;

constexpr std::array<size_t, 4> kSizes = {0, 1, 4096, 50'000};

[[noreturn]] void Broken(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::abort();
}

std::string Source(const std::string& dir, size_t i) { return absl::StrCat(dir, "/s", i); }
std::string Target(const std::string& dir, size_t i) { return absl::StrCat(dir, "/t", i); }

// One thing that a monitor may ask of a job.
void Ask(JobCore& core, testing::JobChecker& checker, Choices& choices, AioContext& where, AioContext& target) {
  const std::string id = absl::StrCat("backup", choices.Below(3));
  JobLock lock(core);
  Job* const job = monitor::Find(core, id);
  if (job == nullptr) return;
  switch (choices.Below(8)) {
    case 0:
    case 1:
      (void)monitor::Pause(*job);
      return;
    case 2:
    case 3:
      (void)monitor::Resume(*job);
      return;
    case 4:
      (void)monitor::SetSpeed(*job, 1 << choices.Below(16));
      return;
    case 5:
      (void)checker.Ask(where, [&](VerbReply reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) {
        return monitor::Move(*job, target, std::move(reply));
      });
      return;
    case 6:
      if (choices.OneIn(4)) (void)monitor::Cancel(*job, choices.OneIn(2) ? CancelMode::kForce : CancelMode::kSoft);
      return;
    default:
      (void)checker.Ask(where, [&](VerbReply reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) {
        return monitor::Finalize(*job, std::move(reply));
      });
      return;
  }
}

// True while there is something left to bring to its end.
bool Push(JobCore& core, const std::vector<JobRef>& jobs) {
  JobLock lock(core);
  for (const JobRef& job : jobs) {
    (void)monitor::Resume(*job);
    (void)monitor::SetSpeed(*job, 0);
    (void)monitor::Finalize(*job);
    (void)monitor::Dismiss(*job);
  }
  return core.job_count() != 0;
}

// Whatever a run that failed has left behind, too.
void RemoveAllButSources(const std::string& dir) {
  for (const auto& entry : std::filesystem::directory_iterator(dir)) {
    if (!entry.path().filename().string().starts_with("s")) std::filesystem::remove(entry.path());
  }
}

// Of job i, which copies source i + `shift`.
void CheckTargets(JobCore& core, const std::string& dir, const std::vector<JobRef>& jobs, size_t shift) {
  size_t targets = 0;
  for (size_t i = 0; i < jobs.size(); ++i) {
    std::optional<JobOutcome> outcome;
    {
      JobLock lock(core);
      outcome = monitor::FindRecord(core, jobs[i]->number())->outcome;
    }
    const std::string target = Target(dir, i);
    const bool there = std::filesystem::exists(target);
    // A commit may fail after it has put the target in its place.
    const bool expected = outcome->succeeded() || outcome->message.starts_with("target is in place");
    if (there != expected) {
      Broken(absl::StrCat(target, there ? " is there: " : " is missing: ", outcome->ToString()));
    }
    if (!there) continue;
    ++targets;
    if (ReadFile(target) != ReadFile(Source(dir, i + shift)))
      Broken(absl::StrCat(target, " is not what its source is"));
    testing::Reached(outcome->succeeded() ? "backup.succeeded" : "backup.in_place_but_failed");
  }
  const auto files = static_cast<size_t>(
      std::distance(std::filesystem::directory_iterator(dir), std::filesystem::directory_iterator()));
  if (files != kSizes.size() + targets) Broken(absl::StrCat(files, " files are left in the directory"));
}

// Tries again while there is no memory ("create.no_memory").
JobRef Create(testing::JobChecker& checker, const JobSpec& spec, const FileBackupOptions& options) {
  for (;;) {
    absl::StatusOr<std::unique_ptr<JobDriver>> driver = MakeFileBackup(options);
    if (!driver.ok()) Broken(absl::StrCat("no backup: ", driver.status().message()));
    try {
      return *checker.Create(spec, *std::move(driver));
    } catch (const std::bad_alloc&) {
    }
  }
}

void RunBackups(Choices& choices, const std::string& dir) {
  RemoveAllButSources(dir);
  testing::Faults faults(choices);
  testing::Simulation sim(choices);
  testing::SimDisk disk(choices, sim.clock());
  sim.AddDevice(disk);
  const std::vector<std::shared_ptr<AioContext>> contexts = {sim.NewContext("main", AioContext::Kind::kMain),
                                                             sim.NewContext("io0", AioContext::Kind::kIOThread),
                                                             sim.NewContext("io1", AioContext::Kind::kIOThread)};
  std::optional<JobCore> core;
  std::optional<testing::JobChecker> checker;
  sim.AtHome(*contexts[0], [&] {
    core.emplace(JobCore::Options{.main_context = contexts[0]});
    checker.emplace(*core, [&sim] { return sim.trace(); });
  });

  std::vector<JobRef> jobs;
  const size_t shift = choices.Below(2);
  {
    JobTxnBuilder group(*core);
    const uint32_t count = choices.Between(1, 3);
    for (uint32_t i = 0; i < count; ++i) {
      FileBackupOptions options{.source = Source(dir, i + shift), .target = Target(dir, i)};
      options.in_flight = static_cast<int>(choices.Between(1, 4));
      options.chunk_bytes = FileBackupOptions::kMinChunkBytes << choices.Below(3);
      options.engine = &disk;
      options.copy_offload = choices.OneIn(2);
      const JobSpec spec{.id = absl::StrCat("backup", i),
                         .context = contexts[choices.Below(3)].get(),
                         .group = &group,
                         .auto_finalize = !choices.OneIn(3),
                         .auto_dismiss = false,
                         .speed = choices.OneIn(4) ? 1 << choices.Below(16) : 0};
      jobs.push_back(Create(*checker, spec, options));
    }
    (void)group.Seal();
  }
  for (const JobRef& job : jobs) (void)StartJob(*job);
  sim.AddActor("monitor", [&, left = choices.Below(12)]() mutable {
    if (left == 0) return false;
    Ask(*core, *checker, choices, *contexts[choices.Below(3)], *contexts[choices.Below(3)]);
    return --left != 0;
  });

  const auto check = [&] { checker->Check(); };
  sim.RunUntilQuiet(check);
  for (int i = 0; Push(*core, jobs); ++i) {
    if (i == 50) Broken("they do not come to their end:\n" + ToString(monitor::DumpWaits(*core)));
    sim.RunUntilQuiet(check);
  }
  CheckTargets(*core, dir, jobs, shift);
  jobs.clear();
  sim.RunUntilQuiet(check);
  checker->Finish();
  sim.AtHome(*contexts[0], [&] { core.reset(); });
}

TEST(FileBackupSim, ATargetIsCompleteOrNotThere) {
  const TempDir dir;
  for (size_t i = 0; i < kSizes.size(); ++i) WriteFile(Source(dir.path(), i), Pattern(kSizes[i]));
  const testing::CampaignResult result =
      testing::RunCampaign({.seeds = 4000,
                            .must_reach = {"backup.succeeded", "backup.in_place_but_failed", "fault.disk.eio",
                                           "fault.disk.enospc", "fault.disk.early_end", "fault.disk.no_copy_range"}},
                           [&](Choices& choices) { RunBackups(choices, dir.path()); });
  EXPECT_TRUE(result.ok()) << result.ToString();
  std::printf("%s\n", result.ToString().c_str());
}

}  // namespace
}  // namespace jobcore::sim
