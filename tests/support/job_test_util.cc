// SPDX-License-Identifier: Apache-2.0

#include "support/job_test_util.h"

#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>
#include <thread>
#include <utility>

namespace jobcore {
namespace {

// The last resort against a hang that no deadline covers (a destructor that waits): ends the
// process.
constexpr unsigned kWatchdogSeconds = 100;

std::string Describe(const absl::Status& status) {
  return status.ok() ? "OK"
                     : std::string(absl::StatusCodeToString(status.code())) + ": " + std::string(status.message());
}

}  // namespace

// --- HookLog ---

int HookLog::NewDriver() {
  std::lock_guard<std::mutex> guard(mutex_);
  return drivers_++;
}

void HookLog::Add(int driver, std::string_view job, std::string_view hook) {
  EXPECT_EQ(internal::HeldJobMutex(), nullptr) << hook << " of " << job << " under job_mutex";
  const AioContext* context = AioContext::Current();
  std::lock_guard<std::mutex> guard(mutex_);
  entries_.push_back(
      {driver, std::string(job), std::string(hook), context != nullptr ? context->name() : "no context"});
}

std::vector<std::string> HookLog::Of(std::string_view job) const {
  std::lock_guard<std::mutex> guard(mutex_);
  std::vector<std::string> result;
  for (const Entry& e : entries_)
    if (e.job == job) result.push_back(e.hook);
  return result;
}

std::vector<std::string> HookLog::All(std::initializer_list<std::string_view> hooks) const {
  std::lock_guard<std::mutex> guard(mutex_);
  std::vector<std::string> result;
  for (const Entry& e : entries_)
    if (hooks.size() == 0 || std::find(hooks.begin(), hooks.end(), e.hook) != hooks.end())
      result.push_back(e.job + "." + e.hook);
  return result;
}

int HookLog::Count(std::string_view job, std::string_view hook) const {
  std::lock_guard<std::mutex> guard(mutex_);
  return static_cast<int>(
      std::count_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.job == job && e.hook == hook; }));
}

std::string HookLog::Where(std::string_view job, std::string_view hook) const {
  std::lock_guard<std::mutex> guard(mutex_);
  std::string result;
  for (const Entry& e : entries_)
    if (e.job == job && e.hook == hook) result = e.context;
  return result;
}

void HookLog::CheckProtocol() const {
  std::lock_guard<std::mutex> guard(mutex_);
  struct Seen {
    std::string job;
    std::vector<std::string> hooks;
  };
  std::map<int, Seen> drivers;
  for (const Entry& e : entries_) {
    drivers[e.driver].job = e.job;
    drivers[e.driver].hooks.push_back(e.hook);
  }
  EXPECT_EQ(drivers.size(), static_cast<size_t>(drivers_)) << "a driver has never been destroyed";
  for (const auto& [number, seen] : drivers) {
    const auto& hooks = seen.hooks;
    const auto count = [&](std::string_view hook) { return std::count(hooks.begin(), hooks.end(), hook); };
    const auto before = [&](std::string_view first, std::string_view second) {
      return std::find(hooks.begin(), hooks.end(), first) < std::find(hooks.begin(), hooks.end(), second);
    };
    SCOPED_TRACE("hooks of '" + seen.job + "': " + testing::PrintToString(hooks));
    EXPECT_EQ(count("~"), 1);
    EXPECT_EQ(hooks.back(), "~");
    if (hooks.size() == 1) continue;  // creation failed, or it was abandoned
    EXPECT_LE(count("Run"), 1);
    EXPECT_LE(count("Prepare"), 1);
    EXPECT_EQ(count("Commit") + count("Abort"), 1);
    EXPECT_EQ(count("Clean"), 1);
    EXPECT_EQ(count("Pause") - count("Pause threw"), count("Resume"));
    EXPECT_LE(count("CancelSoft"), 1);
    EXPECT_LE(count("CancelForce"), 1);
    EXPECT_TRUE(before(count("Commit") != 0 ? "Commit" : "Abort", "Clean"));
    EXPECT_TRUE(count("Commit") == 0 || before("Prepare", "Commit"));
    EXPECT_TRUE(count("Prepare") == 0 || before("Run", "Prepare"));
    EXPECT_TRUE(count("Run") != 0 || count("Pause") + count("Complete") + count("Change") + count("Prepare") == 0);
    // After Run, only the finalisation hooks.
    const auto finale = std::find_if(hooks.begin(), hooks.end(), [](const std::string& hook) {
      return hook == "Prepare" || hook == "Commit" || hook == "Abort" || hook == "Clean";
    });
    for (auto i = finale; i != hooks.end(); ++i)
      EXPECT_THAT(*i, testing::AnyOf("Prepare", "Commit", "Abort", "Clean", "~"));
  }
}

