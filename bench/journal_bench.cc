// SPDX-License-Identifier: Apache-2.0
//
// What does a durable transition cost, and how many of them share a flush? The control is what the disk asks for it:
// the same bytes appended to a file and flushed. Flushes are counted where they leave the program.

#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <string>
#include <vector>

#include "job-journal/journal_writer.h"
#include "job-journal/sqlite_journal.h"

namespace {
std::atomic<int64_t> flushes = 0;
}  // namespace

// SQLite's own calls come here: the program's names go before the C library's.
extern "C" int fdatasync(int fd) {
  flushes.fetch_add(1, std::memory_order_relaxed);
  return static_cast<int>(syscall(SYS_fdatasync, fd));
}
extern "C" int fsync(int fd) {
  flushes.fetch_add(1, std::memory_order_relaxed);
  return static_cast<int>(syscall(SYS_fsync, fd));
}

namespace {

using jobcore::journal::Edit;
using jobcore::journal::Journal;

class Folder {
 public:
  Folder() {
    std::string name = "journal_bench.XXXXXX";  // not in /tmp, which may be in memory
    if (mkdtemp(name.data()) == nullptr) abort();
    path_ = name;
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

Edit Transition(int object) {
  Edit edit;
  edit.record.key.object = "vm" + std::to_string(object);
  edit.record.owner_api = "backup-begin";
  edit.record.payload.assign(300, 'p');
  return edit;
}

void CountFlushes(benchmark::State& state, int64_t before, int64_t transitions) {
  state.counters["flushes_per_transition"] =
      static_cast<double>(flushes.load() - before) / static_cast<double>(transitions);
  state.SetItemsProcessed(transitions);
}

void BM_AppendAndFlush(benchmark::State& state) {
  const Folder folder;
  const int fd = open((folder.path() + "/log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  const std::string bytes(460, 'p');
  const int64_t before = flushes.load();
  for (auto _ : state) {
    if (write(fd, bytes.data(), bytes.size()) < 0 || fdatasync(fd) != 0) state.SkipWithError("write");
  }
  close(fd);
  CountFlushes(state, before, state.iterations());
}
BENCHMARK(BM_AppendAndFlush)->UseRealTime();

void BM_Commit(benchmark::State& state) {
  const Folder folder;
  auto journal = jobcore::journal::OpenSqliteJournal({.folder = folder.path()});
  if (!journal.ok()) return state.SkipWithError("open");
  const Edit edit = Transition(0);
  const int64_t before = flushes.load();
  for (auto _ : state) {
    if (!(*journal)->Commit({&edit, 1}).ok()) state.SkipWithError("commit");
  }
  CountFlushes(state, before, state.iterations());
}
BENCHMARK(BM_Commit)->UseRealTime();

// So many transitions come while the writer is at work.
void BM_CommitTogether(benchmark::State& state) {
  const Folder folder;
  auto journal = jobcore::journal::OpenSqliteJournal({.folder = folder.path()});
  if (!journal.ok()) return state.SkipWithError("open");
  const auto together = static_cast<int>(state.range(0));
  const int64_t before = flushes.load();
  {
    jobcore::journal::JournalWriter writer(**journal);
    for (auto _ : state) {
      for (int i = 1; i < together; ++i) writer.Submit({Transition(i)}, [](const absl::Status&) {});
      if (!writer.Commit({Transition(0)}).ok()) state.SkipWithError("commit");
    }
  }
  CountFlushes(state, before, state.iterations() * together);
}
BENCHMARK(BM_CommitTogether)->Arg(1)->Arg(8)->Arg(64)->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
