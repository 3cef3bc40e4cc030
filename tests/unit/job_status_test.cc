// SPDX-License-Identifier: Apache-2.0
//
// The two tables and the names are a wire contract: checked cell by cell against a copy of the
// reference.

#include "job-common/job_status.h"

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"

namespace jobcore {
namespace {

// The reference's tables: columns U C R P Y S W D X E N.
struct Row {
  std::string_view name;
  std::string_view cells;
};
constexpr std::array<Row, 11> kTransitionTable = {{
    {"undefined", "0 1 0 0 0 0 0 0 0 0 0"},
    {"created", "0 0 1 0 0 0 0 0 1 0 1"},
    {"running", "0 0 0 1 1 0 1 0 1 0 0"},
    {"paused", "0 0 1 0 0 0 0 0 0 0 0"},
    {"ready", "0 0 0 0 0 1 1 0 1 0 0"},
    {"standby", "0 0 0 0 1 0 0 0 0 0 0"},
    {"waiting", "0 0 0 0 0 0 0 1 1 0 0"},
    {"pending", "0 0 0 0 0 0 0 0 1 1 0"},
    {"aborting", "0 0 0 0 0 0 0 0 1 1 0"},
    {"concluded", "0 0 0 0 0 0 0 0 0 0 1"},
    {"null", "0 0 0 0 0 0 0 0 0 0 0"},
}};
// In the order of the verbs on the wire.
constexpr std::array<Row, 8> kVerbTable = {{
    {"cancel", "0 1 1 1 1 1 1 1 0 0 0"},
    {"pause", "0 1 1 1 1 1 0 0 0 0 0"},
    {"resume", "0 1 1 1 1 1 0 0 0 0 0"},
    {"set-speed", "0 1 1 1 1 1 0 0 0 0 0"},
    {"complete", "0 0 0 0 1 1 0 0 0 0 0"},
    {"dismiss", "0 0 0 0 0 0 0 0 0 1 0"},
    {"finalize", "0 0 0 0 0 0 0 1 0 0 0"},
    {"change", "0 1 1 1 1 1 0 0 0 0 0"},
}};

constexpr bool Cell(std::string_view cells, size_t column) { return cells[2 * column] == '1'; }
JobStatus Status(size_t i) { return static_cast<JobStatus>(i); }
JobVerb Verb(size_t i) { return static_cast<JobVerb>(i); }

TEST(JobStatus, EveryTransitionIsAsInTheReference) {
  ASSERT_EQ(kTransitionTable.size(), kJobStatusCount);
  for (size_t from = 0; from < kJobStatusCount; ++from) {
    ASSERT_EQ(kTransitionTable[from].cells.size(), 2 * kJobStatusCount - 1);
    for (size_t to = 0; to < kJobStatusCount; ++to)
      EXPECT_EQ(MayTransition(Status(from), Status(to)), Cell(kTransitionTable[from].cells, to))
          << JobStatusName(Status(from)) << " -> " << JobStatusName(Status(to));
  }
}

TEST(JobStatus, EveryVerbIsAllowedWhereTheReferenceAllowsIt) {
  ASSERT_EQ(kVerbTable.size(), kJobVerbCount);
  for (size_t verb = 0; verb < kJobVerbCount; ++verb) {
    ASSERT_EQ(kVerbTable[verb].cells.size(), 2 * kJobStatusCount - 1);
    for (size_t status = 0; status < kJobStatusCount; ++status)
      EXPECT_EQ(VerbAllowed(Verb(verb), Status(status)), Cell(kVerbTable[verb].cells, status))
          << JobVerbName(Verb(verb)) << " in " << JobStatusName(Status(status));
  }
}

TEST(JobStatus, NamesAndTheirOrderAreThoseOfTheWire) {
  for (size_t i = 0; i < kJobStatusCount; ++i) EXPECT_EQ(JobStatusName(Status(i)), kTransitionTable[i].name);
  for (size_t i = 0; i < kJobVerbCount; ++i) EXPECT_EQ(JobVerbName(Verb(i)), kVerbTable[i].name);
}

TEST(JobStatus, EveryNameIsParsedToItsStatus) {
  for (size_t i = 0; i < kJobStatusCount; ++i) EXPECT_EQ(ParseJobStatus(kTransitionTable[i].name), Status(i));
}

TEST(JobStatus, WhatIsNoNameIsNotParsed) {
  for (std::string_view name :
       {"", " ", "Running", "RUNNING", "running ", " running", "runnin", "runningx", "cancel", "0"})
    EXPECT_EQ(ParseJobStatus(name), std::nullopt) << "'" << name << "'";
}

TEST(JobStatus, ReadyIsReadyAndStandby) {
  for (size_t i = 0; i < kJobStatusCount; ++i)
    EXPECT_EQ(IsReady(Status(i)), Cell("0 0 0 0 1 1 0 0 0 0 0", i)) << JobStatusName(Status(i));
}

TEST(JobStatus, CompletedMeansThatRunHasEnded) {
  for (size_t i = 0; i < kJobStatusCount; ++i)
    EXPECT_EQ(IsCompleted(Status(i)), Cell("0 0 0 0 0 0 1 1 1 1 1", i)) << JobStatusName(Status(i));
}

TEST(JobStatus, PausedIsPausedAndStandbyAndHasAWayBack) {
  for (size_t i = 0; i < kJobStatusCount; ++i)
    EXPECT_EQ(IsPaused(Status(i)), Cell("0 0 0 1 0 1 0 0 0 0 0", i)) << JobStatusName(Status(i));
  EXPECT_EQ(Parked(JobStatus::kRunning), JobStatus::kPaused);
  EXPECT_EQ(Parked(JobStatus::kReady), JobStatus::kStandby);
  EXPECT_EQ(Unparked(JobStatus::kPaused), JobStatus::kRunning);
  EXPECT_EQ(Unparked(JobStatus::kStandby), JobStatus::kReady);
}

TEST(JobStatus, ConcludedIsConcludedAndNull) {
  for (size_t i = 0; i < kJobStatusCount; ++i)
    EXPECT_EQ(IsConcluded(Status(i)), Cell("0 0 0 0 0 0 0 0 0 1 1", i)) << JobStatusName(Status(i));
}

TEST(JobStatus, NotPossibleAsTheReferenceSays) {
  EXPECT_FALSE(MayTransition(JobStatus::kPaused, JobStatus::kAborting));
  EXPECT_FALSE(MayTransition(JobStatus::kStandby, JobStatus::kWaiting));
  EXPECT_FALSE(MayTransition(JobStatus::kCreated, JobStatus::kPaused));
  EXPECT_FALSE(MayTransition(JobStatus::kWaiting, JobStatus::kConcluded));
  EXPECT_FALSE(MayTransition(JobStatus::kReady, JobStatus::kRunning));
}

}  // namespace
}  // namespace jobcore