// --- ScriptedDriver ---

// At most one hook of a kind is in progress.
struct ScriptedDriver::InHook {
  InHook(ScriptedDriver& driver, std::atomic<int>& count, std::string_view hook) : count(count) {
    driver.log_.Add(driver.number_, driver.name_, hook);
    EXPECT_EQ(count.fetch_add(1), 0) << hook << " of " << driver.name_ << " beside another hook";
  }
  ~InHook() { count.fetch_sub(1); }
  InHook(const InHook&) = delete;
  InHook& operator=(const InHook&) = delete;
  std::atomic<int>& count;
};

ScriptedDriver::~ScriptedDriver() {
  log_.Add(number_, name_, "~");
  if (script_.destroyed) script_.destroyed();
}

Co<absl::Status> ScriptedDriver::Run(JobContext& job) {
  log_.Add(number_, name_, "Run");
  if (script_.run) co_return co_await script_.run(job);
  co_return absl::OkStatus();
}

Co<void> ScriptedDriver::Pause(JobContext& job) {
  InHook in(*this, in_gate_, "Pause");
  if (!script_.pause) co_return;
  try {
    co_await script_.pause(job);
  } catch (...) {
    log_.Add(number_, name_, "Pause threw");
    throw;
  }
}

Co<void> ScriptedDriver::Resume(JobContext& job) {
  InHook in(*this, in_gate_, "Resume");
  if (script_.resume) co_await script_.resume(job);
}

void ScriptedDriver::Cancel(JobContext& job, CancelMode mode) {
  log_.Add(number_, name_, mode == CancelMode::kSoft ? "CancelSoft" : "CancelForce");
  if (script_.cancel) script_.cancel(job, mode);
}

Co<absl::Status> ScriptedDriver::Complete(JobContext& job) {
  InHook in(*this, in_request_, "Complete");
  if (script_.complete) co_return co_await script_.complete(job);
  co_return absl::OkStatus();
}

Co<absl::Status> ScriptedDriver::Change(JobContext& job, const JobOptions& options) {
  if (!script_.change) co_return co_await JobDriver::Change(job, options);
  InHook in(*this, in_request_, "Change");
  co_return co_await script_.change(job, options);
}

Co<absl::Status> ScriptedDriver::Prepare() {
  InHook in(*this, in_finalisation_, "Prepare");
  if (script_.prepare) co_return co_await script_.prepare();
  co_return absl::OkStatus();
}

Co<absl::Status> ScriptedDriver::Commit() {
  InHook in(*this, in_finalisation_, "Commit");
  if (script_.commit) co_return co_await script_.commit();
  co_return absl::OkStatus();
}

Co<void> ScriptedDriver::Abort() {
  InHook in(*this, in_finalisation_, "Abort");
  if (script_.abort) co_await script_.abort();
}

Co<void> ScriptedDriver::Clean() {
  InHook in(*this, in_finalisation_, "Clean");
  if (script_.clean) co_await script_.clean();
}

// --- Remote ---

void Remote::Finish(Job& job, const absl::Status& status) {
  {
    std::lock_guard<std::mutex> guard(mutex_);
    code_ = status.code();
    message_ = std::string(status.message());
  }
  finish_.store(true);
  Enter(job);
}

absl::Status Remote::result() const {
  std::lock_guard<std::mutex> guard(mutex_);
  return absl::Status(code_, message_);
}

