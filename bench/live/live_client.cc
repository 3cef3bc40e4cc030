// SPDX-License-Identifier: Apache-2.0
//
// What live_bench.py runs: foreground writers (foreground.h) on one of two disks, and what their writes took.
//
//   live_client jobcore --source=FILE --target=FILE --job=none|mirror|backup --writers=N …
//       The disk is a file node of ours, with a job on it: a mirror until it is READY, a backup until it has succeeded.
//   live_client nbd --socket=PATH --export=NAME --writers=N …
//       The disk is an export of another process. The job is the caller's business, who says "begin" and "end", a line
//       each, on the standard input.
//
//   --writers=N    0: there is no foreground
//   --rate=N       writes per second, of all writers together
//   --seconds=S    jobcore, --job=none: for how long it is measured
//   --engine=E     jobcore: threads or uring
//   --threads=N    jobcore: of the engine
//   --direct       jobcore: past the page cache
//
// Prints, as JSON, the seconds that the job took, and quantiles of the writes that began meanwhile. Nobody waits for
// the medium: flushes of the target do nothing, as on the other side.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "block/delay.h"
#include "job-common/io_engine.h"
#include "job-common/iothread.h"
#include "job-common/job_core.h"
#include "job-driver/block/backup.h"
#include "job-driver/block/file_node.h"
#include "job-driver/block/mirror.h"
#include "job-driver/block/node_edge.h"
#include "job-monitor/job_monitor.h"
#include "job-monitor/job_query.h"
#include "job-monitor/job_wait.h"
#include "live/foreground.h"
#include "live/nbd_disk.h"

namespace jobcore::bench {
namespace {

// Before it counts: memory is touched for the first time, threads are started.
constexpr Nanoseconds kWarmUp = std::chrono::milliseconds(200);

[[noreturn]] void Fail(const std::string& why) {
  std::fprintf(stderr, "live_client: %s\n", why.c_str());
  std::exit(1);
}

template <typename T>
T OrFail(absl::StatusOr<T> value) {
  if (!value.ok()) Fail(value.status().ToString());
  return *std::move(value);
}

class Arguments {
 public:
  Arguments(int argc, char** argv) {
    for (int i = 2; i < argc; ++i) {
      const std::string argument = argv[i];
      if (!argument.starts_with("--")) Fail(absl::StrCat("what is '", argument, "'?"));
      const size_t equals = std::min(argument.find('='), argument.size());
      values_[argument.substr(2, equals - 2)] = argument.substr(std::min(equals + 1, argument.size()));
    }
  }
  bool Has(const std::string& name) const { return values_.contains(name); }
  std::string Get(const std::string& name, std::string otherwise = "") const {
    const auto found = values_.find(name);
    return found != values_.end() ? found->second : std::move(otherwise);
  }
  double Number(const std::string& name, double otherwise) const {
    return Has(name) ? std::strtod(Get(name).c_str(), nullptr) : otherwise;
  }
  Foreground::Options foreground() const {
    Foreground::Options options;
    options.writers = static_cast<size_t>(Number("writers", 1));
    options.writes_per_second = Number("rate", options.writes_per_second);
    return options;
  }

 private:
  std::map<std::string, std::string> values_;
};

double Microseconds(Nanoseconds duration) { return static_cast<double>(duration.count()) / 1e3; }

void Print(const Foreground::Latencies& latencies, double job_seconds) {
  std::printf(
      "{\"job_s\": %.6f, \"writes\": %zu, \"seconds\": %.6f, \"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f}\n",
      job_seconds, latencies.sorted.size(), latencies.seconds, Microseconds(latencies.Quantile(0.5)),
      Microseconds(latencies.Quantile(0.99)), Microseconds(latencies.Quantile(1)));
}

// --- Ours ---

class NodeDisk final : public Disk {
 public:
  explicit NodeDisk(std::shared_ptr<block::Node> node)
      : size_(node->size()),
        edge_(OrFail(block::NodeEdge::Attach(std::move(node), {.user = "foreground", .writes = true}))) {}
  uint64_t size() const override { return size_; }
  Co<int> Write(size_t, uint64_t offset, std::span<const std::byte> data) override {
    return edge_->Write(offset, data);
  }

