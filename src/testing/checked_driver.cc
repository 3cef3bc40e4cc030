// SPDX-License-Identifier: Apache-2.0
//
// The rules as they show in the hooks of a driver.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "job-common/coroutine.h"
#include "job-common/job_mutex.h"
#include "job-monitor/job_query.h"
#include "testing/checker_state.h"

namespace jobcore::inline JOBCORE_ABI::testing {
namespace {

using State = JobChecker::State;

class CheckedDriver final : public JobDriver {
 public:
  CheckedDriver(std::shared_ptr<State> state, std::shared_ptr<WatchedHooks> hooks, std::unique_ptr<JobDriver> driver)
      : state_(std::move(state)), h_(std::move(hooks)), driver_(std::move(driver)) {}

  ~CheckedDriver() override {
    {
      const std::scoped_lock own(state_->mutex);
      if (internal::HeldJobMutex() != nullptr) {
        state_->Broken(absl::StrCat("the driver of job '", h_->id, "' is destroyed under the mutex"));
      }
      const bool begun = h_->run || h_->prepare || h_->commit || h_->abort;
      if (begun && !h_->clean) Wrong("destructor", "before Clean");
      if (h_->in_end || h_->in_request || (h_->run && !h_->run_ended)) Wrong("destructor", "in a hook");
      h_->destroyed = true;
    }
    driver_.reset();
  }

  std::string_view type() const override { return driver_->type(); }

  // --- In the job's context ---

  Co<absl::Status> Run(JobContext& job) override {
    Inside("Run", job, [&] {
      if (std::exchange(h_->run, true)) Wrong("Run", "twice");
      if (h_->in_gate) Wrong("Run", "while it is paused");
    });
    NotParked("Run", job);
    const Ended ended{*this, h_->run_ended};
    co_return co_await driver_->Run(job);
  }

  Co<void> Pause(JobContext& job) override {
    Inside("Pause", job, [&] {
      InRun("Pause");
      if (std::exchange(h_->in_gate, true)) Wrong("Pause", "twice, without Resume");
    });
    NotParked("Pause", job);
    bool threw = true;
    const LeftGate left{*this, threw};
    co_await driver_->Pause(job);
    threw = false;
  }

  Co<void> Resume(JobContext& job) override {
    Inside("Resume", job, [&] {
      InRun("Resume");
      if (!h_->in_gate || std::exchange(h_->in_resume, true)) Wrong("Resume", "without Pause");
    });
    NotParked("Resume", job);
    const bool over = true;
    const LeftGate left{*this, over};
    co_await driver_->Resume(job);
  }

  void Cancel(JobContext& job, CancelMode mode) override {
    Inside("Cancel", job, [&] {
      InRun("Cancel");
      bool& told = mode == CancelMode::kForce ? h_->force_cancel : h_->soft_cancel;
      if (std::exchange(told, true)) Wrong("Cancel", "twice in one mode");
    });
    driver_->Cancel(job, mode);
  }

  Co<absl::Status> Complete(JobContext& job) override {
    Inside("Complete", job, [&] {
      InRun("Complete");
      BeginRequest("Complete");
    });
    {
      JobLock lock(state_->core);
      const JobStatus status = job.job().status();
      if (status != JobStatus::kReady && status != JobStatus::kStandby) Wrong("Complete", "while it is not ready");
    }
    const Request request{*this};
    co_return co_await driver_->Complete(job);
  }

  Co<absl::Status> Change(JobContext& job, const JobOptions& options) override {
    Inside("Change", job, [&] {
      InRun("Change");
      BeginRequest("Change");
    });
    const Request request{*this};
    co_return co_await driver_->Change(job, options);
  }

  // --- In the main context ---

  Co<absl::Status> Prepare() override {
    AtEnd("Prepare", [&] {
      if (std::exchange(h_->prepare, true)) Wrong("Prepare", "twice");
      if (!h_->run_ended) Wrong("Prepare", "before the end of Run");
      if (h_->commit || h_->abort) Wrong("Prepare", "after the cut");
    });
    const End end{*this};
    absl::Status status = co_await driver_->Prepare();
    const std::scoped_lock own(state_->mutex);
    h_->prepared = status.ok();
    co_return status;
  }

  Co<absl::Status> Commit() override {
    AtEnd("Commit", [&] {
      if (std::exchange(h_->commit, true) || h_->abort) Wrong("Commit", "twice, or after Abort");
      for (const std::shared_ptr<WatchedHooks>& member : state_->hooks) {
        // One that never ran has been abandoned; if not, it is still there at the end, and found then.
        if (member->group == h_->group && member->run && !member->prepared) {
          Wrong("Commit", absl::StrCat("before '", member->id, "' of its group has been prepared"));
        }
      }
      Decide(true);
    });
    const End end{*this};
    co_return co_await driver_->Commit();
  }

  Co<void> Abort() override {
    AtEnd("Abort", [&] {
      if (std::exchange(h_->abort, true) || h_->commit) Wrong("Abort", "twice, or after Commit");
      if (h_->run && !h_->run_ended) Wrong("Abort", "before the end of Run");
      Decide(false);
    });
    const End end{*this};
    co_await driver_->Abort();
  }

  Co<void> Clean() override {
    AtEnd("Clean", [&] {
      if (std::exchange(h_->clean, true)) Wrong("Clean", "twice");
      if (!h_->commit && !h_->abort) Wrong("Clean", "before Commit or Abort");
    });
    const End end{*this};
    co_await driver_->Clean();
  }