Co<absl::Status> Obey(JobContext& job, Remote& remote) {
  for (;;) {
    remote.CountTurn();
    if (remote.finishing()) co_return remote.result();
    if (absl::Status s = co_await job.Yield(); !s.ok()) co_return s;
    if (job.cancel_requested()) co_return absl::OkStatus();
  }
}

Script Obedient(std::shared_ptr<Remote> remote, std::optional<ReadyCapabilities> ready) {
  Script script;
  script.run = [remote, ready](JobContext& job) {
    if (ready) job.Ready(*ready);
    return Obey(job, *remote);
  };
  script.complete = [remote](JobContext& job) -> Co<absl::Status> {
    remote->Finish(job.job());
    co_return absl::OkStatus();
  };
  return script;
}

Script Returning(absl::Status status) {
  // Code and text, not the Status, which threads must not share.
  return {.run = [code = status.code(), text = std::string(status.message())](JobContext&) -> Co<absl::Status> {
    co_return absl::Status(code, text);
  }};
}

// --- Gate ---

Co<void> Gate::Pass() {
  reached_.fetch_add(1);
  Co<absl::Status> wait = AioWaitWhile(*context_, [this] { return !open_.load(); }, {.name = "gate of a test"});
  const absl::Status status = co_await std::move(wait);
  EXPECT_TRUE(status.ok()) << status;
}

void Gate::Open() {
  open_.store(true);
  context_->wait_domain().Kick();
}

// --- Replies ---

VerbReply Replies::Make(AioContext& context) {
  return VerbReply(context, [state = state_, &context](absl::Status status) {
    EXPECT_TRUE(context.IsHome());
    EXPECT_EQ(internal::HeldJobMutex(), nullptr);
    std::lock_guard<std::mutex> guard(state->mutex);
    state->answers.push_back(Describe(status));
  });
}

int Replies::count() const {
  std::lock_guard<std::mutex> guard(state_->mutex);
  return static_cast<int>(state_->answers.size());
}

std::vector<std::string> Replies::all() const {
  std::lock_guard<std::mutex> guard(state_->mutex);
  return state_->answers;
}

// --- TestWorld ---

TestWorld::TestWorld(Options options) : own_thread_(options.own_thread) {
  alarm(kWatchdogSeconds);
  for (int i = 0; i < options.io_threads; ++i)
    io_threads_.push_back(std::make_unique<IOThread>("io" + std::to_string(i)));
  JobCore::Options core_options;
  if (options.own_thread) core_options.main_loop = JobCore::MainLoop::kOwnThread;
  if (options.virtual_time) {
    AioContext::Options main_options;
    main_options.clock = &clock_;
    core_options.main_context = AioContext::Create(std::move(main_options));
  }
  core_options.event_capacity = options.event_capacity;
  core_options.unresponsive_after = options.unresponsive_after;
  core_options.history_count = options.history_count;
  core_options.history_age = options.history_age;
  core_ = std::make_unique<JobCore>(std::move(core_options));

  // Long before Patience runs out, and much longer than anything takes.
  constexpr std::chrono::seconds kStuck(5);
  monitor::Watchdog::Options watch;
  watch.callback = monitor::Watchdog::ToStderr();
  watch.wait_limit = watch.overdue_limit = watch.loop_limit = kStuck;
  watch.interval = std::chrono::seconds(1);
  watchdog_ = std::make_unique<monitor::Watchdog>(*core_, std::move(watch));
}

TestWorld::~TestWorld() {
  CheckEvents();
  for (const auto& gate : gates_) gate->Open();
  watchdog_.reset();
  core_.reset();
  io_threads_.clear();
  log_.CheckProtocol();
  alarm(0);
}

Gate& TestWorld::NewGate() {
  std::lock_guard<std::mutex> guard(gates_mutex_);
  gates_.push_back(std::make_unique<Gate>(main()));
  return *gates_.back();
}

std::unique_ptr<JobDriver> TestWorld::Driver(std::string name, Script script) {
  return std::make_unique<ScriptedDriver>(log_, std::move(name), std::move(script));
}

