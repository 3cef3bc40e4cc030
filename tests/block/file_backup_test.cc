// SPDX-License-Identifier: Apache-2.0
//
// Backups as jobs: what they copy, what they leave behind, and when.

#include "job-driver/block/file_backup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <future>
#include <map>
#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "block/child_process.h"
#include "block/manual_engine.h"
#include "block/test_files.h"
#include "job-common/io_engine.h"
#include "job-common/iothread.h"
#include "job-common/job_core.h"
#include "job-driver/job_driver.h"
#include "job-monitor/job_monitor.h"
#include "job-monitor/job_query.h"
#include "job-monitor/job_wait.h"

namespace jobcore {
namespace {

using jobcore_test::Exists;
using jobcore_test::InChild;
using jobcore_test::ManualEngine;
using jobcore_test::Pattern;
using jobcore_test::ReadFile;
using jobcore_test::Stat;
using jobcore_test::TempDir;
using jobcore_test::WriteFile;
using jobcore_test::WriteSparseFile;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Op = IoRequest::Op;

constexpr size_t kChunk = 8192;

// A core, two I/O threads, and shorthands.
class World {
 public:
  JobRef Create(std::string id, FileBackupOptions options, JobTxnBuilder* group = nullptr, bool auto_finalize = true) {
    auto driver = MakeFileBackup(std::move(options));
    EXPECT_TRUE(driver.ok()) << driver.status();
    if (!driver.ok()) return {};
    absl::StatusOr<JobRef> job = CreateJob(core_,
                                           {.id = std::move(id),
                                            .context = &(created_++ % 2 == 0 ? io0_ : io1_).context(),
                                            .group = group,
                                            .auto_finalize = auto_finalize},
                                           *std::move(driver));
    EXPECT_TRUE(job.ok()) << job.status();
    return *std::move(job);
  }
  JobRef Start(std::string id, FileBackupOptions options) {
    JobRef job = Create(std::move(id), std::move(options));
    EXPECT_TRUE(StartJob(*job).ok());
    return job;
  }
  JobOutcome Run(FileBackupOptions options) { return Outcome(Start("job", std::move(options))); }
  JobOutcome Outcome(const JobRef& job) {
    absl::StatusOr<JobOutcome> outcome = monitor::WaitFor(job);
    EXPECT_TRUE(outcome.ok()) << outcome.status();
    return outcome.ok() ? *std::move(outcome) : JobOutcome::Failed(outcome.status());
  }
  void AwaitStatus(const JobRef& job, JobStatus status) {
    ASSERT_TRUE(AioWaitWhileUnlocked(core_, [&] { return StatusOf(job) != status; }).ok());
  }
  JobStatus StatusOf(const JobRef& job) {
    JobLock lock(core_);
    return job->status();
  }
  // Until `context` has done what this thread has caused there so far.
  void PassThrough(AioContext& context) {
    std::promise<void> passed;
    context.Post("barrier", [&] { passed.set_value(); });
    passed.get_future().wait();
  }
  JobCore& core() { return core_; }

 private:
  IOThread io0_{"io0"};
  IOThread io1_{"io1"};
  JobCore core_;
  int created_ = 0;
};

void ExpectFailed(const JobOutcome& outcome, const std::vector<std::string>& parts) {
  EXPECT_EQ(outcome.kind, JobOutcome::Kind::kFailed) << outcome.ToString();
  for (const std::string& part : parts) EXPECT_THAT(outcome.message, HasSubstr(part));
}

void ExpectSameContent(const std::string& a, const std::string& b) {
  EXPECT_TRUE(ReadFile(a) == ReadFile(b)) << a << " and " << b << " differ";  // not printed: too long
}

class FileBackupTest : public ::testing::Test {
 protected:
  FileBackupOptions Options(IoEngine& engine, int in_flight = 2) {
    return {.source = source_, .target = target_, .in_flight = in_flight, .chunk_bytes = kChunk, .engine = &engine};
  }
  // Reads and writes only, for tests that count them or let them fail.
  FileBackupOptions ReadsAndWrites(IoEngine& engine, int in_flight = 2) {
    FileBackupOptions options = Options(engine, in_flight);
    options.copy_offload = false;
    return options;
  }
  // Nothing but the source is left.
  void ExpectNoTrace() { EXPECT_THAT(dir_.Names(), ElementsAre("source")); }

  const TempDir dir_;
  const std::string source_ = dir_.Path("source");
  const std::string target_ = dir_.Path("target");
};

// --- What is copied ---

struct ContentCase {
  const char* name;
  std::unique_ptr<IoEngine> (*make)(int threads);
  bool copy_offload;

