// SPDX-License-Identifier: Apache-2.0

#include "sim/world.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "job-driver/job_context.h"
#include "job-driver/job_driver.h"
#include "job-monitor/job_history.h"
#include "job-monitor/job_monitor.h"
#include "job-monitor/job_query.h"
#include "job-monitor/job_wait.h"
#include "job-monitor/wait_dump.h"

namespace jobcore::sim {

using std::chrono::milliseconds;

World::World(Environment environment, Plan plan, absl::AnyInvocable<std::string()> explain)
    : environment_(std::move(environment)), plan_(std::move(plan)) {
  core_ = std::make_unique<JobCore>(JobCore::Options{.main_context = environment_.contexts.front(),
                                                     .event_capacity = plan_.event_capacity,
                                                     .unresponsive_after = plan_.unresponsive_after,
                                                     .history_count = plan_.history_count});
  checker_ = std::make_unique<testing::JobChecker>(*core_, std::move(explain));
  for (uint32_t i = 0; i < plan_.resources; ++i) {
    resources_.push_back(std::make_unique<Resource>(*core_, absl::StrCat("r", i)));
    still_.push_back(std::make_unique<std::atomic<int>>(0));
  }
}

World::~World() = default;

void World::Broken(const std::string& what) {
  std::fprintf(stderr, "world: %s\n", what.c_str());
  if (internal::HeldJobMutex() == nullptr) std::fputs(ToString(monitor::DumpWaits(*core_)).c_str(), stderr);
  std::abort();
}

std::vector<Resource*> World::Resources(uint32_t set) {
  std::vector<Resource*> chosen;
  for (uint32_t i = 0; i < plan_.resources; ++i) {
    if ((set >> i & 1) != 0) chosen.push_back(resources_[i].get());
  }
  return chosen;
}

void World::CheckNotStill(const Resource& resource) {
  for (uint32_t i = 0; i < plan_.resources; ++i) {
    if (resources_[i].get() == &resource && *still_[i] != 0) Broken("a request is in flight in a drained section");
  }
}

void World::CountStill(const std::vector<Resource*>& resources, int delta) {
  for (uint32_t i = 0; i < plan_.resources; ++i) {
    for (const Resource* resource : resources) {
      if (resources_[i].get() != resource) continue;
      if (resource->in_flight() != 0) Broken("a request is in flight while a section is held");
      still_[i]->fetch_add(delta);
    }
  }
}

JobSpec World::SpecOf(const JobPlan& job, JobTxnBuilder* group) {
  return {.id = job.id,
          .context = &ContextOf(job.context),
          .group = group,
          .auto_finalize = job.auto_finalize,
          .auto_dismiss = job.auto_dismiss,
          .internal = job.id.empty(),
          .speed = job.speed,
          .resources = Resources(job.resources),
          .still_at_end = Resources(job.still_at_end),
          .drain_timeout = job.drain_timeout};
}

// Creates one group.
class World::Creator {
 public:
  Creator(World& world, const GroupPlan& plan) : world_(world), plan_(plan) {
    if (!plan.own) builder_ = std::make_unique<JobTxnBuilder>(world.core());
  }

  bool Step() {
    if (next_ == plan_.actions.size()) return false;
    const Action& action = plan_.actions[next_++];
    switch (action.kind) {
      case Action::Kind::kCreate: {
        const JobPlan& job = world_.plan_.jobs[action.job];
        std::unique_ptr<JobDriver> driver = MakeDriver(world_, job);
        try {
          absl::StatusOr<JobRef> made = world_.checker_->Create(world_.SpecOf(job, builder_.get()), std::move(driver));
          if (made.ok()) jobs_.emplace_back(action.job, *std::move(made));
        } catch (const std::bad_alloc&) {  // then there was never a job
        }
        break;
      }
      case Action::Kind::kStart:
        if (Job* const job = Find(action.job)) (void)StartJob(*job);
        break;
      case Action::Kind::kAbandon:
        if (Job* const job = Find(action.job)) (void)AbandonJob(*job);
        break;
      case Action::Kind::kSeal:
        (void)builder_->Seal();
        break;
      default:
        builder_.reset();
        break;
    }
    if (next_ < plan_.actions.size()) return true;
    // One that nobody else can find is not left alone.
    for (const auto& [number, job] : jobs_) {
      if (!job->internal()) continue;
      JobLock lock(world_.core());
      if (job->status() == JobStatus::kCreated) (void)monitor::Cancel(*job);
    }
    jobs_.clear();
    builder_.reset();
    return false;
  }

 private:
  Job* Find(uint32_t job) {
    for (const auto& [number, ref] : jobs_) {
      if (number == job) return ref.get();
    }
    return nullptr;
  }