 private:
  // Scopes of hooks: however they end.
  struct Ended {
    CheckedDriver& driver;
    bool& flag;
    ~Ended() {
      const std::scoped_lock own(driver.state_->mutex);
      flag = true;
    }
  };
  struct LeftGate {  // `over`, at the end: no Resume is to come
    CheckedDriver& driver;
    const bool& over;
    ~LeftGate() {
      const std::scoped_lock own(driver.state_->mutex);
      if (over) driver.h_->in_gate = driver.h_->in_resume = false;
    }
  };
  struct Request {
    CheckedDriver& driver;
    ~Request() {
      const std::scoped_lock own(driver.state_->mutex);
      driver.h_->in_request = false;
    }
  };
  struct End {
    CheckedDriver& driver;
    ~End() {
      const std::scoped_lock own(driver.state_->mutex);
      driver.h_->in_end = false;
    }
  };

  [[noreturn]] void Wrong(const char* hook, const std::string& what) {
    state_->Broken(absl::StrCat("hook ", hook, " of job '", h_->id, "': ", what));
  }

  template <typename F>
  void Inside(const char* hook, JobContext& job, F check) {
    state_->CheckPlace(hook, h_->id, job.context());
    const std::scoped_lock own(state_->mutex);
    if (h_->prepare || h_->commit || h_->abort || h_->clean) Wrong(hook, "after the end of Run");
    check();
  }
  void InRun(const char* hook) {
    if (!h_->run || h_->run_ended) Wrong(hook, "outside of Run");
  }
  void BeginRequest(const char* hook) {
    if (std::exchange(h_->in_request, true)) Wrong(hook, "while another request is served");
  }
  void NotParked(const char* hook, JobContext& job) {
    JobLock lock(state_->core);
    const JobStatus status = job.job().status();
    if (status != JobStatus::kRunning && status != JobStatus::kReady) {
      const std::string_view name = JobStatusName(status);
      Wrong(hook, absl::StrCat("in state '", std::string(name), "'"));
    }
  }
  template <typename F>
  void AtEnd(const char* hook, F check) {
    state_->CheckPlace(hook, h_->id, state_->core.main_context());
    const std::scoped_lock own(state_->mutex);
    if (std::exchange(h_->in_end, true)) Wrong(hook, "while another hook of the end is in progress");
    if (h_->clean) Wrong(hook, "after Clean");
    if (h_->in_request) Wrong(hook, "while a request is served");
    check();
  }
  void Decide(bool commit) {
    if (h_->group == 0) return;
    const auto [decided, first] = state_->committed.emplace(h_->group, commit);
    if (!first && decided->second != commit) {
      Wrong(commit ? "Commit" : "Abort", "another member of its group was told the opposite");
    }
  }

  const std::shared_ptr<State> state_;
  const std::shared_ptr<WatchedHooks> h_;
  std::unique_ptr<JobDriver> driver_;
};

}  // namespace

void State::CheckPlace(const char* hook, const std::string& id, const AioContext& expected) {
  if (internal::HeldJobMutex() != nullptr) Broken(absl::StrCat("hook ", hook, " of job '", id, "': under the mutex"));
  const AioContext* const here = AioContext::Current();
  if (here != &expected) {
    Broken(absl::StrCat("hook ", hook, " of job '", id, "': in context '", here == nullptr ? "(none)" : here->name(),
                        "' instead of '", expected.name(), "'"));
  }
}

std::unique_ptr<JobDriver> WatchDriver(std::shared_ptr<State> state, std::shared_ptr<WatchedHooks> hooks,
                                       std::unique_ptr<JobDriver> driver) {
  return std::make_unique<CheckedDriver>(std::move(state), std::move(hooks), std::move(driver));
}

absl::StatusOr<JobRef> JobChecker::Create(const JobSpec& spec, std::unique_ptr<JobDriver> driver) {
  auto hooks = std::make_shared<WatchedHooks>();
  hooks->id = spec.id;
  {
    const std::scoped_lock own(state_->mutex);
    state_->hooks.push_back(hooks);
  }
  absl::StatusOr<JobRef> job;
  try {
    job = CreateJob(state_->core, spec, WatchDriver(state_, hooks, std::move(driver)));
  } catch (...) {
    const std::scoped_lock own(state_->mutex);
    hooks->refused = true;
    throw;
  }
  uint64_t group = 0;
  if (job.ok()) {
    JobLock lock(state_->core);
    group = monitor::Query(**job).group;
  }
  const std::scoped_lock own(state_->mutex);
  hooks->refused = !job.ok();
  if (!job.ok()) return job;
  hooks->job = (*job)->number();
  hooks->group = group;
  return job;
}

void JobChecker::Runs(const JobContext& job) {
  {
    JobLock lock(state_->core);
    const JobStatus status = job.job().status();
    if (status != JobStatus::kRunning && status != JobStatus::kReady) {
      state_->Broken(absl::StrCat("job '", job.id(), "' runs in state '", std::string(JobStatusName(status)), "'"));
    }
  }
  state_->CheckPlace("Run", job.id(), job.context());
  const std::scoped_lock own(state_->mutex);
  for (const std::shared_ptr<WatchedHooks>& h : state_->hooks) {
    if (h->job == job.job().number() && h->in_gate) {
      state_->Broken(absl::StrCat("job '", job.id(), "' runs between its Pause and Resume hooks"));
    }
  }
}

}  // namespace jobcore::inline JOBCORE_ABI::testing