  friend void PrintTo(const ContentCase& c, std::ostream* out) { *out << c.name; }
};

class FileBackupContentTest : public FileBackupTest, public ::testing::WithParamInterface<ContentCase> {
 protected:
  FileBackupOptions CaseOptions(int in_flight) {
    FileBackupOptions options = Options(*engine_, in_flight);
    options.copy_offload = GetParam().copy_offload;
    return options;
  }
  const std::unique_ptr<IoEngine> engine_ = GetParam().make(2);
};

INSTANTIATE_TEST_SUITE_P(Ways, FileBackupContentTest,
                         ::testing::Values(ContentCase{"BestEngineCopies", &IoEngine::Best, true},
                                           ContentCase{"BestEngineReadsAndWrites", &IoEngine::Best, false},
                                           ContentCase{"ThreadsCopy", &IoEngine::ThreadPool, true},
                                           ContentCase{"ThreadsReadAndWrite", &IoEngine::ThreadPool, false}),
                         [](const auto& info) { return info.param.name; });

TEST_P(FileBackupContentTest, IsEqualForSizesAroundTheChunks) {
  World world;
  for (const size_t size : {size_t{0}, size_t{1}, kChunk - 1, kChunk, kChunk + 1, 3 * kChunk + 17, 40 * kChunk}) {
    for (const int in_flight : {1, 3, 64}) {
      SCOPED_TRACE(absl::StrCat(size, " bytes, ", in_flight, " in flight"));
      WriteFile(source_, Pattern(size));
      EXPECT_TRUE(world.Run(CaseOptions(in_flight)).succeeded());
      ExpectSameContent(target_, source_);
      EXPECT_THAT(dir_.Names(), ElementsAre("source", "target"));
      ASSERT_EQ(unlink(target_.c_str()), 0);
    }
  }
}

TEST_P(FileBackupContentTest, HolesStayHoles) {
  World world;
  const struct {
    const char* name;
    uint64_t size;
    uint64_t distance;  // between islands
    uint64_t first;
    size_t island;
  } kCases[] = {
      {"nothing but a hole", uint64_t{64} << 20, uint64_t{1} << 40, uint64_t{1} << 40, 0},
      {"hole at the end", uint64_t{8} << 20, uint64_t{1} << 40, 0, 5000},
      {"hole at the beginning", (uint64_t{8} << 20) + 100, uint64_t{1} << 40, uint64_t{8} << 20, 100},
      {"many islands", uint64_t{64} << 20, 256 << 10, 100000, 4096},
      {"islands across chunks", uint64_t{4} << 20, 128 << 10, kChunk - 1000, 3 * kChunk},
  };
  for (const auto& c : kCases) {
    SCOPED_TRACE(c.name);
    std::vector<std::pair<uint64_t, std::string>> islands;
    uint64_t seed = 0;
    for (uint64_t at = c.first; at < c.size; at += c.distance) islands.emplace_back(at, Pattern(c.island, ++seed));
    WriteSparseFile(source_, c.size, islands);
    ASSERT_LT(Stat(source_).st_blocks * 512, static_cast<int64_t>(c.size)) << "no holes on this file system";

    JobRef job = world.Start("job", CaseOptions(4));
    EXPECT_TRUE(world.Outcome(job).succeeded());
    ExpectSameContent(target_, source_);
    EXPECT_EQ(Stat(target_).st_size, static_cast<int64_t>(c.size));
    EXPECT_LE(Stat(target_).st_blocks, Stat(source_).st_blocks);
    EXPECT_LE(job->progress().Get().current, static_cast<uint64_t>(Stat(source_).st_blocks) * 512);
    ASSERT_EQ(unlink(target_.c_str()), 0);
  }
}

TEST_F(FileBackupTest, ProgressCountsBytesOfDataOnly) {
  WriteSparseFile(source_, uint64_t{1} << 30, {{0, Pattern(2 * kChunk)}, {512 << 20, Pattern(kChunk)}});
  ManualEngine engine;
  engine.Hold();
  World world;
  JobRef job = world.Start("job", ReadsAndWrites(engine, 1));
  engine.AwaitQueued(1);
  EXPECT_EQ(job->progress().Get().current, 0u);
  EXPECT_EQ(job->progress().Get().total, 3 * kChunk);
  EXPECT_TRUE(job->progress().Get().total_known);
  for (uint64_t done = 1; done < 3; ++done) {
    engine.Step();  // read
    engine.AwaitQueued(1);
    engine.Step();          // write
    engine.AwaitQueued(1);  // the next read
    EXPECT_EQ(job->progress().Get().current, done * kChunk);
  }
  engine.Release();
  EXPECT_TRUE(world.Outcome(job).succeeded());
  EXPECT_EQ(job->progress().Get().current, 3 * kChunk);
  EXPECT_EQ(job->progress().Get().total, 3 * kChunk);
}

TEST_F(FileBackupTest, PermissionBitsAreCopiedWhateverTheUmask) {
  WriteFile(source_, "content");
  ASSERT_EQ(chmod(source_.c_str(), 04754), 0);
  const mode_t umask_before = umask(077);
  const std::unique_ptr<IoEngine> engine = IoEngine::ThreadPool(1);
  World world;
  EXPECT_TRUE(world.Run(Options(*engine)).succeeded());
  umask(umask_before);
  EXPECT_EQ(Stat(target_).st_mode & 07777, 0754u) << "but not the set-user-ID bit";
}

TEST_F(FileBackupTest, ForceReplacesTheTargetOrTheLinkThatIsThere) {
  WriteFile(source_, "new");
  WriteFile(target_, "old and longer");
  const std::string link = dir_.Path("link");
  const std::string pointed_at = dir_.Path("pointed-at");
  WriteFile(pointed_at, "kept");
  ASSERT_EQ(symlink("pointed-at", link.c_str()), 0);
  const std::unique_ptr<IoEngine> engine = IoEngine::ThreadPool(1);
  World world;
  FileBackupOptions options = Options(*engine);
  options.force = true;
  EXPECT_TRUE(world.Run(options).succeeded());
  options.target = link;
  EXPECT_TRUE(world.Run(options).succeeded());
  EXPECT_EQ(ReadFile(target_), "new");
  EXPECT_EQ(ReadFile(link), "new");
  EXPECT_FALSE(std::filesystem::is_symlink(link));
  EXPECT_EQ(ReadFile(pointed_at), "kept");
}

TEST_F(FileBackupTest, LongestPossibleNameWorks) {
  WriteFile(source_, "content");
  const std::unique_ptr<IoEngine> engine = IoEngine::ThreadPool(1);
  World world;
  FileBackupOptions options = Options(*engine);
  options.target = dir_.Path(std::string(255, 'x'));
  EXPECT_TRUE(world.Run(options).succeeded());
  EXPECT_EQ(ReadFile(options.target), "content");
}

TEST_F(FileBackupTest, TheKernelCopiesUnlessItIsToldNotTo) {
  WriteFile(source_, Pattern(9 * kChunk + 100));
  World world;
  for (const bool copy_offload : {true, false}) {
    SCOPED_TRACE(copy_offload);
    std::map<Op, int> ops;
    ManualEngine engine([&](const IoRequest& request) { return ++ops[request.op], 0; });
    FileBackupOptions options = Options(engine);
    options.copy_offload = copy_offload;
    EXPECT_TRUE(world.Run(options).succeeded());
    ExpectSameContent(target_, source_);
    EXPECT_EQ(ops[Op::kCopyRange], copy_offload ? 10 : 0);
    EXPECT_EQ(ops[Op::kRead], copy_offload ? 0 : 10);
    EXPECT_EQ(ops[Op::kWrite], copy_offload ? 0 : 10);
    ASSERT_EQ(unlink(target_.c_str()), 0);
  }
}

TEST_F(FileBackupTest, NobodyWaitsForWhatRunAsksFor) {
  WriteFile(source_, Pattern(9 * kChunk + 100));
  World world;
  for (const bool copy_offload : {true, false}) {
    std::vector<Op> in_foreground;
    ManualEngine engine([&](const IoRequest& request) {
      if (request.urgency == IoUrgency::kForeground) in_foreground.push_back(request.op);
      return 0;
    });
    FileBackupOptions options = Options(engine);
    options.copy_offload = copy_offload;
    EXPECT_TRUE(world.Run(options).succeeded());
    EXPECT_THAT(in_foreground, ElementsAre(Op::kDataSync, Op::kFileSync));
    ASSERT_EQ(unlink(target_.c_str()), 0);
  }
}

TEST_F(FileBackupTest, WhereTheKernelCannotCopyTheJobReadsAndWrites) {
  const uint64_t size = 20 * kChunk;
  WriteSparseFile(source_, size, {{0, Pattern(3 * kChunk)}, {8 * kChunk, Pattern(9 * kChunk + 77, 2)}});
  World world;
  for (const int error : {EXDEV, EINVAL, EOPNOTSUPP, ENOSYS, ETXTBSY, EPERM}) {
    for (const uint64_t first_refused : {uint64_t{0}, 2 * kChunk, 10 * kChunk}) {
      SCOPED_TRACE(absl::StrCat(error, " at ", first_refused));
      int refusals = 0;
      ManualEngine engine([&](const IoRequest& request) {
        if (request.op != Op::kCopyRange || request.offset < first_refused) return 0;
        ++refusals;
        return error;
      });
      JobRef job = world.Start("job", Options(engine, 1));
      EXPECT_TRUE(world.Outcome(job).succeeded());
      EXPECT_EQ(refusals, 1) << "not asked again";
      ExpectSameContent(target_, source_);
      EXPECT_LE(Stat(target_).st_blocks, Stat(source_).st_blocks);
      EXPECT_EQ(job->progress().Get().current, job->progress().Get().total);
      ASSERT_EQ(unlink(target_.c_str()), 0);
    }
  }
}

TEST_F(FileBackupTest, CopyThatStopsHalfwayIsContinuedByReadingAndWriting) {
  WriteFile(source_, Pattern(4 * kChunk));
  World world;
  for (const int error : {0, EIO}) {
    std::vector<uint64_t> reads;
    ManualEngine engine([&](const IoRequest& request) {
      if (request.op == Op::kRead) reads.push_back(request.offset);
      return 0;
    });
    engine.CutCopies(1000, error);
    JobRef job = world.Start("job", Options(engine, 1));
    EXPECT_TRUE(world.Outcome(job).succeeded());
    ExpectSameContent(target_, source_);
    EXPECT_EQ(job->progress().Get().current, 4 * kChunk);
    if (error == 0) {
      EXPECT_THAT(reads, ElementsAre(1000, kChunk + 1000, 2 * kChunk + 1000, 3 * kChunk + 1000));
    } else {
      EXPECT_THAT(reads, ElementsAre(1000, kChunk, 2 * kChunk, 3 * kChunk));
    }
    ASSERT_EQ(unlink(target_.c_str()), 0);
  }
}

TEST_F(FileBackupTest, TargetOnAnotherFileSystemGetsTheSameContent) {
  struct stat other;
  if (stat("/dev/shm", &other) != 0 || other.st_dev == Stat(dir_.path()).st_dev) GTEST_SKIP() << "no other file system";
  std::string elsewhere = "/dev/shm/jobcore-test-XXXXXX";
  if (mkdtemp(elsewhere.data()) == nullptr) GTEST_SKIP() << "may not write to the other file system";
  WriteSparseFile(source_, 40 * kChunk, {{5000, Pattern(9 * kChunk)}});
  World world;
  const std::unique_ptr<IoEngine> engine = IoEngine::Best(2);
  FileBackupOptions options = Options(*engine);
  options.target = elsewhere + "/target";
  EXPECT_TRUE(world.Run(options).succeeded());
  ExpectSameContent(options.target, source_);
  std::filesystem::remove_all(elsewhere);
}

// --- When it appears ---

TEST_F(FileBackupTest, TargetAppearsAtTheCommitAndNotBefore) {
  WriteFile(source_, Pattern(3 * kChunk));
  const std::unique_ptr<IoEngine> engine = IoEngine::ThreadPool(1);
  World world;
  JobRef job = world.Create("job", Options(*engine), nullptr, /*auto_finalize=*/false);
  ASSERT_TRUE(StartJob(*job).ok());
  world.AwaitStatus(job, JobStatus::kPending);
  EXPECT_FALSE(Exists(target_));
  std::string temporary;
  {
    JobLock lock(world.core());
    const monitor::JobInfo info = monitor::Query(*job);
    EXPECT_EQ(info.type, "backup");
    ASSERT_NE(info.details, nullptr);
    EXPECT_THAT(*info.details, ElementsAre(testing::Pair("source", source_), testing::Pair("target", target_),
                                           testing::Pair("temporary", HasSubstr("/.target.jobcore-"))));
    temporary = info.details->at(2).second;
    EXPECT_TRUE(monitor::Finalize(*job).ok());
  }
  ExpectSameContent(temporary, source_);
  EXPECT_TRUE(world.Outcome(job).succeeded());
  ExpectSameContent(target_, source_);
  EXPECT_FALSE(Exists(temporary));
}

TEST_F(FileBackupTest, TargetThatAppearsMeanwhileIsNotTouched) {
  WriteFile(source_, Pattern(kChunk));
  const std::unique_ptr<IoEngine> engine = IoEngine::ThreadPool(1);
  World world;
  JobRef job = world.Create("job", Options(*engine), nullptr, /*auto_finalize=*/false);
  ASSERT_TRUE(StartJob(*job).ok());
  world.AwaitStatus(job, JobStatus::kPending);
  WriteFile(target_, "somebody else's");
  {
    JobLock lock(world.core());
    EXPECT_TRUE(monitor::Finalize(*job).ok());
  }
  ExpectFailed(world.Outcome(job), {"target '" + target_ + "' has appeared meanwhile"});
  EXPECT_EQ(ReadFile(target_), "somebody else's");
  EXPECT_THAT(dir_.Names(), ElementsAre("source", "target"));
}

TEST_F(FileBackupTest, TargetThatAppearsInTheLastMomentIsNotReplacedEither) {
  WriteFile(source_, Pattern(kChunk));
  const std::unique_ptr<IoEngine> engine = IoEngine::ThreadPool(1);
  World world;
  // The other member of the group makes it after all have been prepared.
  class Intruder final : public JobDriver {
   public:
    explicit Intruder(std::string target) : target_(std::move(target)) {}
    Co<absl::Status> Run(JobContext&) override { co_return absl::OkStatus(); }
    Co<absl::Status> Commit() override {
      WriteFile(target_, "somebody else's");
      co_return absl::OkStatus();
    }
    const std::string target_;
  };
  JobTxnBuilder group(world.core());
  JobRef job = world.Create("job", Options(*engine), &group);
  JobRef intruder = *CreateJob(world.core(), {.id = "intruder", .group = &group}, std::make_unique<Intruder>(target_));
  ASSERT_TRUE(group.Seal().ok());
  ASSERT_TRUE(StartJob(*job).ok());
  ASSERT_TRUE(StartJob(*intruder).ok());
  ExpectFailed(world.Outcome(job), {target_, "File exists"});
  EXPECT_EQ(ReadFile(target_), "somebody else's");
  EXPECT_THAT(dir_.Names(), ElementsAre("source", "target"));
}

TEST_F(FileBackupTest, LostTemporaryFileFailsTheJob) {
  WriteFile(source_, Pattern(kChunk));
  const std::unique_ptr<IoEngine> engine = IoEngine::ThreadPool(1);
  World world;
  JobRef job = world.Create("job", Options(*engine), nullptr, /*auto_finalize=*/false);
  ASSERT_TRUE(StartJob(*job).ok());
  world.AwaitStatus(job, JobStatus::kPending);
  for (const std::string& name : dir_.Names()) {
    if (name != "source") {
      ASSERT_EQ(unlink(dir_.Path(name).c_str()), 0);
    }
  }
  {
    JobLock lock(world.core());
    EXPECT_TRUE(monitor::Finalize(*job).ok());
  }
  ExpectFailed(world.Outcome(job), {"lost the temporary file"});
  ExpectNoTrace();
}

// --- Groups ---

TEST_F(FileBackupTest, GroupAppearsTogetherOrNotAtAll) {
  WriteFile(source_, Pattern(5 * kChunk));
  World world;
  for (const bool fail : {false, true}) {
    SCOPED_TRACE(fail);
    const std::unique_ptr<IoEngine> good = IoEngine::ThreadPool(1);
    std::atomic<int> writes = 0;
    ManualEngine bad(
        [&](const IoRequest& request) { return fail && request.op == Op::kWrite && ++writes == 3 ? EIO : 0; });
    JobTxnBuilder group(world.core());
    std::vector<JobRef> jobs;
    for (int i = 0; i < 3; ++i) {
      FileBackupOptions options = Options(*good);
      if (i == 1) {
        options = ReadsAndWrites(bad);
      }
      options.target = dir_.Path(absl::StrCat("target", i));
      jobs.push_back(world.Create(absl::StrCat("job", i), options, &group));
    }
    ASSERT_TRUE(group.Seal().ok());
    bad.Hold();
    for (const JobRef& job : jobs) ASSERT_TRUE(StartJob(*job).ok());
    world.AwaitStatus(jobs[0], JobStatus::kWaiting);
    world.AwaitStatus(jobs[2], JobStatus::kWaiting);
    EXPECT_FALSE(Exists(dir_.Path("target0"))) << "too early";
    EXPECT_FALSE(Exists(dir_.Path("target2"))) << "too early";
    bad.Release();
    if (fail) {
      ExpectFailed(world.Outcome(jobs[1]), {"target1", "Input/output error"});
      EXPECT_EQ(world.Outcome(jobs[0]).kind, JobOutcome::Kind::kCancelled);
      EXPECT_EQ(world.Outcome(jobs[2]).kind, JobOutcome::Kind::kCancelled);
      ExpectNoTrace();
    } else {
      for (const JobRef& job : jobs) EXPECT_TRUE(world.Outcome(job).succeeded());
      EXPECT_THAT(dir_.Names(), ElementsAre("source", "target0", "target1", "target2"));
      for (int i = 0; i < 3; ++i) {
        ExpectSameContent(dir_.Path(absl::StrCat("target", i)), source_);
        unlink(dir_.Path(absl::StrCat("target", i)).c_str());
      }
    }
  }
}

TEST_F(FileBackupTest, MemberThatNeverStartedLeavesNoTrace) {
  WriteFile(source_, Pattern(kChunk));
  const std::unique_ptr<IoEngine> engine = IoEngine::ThreadPool(1);
  World world;
  JobRef job = world.Create("job", Options(*engine));
  EXPECT_EQ(monitor::CancelAll(world.core()), 1u);
  EXPECT_EQ(world.Outcome(job).kind, JobOutcome::Kind::kCancelled);
  ExpectNoTrace();
}

// --- Pause and cancel ---

TEST_F(FileBackupTest, PausedJobDoesNoIo) {
  WriteFile(source_, Pattern(9 * kChunk));
  ManualEngine engine;
  engine.Hold();
  World world;
  JobRef job = world.Start("job", ReadsAndWrites(engine, /*in_flight=*/2));
  engine.AwaitQueued(2);  // reads
  {
    JobLock lock(world.core());
    ASSERT_TRUE(monitor::Pause(*job).ok());
  }
  engine.Step();
  engine.AwaitQueued(2);  // writes: what has begun is brought to an end …
  engine.Step(1);
  world.PassThrough(job->context());
  EXPECT_EQ(world.StatusOf(job), JobStatus::kRunning) << "with a write in flight";
  engine.Step();
  world.AwaitStatus(job, JobStatus::kPaused);
  EXPECT_EQ(engine.queued(), 0u);
  EXPECT_EQ(engine.submitted(), 4u);  // … and nothing else has
  EXPECT_EQ(job->progress().Get().current, 2 * kChunk);
  {
    JobLock lock(world.core());
    ASSERT_TRUE(monitor::Resume(*job).ok());
  }
  engine.Release();
  EXPECT_TRUE(world.Outcome(job).succeeded());
  ExpectSameContent(target_, source_);
}

TEST_F(FileBackupTest, CancelInTheMiddleAwaitsWhatIsInFlightAndLeavesNothing) {
  WriteFile(source_, Pattern(9 * kChunk));
  World world;
  for (const bool paused : {false, true}) {
    SCOPED_TRACE(paused);
    ManualEngine engine;
    engine.Hold();
    JobRef job = world.Start("job", ReadsAndWrites(engine, 2));
    engine.AwaitQueued(2);
    if (paused) {
      {
        JobLock lock(world.core());
        ASSERT_TRUE(monitor::Pause(*job).ok());
      }
      engine.Step();
      engine.AwaitQueued(2);
      engine.Step();
      world.AwaitStatus(job, JobStatus::kPaused);
    }
    EXPECT_EQ(monitor::CancelAll(world.core()), 1u);
    engine.Release();
    EXPECT_EQ(world.Outcome(job).kind, JobOutcome::Kind::kCancelled);
    EXPECT_EQ(engine.submitted(), 4u) << "two reads, two writes";
    ExpectNoTrace();
  }
}

TEST_F(FileBackupTest, CancelWhilePendingLeavesNothing) {
  WriteFile(source_, Pattern(kChunk));
  const std::unique_ptr<IoEngine> engine = IoEngine::ThreadPool(1);
  World world;
  JobRef job = world.Create("job", Options(*engine), nullptr, /*auto_finalize=*/false);
  ASSERT_TRUE(StartJob(*job).ok());
  world.AwaitStatus(job, JobStatus::kPending);
  EXPECT_EQ(monitor::CancelAll(world.core()), 1u);
  EXPECT_EQ(world.Outcome(job).kind, JobOutcome::Kind::kCancelled);
  ExpectNoTrace();
}

// --- What goes wrong ---

TEST_F(FileBackupTest, FailedRequestIsNamedAndEndsTheJobWithoutTrace) {
  WriteFile(source_, Pattern(9 * kChunk));
  World world;
  const struct {
    Op op;
    uint64_t offset;
    int error;
    std::vector<std::string> message;
  } kCases[] = {
      {Op::kRead, 3 * kChunk, EIO, {"cannot read '" + source_ + "' at offset 24576: Input/output error"}},
      {Op::kWrite, 0, ENOSPC, {"cannot write '" + target_ + "' at offset 0: No space left on device"}},
      {Op::kWrite, 8 * kChunk, EDQUOT, {"cannot write '" + target_ + "' at offset 65536: Disk quota exceeded"}},
      {Op::kDataSync, 0, EIO, {"cannot sync '" + target_ + "': Input/output error"}},
  };
  for (const auto& c : kCases) {
    for (const int in_flight : {1, 4}) {
      SCOPED_TRACE(c.message[0]);
      ManualEngine engine(
          [&](const IoRequest& request) { return request.op == c.op && request.offset == c.offset ? c.error : 0; });
      ExpectFailed(world.Run(ReadsAndWrites(engine, in_flight)), c.message);
      EXPECT_EQ(engine.queued(), 0u);
      ExpectNoTrace();
    }
  }
}

TEST_F(FileBackupTest, TheDirectoryIsSyncedWhileTheMainLoopGoesOn) {
  WriteFile(source_, Pattern(kChunk));
  World world;
  for (const int error : {0, EINVAL, EIO}) {
    SCOPED_TRACE(error);
    ManualEngine engine([&](const IoRequest& request) { return request.op == Op::kFileSync ? error : 0; });
    JobRef job = world.Create("job", ReadsAndWrites(engine), nullptr, /*auto_finalize=*/false);
    ASSERT_TRUE(StartJob(*job).ok());
    world.AwaitStatus(job, JobStatus::kPending);
    engine.Hold();
    {
      JobLock lock(world.core());
      EXPECT_TRUE(monitor::Finalize(*job).ok());
    }
    const auto run_until_queued = [&] {
      while (engine.queued() == 0) world.core().main_context().RunOnce(true);
    };
    run_until_queued();  // the data
    EXPECT_FALSE(Exists(target_));
    engine.Step();
    run_until_queued();  // the directory
    EXPECT_TRUE(Exists(target_));
    EXPECT_EQ(world.StatusOf(job), JobStatus::kPending);
    engine.Release();
    if (error == EIO) {
      ExpectFailed(world.Outcome(job), {"target is in place, but may not outlive a power failure: '" + target_});
    } else {
      EXPECT_TRUE(world.Outcome(job).succeeded());
    }
    ExpectSameContent(target_, source_);
    ASSERT_EQ(unlink(target_.c_str()), 0);
  }
}

TEST_F(FileBackupTest, SourceThatShrinksFailsTheJobThatTheKernelCopiesToo) {
  WriteFile(source_, Pattern(9 * kChunk));
  ManualEngine engine;
  engine.Hold();
  World world;
  JobRef job = world.Start("job", Options(engine, 1));
  engine.AwaitQueued(1);
  engine.Step();
  engine.AwaitQueued(1);  // the second copy
  ASSERT_EQ(truncate(source_.c_str(), kChunk + 10), 0);
  engine.Release();
  ExpectFailed(world.Outcome(job),
               {"source '" + source_ + "' has shrunk while it was being copied: only 0 of 8182 bytes at offset 8202"});
  ExpectNoTrace();
}

TEST_F(FileBackupTest, PausedJobLetsTheKernelCopyNothing) {
  WriteFile(source_, Pattern(9 * kChunk));
  ManualEngine engine;
  engine.Hold();
  World world;
  JobRef job = world.Start("job", Options(engine, 2));
  engine.AwaitQueued(2);
  {
    JobLock lock(world.core());
    ASSERT_TRUE(monitor::Pause(*job).ok());
  }
  engine.Step();
  world.AwaitStatus(job, JobStatus::kPaused);
  EXPECT_EQ(engine.queued(), 0u);
  EXPECT_EQ(engine.submitted(), 2u);
  EXPECT_EQ(job->progress().Get().current, 2 * kChunk);
  EXPECT_EQ(monitor::CancelAll(world.core()), 1u);
  engine.Release();
  EXPECT_EQ(world.Outcome(job).kind, JobOutcome::Kind::kCancelled);
  EXPECT_EQ(engine.submitted(), 2u);
  ExpectNoTrace();
}

// --- Durability ---

TEST_F(FileBackupTest, WritebackBeginsWithEachChunkAndTheRestIsSyncedAtTheEnd) {
  WriteFile(source_, Pattern(3 * kChunk + 100));
  World world;
  for (const bool copy_offload : {true, false}) {
    SCOPED_TRACE(copy_offload);
    std::vector<std::pair<uint64_t, size_t>> begun;
    std::map<Op, int> ops;
    ManualEngine engine([&](const IoRequest& request) {
      if (request.op == Op::kWriteback) {
        begun.emplace_back(request.offset, request.size);
        EXPECT_EQ(ops[Op::kDataSync], 0);
      }
      return ++ops[request.op], 0;
    });
    FileBackupOptions options = Options(engine, 1);
    options.copy_offload = copy_offload;
    EXPECT_TRUE(world.Run(options).succeeded());
    ExpectSameContent(target_, source_);
    EXPECT_THAT(begun, ElementsAre(testing::Pair(0, kChunk), testing::Pair(kChunk, kChunk),
                                   testing::Pair(2 * kChunk, kChunk), testing::Pair(3 * kChunk, 100)));
    EXPECT_EQ(ops[Op::kDataSync], 1);
    EXPECT_EQ(ops[Op::kFileSync], 1);
    ASSERT_EQ(unlink(target_.c_str()), 0);
  }
}

TEST_F(FileBackupTest, WhatIsBehindTheWindowIsTakenOutOfThePageCache) {
  constexpr size_t kLong = size_t{1} << 20;
  WriteFile(source_, Pattern(FileBackupOptions::kSyncWindow + 2 * kLong + 100));
  World world;
  for (const bool copy_offload : {true, false}) {
    SCOPED_TRACE(copy_offload);
    uint64_t begun = 0;
    std::vector<std::pair<uint64_t, size_t>> evicted;
    std::map<Op, int> ops;
    ManualEngine engine([&](const IoRequest& request) {
      if (request.op == Op::kWriteback) begun = request.offset + request.size;
      if (request.op == Op::kEvict) {
        evicted.emplace_back(request.offset, request.size);
        EXPECT_GE(begun, request.offset + request.size + FileBackupOptions::kSyncWindow);
      }
      return ++ops[request.op], 0;
    });
    FileBackupOptions options = Options(engine, 1);
    options.chunk_bytes = kLong;
    options.copy_offload = copy_offload;
    EXPECT_TRUE(world.Run(options).succeeded());
    ExpectSameContent(target_, source_);
    EXPECT_THAT(evicted, ElementsAre(testing::Pair(0, kLong), testing::Pair(kLong, kLong)));
    EXPECT_EQ(ops[Op::kDataSync], 1);
    ASSERT_EQ(unlink(target_.c_str()), 0);
  }
}

// Each open file description is told once of an error of writing.
TEST_F(FileBackupTest, AdviceCannotHideAnErrorFromTheSync) {
  WriteFile(source_, Pattern(2 * kChunk));
  std::map<Op, int> fds;
  ManualEngine engine([&](const IoRequest& request) {
    fds[request.op] = request.op == Op::kCopyRange ? request.to_fd : request.fd;
    if (request.op == Op::kWriteback) {
      struct stat copied;
      struct stat advised;
      EXPECT_EQ(fstat(fds[Op::kCopyRange], &copied), 0);
      EXPECT_EQ(fstat(request.fd, &advised), 0);
      EXPECT_EQ(copied.st_ino, advised.st_ino);
    }
    return 0;
  });
  World world;
  EXPECT_TRUE(world.Run(Options(engine, 1)).succeeded());
  EXPECT_EQ(fds[Op::kDataSync], fds[Op::kCopyRange]);
  EXPECT_NE(fds[Op::kWriteback], fds[Op::kDataSync]);
}

TEST_F(FileBackupTest, WithoutSyncNothingWaitsForTheMedium) {
  WriteFile(source_, Pattern(3 * kChunk));
  std::map<Op, int> ops;
  ManualEngine engine([&](const IoRequest& request) { return ++ops[request.op], 0; });
  World world;
  FileBackupOptions options = Options(engine);
  options.sync = false;
  EXPECT_TRUE(world.Run(options).succeeded());
  ExpectSameContent(target_, source_);
  EXPECT_THAT(dir_.Names(), ElementsAre("source", "target"));
  EXPECT_THAT(ops, ElementsAre(testing::Pair(Op::kCopyRange, 3)));
}

TEST_F(FileBackupTest, WhereWritebackCannotBeginEarlyTheEndIsEnough) {
  WriteFile(source_, Pattern(5 * kChunk));
  World world;
  for (const int error : {ENOSYS, EINVAL, EOPNOTSUPP, EPERM, ESPIPE, EAGAIN, ENOMEM, EBADF}) {
    SCOPED_TRACE(error);
    std::map<Op, int> ops;
    ManualEngine engine([&](const IoRequest& request) {
      ++ops[request.op];
      return request.op == Op::kWriteback ? error : 0;
    });
    EXPECT_TRUE(world.Run(Options(engine, 1)).succeeded());
    EXPECT_EQ(ops[Op::kWriteback], 1) << "not asked again";
    EXPECT_EQ(ops[Op::kDataSync], 1);
    ExpectSameContent(target_, source_);
    ASSERT_EQ(unlink(target_.c_str()), 0);
  }
}

TEST_F(FileBackupTest, WhereNothingCanBeEvictedTheEndIsEnough) {
  constexpr size_t kLong = size_t{1} << 20;
  WriteFile(source_, Pattern(FileBackupOptions::kSyncWindow + 3 * kLong));
  World world;
  std::map<Op, int> ops;
  ManualEngine engine([&](const IoRequest& request) {
    ++ops[request.op];
    return request.op == Op::kEvict ? EAGAIN : 0;
  });
  FileBackupOptions options = Options(engine, 1);
  options.chunk_bytes = kLong;
  EXPECT_TRUE(world.Run(options).succeeded());
  EXPECT_EQ(ops[Op::kEvict], 1) << "not asked again";
  EXPECT_EQ(ops[Op::kDataSync], 1);
  ExpectSameContent(target_, source_);
}

TEST_F(FileBackupTest, WritingThatIsFoundToHaveFailedByAnEvictionFailsTheJob) {
  constexpr size_t kLong = size_t{1} << 20;
  WriteFile(source_, Pattern(FileBackupOptions::kSyncWindow + 5 * kLong));
  World world;
  for (const int error : {EIO, ENOSPC, EDQUOT}) {
    std::map<Op, int> ops;
    ManualEngine engine([&](const IoRequest& request) {
      ++ops[request.op];
      return request.op == Op::kEvict && request.offset == kLong ? error : 0;
    });
    FileBackupOptions options = Options(engine, 1);
    options.chunk_bytes = kLong;
    ExpectFailed(world.Run(options), {"cannot write '" + target_ + "' at offset 1048576: "});
    EXPECT_EQ(ops[Op::kEvict], 2);
    EXPECT_EQ(ops[Op::kCopyRange], FileBackupOptions::kSyncWindow / kLong + 2) << "and nothing more is copied";
    EXPECT_EQ(ops[Op::kDataSync], 0);
    ExpectNoTrace();
  }
}

TEST_F(FileBackupTest, WritebackThatFailsFailsTheJob) {
  WriteFile(source_, Pattern(5 * kChunk));
  World world;
  for (const int error : {EIO, ENOSPC, EDQUOT}) {
    std::map<Op, int> ops;
    ManualEngine engine([&](const IoRequest& request) {
      ++ops[request.op];
      return request.op == Op::kWriteback && request.offset == kChunk ? error : 0;
    });
    ExpectFailed(world.Run(Options(engine, 1)), {"cannot write '" + target_ + "' at offset 8192: "});
    EXPECT_EQ(ops[Op::kCopyRange], 2) << "and nothing more is copied";
    EXPECT_EQ(ops[Op::kDataSync], 0);
    ExpectNoTrace();
  }
}

TEST_F(FileBackupTest, PausedJobHasNoWritebackRequestInFlight) {
  WriteFile(source_, Pattern(5 * kChunk));
  ManualEngine engine;
  engine.HoldWritebackToo();
  engine.Hold();
  World world;
  JobRef job = world.Start("job", Options(engine, 1));
  engine.AwaitQueued(1);
  engine.Step();  // the copy of the first chunk
  engine.AwaitQueued(1);
  EXPECT_EQ(job->progress().Get().current, kChunk);
  {
    JobLock lock(world.core());
    ASSERT_TRUE(monitor::Pause(*job).ok());
  }
  EXPECT_EQ(world.StatusOf(job), JobStatus::kRunning);
  engine.Step();  // its writeback
  world.AwaitStatus(job, JobStatus::kPaused);
  EXPECT_EQ(engine.queued(), 0u);
  EXPECT_EQ(engine.submitted(), 2u);
  {
    JobLock lock(world.core());
    ASSERT_TRUE(monitor::Resume(*job).ok());
  }
  engine.Release();
  EXPECT_TRUE(world.Outcome(job).succeeded());
  ExpectSameContent(target_, source_);
}

TEST_F(FileBackupTest, NoRequestIsMadeAfterTheFirstFailure) {
  WriteFile(source_, Pattern(100 * kChunk));
  ManualEngine engine([](const IoRequest& request) { return request.op == Op::kRead ? EIO : 0; });
  World world;
  engine.Hold();
  JobRef job = world.Start("job", ReadsAndWrites(engine, 3));
  engine.AwaitQueued(3);
  engine.Release();
  ExpectFailed(world.Outcome(job), {"cannot read"});
  EXPECT_EQ(engine.submitted(), 3u);
}

TEST_F(FileBackupTest, SourceThatShrinksFailsTheJob) {
  WriteFile(source_, Pattern(9 * kChunk));
  ManualEngine engine;
  engine.Hold();
  World world;
  JobRef job = world.Start("job", ReadsAndWrites(engine, 2));
  engine.AwaitQueued(2);
  ASSERT_EQ(truncate(source_.c_str(), kChunk + 10), 0);
  engine.Step();  // so that these two come before all others
  engine.Release();
  ExpectFailed(world.Outcome(job),
               {"source '" + source_ + "' has shrunk while it was being copied: only 10 of 8192 bytes at offset 8192"});
  ExpectNoTrace();
}

TEST_F(FileBackupTest, SourceThatGrowsFailsTheJob) {
  WriteFile(source_, Pattern(2 * kChunk));
  ManualEngine engine;
  engine.Hold();
  World world;
  JobRef job = world.Start("job", ReadsAndWrites(engine, 2));
  engine.AwaitQueued(2);
  std::ofstream(source_, std::ios::app) << "more";
  engine.Release();
  ExpectFailed(world.Outcome(job),
               {"source '" + source_ + "' has grown while it was being copied: from 16384 to 16388 bytes"});
  ExpectNoTrace();
}

TEST_F(FileBackupTest, SourceThatIsModifiedFailsTheJob) {
  WriteFile(source_, Pattern(2 * kChunk));
  const timespec old[2] = {{1000, 0}, {1000, 0}};
  ASSERT_EQ(utimensat(AT_FDCWD, source_.c_str(), old, 0), 0);
  ManualEngine engine;
  engine.Hold();
  World world;
  JobRef job = world.Start("job", ReadsAndWrites(engine, 2));
  engine.AwaitQueued(2);
  WriteSparseFile(dir_.Path("other"), 0, {});  // what is modified elsewhere does not matter
  unlink(dir_.Path("other").c_str());
  std::fstream(source_, std::ios::in | std::ios::out) << "changed";
  engine.Release();
  ExpectFailed(world.Outcome(job), {"source '" + source_ + "' has been modified while it was being copied"});
  ExpectNoTrace();
}

TEST_F(FileBackupTest, FullFileSystemFailsTheGroupWithoutTrace) {
  WriteFile(source_, Pattern(700 << 10));
  const std::string small = dir_.Path("small");
  ASSERT_EQ(mkdir(small.c_str(), 0755), 0);
  const bool ran = InChild([&] {
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("tmpfs", small.c_str(), "tmpfs", 0, "size=1m") != 0) {
      return false;
    }
    const std::unique_ptr<IoEngine> engine = IoEngine::ThreadPool(2);
    World world;
    // There is room for each, but not for both.
    JobTxnBuilder group(world.core());
    std::vector<JobRef> jobs;
    for (int i = 0; i < 2; ++i) {
      FileBackupOptions options = Options(*engine);
      options.target = absl::StrCat(small, "/target", i);
      jobs.push_back(world.Create(absl::StrCat("job", i), options, &group));
    }
    EXPECT_TRUE(group.Seal().ok());
    for (const JobRef& job : jobs) EXPECT_TRUE(StartJob(*job).ok());
    std::string messages;
    for (const JobRef& job : jobs) {
      const JobOutcome outcome = world.Outcome(job);
      EXPECT_FALSE(outcome.succeeded());
      messages += outcome.ToString() + "\n";
    }
    EXPECT_THAT(messages, HasSubstr("cannot write '" + small + "/target"));
    EXPECT_THAT(messages, HasSubstr("No space left on device"));
    EXPECT_TRUE(std::filesystem::is_empty(small));
    return true;
  });
  if (!ran && !HasFailure()) GTEST_SKIP() << "may not mount";
}

TEST_F(FileBackupTest, FileSizeLimitFailsTheJobWithoutTrace) {
  WriteFile(source_, Pattern(9 * kChunk));
  EXPECT_TRUE(InChild([&] {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{3 * kChunk, 3 * kChunk};
    setrlimit(RLIMIT_FSIZE, &limit);
    const std::unique_ptr<IoEngine> engine = IoEngine::ThreadPool(2);
    World world;
    ExpectFailed(world.Run(Options(*engine)),
                 {"cannot extend target '" + target_ + "' at offset 73728: File too large"});
    return true;
  }));
  ExpectNoTrace();
}

TEST_F(FileBackupTest, DirectoryMayBeRenamedMeanwhile) {
  WriteFile(source_, Pattern(kChunk));
  const std::unique_ptr<IoEngine> engine = IoEngine::ThreadPool(1);
  World world;
  for (const bool cancel : {true, false}) {
    ASSERT_EQ(mkdir(dir_.Path("before").c_str(), 0755), 0);
    FileBackupOptions options = Options(*engine);
    options.target = dir_.Path("before/target");
    JobRef job = world.Create("job", options, nullptr, /*auto_finalize=*/false);
    ASSERT_TRUE(StartJob(*job).ok());
    world.AwaitStatus(job, JobStatus::kPending);
    ASSERT_EQ(rename(dir_.Path("before").c_str(), dir_.Path("after").c_str()), 0);
    if (cancel) {
      monitor::CancelAll(world.core());
      EXPECT_EQ(world.Outcome(job).kind, JobOutcome::Kind::kCancelled);
      EXPECT_THAT(std::filesystem::is_empty(dir_.Path("after")), true);
      ASSERT_EQ(rmdir(dir_.Path("after").c_str()), 0);
    } else {
      {
        JobLock lock(world.core());
        EXPECT_TRUE(monitor::Finalize(*job).ok());
      }
      EXPECT_TRUE(world.Outcome(job).succeeded());
      ExpectSameContent(dir_.Path("after/target"), source_);
    }
  }
}

}  // namespace
}  // namespace jobcore