  World& world_;
  const GroupPlan& plan_;
  std::unique_ptr<JobTxnBuilder> builder_;
  std::vector<std::pair<uint32_t, JobRef>> jobs_;
  size_t next_ = 0;
};

class World::Monitor {
 public:
  Monitor(World& world, const std::vector<Action>& plan) : world_(world), plan_(plan) {}

  bool Step() {
    if (next_ == plan_.size()) return false;
    const Action& action = plan_[next_++];
    using enum Action::Kind;
    switch (action.kind) {
      case kPages:
        (void)monitor::SnapshotJobs(world_.core());
        break;
      case kHistory: {
        JobLock lock(world_.core());
        monitor::HistoryCursor cursor;
        (void)monitor::HistoryPage(world_.core(), cursor, 2);
        (void)monitor::FindRecord(world_.core(), world_.plan_.jobs[action.job].id);
        break;
      }
      case kDump:
        (void)ToString(monitor::DumpWaits(world_.core()));
        break;
      case kCancelAll:
        (void)monitor::CancelAll(world_.core(), action.variant % 2 == 0 ? CancelMode::kSoft : CancelMode::kForce);
        break;
      case kObserve:
        Observe(action);
        break;
      case kSection:
        Spawn(action, [action](World& world) {
          return HoldSection(world, action.amount, milliseconds(action.variant), milliseconds(action.variant % 8));
        });
        break;
      case kRequests:
        if (world_.plan_.resources == 0) break;
        Spawn(action, [action](World& world) {
          return MakeRequests(world, action.amount % world.plan().resources, action.variant % 4);
        });
        break;
      default:
        OnJob(action);
        break;
    }
    if (next_ == plan_.size()) observer_.reset();
    return next_ != plan_.size();
  }

 private:
  void OnJob(const Action& action) {
    JobLock lock(world_.core());
    Job* const job = monitor::Find(world_.core(), world_.plan_.jobs[action.job].id);
    if (job == nullptr) return;
    if (action.kind == Action::Kind::kAwait) {
      const TimePoint deadline = action.amount % 2 == 0
                                     ? kNoDeadline
                                     : SaturatingAdd(world_.environment_.clock.Now(), milliseconds(action.variant));
      Spawn(action, [ref = JobRef(*job), deadline](World& world) { return AwaitOne(world, ref, deadline); });
      return;
    }
    const JobStatus before = job->status();
    const auto verb = [&](JobVerb v, const absl::Status& status) {
      if (status.ok() && !Allowed(v, before)) {
        world_.Broken(absl::StrCat("a verb was accepted that state '", std::string(JobStatusName(before)),
                                   "' does not allow: ", std::string(JobVerbName(v))));
      }
    };
    AioContext& where = world_.ContextOf(action.variant);
    using enum Action::Kind;
    switch (action.kind) {
      case kPause:
        return verb(JobVerb::kPause, monitor::Pause(*job, action.amount % 4 == 3 ? "other" : monitor::kUserPause));
      case kResume:
        return verb(JobVerb::kResume, monitor::Resume(*job, action.amount % 4 == 3 ? "other" : monitor::kUserPause));
      case kSoftCancel:
        return verb(JobVerb::kCancel, monitor::Cancel(*job, CancelMode::kSoft));
      case kForceCancel:
        return verb(JobVerb::kCancel, monitor::Cancel(*job, CancelMode::kForce));
      case kComplete:
        return verb(JobVerb::kComplete,
                    world_.checker_->Ask(where, [&](VerbReply reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) {
                      return monitor::Complete(*job, std::move(reply));
                    }));
      case kFinalize:
        return verb(JobVerb::kFinalize,
                    world_.checker_->Ask(where, [&](VerbReply reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) {
                      return monitor::Finalize(*job, std::move(reply));
                    }));
      case kDismiss:
        return verb(JobVerb::kDismiss, monitor::Dismiss(*job));
      case kChange:
        return verb(JobVerb::kChange,
                    world_.checker_->Ask(where, [&](VerbReply reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) {
                      return monitor::Change(*job, {{"a", "b"}}, std::move(reply));
                    }));
      case kSetSpeed:
        return verb(JobVerb::kSetSpeed, monitor::SetSpeed(*job, action.amount % 4 == 0 ? 0 : 1 << action.variant % 16));
      case kMove:
        (void)world_.checker_->Ask(where, [&](VerbReply reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) {
          return monitor::Move(*job, world_.ContextOf(action.amount), std::move(reply));
        });
        return;
      case kEnter:
        return Enter(*job);
      default:
        (void)monitor::Query(*job);
    }
  }

  // The reference's table.
  static bool Allowed(JobVerb verb, JobStatus status) {
    constexpr std::array<std::string_view, kJobVerbCount> kStates = {"CRPYSWD", "CRPYS", "CRPYS", "CRPYS",
                                                                     "YS",      "E",     "D",     "CRPYS"};
    return kStates[static_cast<size_t>(verb)].find("UCRPYSWDXEN"[static_cast<size_t>(status)]) !=
           std::string_view::npos;
  }

