// SPDX-License-Identifier: Apache-2.0
//
// Numbers such as E12 are those of the catalogue of cases of conditions.

#include "job-journal/sqlite_journal.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>

#include "job-journal/journal_writer.h"
#include "job-journal/ownership.h"
#include "job-journal/recovery.h"
#include "journal/journal_folder.h"

namespace jobcore_test {
namespace {

using jobcore::journal::Edit;
using jobcore::journal::EndOf;
using jobcore::journal::Journal;
using jobcore::journal::LoadReport;
using jobcore::journal::Record;
using jobcore::journal::Slot;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::string Content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}
void SetContent(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
}
// Leaves the log as it is, which closing would empty.
void CommitAndDie(const JournalFolder& folder, int records) {
  ASSERT_EQ(InChild([&] {
              auto journal = folder.OpenNow();
              for (int i = 0; i < records; ++i) {
                if (!Commit(*journal, Begin(BackupRecord("vm" + std::to_string(i), 1))).ok()) _exit(3);
              }
              _exit(kDied);
            }),
            kDied);
}
void Sql(const std::string& path, const char* sql) {
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &db), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(db, sql, nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(db);
  sqlite3_close(db);
}

class SqliteJournal : public ::testing::Test {
 protected:
  void SetUp() override { SetFaults({}); }
  JournalFolder folder_;
};

// E1, E3
TEST_F(SqliteJournal, ARecordComesBackWhole) {
  Record record = BackupRecord("vm", 7, jobcore::gate::BackupPhase::kCopy);
  record.token = 9;
  record.abort_requested = true;
  record.started = {.wall_ns = 0, .boot_ns = 5, .boot_id = "b"};  // E17: unknown stays unknown
  record.intent = {.state = jobcore::journal::Intent::State::kIntended, .what = "rename"};
  record.payload = std::string("a\0b", 3);
  ASSERT_TRUE(Commit(*folder_.OpenNow(), Begin(record)).ok());
  const LoadReport report = *folder_.OpenNow()->Load();
  ASSERT_THAT(report.records, SizeIs(1));
  Record got = report.records[0];
  EXPECT_EQ(got.sequence, 1u);
  EXPECT_EQ(got.epoch, 1u);
  got.sequence = got.epoch = 0;
  EXPECT_EQ(got, record);
  EXPECT_FALSE(report.journal_lost) << report.why_lost;
}

TEST_F(SqliteJournal, WhatCannotBeBegunTwiceIsRefusedAndChangesNothing) {
  auto journal = folder_.OpenNow();
  ASSERT_TRUE(Commit(*journal, Begin(BackupRecord("vm", 1))).ok());
  const Edit edits[] = {Put(BackupRecord("other", 1)), Begin(BackupRecord("vm", 2))};
  EXPECT_EQ(journal->Commit(edits).code(), absl::StatusCode::kAlreadyExists);
  const LoadReport report = *journal->Load();
  ASSERT_THAT(report.records, SizeIs(1));
  EXPECT_EQ(report.records[0].id.number, 1u);
  EXPECT_FALSE(report.journal_lost) << report.why_lost;
}

TEST_F(SqliteJournal, ATransitionCostsOneFlush) {
  auto journal = folder_.OpenNow();
  ASSERT_TRUE(Commit(*journal, Begin(BackupRecord("vm", 1))).ok());  // the log's header costs one more
  SetFaults({});
  for (uint64_t i = 2; i < 12; ++i) ASSERT_TRUE(Commit(*journal, Put(BackupRecord("vm", i))).ok());
  EXPECT_EQ(Faults().flushes, 10);
}

TEST_F(SqliteJournal, TransitionsThatComeTogetherShareAFlush) {
  auto journal = folder_.OpenNow();
  constexpr int kTransitions = 100;
  int done = 0;
  {
    jobcore::journal::JournalWriter writer(*journal);
    for (int i = 0; i < kTransitions; ++i) {
      writer.Submit({Put(BackupRecord("vm" + std::to_string(i), 1))}, [&](const absl::Status& s) { done += s.ok(); });
    }
    ASSERT_TRUE(writer.Commit({Put(BackupRecord("last", 1))}).ok());
    EXPECT_EQ(done, kTransitions);
    EXPECT_EQ(writer.counts().transitions, kTransitions + 1u);
    EXPECT_LT(writer.counts().commits, kTransitions / 2u);
  }
  EXPECT_THAT(journal->Load()->records, SizeIs(kTransitions + 1));
}

TEST_F(SqliteJournal, OneTransitionThatIsRefusedDoesNotTakeTheOthersWithIt) {
  auto journal = folder_.OpenNow();
  jobcore::journal::JournalWriter writer(*journal);
  std::vector<absl::StatusCode> codes(3);
  for (int i = 0; i < 3; ++i) {
    writer.Submit({Begin(BackupRecord(i == 1 ? "vm0" : "vm" + std::to_string(i), 1))},
                  [&codes, i](const absl::Status& s) { codes[static_cast<size_t>(i)] = s.code(); });
  }
  ASSERT_TRUE(writer.Commit({Put(BackupRecord("last", 1))}).ok());
  EXPECT_THAT(codes,
              ::testing::ElementsAre(absl::StatusCode::kOk, absl::StatusCode::kAlreadyExists, absl::StatusCode::kOk));
}

// H5, H6
TEST_F(SqliteJournal, ResultsAreThereByIdUntilThereAreSixteenNewerOnes) {
  const auto id = [](uint64_t number) { return EndOf(BackupRecord("vm", number), absl::OkStatus())[0].record.key; };
  {
    auto journal = folder_.OpenNow();
    for (uint64_t number = 1; number <= 20; ++number) {
      ASSERT_TRUE(journal->Commit(EndOf(BackupRecord("vm", number), absl::CancelledError("by hand"))).ok());
    }
  }
  auto journal = folder_.OpenNow();
  EXPECT_FALSE(journal->Find(id(4))->has_value());
  for (uint64_t number = 5; number <= 20; ++number) {
    ASSERT_TRUE(journal->Find(id(number))->has_value()) << number;
    EXPECT_EQ((*journal->Find(id(number)))->payload, "by hand");
  }
  EXPECT_FALSE(journal->Load()->journal_lost);
}

TEST_F(SqliteJournal, ResultsGoWhenTheyAreOld) {
  int64_t now = 1'000'000'000'000'000'000;
  auto journal = *folder_.Open([&](auto& options) { options.wall_clock_ns = [&] { return now; }; });
  ASSERT_TRUE(journal->Commit(EndOf(BackupRecord("vm", 1), absl::OkStatus())).ok());
  now += int64_t{8} * 24 * 3600 * 1'000'000'000;
  ASSERT_TRUE(journal->Commit(EndOf(BackupRecord("vm", 2), absl::OkStatus())).ok());
  EXPECT_THAT(journal->Load()->records, SizeIs(1));
}

// --- Two daemons ---

TEST_F(SqliteJournal, ASecondProcessIsRefusedAndToldWhoHasIt) {
  auto journal = folder_.OpenNow();
  EXPECT_EQ(
      InChild([&] {
        const auto second = folder_.Open();
        const bool refused = second.status().code() == absl::StatusCode::kAborted;
        _exit(refused && second.status().message().find("pid " + std::to_string(getppid())) != absl::string_view::npos
                  ? 5
                  : 6);
      }),
      5);
}

// E18: by the lock file; SQLite's own lock has gone with that close.
TEST_F(SqliteJournal, ASecondProcessIsRefusedEvenIfTheDatabaseHasBeenOpenedAndClosedHere) {
  auto journal = folder_.OpenNow();
  close(open(folder_.Path("journal.db").c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(InChild([&] { _exit(folder_.Open().ok() ? 6 : 5); }), 5);
}

// E20
TEST_F(SqliteJournal, TheFirstStopsItselfWhenItsLockHasBeenTakenAway) {
  auto journal = folder_.OpenNow();
  jobcore::journal::LocalOwnership ownership(*journal);
  const auto token = ownership.Claim("vm");
  ASSERT_TRUE(token.ok());
  EXPECT_TRUE(ownership.Check("vm", *token).ok());
  close(open(folder_.Path("journal.db").c_str(), O_RDONLY | O_CLOEXEC));  // drops SQLite's lock
  ASSERT_EQ(unlink(folder_.Path("journal.lock").c_str()), 0);             // and ours
  // A program of its own: a child of fork would believe that it has the parent's connection.
  ASSERT_EQ(InChild([&] {
              setenv("SECOND_DAEMON", folder_.path().c_str(), 1);
              unsetenv("GTEST_TOTAL_SHARDS");  // it has but one test
              unsetenv("GTEST_SHARD_INDEX");
              execl("/proc/self/exe", "second", "--gtest_also_run_disabled_tests",
                    "--gtest_filter=SecondDaemon.DISABLED_Commits", nullptr);
              _exit(3);
            }),
            kDied);
  EXPECT_EQ(Commit(*journal, Begin(BackupRecord("vm", 1))).code(), absl::StatusCode::kAborted);
  EXPECT_EQ(ownership.Check("vm", *token).code(), absl::StatusCode::kAborted);
  EXPECT_EQ(ownership.Claim("vm").status().code(), absl::StatusCode::kAborted);
  journal.reset();
  const LoadReport report = *folder_.OpenNow()->Load();  // what the second was told is there
  ASSERT_THAT(report.records, SizeIs(1));
  EXPECT_EQ(report.records[0].id.number, 2u);
}
// Not a test: the other program of the one above.
TEST(SecondDaemon, DISABLED_Commits) {
  const char* const folder = getenv("SECOND_DAEMON");
  if (folder == nullptr) return;
  auto second = jobcore::journal::OpenSqliteJournal({.folder = folder});
  if (!second.ok() || !Commit(**second, Begin(BackupRecord("vm", 2))).ok()) _exit(4);
  _exit(kDied);
}

TEST_F(SqliteJournal, EachProcessHasALargerEpoch) {
  EXPECT_EQ(folder_.OpenNow()->epoch(), 1u);
  EXPECT_EQ(folder_.OpenNow()->epoch(), 2u);
  ASSERT_EQ(unlink(folder_.Path("journal.db").c_str()), 0);
  auto journal = folder_.OpenNow();  // F19: the lock file still knows
  EXPECT_EQ(journal->epoch(), 3u);
  EXPECT_TRUE(journal->Load()->journal_lost);
}

// --- Damage ---

// E12
TEST_F(SqliteJournal, ADamagedRecordConcernsItsObjectOnly) {
  {
    auto journal = folder_.OpenNow();
    Record record = BackupRecord("bad", 1);
    record.payload = "PAYLOAD-TO-FIND";
    ASSERT_TRUE(Commit(*journal, Begin(record)).ok());
    ASSERT_TRUE(Commit(*journal, Begin(BackupRecord("good", 1))).ok());
  }
  std::string file = Content(folder_.Path("journal.db"));
  const size_t at = file.find("PAYLOAD-TO-FIND");
  ASSERT_NE(at, std::string::npos);
  file[at] ^= 1;
  SetContent(folder_.Path("journal.db"), file);
  const LoadReport report = *folder_.OpenNow()->Load();
  ASSERT_THAT(report.records, SizeIs(1));
  EXPECT_EQ(report.records[0].key.object, "good");
  ASSERT_THAT(report.problems, SizeIs(1));
  EXPECT_EQ(report.problems[0].key.object, "bad");
  EXPECT_FALSE(report.journal_lost);
}

TEST_F(SqliteJournal, ARecordThatHasGoneIsMissed) {
  {
    auto journal = folder_.OpenNow();
    ASSERT_TRUE(Commit(*journal, Begin(BackupRecord("a", 1))).ok());
    ASSERT_TRUE(Commit(*journal, Begin(BackupRecord("b", 1))).ok());
  }
  Sql(folder_.Path("journal.db"), "DELETE FROM record WHERE object='a'");
  EXPECT_TRUE(folder_.OpenNow()->Load()->journal_lost);
}

// E11: SQLite alone would say nothing.
TEST_F(SqliteJournal, ALogThatIsDamagedInTheMiddleIsNoticed) {
  CommitAndDie(folder_, 10);
  std::string log = Content(folder_.Path("journal.db-wal"));
  ASSERT_GT(log.size(), 20000u);
  log[log.size() / 2] ^= 1;
  SetContent(folder_.Path("journal.db-wal"), log);
  const LoadReport report = *folder_.OpenNow()->Load();
  EXPECT_LT(report.records.size(), 10u);
  EXPECT_TRUE(report.journal_lost);
}

// E10
TEST_F(SqliteJournal, ATornLastFrameIsACommitThatHasNotHappened) {
  CommitAndDie(folder_, 10);
  const std::string log = Content(folder_.Path("journal.db-wal"));
  SetContent(folder_.Path("journal.db-wal"), log.substr(0, log.size() - 512));
  const LoadReport report = *folder_.OpenNow()->Load();
  EXPECT_THAT(report.records, SizeIs(9));
  EXPECT_FALSE(report.journal_lost) << report.why_lost;
}

// E13
TEST_F(SqliteJournal, WhatIsNoDatabaseIsSetAside) {
  SetContent(folder_.Path("journal.db"), std::string(8192, 'x'));
  auto journal = folder_.OpenNow();
  EXPECT_TRUE(journal->Load()->journal_lost);
  EXPECT_THAT(journal->Load()->records, IsEmpty());
  int kept = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder_.Path(""))) {
    kept += entry.path().string().find(".corrupt-") != std::string::npos ? 1 : 0;
  }
  EXPECT_EQ(kept, 1);
}

// E15
TEST_F(SqliteJournal, AJournalOfALaterVersionCanOnlyBeRead) {
  ASSERT_TRUE(Commit(*folder_.OpenNow(), Begin(BackupRecord("vm", 1))).ok());
  Sql(folder_.Path("journal.db"), "PRAGMA user_version=2");
  auto journal = folder_.OpenNow();
  EXPECT_TRUE(journal->read_only());
  EXPECT_THAT(journal->Load()->records, SizeIs(1));
  EXPECT_EQ(Commit(*journal, Put(BackupRecord("vm", 2))).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(SqliteJournal, ADatabaseOfSomebodyElseIsLeftAlone) {
  Sql(folder_.Path("journal.db"), "CREATE TABLE t(x); PRAGMA application_id=1");
  EXPECT_EQ(folder_.Open().status().code(), absl::StatusCode::kFailedPrecondition);
}

// --- A disk that refuses ---

// E8
TEST_F(SqliteJournal, OnAFullDiskNothingBeginsAndEverythingEnds) {
  auto journal = folder_.OpenNow();
  const Record running = BackupRecord("running", 1);
  ASSERT_TRUE(Commit(*journal, Begin(running)).ok());
  SetFaults({.what = FaultPlan::What::kNoSpace, .at = 1, .full = [&] {
               return std::filesystem::exists(folder_.Path("journal.reserve"));
             }});
  EXPECT_EQ(Commit(*journal, Begin(BackupRecord("new", 1))).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(std::filesystem::exists(folder_.Path("journal.reserve")));
  EXPECT_TRUE(journal->Commit(EndOf(running, absl::CancelledError("aborted"))).ok());
  EXPECT_FALSE(std::filesystem::exists(folder_.Path("journal.reserve")));
  SetFaults({});
  journal.reset();
  const LoadReport report = *folder_.OpenNow()->Load();
  ASSERT_THAT(report.records, SizeIs(1));
  EXPECT_EQ(report.records[0].key.slot, Slot::kResult);
  EXPECT_FALSE(report.journal_lost) << report.why_lost;
}

// E9
TEST_F(SqliteJournal, AFlushThatHasFailedIsNotTriedAgain) {
  auto journal = folder_.OpenNow();
  ASSERT_TRUE(Commit(*journal, Begin(BackupRecord("a", 1))).ok());
  SetFaults({.what = FaultPlan::What::kIoError, .at = 1, .only_flushes = true});
  EXPECT_EQ(Commit(*journal, Begin(BackupRecord("b", 1))).code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(journal->failed());
  const long operations = Faults().operations;
  EXPECT_EQ(Commit(*journal, Begin(BackupRecord("c", 1))).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Faults().operations, operations);
  ASSERT_TRUE(journal->Reopen().ok());
  EXPECT_TRUE(Commit(*journal, Put(BackupRecord("d", 1))).ok());
  const LoadReport report = *journal->Load();
  EXPECT_THAT(report.records.size(), ::testing::AnyOf(2u, 3u));  // b: may be there
  EXPECT_FALSE(report.journal_lost) << report.why_lost;
}

// At each operation once. Whatever was acknowledged is there afterwards; whatever was refused because of a full disk
// is not; the rest may be.
TEST_F(SqliteJournal, AnErrorAtEachOperationLosesNothing) {
  for (const FaultPlan::What what : {FaultPlan::What::kIoError, FaultPlan::What::kNoSpace}) {
    for (long at = 1; at < 200; ++at) {
      const JournalFolder folder;
      auto journal = folder.OpenNow();
      SetFaults({.what = what, .at = at, .full = [at] { return Faults().operations < at + 3; }});
      std::map<std::string, absl::StatusCode> told;
      for (int i = 0; i < 12; ++i) {
        const std::string name = "vm" + std::to_string(i);
        told[name] = Commit(*journal, Put(BackupRecord(name, 1))).code();
        if (journal->failed()) {
          ASSERT_TRUE(journal->Reopen().ok() || journal->Reopen().ok()) << at;  // this may meet it, too
        }
      }
      const bool over = Faults().operations < at;
      SetFaults({});
      journal.reset();
      journal = folder.OpenNow();
      const LoadReport report = *journal->Load();
      EXPECT_FALSE(report.journal_lost) << report.why_lost << " at " << at;
      for (const auto& [name, code] : told) {
        const bool there = std::ranges::any_of(report.records, [&](const Record& r) { return r.key.object == name; });
        EXPECT_TRUE(there || code != absl::StatusCode::kOk) << name << " at " << at;
        EXPECT_TRUE(!there || code != absl::StatusCode::kResourceExhausted) << name << " at " << at;
      }
      if (over) break;
    }
  }
}

// A disk whose flushes do nothing loses what it has acknowledged, which nobody can prevent: what is left is a state
// that there was.
TEST_F(SqliteJournal, WithFlushesThatLieWhatIsLeftIsAnEarlierState) {
  for (long at = 20; at < 70; at += 3) {
    const JournalFolder folder;
    folder.OpenNow().reset();
    ASSERT_EQ(InChild([&] {
                SetFaults({.what = FaultPlan::What::kPowerCut, .at = at, .flushes_lie = true});
                auto journal = folder.OpenNow();
                for (int i = 0; i < 100; ++i) {
                  if (!Commit(*journal, Begin(BackupRecord("vm" + std::to_string(i), 1))).ok()) _exit(3);
                }
              }),
              kDied);
    const LoadReport report = *folder.OpenNow()->Load();
    EXPECT_THAT(report.problems, IsEmpty());
    for (size_t i = 0; i < report.records.size(); ++i) {
      EXPECT_EQ(report.records[i].key.object, "vm" + std::to_string(i));
    }
  }
}

}  // namespace
}  // namespace jobcore_test
