// SPDX-License-Identifier: Apache-2.0
//
// The only file that knows SQLite.

#include "job-journal/sqlite_journal.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <initializer_list>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "journal/state_lock.h"
#include "journal/wal_damage.h"

namespace jobcore::inline JOBCORE_ABI::journal {
namespace {

using internal::StateLock;

constexpr int kApplicationId = 0x4a4f4243;  // "JOBC"
constexpr int kSchemaVersion = 1;

// One connection, for two reasons: with a second one the database would need shared memory, which EXCLUSIVE before WAL
// avoids; and until 3.51.3 two connections can corrupt a log that both reset. Who adds one must check
// sqlite3_libversion_number() first.
constexpr char kSettings[] =
    "PRAGMA locking_mode=EXCLUSIVE;"  // before WAL
    "PRAGMA journal_mode=WAL;"        // one flush for a commit; a rollback journal needs two and more
    "PRAGMA synchronous=FULL;"        // NORMAL does not flush: a power failure would take back what was acknowledged
    "PRAGMA wal_autocheckpoint=0;"    // SQLite keeps errors of a checkpoint to itself: see CheckpointIfLarge
    "PRAGMA cell_size_check=ON;"      // damage is found where it is read
    "PRAGMA temp_store=MEMORY;"
    "PRAGMA trusted_schema=OFF;";

constexpr char kMakeSchema[] =
    "CREATE TABLE state(one INTEGER PRIMARY KEY CHECK(one=1), epoch INTEGER NOT NULL, last INTEGER NOT NULL,"
    " count INTEGER NOT NULL, sum INTEGER NOT NULL);"
    "CREATE TABLE record(object TEXT NOT NULL, slot INTEGER NOT NULL, sub TEXT NOT NULL, sequence INTEGER NOT NULL,"
    " epoch INTEGER NOT NULL, at INTEGER NOT NULL, crc INTEGER NOT NULL, bytes BLOB NOT NULL,"
    " PRIMARY KEY(object,slot,sub)) WITHOUT ROWID;"
    "INSERT INTO state VALUES(1,0,0,0,0);"
    "PRAGMA application_id=1246708291;"
    "PRAGMA user_version=1;";
static_assert(kApplicationId == 1246708291 && kSchemaVersion == 1);

// In pages of 4 KiB. The log is not cut: it stays about that large.
constexpr int kLogPages = 256;

absl::Status CheckFileSystem(const std::string& folder) {
  struct statfs info;
  if (statfs(folder.c_str(), &info) != 0) return absl::ErrnoToStatus(errno, absl::StrCat("statfs ", folder));
  for (const uint32_t network : {0x6969u /* NFS */, 0xff534d42u /* CIFS */, 0xfe534d42u /* SMB2 */, 0x517bu /* SMB */,
                                 0x01021997u /* 9P */, 0x5346414fu /* AFS */}) {
    if (static_cast<uint32_t>(info.f_type) == network) {
      return absl::FailedPreconditionError(
          absl::StrCat(folder, " is on a network, where neither locks nor a write-ahead log can be trusted"));
    }
  }
  return absl::OkStatus();
}

class Statement {
 public:
  Statement() = default;
  Statement(Statement&& other) noexcept : statement_(std::exchange(other.statement_, nullptr)) {}
  Statement& operator=(Statement&& other) noexcept {
    std::swap(statement_, other.statement_);
    return *this;
  }
  ~Statement() { sqlite3_finalize(statement_); }