  void Observe(const Action& action) {
    if (observer_ != nullptr) {
      observer_.reset();
      return;
    }
    observer_ =
        std::make_unique<monitor::EventObserver>(world_.core(), world_.ContextOf(action.variant),
                                                 [&world = world_, next = uint64_t{0}](const EventPage& page) mutable {
                                                   if (next != 0) next += page.lost;
                                                   for (const JobEvent& event : page.events) {
                                                     if (next != 0 && event.sequence != next)
                                                       world.Broken("an observer has missed an event");
                                                     next = event.sequence + 1;
                                                   }
                                                 });
  }

  template <typename MakeCoroutine>
  void Spawn(const Action& action, MakeCoroutine make) {
    world_.Begin();
    world_.ContextOf(action.job).Post("spawn", [make = std::move(make), &world = world_] {
      jobcore::Spawn("coroutine of the world", make(world));
    });
  }

  World& world_;
  const std::vector<Action>& plan_;
  std::unique_ptr<monitor::EventObserver> observer_;
  size_t next_ = 0;
};

std::vector<World::Actor> World::TakeActors() {
  std::vector<Actor> actors;
  for (size_t i = 0; i < plan_.groups.size(); ++i) {
    actors.push_back({absl::StrCat("creator ", i),
                      [creator = std::make_unique<Creator>(*this, plan_.groups[i])] { return creator->Step(); }});
  }
  for (size_t i = 0; i < plan_.monitors.size(); ++i) {
    actors.push_back({absl::StrCat("monitor ", i),
                      [monitor = std::make_unique<Monitor>(*this, plan_.monitors[i])] { return monitor->Step(); }});
  }
  return actors;
}

// Empty: it is as it should be.
std::string World::StuckAtRest(const JobPlan& plan, const Job& job) const {
  for (const std::string& reason : job.pause_reasons()) {
    if (reason.starts_with("drain:")) return "waits for a section that has ended";
  }
  if (job.force_cancelled() && job.status() < JobStatus::kConcluded) return "was cancelled, and has not ended";
  if (job.status() != JobStatus::kRunning && job.status() != JobStatus::kReady) return {};
  if (!job.pause_reasons().empty()) return "is to pause, and has not parked";
  switch (awaits_[static_cast<size_t>(&plan - plan_.jobs.data())]) {
    case Awaits::kNothing:
      return "is held up by nothing, and does not go on";
    case Awaits::kCompletion:
      return monitor::Query(job).cancelling ? "was told to stop, and waits for that" : "";
    case Awaits::kWakeUp:
      break;
  }
  return {};
}

void World::CheckAtRest() {
  std::string stuck;
  {
    JobLock lock(*core_);
    for (const JobPlan& plan : plan_.jobs) {
      const Job* const job = monitor::Find(*core_, plan.id);
      if (job == nullptr) continue;
      const std::string why = StuckAtRest(plan, *job);
      if (!why.empty()) {
        stuck = absl::StrCat("at rest job '", job->id(), "', '", std::string(JobStatusName(job->status())), "', ", why);
      }
    }
  }
  if (!stuck.empty()) Broken(stuck);
}

bool World::Push() {
  CheckAtRest();
  JobLock lock(*core_);
  ++pushes_;
  for (const JobPlan& plan : plan_.jobs) {
    Job* const job = monitor::Find(*core_, plan.id);
    if (job == nullptr) continue;
    const std::vector<std::string> reasons = job->pause_reasons();
    for (const std::string& reason : reasons) (void)monitor::Resume(*job, reason);
    (void)monitor::SetSpeed(*job, 0);
    switch (job->status()) {
      case JobStatus::kCreated:
        (void)monitor::Cancel(*job);
        break;
      case JobStatus::kReady:
      case JobStatus::kStandby:
        // Its driver may refuse, again and again.
        if (pushes_ % 4 == 3) (void)monitor::Cancel(*job);
        if (!monitor::Complete(*job).ok()) (void)monitor::Cancel(*job, CancelMode::kSoft);
        break;
      case JobStatus::kPending:
        (void)monitor::Finalize(*job);
        break;
      case JobStatus::kConcluded:
        (void)monitor::Dismiss(*job);
        continue;
      default:
        break;
    }
    Enter(*job);
  }
  return core_->job_count() != 0 || going_on_ != 0;
}

void World::Finish() {
  checker_->Finish();
  for (const std::shared_ptr<AioContext>& context : environment_.contexts) {
    if (context->users() != 0) Broken(absl::StrCat("context '", context->name(), "' has users left"));
  }
}

}  // namespace jobcore::sim