JobRef TestWorld::Create(JobSpec spec, Script script) {
  const std::string name = spec.internal ? "internal" : spec.id;
  absl::StatusOr<JobRef> job = CreateJob(core(), std::move(spec), Driver(name, std::move(script)));
  EXPECT_TRUE(job.ok()) << job.status();
  return *std::move(job);
}

JobRef TestWorld::Start(JobSpec spec, Script script) {
  JobRef job = Create(std::move(spec), std::move(script));
  const absl::Status started = StartJob(*job);
  EXPECT_TRUE(started.ok()) << started;
  return job;
}

bool TestWorld::RunUntil(absl::FunctionRef<bool()> done, std::string_view what) {
  const TimePoint deadline = Patience();
  while (!done()) {
    if (Clock::System().Now() > deadline) {
      ADD_FAILURE() << "waited in vain for: " << what;
      return false;
    }
    if (!own_thread_) main().RunOnce(false);
    if (own_thread_ || !io_threads_.empty()) std::this_thread::yield();
  }
  return true;
}

bool TestWorld::RunUntilStatus(const JobRef& job, std::string_view status) {
  const bool reached = RunUntil([&] { return Status(job) == status; }, job->id() + " becomes " + std::string(status));
  if (!reached) ADD_FAILURE() << job->id() << " is " << Status(job);
  return reached;
}

void TestWorld::Settle() {
  for (int round = 0; round < 12; ++round) {
    for (int i = 0; i < 4 && !own_thread_; ++i) main().RunOnce(false);
    std::vector<AioContext*> contexts;
    for (const auto& io : io_threads_) contexts.push_back(&io->context());
    if (own_thread_) contexts.push_back(&main());
    for (AioContext* context : contexts) {
      auto passed = std::make_shared<std::atomic<bool>>(false);
      context->Post("settle", [passed] { passed->store(true); });
      RunUntil([&] { return passed->load(); }, "a turn of " + context->name());
    }
  }
}

absl::Status TestWorld::Pause(const JobRef& job, std::string_view reason) {
  JobLock lock(core());
  return monitor::Pause(*job, reason);
}
absl::Status TestWorld::Resume(const JobRef& job, std::string_view reason) {
  JobLock lock(core());
  return monitor::Resume(*job, reason);
}
absl::Status TestWorld::Cancel(const JobRef& job, CancelMode mode) {
  JobLock lock(core());
  return monitor::Cancel(*job, mode);
}
absl::Status TestWorld::Complete(const JobRef& job, VerbReply reply) {
  JobLock lock(core());
  return monitor::Complete(*job, std::move(reply));
}
absl::Status TestWorld::Change(const JobRef& job, JobOptions options, VerbReply reply) {
  JobLock lock(core());
  return monitor::Change(*job, std::move(options), std::move(reply));
}
absl::Status TestWorld::SetSpeed(const JobRef& job, int64_t speed) {
  JobLock lock(core());
  return monitor::SetSpeed(*job, speed);
}
absl::Status TestWorld::Finalize(const JobRef& job, VerbReply reply) {
  JobLock lock(core());
  return monitor::Finalize(*job, std::move(reply));
}
absl::Status TestWorld::Dismiss(const JobRef& job) {
  JobLock lock(core());
  return monitor::Dismiss(*job);
}
bool TestWorld::Findable(std::string_view id) {
  JobLock lock(core());
  return monitor::Find(core(), id) != nullptr;
}
std::string TestWorld::Status(const JobRef& job) {
  JobLock lock(core());
  return std::string(JobStatusName(job->status()));
}
std::string TestWorld::Outcome(const JobRef& job) {
  JobLock lock(core());
  const JobOutcome* outcome = job->outcome();
  return outcome != nullptr ? outcome->ToString() : "";
}
monitor::JobInfo TestWorld::Query(const JobRef& job) {
  JobLock lock(core());
  return monitor::Query(*job);
}
uint64_t TestWorld::LastEvent() {
  JobLock lock(core());
  return core().last_event();
}

