// SPDX-License-Identifier: Apache-2.0
//
// A process that makes a backup by the journal's rules is killed at each thing that it does to a file, one after the
// other: each write and flush of the database, each rename, each effect. Then recovery is, in the same way; and then it
// is allowed to end. Afterwards nothing that was acknowledged is lost, and nothing half done is to be seen. (E4, E21)

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>

#include "job-journal/ownership.h"
#include "job-journal/recovery.h"
#include "journal/journal_folder.h"

namespace jobcore_test {
namespace {

namespace fs = std::filesystem;
using jobcore::gate::BackupPhase;
using jobcore::journal::EndOf;
using jobcore::journal::FencingToken;
using jobcore::journal::Journal;
using jobcore::journal::LocalOwnership;
using jobcore::journal::Observed;
using jobcore::journal::Record;
using jobcore::journal::RecoveryAction;
using jobcore::journal::Slot;

constexpr char kContent[] = "all of it";

// An effect: numbered, and durable when it returns.
void WriteFile(const std::string& path, std::string_view content) {
  FaultStep("create");
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) _exit(3);
  for (const char c : content) {
    FaultStep("write");
    if (write(fd, &c, 1) != 1) _exit(3);
  }
  FaultStep("fsync");
  if (fsync(fd) != 0) _exit(3);
  close(fd);
}

class Backup final : public jobcore::journal::RecoveryDriver {
 public:
  explicit Backup(const JournalFolder& folder) : part_(folder.Path("copy.part")), whole_(folder.Path("copy")) {}

  // `acknowledge` gets what a client has been told.
  void Make(Journal& journal, const std::function<void(char)>& acknowledge) {
    Record record = BackupRecord("vm", 1);
    const auto phase = [&](BackupPhase to) {
      record.phase = static_cast<uint32_t>(to);
      if (!Commit(journal, Put(record)).ok()) _exit(3);
    };
    if (!Commit(journal, Begin(record)).ok()) _exit(3);
    acknowledge('b');
    phase(BackupPhase::kPrepare);
    phase(BackupPhase::kCopy);
    WriteFile(part_, kContent);
    phase(BackupPhase::kCommit);
    acknowledge('c');  // behind the cut
    Rename();
    if (!journal.Commit(EndOf(record, absl::OkStatus())).ok()) _exit(3);
    acknowledge('e');
  }

  absl::StatusOr<Observed> Probe(const Record&) override {
    if (fs::exists(whole_)) return Observed::kDone;
    return fs::exists(part_) ? Observed::kPartial : Observed::kNothing;
  }
  absl::Status Apply(const Record&, RecoveryAction action, FencingToken) override {
    switch (action) {
      case RecoveryAction::kDiscard:
        return absl::OkStatus();
      case RecoveryAction::kRollBack:
        FaultStep("unlink");
        fs::remove(part_);
        return absl::OkStatus();
      case RecoveryAction::kRollForward:
        if (fs::exists(part_)) Rename();
        return absl::OkStatus();
      default:
        return absl::InternalError("not for a backup");
    }
  }
  bool HasPart() const { return fs::exists(part_); }
  // Nothing: there is none.
  std::string Whole() const {
    std::string content;
    if (FILE* const file = fopen(whole_.c_str(), "re")) {
      for (int c; (c = fgetc(file)) != EOF;) content.push_back(static_cast<char>(c));
      fclose(file);
    }
    return content;
  }

