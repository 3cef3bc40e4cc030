// SPDX-License-Identifier: Apache-2.0

#include "job-common/job_core.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "aio/check.h"
#include "job-common/sync.h"
#include "job-monitor/job_wait.h"
#include "job/cancel_watch.h"
#include "job/history.h"
#include "job/job_ops.h"

namespace jobcore::inline JOBCORE_ABI {
namespace {

// The home of this thread's main context, for as long as a core needs it.
thread_local std::weak_ptr<AioHome> thread_home;

std::shared_ptr<AioContext> ChooseMainContext(const JobCore::Options& options) {
  if (options.main_context != nullptr) return options.main_context;
  if (options.main_loop == JobCore::MainLoop::kThisThread && AioContext::Current() != nullptr) {
    return AioContext::Current()->shared_from_this();
  }
  return AioContext::Create({});
}

std::shared_ptr<AioHome> MakeHome(AioContext& main) {
  if (std::shared_ptr<AioHome> home = thread_home.lock(); home != nullptr && main.IsHome()) return home;
  if (main.IsHome()) return nullptr;  // the caller has made it so
  auto home = std::make_shared<AioHome>(main);
  thread_home = home;
  return home;
}

}  // namespace

JobLock::JobLock(JobCore& core) : core_(core) { core_.Lock(); }
JobLock::~JobLock() { core_.UnlockAndPublish(); }
JobUnlock::JobUnlock(JobLock& lock) : core_(lock.core()) { core_.UnlockAndPublish(); }
JobUnlock::~JobUnlock() { core_.Lock(); }

void JobCore::Lock() { mutex_.Lock(); }

void JobCore::UnlockAndPublish() {
  const bool changed = std::exchange(changed_, false);
  const bool posts = std::exchange(posts_, false);
  clock_read_ = false;
  if (posts) {
    UnlockAndPost();
  } else {
    mutex_.Unlock();
  }
  if (changed) main_context_->wait_domain().Kick();
}

void JobCore::UnlockAndPost() {
  const auto post = [this](const Deferred& d) { (d.context != nullptr ? *d.context : *main_context_).Post(*d.item); };
  if (deferred_.size() == 1 && garbage_.empty()) {  // as nearly always
    const Deferred only = std::move(deferred_.front());
    deferred_.clear();
    mutex_.Unlock();
    post(only);
    return;
  }
  const absl::InlinedVector<Deferred, 4> deferred(std::move(deferred_));
  deferred_.clear();
  const internal::JobHistory::Garbage garbage(std::move(garbage_));
  garbage_.clear();
  mutex_.Unlock();
  for (const Deferred& d : deferred) post(d);
}

JobCore::JobCore(const Options& options)
    : main_loop_(options.main_loop),
      main_context_(ChooseMainContext(options)),
      created_{main_context_->clock().Now(), std::chrono::system_clock::now()},
      finalise_item_("finalisation of groups", &JobOps::RunFinalisers, *this),
      finaliser_(std::make_unique<internal::Finaliser>()),
      cancel_watch_(std::make_unique<internal::CancelWatch>(*this, options.unresponsive_after)),
      events_(std::max<size_t>(options.event_capacity, 1)),
      history_(std::make_unique<internal::JobHistory>(options.history_count, options.history_age)) {
  if (main_loop_ == MainLoop::kThisThread) {
    home_ = MakeHome(*main_context_);
  } else {
    own_thread_ = internal::Thread([this]() JOBCORE_EXCLUDES(job_mutex) {
      const AioHome home(*main_context_);
      while (!quit_.load(std::memory_order_acquire)) main_context_->RunOnce(/*may_block=*/true);
      RunLastTurns();
    });
  }
}

JobCore::~JobCore() {
  if (main_loop_ == MainLoop::kThisThread && !main_context_->IsHome()) {
    internal::Die("a JobCore was destroyed on another thread than the one that constructed it");
  }
  const absl::StatusOr<monitor::ShutdownReport> report = monitor::Shutdown(*this, monitor::ShutdownMode::kCancel);
  if (!report.ok()) {
    internal::Die(
        absl::StrCat("a JobCore was destroyed where it cannot wait for its jobs: ", report.status().message()));
  }
  // Twice: on the way to its first barrier a context may have posted to one that had passed its own (a verb that was
  // following a job that moved).
  PassThroughContexts();
  PassThroughContexts();
  size_t observers;
  {
    JobLock lock(*this);
    observers = observers_.size();
  }
  if (observers != 0) internal::Die(absl::StrCat("a JobCore was destroyed with ", observers, " EventObservers open"));

  if (main_loop_ == MainLoop::kOwnThread) {
    main_context_->Post("end of core", [this] { quit_.store(true, std::memory_order_release); });
    own_thread_.join();
  } else {
    RunLastTurns();
  }
  if (const int64_t live = live_jobs_.load(std::memory_order_acquire); live != 0) {
    internal::Die(absl::StrCat("a JobCore was destroyed while JobRefs to ", live, " of its jobs were held"));
  }
  mutex_.Retire();
}

// What is left at the end has been posted to the main context: replies, and the destruction of jobs, whose
// drivers may hold references to further jobs.
void JobCore::RunLastTurns() {
  constexpr int kMaxTurns = 1000;  // a shared context may have work of others without end
  int turn = 0;
  do {
    main_context_->RunOnce(/*may_block=*/false);
  } while (live_jobs_.load(std::memory_order_acquire) != 0 && main_context_->HasWork() && ++turn < kMaxTurns);
  cancel_watch_->Stop();
}

void JobCore::PassThroughContexts() {
  std::vector<std::weak_ptr<AioContext>> contexts;
  {
    JobLock lock(*this);
    contexts = contexts_;
  }
  for (const std::weak_ptr<AioContext>& weak : contexts) {
    const std::shared_ptr<AioContext> context = weak.lock();
    if (context == nullptr || context == main_context_) continue;
    auto passed = std::make_shared<internal::Atomic<bool>>(false);
    // Signals when it is destroyed: after its turn, or dropped because the context has been stopped.
    std::shared_ptr<void> barrier(nullptr, [passed, main = main_context_](void*) JOBCORE_EXCLUDES(job_mutex) {
      passed->store(true, std::memory_order_release);
      main->wait_domain().Kick();
    });
    context->Post("barrier of ~JobCore", [barrier = std::move(barrier)] {});
    const absl::Status status = AioWaitWhileUnlocked(
        *main_context_, [&] { return !passed->load(std::memory_order_acquire) && context->has_home(); },
        {.name = "contexts to let go of a core"});
    if (!status.ok()) internal::Die(Absl(status.ToString()));
  }
}

void JobCore::RunMainLoop() {
  if (main_loop_ == MainLoop::kOwnThread) internal::Die("RunMainLoop: this core runs its main loop itself");
  internal::AssertNoJobMutexHeld("JobCore::RunMainLoop", main_context_->name().c_str());
  while (!quit_.exchange(false, std::memory_order_acq_rel)) main_context_->RunOnce(/*may_block=*/true);
}

void JobCore::QuitMainLoop() {
  if (main_loop_ == MainLoop::kOwnThread) internal::Die("QuitMainLoop: this core runs its main loop itself");
  quit_.store(true, std::memory_order_release);
  main_context_->Notify();
}

EventPage JobCore::ReadEvents(EventCursor& cursor, size_t max) const {
  mutex_.AssertHeld("JobCore::ReadEvents");
  EventPage page;
  events_.Read(cursor, std::min(max, EventPage::kMax), page);
  return page;
}

uint64_t JobCore::last_event() const {
  mutex_.AssertHeld("JobCore::last_event");
  return events_.last_sequence();
}

size_t JobCore::job_count() const {
  mutex_.AssertHeld("JobCore::job_count");
  return jobs_.size();
}

void JobOps::NoteContext(JobCore& core, const std::shared_ptr<AioContext>& context) {
  if (context == core.main_context_) return;
  std::vector<std::weak_ptr<AioContext>>& known = core.contexts_;
  for (const std::weak_ptr<AioContext>& k : known) {
    if (!k.owner_before(context) && !context.owner_before(k)) return;
  }
  std::erase_if(known, [](const std::weak_ptr<AioContext>& k) { return k.expired(); });
  known.push_back(context);
}

std::vector<std::shared_ptr<AioContext>> JobOps::Contexts(const JobCore& core) {
  std::vector<std::shared_ptr<AioContext>> contexts = {core.main_context_};
  for (const std::weak_ptr<AioContext>& known : core.contexts_) {
    if (std::shared_ptr<AioContext> context = known.lock()) contexts.push_back(std::move(context));
  }
  return contexts;
}

bool JobOps::TryLocked(JobCore& core, Nanoseconds limit, absl::FunctionRef<void()> body) {
  if (!core.mutex_.TryLockFor(limit)) return false;
  body();
  core.UnlockAndPublish();
  return true;
}

}  // namespace jobcore::inline JOBCORE_ABI