std::vector<JobEvent> TestWorld::ReadAll(EventCursor& cursor, uint64_t& lost) {
  std::vector<JobEvent> result;
  for (;;) {
    EventPage page;
    {
      JobLock lock(core());
      page = core().ReadEvents(cursor);
    }
    lost += page.lost;
    if (page.events.empty()) return result;
    for (JobEvent& e : page.events) result.push_back(std::move(e));
  }
}

std::vector<std::string> TestWorld::NewEvents() {
  std::vector<std::string> result;
  uint64_t lost = 0;
  for (const JobEvent& e : ReadAll(cursor_, lost)) {
    std::string text(JobStatusName(e.status));
    if (e.kind == JobEvent::Kind::kIoError) {
      text = "error " + std::string(IoOperationName(e.io_error->operation)) + " " +
             std::string(ErrorActionName(e.io_error->action));
    } else if (e.kind == JobEvent::Kind::kUnresponsive) {
      text = "unresponsive";
    }
    result.push_back(e.job_id + " " + text);
  }
  EXPECT_EQ(lost, 0u);
  return result;
}

std::vector<std::string> TestWorld::History(std::string_view id) {
  std::vector<std::string> result;
  EventCursor from_start;
  uint64_t lost = 0;
  for (const JobEvent& e : ReadAll(from_start, lost))
    if (e.job_id == id && e.kind == JobEvent::Kind::kStatus) result.emplace_back(JobStatusName(e.status));
  return result;
}

std::string TestWorld::EventOutcome(std::string_view id) {
  std::string result;
  EventCursor from_start;
  uint64_t lost = 0;
  for (const JobEvent& e : ReadAll(from_start, lost))
    if (e.job_id == id) result = e.outcome ? e.outcome->ToString() : "";
  return result;
}

void TestWorld::CheckEvents() {
  EventCursor from_start;
  uint64_t lost = 0;
  struct Last {
    JobStatus status;
    std::optional<JobOutcome> outcome;
  };
  std::map<uint64_t, Last> jobs;
  std::optional<uint64_t> sequence;
  for (const JobEvent& e : ReadAll(from_start, lost)) {
    SCOPED_TRACE("event " + std::to_string(e.sequence) + ": " + e.job_id + " " + ToString(e));
    EXPECT_EQ(e.sequence, sequence.value_or(e.sequence - 1) + 1);
    sequence = e.sequence;
    EXPECT_FALSE(e.job_id.empty());
    EXPECT_EQ(e.io_error.has_value(), e.kind == JobEvent::Kind::kIoError);
    EXPECT_EQ(e.waits_for.empty(), e.kind != JobEvent::Kind::kUnresponsive);
    const auto last = jobs.find(e.job_number);
    if (e.kind != JobEvent::Kind::kStatus) {  // nothing has changed
      if (last != jobs.end()) {
        EXPECT_EQ(e.status, last->second.status);
        EXPECT_EQ(e.outcome, last->second.outcome);
      } else {
        EXPECT_NE(lost, 0u);
      }
      continue;
    }
    if (last != jobs.end()) {
      EXPECT_TRUE(MayTransition(last->second.status, e.status)) << "after " << JobStatusName(last->second.status);
      EXPECT_TRUE(!last->second.outcome || e.outcome == last->second.outcome);
    } else if (lost == 0) {
      EXPECT_EQ(e.status, JobStatus::kCreated);
    }
    if (e.status == JobStatus::kAborting || e.status == JobStatus::kConcluded) {
      ASSERT_TRUE(e.outcome.has_value());
    } else if (e.status < JobStatus::kAborting) {
      EXPECT_FALSE(e.outcome.has_value());
    }
    EXPECT_TRUE(e.status != JobStatus::kAborting || !e.outcome->succeeded());
    jobs[e.job_number] = {e.status, e.outcome};
  }
}

void ExpectRefused(const absl::Status& status, std::string_view start, std::string_view id, absl::StatusCode code) {
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_THAT(std::string(status.message()), testing::StartsWith(std::string(start)));
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("'" + std::string(id) + "'"));
}

}  // namespace jobcore