 private:
  void Rename() {
    FaultStep("rename");
    if (rename(part_.c_str(), whole_.c_str()) != 0) _exit(3);
  }
  const std::string part_;
  const std::string whole_;
};

// What clients of the child were told, in a file that is not part of the test's faults.
int MakeInChild(const JournalFolder& folder, const FaultPlan& plan) {
  return InChild([&] {
    const int acknowledged = open(folder.Path("acknowledged").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    SetFaults(plan);
    auto journal = folder.Open();
    if (!journal.ok()) _exit(4);
    Backup backup(folder);
    backup.Make(**journal, [&](char what) {
      if (write(acknowledged, &what, 1) != 1) _exit(3);
    });
    journal->reset();
  });
}
std::string Acknowledged(const JournalFolder& folder) {
  std::string content;
  if (FILE* const file = fopen(folder.Path("acknowledged").c_str(), "re")) {
    for (int c; (c = fgetc(file)) != EOF;) content.push_back(static_cast<char>(c));
    fclose(file);
  }
  return content;
}
int RecoverInChild(const JournalFolder& folder, const FaultPlan& plan) {
  return InChild([&] {
    SetFaults(plan);
    auto journal = folder.Open();
    if (!journal.ok()) _exit(4);
    LocalOwnership ownership(**journal);
    Backup backup(folder);
    const auto report = jobcore::journal::Recover(**journal, ownership, backup, {});
    if (!report.ok()) _exit(5);
    journal->reset();
  });
}

struct Outcomes {
  int points = 0;
  std::map<std::string, int> ends{};
};

// How it ended, after a recovery that nothing disturbs. `may_doubt`: the journal may say that it has lost something.
std::string CheckEnd(const JournalFolder& folder, bool may_doubt) {
  SetFaults({});
  auto journal = folder.Open();
  if (!journal.ok()) return "FAILED: " + journal.status().ToString();
  LocalOwnership ownership(**journal);
  Backup backup(folder);
  const auto report = jobcore::journal::Recover(**journal, ownership, backup, {});
  if (!report.ok()) return "FAILED: " + report.status().ToString();
  const auto loaded = (*journal)->Load();
  if (loaded->journal_lost && !may_doubt) return "FAILED: journal lost: " + loaded->why_lost;
  if (!loaded->problems.empty()) return "FAILED: damaged records";
  if (backup.HasPart()) return "FAILED: half a backup";
  const std::string whole = backup.Whole();
  if (!whole.empty() && whole != kContent) return "FAILED: not all of it";
  const std::string told = Acknowledged(folder);
  if (loaded->records.empty()) {
    if (!told.empty() || !whole.empty()) return "FAILED: forgotten after '" + told + "'";
    return "never begun";
  }
  if (loaded->records.size() != 1 || loaded->records[0].key.slot != Slot::kResult) return "FAILED: not one result";
  const bool succeeded = loaded->records[0].flags == 0;
  if (succeeded != !whole.empty()) return "FAILED: the result and the files disagree";
  if (told.find('c') != std::string::npos && !succeeded) return "FAILED: undone after '" + told + "'";
  return succeeded ? "finished" : "undone";
}

void Count(Outcomes& outcomes, const std::string& end, long at, long then) {
  outcomes.points += 1;
  outcomes.ends[end] += 1;
  EXPECT_EQ(end.find("FAILED"), std::string::npos) << end << ", killed at " << at << ", recovery at " << then;
}

void Report(const char* what, const Outcomes& outcomes) {
  for (const auto& [end, count] : outcomes.ends) {
    ::testing::Test::RecordProperty(std::string(what) + " " + end, count);
    printf("%s: %d of %d points: %s\n", what, count, outcomes.points, end.c_str());
  }
  EXPECT_GT(outcomes.points, 20);
  EXPECT_TRUE(outcomes.ends.contains("never begun"));
  EXPECT_TRUE(outcomes.ends.contains("undone"));
  EXPECT_TRUE(outcomes.ends.contains("finished"));
}

// At each point; the first that there is not any more ends it.
void AtEachPoint(const char* name, FaultPlan::What what, bool only_flushes = false) {
  Outcomes outcomes;
  for (long at = 1; at < 1000; ++at) {
    JournalFolder folder;
    const int end = MakeInChild(folder, {.what = what, .at = at, .only_flushes = only_flushes});
    ASSERT_TRUE(end == 0 || end == kDied) << end << " at " << at;
    if (end == 0 && what != FaultPlan::What::kTear) break;
    if (end == 0 && at > 200) break;  // what tears is a write: other operations pass
    if (end != 0) Count(outcomes, CheckEnd(folder, what == FaultPlan::What::kTear), at, 0);
  }
  Report(name, outcomes);
}

TEST(Crash, AProcessKilledAtEachPointLosesNothingAndLeavesNothingHalfDone) {
  AtEachPoint("killed", FaultPlan::What::kDie);
}

TEST(Crash, AWriteTornAtEachPointLosesNothing) { AtEachPoint("torn", FaultPlan::What::kTear); }

// E22: with synchronous=NORMAL this fails.
TEST(Crash, APowerCutAtEachPointLosesNothing) { AtEachPoint("power cut", FaultPlan::What::kPowerCut); }

// Recovery itself, from each fourth state (each one: JOBCORE_SOAK).
TEST(Crash, RecoveryKilledAtEachPointEndsAllTheSame) {
  const bool all = getenv("JOBCORE_SOAK") != nullptr;
  Outcomes outcomes;
  for (long at = 1; at < 1000; at += all ? 1 : 8) {
    bool made = false;
    for (long then = 1; then < 1000; then += all ? 1 : 3) {
      JournalFolder folder;
      made = MakeInChild(folder, {.what = FaultPlan::What::kDie, .at = at}) == 0;
      if (made) break;
      const int end = RecoverInChild(folder, {.what = FaultPlan::What::kDie, .at = then});
      ASSERT_TRUE(end == 0 || end == kDied) << end;
      Count(outcomes, CheckEnd(folder, false), at, then);
      if (end == 0) break;
    }
    if (made) break;
  }
  Report("recovery killed", outcomes);
}

}  // namespace
}  // namespace jobcore_test