  int Prepare(sqlite3* db, std::string_view sql) {
    sqlite3_finalize(std::exchange(statement_, nullptr));
    return sqlite3_prepare_v3(db, sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT, &statement_,
                              nullptr);
  }
  // Once per execution, first: what it was bound to is unbound.
  Statement& Start() {
    sqlite3_reset(statement_);
    bound_ = 0;
    return *this;
  }
  Statement& operator<<(int64_t value) {
    sqlite3_bind_int64(statement_, ++bound_, value);
    return *this;
  }
  Statement& operator<<(uint64_t value) { return *this << static_cast<int64_t>(value); }
  Statement& operator<<(uint32_t value) { return *this << static_cast<int64_t>(value); }
  // The text must live until the statement has been executed.
  Statement& operator<<(std::string_view text) {
    sqlite3_bind_text(statement_, ++bound_, text.data(), static_cast<int>(text.size()), SQLITE_STATIC);
    return *this;
  }
  Statement& Blob(std::string_view bytes) {
    sqlite3_bind_blob(statement_, ++bound_, bytes.data(), static_cast<int>(bytes.size()), SQLITE_STATIC);
    return *this;
  }
  int Step() { return sqlite3_step(statement_); }
  // Of one that yields no rows.
  int Execute() {
    const int result = Step();
    sqlite3_reset(statement_);
    return result == SQLITE_DONE || result == SQLITE_ROW ? SQLITE_OK : result;
  }
  void End() { sqlite3_reset(statement_); }

  int64_t Int(int column) const { return sqlite3_column_int64(statement_, column); }
  std::string_view Text(int column) const {
    const void* const data = sqlite3_column_blob(statement_, column);
    if (data == nullptr) return {};
    return {static_cast<const char*>(data), static_cast<size_t>(sqlite3_column_bytes(statement_, column))};
  }

 private:
  sqlite3_stmt* statement_ = nullptr;
  int bound_ = 0;
};

class SqliteJournal final : public Journal {
 public:
  SqliteJournal(SqliteJournalOptions options, StateLock lock) : options_(std::move(options)), lock_(std::move(lock)) {}
  ~SqliteJournal() override { Close(); }

  absl::Status Open();

  absl::Status Commit(std::span<const Edit> edits) override;
  absl::StatusOr<LoadReport> Load() override;
  absl::StatusOr<std::optional<Record>> Find(const Key& key) override;
  absl::Status Reopen() override;
  uint64_t epoch() const override { return epoch_; }
  bool read_only() const override { return read_only_; }
  bool failed() const override { return failed_; }
  absl::Status CheckOwned() const override;

 private:
  // What the database says of itself, so that rows that have gone are missed: all live rows have been counted, and
  // their sequence numbers added up.
  struct State {
    uint64_t last = 0;  // sequence number
    uint64_t count = 0;
    uint64_t sum = 0;
  };

  std::string Path(std::string_view name) const { return options_.folder + "/" + std::string(name); }
  void Step(const char* name) const {
    if (options_.at_step) options_.at_step(name);
  }
  int64_t WallClock() const {
    if (options_.wall_clock_ns) return options_.wall_clock_ns();
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
        .count();
  }
  absl::Status Error(int result, std::string_view doing) const;
  int Run(const char* sql) { return sqlite3_exec(db_, sql, nullptr, nullptr, nullptr); }
  int64_t Number(std::string_view sql, int& result);

  int OpenDatabase();
  int Prepare();
  int ReadState(uint64_t& epoch);
  absl::Status BeginEpoch(uint64_t last);
  void Close();
  void SetAside(std::string_view why);
  void Lost(std::string_view why);

  int Apply(std::span<const Edit> edits, State& state, absl::Status& refused);
  int ApplyOne(const Edit& edit, State& state, absl::Status& refused);
  int DropOldResults(const std::string& object, State& state);
  int EraseRow(std::string_view object, Slot slot, std::string_view sub, State& state);
  int64_t SequenceOf(const Key& key, int& result);
  absl::Status Try(std::span<const Edit> edits);
  void CheckpointIfLarge();

  bool HasReserve() const { return access(Path("journal.reserve").c_str(), F_OK) == 0; }
  void MakeReserve();
  void GiveUpReserve();

  const SqliteJournalOptions options_;
  StateLock lock_;
  sqlite3* db_ = nullptr;
  Statement state_update_;
  Statement insert_;
  Statement replace_;
  Statement erase_;
  Statement find_;
  Statement old_results_;
  int log_pages_ = 0;