 private:
  const uint64_t size_;
  const std::unique_ptr<block::NodeEdge> edge_;
};

std::unique_ptr<IoEngine> MakeEngine(const Arguments& arguments) {
  const std::string name = arguments.Get("engine", "threads");
  const int threads = static_cast<int>(arguments.Number("threads", 2));
  if (name == "threads") return IoEngine::ThreadPool(threads);
  if (name == "uring") return OrFail(IoEngine::Uring(threads));
  Fail(absl::StrCat("no such engine: ", name));
}

std::shared_ptr<block::Node> OpenNode(JobCore& core, IoEngine& engine, const Arguments& arguments,
                                      const std::string& name, AioContext& context) {
  return OrFail(
      block::OpenFileNode(core, {.node = {.name = name, .context = context.shared_from_this(), .read_only = false},
                                 .filename = arguments.Get(name),
                                 .engine = &engine,
                                 .direct = arguments.Has("direct"),
                                 .no_flush = true}));
}

bool IsAt(const JobRef& job, JobStatus status) {
  const JobLock lock(job->core());
  return job->status() == status;
}

// Until a mirror is READY, or a backup has succeeded. Runs in the main context.
Co<void> RunJob(JobCore& core, const std::string& kind, std::shared_ptr<block::Node> source,
                std::shared_ptr<block::Node> target, Foreground& foreground, double& seconds) {
  const JobSpec spec = {.id = "job"};
  const TimePoint start = Clock::System().Now();
  foreground.BeginMeasuring();
  const auto finish = [&] {
    seconds = std::chrono::duration<double>(Clock::System().Now() - start).count();
    foreground.EndMeasuring();
  };
  if (kind == "mirror") {
    const block::MirrorOptions options = {.source = source, .target = target};
    absl::StatusOr<JobRef> created = co_await block::CreateMirror(core, spec, options);
    const JobRef job = OrFail(std::move(created));
    if (const absl::Status s = StartJob(*job); !s.ok()) Fail(s.ToString());
    const auto busy = [&job] { return !IsAt(job, JobStatus::kReady) && !IsAt(job, JobStatus::kNull); };
    (void)co_await AioWaitWhile(core, busy);
    finish();
    {
      const JobLock lock(core);
      if (const absl::Status s = monitor::Cancel(*job, CancelMode::kSoft); !s.ok()) Fail(s.ToString());
    }
    const absl::StatusOr<JobOutcome> outcome = co_await monitor::AwaitJob(job);
    if (!outcome.ok() || !outcome->succeeded()) Fail("the mirror failed");
  } else {
    const block::BackupOptions options = {.source = source, .target = target};
    absl::StatusOr<JobRef> created = co_await block::CreateBackup(core, spec, options);
    const JobRef job = OrFail(std::move(created));
    if (const absl::Status s = StartJob(*job); !s.ok()) Fail(s.ToString());
    const absl::StatusOr<JobOutcome> outcome = co_await monitor::AwaitJob(job);
    finish();
    if (!outcome.ok() || !outcome->succeeded()) Fail("the backup failed");
  }
}

Co<void> Measure(JobCore& core, const Arguments& arguments, std::shared_ptr<block::Node> source,
                 std::shared_ptr<block::Node> target, Foreground& foreground, double& seconds) {
  co_await block::Delay(kWarmUp);
  const std::string job = arguments.Get("job", "none");
  if (job == "none") {
    foreground.BeginMeasuring();
    const auto duration = std::chrono::duration<double>(arguments.Number("seconds", 1));
    co_await block::Delay(std::chrono::duration_cast<Nanoseconds>(duration));
    foreground.EndMeasuring();
  } else {
    co_await RunJob(core, job, std::move(source), std::move(target), foreground, seconds);
  }
  core.QuitMainLoop();
}

int RunJobcore(const Arguments& arguments) {
  const std::unique_ptr<IoEngine> engine = MakeEngine(arguments);
  IOThread jobs("jobs");
  JobCore core;
  Foreground foreground(arguments.foreground());
  std::shared_ptr<block::Node> source = OpenNode(core, *engine, arguments, "source", jobs.context());
  std::shared_ptr<block::Node> target = OpenNode(core, *engine, arguments, "target", jobs.context());
  double seconds = 0;
  Foreground::Latencies latencies;
  {
    NodeDisk disk(source);
    foreground.Start(disk);
    core.main_context().Post("measure",
                             [&] { Spawn("measure", Measure(core, arguments, source, target, foreground, seconds)); });
    core.RunMainLoop();
    latencies = foreground.Stop();
  }
  Print(latencies, seconds);
  return 0;
}

// --- Theirs ---

void Await(const std::string& word) {
  std::string line;
  if (!std::getline(std::cin, line) || line != word) Fail(absl::StrCat("expected '", word, "'"));
}

// Runs `function` in the foreground's thread, and waits for it.
template <typename F>
void Call(Foreground& foreground, F function) {
  std::atomic<bool> done{false};
  foreground.context().Post("call", [&] {
    function();
    done.store(true);
    done.notify_one();
  });
  done.wait(false);
}

int RunNbd(const Arguments& arguments) {
  const Foreground::Options options = arguments.foreground();
  Foreground foreground(options);
  NbdDisk disk(foreground.context(), arguments.Get("socket"), arguments.Get("export"), options.writers);
  Call(foreground, [&] { disk.Open(); });
  foreground.Start(disk);
  Await("begin");
  foreground.BeginMeasuring();
  Await("end");
  foreground.EndMeasuring();
  const Foreground::Latencies latencies = foreground.Stop();
  Call(foreground, [&] { disk.Close(); });
  Print(latencies, 0);
  return 0;
}

}  // namespace
}  // namespace jobcore::bench

int main(int argc, char** argv) {
  using namespace jobcore::bench;
  const std::string side = argc > 1 ? argv[1] : "";
  if (side == "jobcore") return RunJobcore(Arguments(argc, argv));
  if (side == "nbd") return RunNbd(Arguments(argc, argv));
  Fail("usage: live_client jobcore|nbd --NAME=VALUE…");
}