  uint64_t epoch_ = 0;
  bool read_only_ = false;
  bool failed_ = false;
  bool lost_ = false;
  std::string why_lost_;
  State state_;
};

absl::Status SqliteJournal::Error(int result, std::string_view doing) const {
  const std::string text =
      absl::StrCat("journal in ", options_.folder, ": ", std::string(doing), ": ", sqlite3_errstr(result), " (",
                   db_ == nullptr ? "not open" : sqlite3_errmsg(db_), ")");
  switch (result & 0xff) {
    case SQLITE_FULL:
      return absl::ResourceExhaustedError(text);
    case SQLITE_BUSY:
      return absl::AbortedError(text);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::DataLossError(text);
    default:
      return absl::UnavailableError(text);
  }
}

int64_t SqliteJournal::Number(std::string_view sql, int& result) {
  Statement statement;
  result = statement.Prepare(db_, sql);
  if (result != SQLITE_OK) return 0;
  const int step = statement.Step();
  result = step == SQLITE_ROW || step == SQLITE_DONE ? SQLITE_OK : step;
  return step == SQLITE_ROW ? statement.Int(0) : 0;
}

int SqliteJournal::OpenDatabase() {
  const char* const vfs = options_.vfs.empty() ? nullptr : options_.vfs.c_str();
  int result = sqlite3_open_v2(Path("journal.db").c_str(), &db_,
                               SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, vfs);
  if (result != SQLITE_OK) return result;
  sqlite3_extended_result_codes(db_, 1);
  if (result = Run(kSettings); result != SQLITE_OK) return result;
  sqlite3_wal_hook(
      db_,
      [](void* self, sqlite3*, const char*, int pages) {
        static_cast<SqliteJournal*>(self)->log_pages_ = pages;
        return SQLITE_OK;
      },
      this);
  return SQLITE_OK;
}

int SqliteJournal::Prepare() {
  for (const auto& [statement, sql] : std::initializer_list<std::pair<Statement*, std::string_view>>{
           {&state_update_, "UPDATE state SET last=?, count=?, sum=? WHERE one=1 AND epoch=?"},
           {&insert_, "INSERT INTO record VALUES(?,?,?,?,?,?,?,?)"},
           {&replace_, "INSERT OR REPLACE INTO record VALUES(?,?,?,?,?,?,?,?)"},
           {&erase_, "DELETE FROM record WHERE object=? AND slot=? AND sub=?"},
           {&find_, "SELECT sequence, epoch, crc, bytes FROM record WHERE object=? AND slot=? AND sub=?"},
           {&old_results_,
            "SELECT sub FROM (SELECT sub, at, row_number() OVER (ORDER BY sequence DESC) AS n FROM record"
            " WHERE object=? AND slot=?) WHERE n>? OR at<?"},
       }) {
    if (const int result = statement->Prepare(db_, sql); result != SQLITE_OK) return result;
  }
  return SQLITE_OK;
}

int SqliteJournal::ReadState(uint64_t& epoch) {
  Statement statement;
  if (const int result = statement.Prepare(db_, "SELECT epoch, last, count, sum FROM state"); result != SQLITE_OK) {
    return result;
  }
  const int step = statement.Step();
  if (step != SQLITE_ROW) return step == SQLITE_DONE ? SQLITE_CORRUPT : step;
  epoch = static_cast<uint64_t>(statement.Int(0));
  state_ = {.last = static_cast<uint64_t>(statement.Int(1)),
            .count = static_cast<uint64_t>(statement.Int(2)),
            .sum = static_cast<uint64_t>(statement.Int(3))};
  return SQLITE_OK;
}

void SqliteJournal::Close() {
  for (Statement* const statement : {&state_update_, &insert_, &replace_, &erase_, &find_, &old_results_}) {
    *statement = Statement();
  }
  // Closing copies the log into the database, and removes it. It may be another process's by now, or one that a flush
  // has failed on, which must not be flushed by the same descriptor again.
  if (db_ != nullptr && (failed_ || !lock_.IsOurs())) {
    sqlite3_db_config(db_, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  }
  sqlite3_close(std::exchange(db_, nullptr));
  log_pages_ = 0;
}

void SqliteJournal::Lost(std::string_view why) {
  if (lost_) return;
  lost_ = true;
  why_lost_ = why;
}

void SqliteJournal::SetAside(std::string_view why) {
  Close();
  const std::string suffix = absl::StrCat(".corrupt-", WallClock() / 1'000'000'000);
  for (const std::string_view name : {"journal.db-wal", "journal.db"}) {
    Step("set aside");
    [[maybe_unused]] const int result = rename(Path(name).c_str(), absl::StrCat(Path(name), suffix).c_str());
  }
  Lost(why);
}

absl::Status SqliteJournal::Open() {
  if (absl::Status status = CheckFileSystem(options_.folder); !status.ok()) return status;
  if (internal::WalHasLostCommits(Path("journal.db-wal"))) Lost("the write-ahead log is damaged in the middle");
  int64_t application = 0;
  int64_t version = 0;
  uint64_t last_epoch = 0;
  for (bool again = false;; again = true) {
    int result = OpenDatabase();
    if (result == SQLITE_OK) application = Number("PRAGMA application_id", result);
    if (result == SQLITE_OK) version = Number("PRAGMA user_version", result);
    int64_t tables = 0;
    if (result == SQLITE_OK) tables = Number("SELECT count(*) FROM sqlite_schema", result);
    if (result == SQLITE_OK && tables == 0) {
      Step("schema");
      result = Run(absl::StrCat("BEGIN IMMEDIATE;", kMakeSchema, "COMMIT").c_str());
      application = kApplicationId;
      version = kSchemaVersion;
    }
    if (result == SQLITE_OK && application != kApplicationId) {
      return absl::FailedPreconditionError(absl::StrCat(Path("journal.db"), " is the database of another program"));
    }
    if (result == SQLITE_OK && version > kSchemaVersion) {
      read_only_ = true;
      result = Run("PRAGMA query_only=ON");
    }
    if (result == SQLITE_OK) result = ReadState(last_epoch);
    if (result == SQLITE_OK) result = Prepare();
    if (result == SQLITE_OK) break;
    const absl::Status error = Error(result, "open");
    if (again || error.code() != absl::StatusCode::kDataLoss) return error;
    SetAside(std::string(error.message()));
  }
  // Written down when an epoch has begun, by who had begun it.
  const uint64_t said = lock_.EpochSaid();
  if (said > last_epoch) Lost(absl::StrCat("the lock file knows epoch ", said, ", the database ", last_epoch));
  if (read_only_) {
    epoch_ = last_epoch;
    return absl::OkStatus();
  }
  return BeginEpoch(std::max(last_epoch, said));
}

absl::Status SqliteJournal::BeginEpoch(uint64_t last) {
  const auto begin = [&] { return Run(absl::StrCat("UPDATE state SET epoch=", last + 1).c_str()); };
  Step("epoch");
  int result = begin();
  if ((result & 0xff) == SQLITE_FULL && HasReserve()) {
    GiveUpReserve();
    result = begin();
  }
  if (result != SQLITE_OK) return Error(result, "begin an epoch");
  epoch_ = last + 1;
  Step("lock file");
  lock_.Describe(epoch_);
  if (!HasReserve()) MakeReserve();
  return absl::OkStatus();
}

absl::Status SqliteJournal::CheckOwned() const {
  if (lock_.IsOurs()) return absl::OkStatus();
  return absl::AbortedError(absl::StrCat("journal in ", options_.folder,
                                         ": its lock file is no longer the one that epoch ", epoch_,
                                         " has locked: another process may have it"));
}

absl::Status SqliteJournal::Reopen() {
  if (absl::Status owned = CheckOwned(); !owned.ok()) return owned;
  Close();
  // What a flush has failed on is in the file, or not; how much of it is for the log's checksums to say.
  int result = OpenDatabase();
  uint64_t stored = 0;
  if (result == SQLITE_OK) result = ReadState(stored);
  if (result == SQLITE_OK) result = Prepare();
  if (result != SQLITE_OK) {
    const absl::Status error = Error(result, "reopen");
    Close();
    return error;
  }
  if (stored != epoch_) return absl::AbortedError(absl::StrCat("the journal is in epoch ", stored, ", not ", epoch_));
  // All that is there now goes to the database file and is flushed once more, by a descriptor that has not failed.
  if (result = sqlite3_wal_checkpoint_v2(db_, nullptr, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
      result != SQLITE_OK && (result & 0xff) != SQLITE_FULL) {
    return Error(result, "checkpoint after a failure");
  }
  failed_ = false;
  return absl::OkStatus();
}

int64_t SqliteJournal::SequenceOf(const Key& key, int& result) {
  find_.Start() << std::string_view(key.object) << int64_t{static_cast<uint8_t>(key.slot)} << std::string_view(key.sub);
  const int step = find_.Step();
  const int64_t sequence = step == SQLITE_ROW ? find_.Int(0) : -1;
  find_.End();
  result = step == SQLITE_ROW || step == SQLITE_DONE ? SQLITE_OK : step;
  return sequence;
}

int SqliteJournal::EraseRow(std::string_view object, Slot slot, std::string_view sub, State& state) {
  int result = SQLITE_OK;
  const int64_t was = SequenceOf({.object = std::string(object), .slot = slot, .sub = std::string(sub)}, result);
  if (result != SQLITE_OK || was < 0) return result;
  state.count -= 1;
  state.sum -= static_cast<uint64_t>(was);
  return (erase_.Start() << object << int64_t{static_cast<uint8_t>(slot)} << sub).Execute();
}

int SqliteJournal::DropOldResults(const std::string& object, State& state) {
  std::vector<std::string> old;
  const int64_t cut = WallClock() - options_.result_age_seconds * 1'000'000'000;
  old_results_.Start() << std::string_view(object) << int64_t{static_cast<uint8_t>(Slot::kResult)}
                       << static_cast<uint64_t>(options_.results_per_object) << cut;
  int result;
  while ((result = old_results_.Step()) == SQLITE_ROW) old.emplace_back(old_results_.Text(0));
  old_results_.End();
  if (result != SQLITE_DONE) return result;
  for (const std::string& sub : old) {
    if (result = EraseRow(object, Slot::kResult, sub, state); result != SQLITE_OK) return result;
  }
  return SQLITE_OK;
}

int SqliteJournal::ApplyOne(const Edit& edit, State& state, absl::Status& refused) {
  const Key& key = edit.record.key;
  state.last += 1;  // erasing is a transition, too
  int result = SQLITE_OK;
  if (edit.what == Edit::What::kErase) return EraseRow(key.object, key.slot, key.sub, state);
  const int64_t was = SequenceOf(key, result);
  if (result != SQLITE_OK) return result;
  if (was >= 0 && edit.what == Edit::What::kBegin) {
    refused = absl::AlreadyExistsError(absl::StrCat("the journal has a record of object '", key.object, "', slot ",
                                                    static_cast<int>(key.slot), ", '", key.sub, "'"));
    return SQLITE_CONSTRAINT;
  }
  if (was >= 0) {
    state.sum -= static_cast<uint64_t>(was);
  } else {
    state.count += 1;
  }
  state.sum += state.last;
  Record stamped{.key = key};
  stamped.sequence = state.last;
  stamped.epoch = epoch_;
  const std::string bytes = Encode(edit.record);
  Statement& write = edit.what == Edit::What::kBegin ? insert_ : replace_;
  write.Start() << std::string_view(key.object) << int64_t{static_cast<uint8_t>(key.slot)} << std::string_view(key.sub)
                << state.last << epoch_ << WallClock() << Checksum(stamped, bytes);
  result = write.Blob(bytes).Execute();
  if (result == SQLITE_OK && key.slot == Slot::kResult) result = DropOldResults(key.object, state);
  return result;
}

int SqliteJournal::Apply(std::span<const Edit> edits, State& state, absl::Status& refused) {
  for (const Edit& edit : edits) {
    if (const int result = ApplyOne(edit, state, refused); result != SQLITE_OK) return result;
  }
  // In the transaction itself: of two epochs in one database the earlier writes nothing.
  const int result = (state_update_.Start() << state.last << state.count << state.sum << epoch_).Execute();
  if (result == SQLITE_OK && sqlite3_changes(db_) != 1) {
    refused = absl::AbortedError("the journal is in another epoch");
    return SQLITE_CONSTRAINT;
  }
  return result;
}

absl::Status SqliteJournal::Try(std::span<const Edit> edits) {
  State state = state_;
  absl::Status refused;
  int result = Run("BEGIN IMMEDIATE");
  if (result == SQLITE_OK) result = Apply(edits, state, refused);
  if (result == SQLITE_OK) result = Run("COMMIT");
  if (result == SQLITE_OK) {
    state_ = state;
    return absl::OkStatus();
  }
  const absl::Status error = refused.ok() ? Error(result, "commit") : refused;
  if (sqlite3_get_autocommit(db_) == 0 && Run("ROLLBACK") != SQLITE_OK) failed_ = true;
  // Whether what the disk has refused is there nevertheless, only a new descriptor can tell.
  if (error.code() == absl::StatusCode::kUnavailable || error.code() == absl::StatusCode::kDataLoss) failed_ = true;
  return error;
}

absl::Status SqliteJournal::Commit(std::span<const Edit> edits) {
  if (read_only_) {
    return absl::FailedPreconditionError("the journal has been written by a later version: it can only be read");
  }
  if (failed_) return absl::UnavailableError("the journal has failed: it must be opened again");
  if (absl::Status owned = CheckOwned(); !owned.ok()) return owned;
  if (edits.empty()) return absl::OkStatus();
  bool begins = false;
  for (const Edit& edit : edits) begins |= edit.what == Edit::What::kBegin;
  if (begins && !HasReserve()) {
    MakeReserve();
    if (!HasReserve()) {
      return absl::ResourceExhaustedError(
          "the disk of the journal is full: what has been kept free is for the jobs that run, to end");
    }
  }
  absl::Status status = Try(edits);
  // With a full log nothing can be written, not even that something has ended: deleting needs room, too.
  if (status.code() == absl::StatusCode::kResourceExhausted && !begins && HasReserve()) {
    GiveUpReserve();
    status = Try(edits);
  }
  if (status.ok()) CheckpointIfLarge();
  return status;
}

void SqliteJournal::CheckpointIfLarge() {
  if (log_pages_ < kLogPages) return;
  const int result = sqlite3_wal_checkpoint_v2(db_, nullptr, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
  if (result == SQLITE_OK) {
    log_pages_ = 0;
  } else if ((result & 0xff) != SQLITE_FULL) {
    failed_ = true;  // a flush has failed, and SQLite would try it again on the same descriptor
  }
}

// Written, not only promised: what a file system has promised it may need itself.
void SqliteJournal::MakeReserve() {
  if (options_.reserve_bytes == 0) return;
  const std::string path = Path("journal.reserve");
  const std::string draft = absl::StrCat(path, ".new");
  Step("reserve");
  const int fd = open(draft.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return;
  const bool made = posix_fallocate(fd, 0, static_cast<off_t>(options_.reserve_bytes)) == 0;
  close(fd);
  Step("reserve made");
  if (!made || rename(draft.c_str(), path.c_str()) != 0) unlink(draft.c_str());
}

void SqliteJournal::GiveUpReserve() {
  Step("give up reserve");
  unlink(Path("journal.reserve").c_str());
}

absl::StatusOr<std::optional<Record>> SqliteJournal::Find(const Key& key) {
  if (db_ == nullptr) return absl::UnavailableError("the journal has failed: it must be opened again");
  find_.Start() << std::string_view(key.object) << int64_t{static_cast<uint8_t>(key.slot)} << std::string_view(key.sub);
  const int step = find_.Step();
  absl::StatusOr<std::optional<Record>> found = std::optional<Record>();
  if (step == SQLITE_ROW) {
    const std::string_view bytes = find_.Text(3);
    absl::StatusOr<Record> record = Decode(bytes);
    if (record.ok()) {
      record->key = key;
      record->sequence = static_cast<uint64_t>(find_.Int(0));
      record->epoch = static_cast<uint64_t>(find_.Int(1));
      if (Checksum(*record, bytes) == static_cast<uint32_t>(find_.Int(2))) {
        found = std::optional<Record>(*std::move(record));
      } else {
        found = absl::DataLossError("the record's checksum does not match it");
      }
    } else {
      found = record.status();
    }
  } else if (step != SQLITE_DONE) {
    found = Error(step, "find");
  }
  find_.End();
  return found;
}

absl::StatusOr<LoadReport> SqliteJournal::Load() {
  if (db_ == nullptr) return absl::UnavailableError("the journal has failed: it must be opened again");
  LoadReport report{.journal_lost = lost_, .why_lost = why_lost_};
  Statement all;
  int result = all.Prepare(db_, "SELECT object, slot, sub, sequence, epoch, crc, bytes FROM record ORDER BY sequence");
  if (result != SQLITE_OK) return Error(result, "load");
  uint64_t count = 0;
  uint64_t sum = 0;
  while ((result = all.Step()) == SQLITE_ROW) {
    const Key key{
        .object = std::string(all.Text(0)), .slot = static_cast<Slot>(all.Int(1)), .sub = std::string(all.Text(2))};
    const auto sequence = static_cast<uint64_t>(all.Int(3));
    count += 1;
    sum += sequence;
    const std::string_view bytes = all.Text(6);
    Record stamped{.key = key};
    stamped.sequence = sequence;
    stamped.epoch = static_cast<uint64_t>(all.Int(4));
    if (Checksum(stamped, bytes) != static_cast<uint32_t>(all.Int(5))) {
      report.problems.push_back({key, "its checksum does not match it"});
      continue;
    }
    absl::StatusOr<Record> record = Decode(bytes);
    if (!record.ok()) {
      report.problems.push_back({key, std::string(record.status().message())});
      continue;
    }
    record->key = key;
    record->sequence = stamped.sequence;
    record->epoch = stamped.epoch;
    if (record->sequence > state_.last && !report.journal_lost) {
      report.journal_lost = true;
      report.why_lost = "there are records of transitions that have not happened";
    }
    report.records.push_back(*std::move(record));
  }
  if (result != SQLITE_DONE && !report.journal_lost) {
    report.journal_lost = true;
    report.why_lost = std::string(Error(result, "load").message());
  }
  if ((count != state_.count || sum != state_.sum) && !report.journal_lost) {
    report.journal_lost = true;
    report.why_lost = absl::StrCat("there are ", count, " records, and there were ", state_.count);
  }
  return report;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Journal>> OpenSqliteJournal(SqliteJournalOptions options) {
  // Before the database: who is refused has not touched it.
  absl::StatusOr<StateLock> lock = StateLock::Take(absl::StrCat(options.folder, "/journal.lock"));
  if (!lock.ok()) return lock.status();
  auto journal = std::make_unique<SqliteJournal>(std::move(options), *std::move(lock));
  if (absl::Status opened = journal->Open(); !opened.ok()) return opened;
  return journal;
}

}  // namespace jobcore::inline JOBCORE_ABI::journal
