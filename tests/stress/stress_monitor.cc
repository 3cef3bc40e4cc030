// SPDX-License-Identifier: Apache-2.0

#include "stress/stress_monitor.h"

#include <algorithm>
#include <array>
#include <set>
#include <string_view>
#include <thread>
#include <utility>

#include "job-common/aio_wait.h"
#include "job-common/iothread.h"
#include "job-monitor/job_wait.h"
#include "stress/stress_wakeups.h"

namespace jobcore::stress {
namespace {

constexpr std::array<std::string_view, 3> kReasons = {monitor::kUserPause, monitor::kErrorPause, "maintenance"};
// More jobs than this are not made at a time.
constexpr size_t kManyJobs = 150;

bool HasReason(const Job& job, std::string_view reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) {
  const std::vector<std::string> reasons = job.pause_reasons();
  return std::find(reasons.begin(), reasons.end(), reason) != reasons.end();
}

std::string Describe(const Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) {
  return absl::StrCat("job ", job.number(), " '", job.id(), "' in ", View(JobStatusName(job.status())));
}

bool IsExpected(const absl::Status& status) {
  return status.ok() || absl::IsFailedPrecondition(status) || absl::IsDeadlineExceeded(status);
}

Co<void> AwaitAndReturn(Hub& hub, World& world, JobRef job, TimePoint deadline) {
  {
    const absl::StatusOr<JobOutcome> outcome = co_await monitor::AwaitJob(std::move(job), deadline);
    STRESS_CHECK(IsExpected(outcome.status()), outcome.status().ToString());
  }
  hub.Return(world);
}

}  // namespace

Monitor::Monitor(int index, uint64_t seed, Hub& hub)
    : rng_(seed, 1, static_cast<uint64_t>(index)), hub_(hub), heart_(absl::StrCat("monitor ", index)) {}

void Monitor::Run(const std::atomic<bool>& stop) {
  while (!stop.load(std::memory_order_relaxed)) {
    heart_.Beat("look for a world");
    World* const world = hub_.Take(rng_);
    if (world == nullptr) {
      std::this_thread::yield();
      continue;
    }
    const Lease lease(hub_, *world);
    Visit visit(*world);
    for (uint64_t steps = rng_.Between(1, 60); steps > 0; --steps) Step(visit);
    heart_.Beat("leave a world");
    if (visit.observer != nullptr) {
      visit.observer.reset();
      visit.observed->closed = true;
    }
  }
}

void Monitor::Step(Visit& v) {
  const uint64_t what = rng_.Below(100);
  if (what < 12) return CreateOne(v);
  if (what < 20) return BuildGroup(v);
  if (what < 28) return StartOrAbandon(v);
  if (what < 72) return Act(v);
  if (what < 75) return Drain(v);
  if (what < 78) return MakeRequests(v);
  if (what < 82) return ReadEvents(v);
  if (what < 84) return Observe(v);
  if (what < 90) return Query(v);
  if (what < 95) return WaitALittle(v);
  if (what < 97) return AwaitALittle(v);
  if (what < 98) return CheckWakeUps(v.world, rng_, heart_);
  if (what < 99) return UseThread(v);
  if (rng_.OneIn(12)) {
    heart_.Beat("CancelAll");
    Count(Totals().cancel_alls);
    monitor::CancelAll(v.core, rng_.OneIn(2) ? CancelMode::kForce : CancelMode::kSoft);
  }
}

TimePoint Monitor::Soon(uint64_t micros) { return SaturatingAdd(Clock::System().Now(), rng_.Micros(0, micros)); }

// --- Verbs ---

void Monitor::Act(Visit& v) {
  heart_.Beat("verb");
  const KnownJob known = v.world.AnyJob(rng_);
  if (!known.job) return;
  if (rng_.OneIn(6)) {
    Count(Totals().enters);
    Enter(*known.job);
    return;
  }
  JobLock lock(v.core);
  if (rng_.OneIn(4)) {  // as a monitor does that only has a number
    const uint64_t number = known.job->number();
    Job* job = monitor::Find(v.core, number);
    STRESS_CHECK(job == nullptr || job == known.job.get(), "Find(", number, ") found another job");
    const bool findable = !known.job->internal() && known.job->status() != JobStatus::kNull;
    STRESS_CHECK((job != nullptr) == findable, Describe(*known.job), findable ? ": not found" : ": found");
    if (rng_.OneIn(2)) {
      Count(Totals().gaps);
      const JobUnlock gap(lock);
      Spin(rng_.Below(2000));
    }
    job = monitor::Find(v.core, number);  // again, after the gap
    if (job == nullptr) return;
    STRESS_CHECK(monitor::Find(v.core, job->id()) == job, Describe(*job), ": its id leads elsewhere");
  }
  ActOn(v, *known.job, known.record.get());
  if (rng_.OneIn(4)) ActOn(v, *known.job, known.record.get());
}

void Monitor::ActOn(Visit& v, Job& job, JobRecord* record) {
  Look(v, job, record);
  const uint64_t what = rng_.Below(27);
  if (what >= 24) {
    Move(v, job);
  } else if (what >= 22) {
    SetSpeed(job);
  } else if (what >= 20) {
    Change(v, job);
  } else if (what < 9) {
    PauseOrResume(job);
  } else if (what < 10) {
    Cancel(job);
  } else if (what < 17) {
    CompleteOrFinalize(v, job);
  } else if (what < 19) {
    const bool may = job.status() == JobStatus::kConcluded;
    const absl::Status status = monitor::Dismiss(job);
    STRESS_CHECK(status.ok() == may, Describe(job), ": ", status.ToString());
    if (may) Count(Totals().dismissals);
  }
  Look(v, job, record);
}

void Monitor::Look(Visit& v, Job& job, const JobRecord* record) {
  const monitor::JobInfo info = monitor::Query(job);
  Count(Totals().queries);
  STRESS_CHECK(info.status == job.status() && info.number == job.number(), Describe(job));
  STRESS_CHECK(info.last_event <= v.core.last_event(), Describe(job), ": an event of the future");
  STRESS_CHECK(info.outcome.has_value() == (info.status >= JobStatus::kAborting), Describe(job));
  STRESS_CHECK(!IsPaused(info.status) || !info.pause_reasons.empty(), Describe(job), ": parked without a reason");
  STRESS_CHECK(!IsCompleted(info.status) || info.pause_reasons.empty(), Describe(job), ": reasons after the end");
  SeeProgress(v, info.number, info.progress);
  if (IsPaused(info.status) && record != nullptr) {
    Count(Totals().seen_parked);
    for (int i = 0; i < 20; ++i) {
      STRESS_CHECK(!record->stepping.load(), Describe(job), ": runs driver code");
      Spin(10);
    }
  }
}

void Monitor::SeeProgress(Visit& v, uint64_t number, const ProgressSnapshot& now) {
  uint64_t& last = v.progress[number];
  STRESS_CHECK(now.current <= now.total, "job ", number, ": progress ", now.current, " of ", now.total);
  STRESS_CHECK(now.current >= last, "job ", number, ": progress went from ", last, " to ", now.current);
  last = now.current;
}

void Monitor::PauseOrResume(Job& job) {
  // Often one that the job has, or every pause would last to the end.
  const bool known = !job.pause_reasons().empty() && rng_.OneIn(2);
  const std::string reason(known ? job.pause_reasons().front() : kReasons[rng_.Below(kReasons.size())]);
  if (reason.starts_with("drain:")) return;  // not ours
  const bool had_before = HasReason(job, reason);
  const bool had_error = HasReason(job, monitor::kErrorPause);
  const bool alive = !IsCompleted(job.status());
  const bool pause = rng_.OneIn(known ? 8 : 2);
  const absl::Status status = pause ? monitor::Pause(job, reason) : monitor::Resume(job, reason);
  // To resume what a person has paused is to resume what an error has paused, too.
  const bool goes = had_before || (reason == monitor::kUserPause && had_error);
  const bool expected = alive && (pause ? !had_before : goes);
  STRESS_CHECK(status.ok() == expected, Describe(job), pause ? ": pause: " : ": resume: ", status.ToString());
  if (!status.ok()) return;
  Count(pause ? Totals().pauses : Totals().resumes);
  STRESS_CHECK(HasReason(job, reason) == pause, Describe(job));
  STRESS_CHECK(!job.pause_reasons().empty() || !IsPaused(job.status()), Describe(job), ": resumed, but still parked");
}

void Monitor::Cancel(Job& job) {
  const bool force = rng_.OneIn(2);
  const JobStatus before = job.status();
  const absl::Status status = monitor::Cancel(job, force ? CancelMode::kForce : CancelMode::kSoft);
  STRESS_CHECK(!status.ok() || VerbAllowed(JobVerb::kCancel, before), Describe(job), ": cancel accepted");
  STRESS_CHECK(status.ok() || IsCompleted(before), Describe(job), ": ", status.ToString());
  if (!status.ok()) return;
  Count(force ? Totals().force_cancels : Totals().soft_cancels);
  if (!force) return;
  STRESS_CHECK(!IsPaused(job.status()), Describe(job), ": force-cancelled, but parked");
  STRESS_CHECK(before != JobStatus::kCreated || job.status() == JobStatus::kAborting, Describe(job));
  STRESS_CHECK(IsCompleted(before) || before == JobStatus::kCreated || job.force_cancelled(), Describe(job));
}

void Monitor::CompleteOrFinalize(Visit& v, Job& job) {
  const bool complete = IsReady(job.status()) || rng_.OneIn(4);
  const JobVerb verb = complete ? JobVerb::kComplete : JobVerb::kFinalize;
  const bool allowed = VerbAllowed(verb, job.status());
  std::shared_ptr<ReplyRecord> record;
  VerbReply reply = v.world.NewReply(rng_, record);
  const absl::Status status =
      complete ? monitor::Complete(job, std::move(reply)) : monitor::Finalize(job, std::move(reply));
  record->accepted = status.ok();
  STRESS_CHECK(!status.ok() || allowed, Describe(job), ": ", View(JobVerbName(verb)), " accepted");
  STRESS_CHECK(status.ok() || complete || !allowed, Describe(job), ": finalize: ", status.ToString());
  if (status.ok()) Count(complete ? Totals().completes : Totals().finalizes);
}

void Monitor::Move(Visit& v, Job& job) {
  const bool alive = !IsCompleted(job.status());
  AioContext& target = v.world.AnyContext(rng_);
  std::shared_ptr<ReplyRecord> record;
  const absl::Status status = monitor::Move(job, target, v.world.NewReply(rng_, record));
  record->accepted = status.ok();
  STRESS_CHECK(status.ok() == alive, Describe(job), ": move: ", status.ToString());
  if (!status.ok()) return;
  Count(Totals().moves);
  STRESS_CHECK(job.status() != JobStatus::kCreated || &job.context() == &target, Describe(job), ": has not moved");
}

void Monitor::SetSpeed(Job& job) {
  const bool allowed = VerbAllowed(JobVerb::kSetSpeed, job.status());
  const int64_t speed = rng_.OneIn(3) ? 0 : static_cast<int64_t>(rng_.Between(1000, 1'000'000));
  const absl::Status status = monitor::SetSpeed(job, speed);
  STRESS_CHECK(status.ok() == allowed, Describe(job), ": set speed: ", status.ToString());
  if (!status.ok()) return;
  Count(Totals().speeds);
  STRESS_CHECK(monitor::Query(job).speed == speed, Describe(job), ": another speed");
}

void Monitor::Change(Visit& v, Job& job) {
  const bool allowed = VerbAllowed(JobVerb::kChange, job.status());
  std::shared_ptr<ReplyRecord> record;
  const absl::Status status = monitor::Change(job, {{"steps", "1"}}, v.world.NewReply(rng_, record));
  record->accepted = status.ok();
  STRESS_CHECK(status.ok() == allowed, Describe(job), ": change: ", status.ToString());
  if (status.ok()) Count(Totals().changes);
}

// --- Resources ---

// Nobody is inside, and the jobs of the resources stand still.
void Monitor::Drain(Visit& v) {
  heart_.Beat("drain");
  std::vector<Disk*> disks;
  for (const std::unique_ptr<Disk>& disk : v.world.disks()) {
    if (rng_.OneIn(2)) disks.push_back(disk.get());
  }
  if (disks.empty()) return;
  std::vector<Resource*> resources;
  for (Disk* disk : disks) resources.push_back(&disk->resource);
  absl::StatusOr<DrainedSection> section =
      DrainedSection::OpenBlocking(resources, {.name = "section of a monitor", .deadline = Soon(20'000)});
  if (!section.ok()) {
    STRESS_CHECK(absl::IsDeadlineExceeded(section.status()), section.status().ToString());
    Count(Totals().no_sections);
    return;
  }
  Count(Totals().sections);
  for (Disk* disk : disks) disk->sections.fetch_add(1);
  for (uint64_t n = rng_.Below(50); n > 0; --n) {
    for (Disk* disk : disks) {
      STRESS_CHECK(disk->inside.load() == 0, disk->resource.name(), ": a request is inside of a section");
    }
    Spin(100);
  }
  for (Disk* disk : disks) disk->sections.fetch_sub(1);
}

namespace {

Co<void> RequestAndReturn(Hub& hub, World& world, Disk& disk, uint64_t rounds) {
  for (; rounds > 0; --rounds) {
    const Admission admission = co_await disk.resource.Admit();
    Count(Totals().requests);
    const Inside inside(disk);
    if (rounds % 2 != 0) {
      (void)co_await AioWaitWhile(world.core(), [] { return true; },
                                  {.name = "a request's nap", .deadline = Clock::System().Now()});
    }
  }
  hub.Return(world);
}

}  // namespace

void Monitor::MakeRequests(Visit& v) {
  heart_.Beat("make requests");
  if (v.world.disks().empty()) return;
  Disk& disk = *v.world.disks()[rng_.Below(v.world.disks().size())];
  for (uint64_t n = rng_.Between(1, 4); n > 0; --n) {
    hub_.TakeAgain(v.world);
    const auto start = [this, &world = v.world, &disk, rounds = rng_.Between(1, 20)] {
      Spawn("requests", RequestAndReturn(hub_, world, disk, rounds));
    };
    v.world.AnyContext(rng_).Post("requests", start);
  }
}

// --- Making jobs ---

KnownJob Monitor::Create(Visit& v, OpenGroup* group, AioContext* context) {
  JobSpec spec;
  spec.internal = rng_.OneIn(16);
  if (!spec.internal) spec.id = v.world.NewId(rng_);
  spec.context = context != nullptr ? context : &v.world.AnyContext(rng_);
  spec.group = group != nullptr ? &group->builder : nullptr;
  spec.auto_finalize = !rng_.OneIn(4);
  spec.auto_dismiss = !rng_.OneIn(4);
  if (rng_.OneIn(4)) spec.speed = static_cast<int64_t>(rng_.Between(1000, 1'000'000));
  KnownJob known;
  std::unique_ptr<JobDriver> driver = v.world.NewDriver(
      rng_, spec.id, group != nullptr ? group->record : std::make_shared<GroupRecord>(), known.record);
  for (const std::unique_ptr<Disk>& disk : v.world.disks()) {
    if (rng_.OneIn(4)) {
      spec.resources.push_back(&disk->resource);
      known.record->disks.push_back(disk.get());
    }
    if (rng_.OneIn(8)) spec.still_at_end.push_back(&disk->resource);
  }
  const std::string id = spec.id;
  absl::StatusOr<JobRef> job = CreateJob(v.core, std::move(spec), std::move(driver));
  if (!job.ok()) {
    Count(Totals().refused_creations);
    const bool expected = absl::IsAlreadyExists(job.status()) || absl::IsFailedPrecondition(job.status()) ||
                          (group != nullptr && absl::IsAborted(job.status()));
    STRESS_CHECK(expected, "creation of '", id, "': ", job.status().ToString());
    STRESS_CHECK(known.record->destroyed.load(), "the driver of '", id, "', which was refused, lives");
    return {};
  }
  Count(Totals().jobs);
  known.job = *std::move(job);
  known.record->number = known.job->number();
  v.world.Know(rng_, known);
  return known;
}

void Monitor::CreateOne(Visit& v) {
  heart_.Beat("create a job");
  size_t jobs;
  {
    JobLock lock(v.core);
    jobs = v.core.job_count();
  }
  if (jobs > kManyJobs) {
    monitor::CancelAll(v.core);
    return;
  }
  const KnownJob job = Create(v, nullptr, nullptr);
  if (job.job && !rng_.OneIn(4)) Start(job);
}

void Monitor::BuildGroup(Visit& v) {
  heart_.Beat("build a group");
  if (v.group == nullptr) {
    v.group = std::make_unique<OpenGroup>(v.core);
    v.group->size = rng_.Between(1, 8);
    return;
  }
  OpenGroup& group = *v.group;
  while (group.members.size() < group.size && !rng_.OneIn(3)) {
    KnownJob job = Create(v, &group, nullptr);
    if (!job.job) break;
    if (rng_.OneIn(6)) Start(job);  // before the group is sealed
    group.members.push_back(std::move(job));
  }
  if (group.members.size() < group.size && !rng_.OneIn(6)) return;
  if (rng_.OneIn(8)) {  // given up
    Count(Totals().unsealed);
    v.group.reset();
    return;
  }
  const absl::Status status = group.builder.Seal();
  STRESS_CHECK(status.ok() || absl::IsAborted(status), status.ToString());
  Count(Totals().groups);
  for (const KnownJob& job : group.members) {
    if (!rng_.OneIn(10)) Start(job);
  }
  v.group.reset();
}

void Monitor::Start(const KnownJob& job) {
  const absl::Status status = StartJob(*job.job);
  STRESS_CHECK(status.ok() || absl::IsFailedPrecondition(status), status.ToString());
  if (status.ok()) Count(Totals().starts);
}

void Monitor::StartOrAbandon(Visit& v) {
  heart_.Beat("start a job");
  const KnownJob job = v.world.AnyJob(rng_);
  if (!job.job) return;
  if (!rng_.OneIn(8)) {
    Start(job);
    return;
  }
  const absl::Status status = AbandonJob(*job.job);
  STRESS_CHECK(status.ok() || absl::IsFailedPrecondition(status), status.ToString());
  if (!status.ok()) return;
  Count(Totals().abandons);
  job.record->abandoned = true;
}

// An I/O thread of its own for a few jobs, which ends as soon as they have.
void Monitor::UseThread(Visit& v) {
  heart_.Beat("use a short-lived thread");
  Count(Totals().iothreads);
  IOThread thread("short-lived");
  std::vector<KnownJob> jobs;
  for (uint64_t i = rng_.Between(1, 3); i > 0; --i) {
    KnownJob job = Create(v, nullptr, &thread.context());
    if (!job.job) continue;
    if (!rng_.OneIn(4)) Start(job);
    jobs.push_back(std::move(job));
  }
  for (const KnownJob& job : jobs) {
    if (rng_.OneIn(2)) (void)monitor::WaitFor(job.job, Soon(500));
    for (;;) {
      absl::StatusOr<JobOutcome> outcome = monitor::CancelAndWait(job.job);
      if (outcome.ok()) break;
      STRESS_CHECK(absl::IsFailedPrecondition(outcome.status()), outcome.status().ToString());
      outcome = monitor::WaitFor(job.job, Soon(1000));
      if (outcome.ok()) break;
    }
  }
  jobs.clear();
  heart_.Beat("stop a short-lived thread");
}

// --- Waiting and looking ---

void Monitor::WaitALittle(Visit& v) {
  heart_.Beat("wait a little");
  const KnownJob job = v.world.AnyJob(rng_);
  if (!job.job) return;
  Count(Totals().waits);
  const TimePoint deadline = Soon(2000);
  absl::StatusOr<JobOutcome> outcome;
  switch (rng_.Below(6)) {
    case 0:
      outcome = monitor::CancelAndWait(job.job, rng_.OneIn(2) ? CancelMode::kForce : CancelMode::kSoft, deadline);
      break;
    case 1:
      outcome = monitor::CompleteAndWait(job.job, deadline);
      if (absl::IsUnavailable(outcome.status())) return;  // the driver's planned refusal
      break;
    default:
      outcome = monitor::WaitFor(job.job, deadline);
  }
  STRESS_CHECK(IsExpected(outcome.status()), outcome.status().ToString());
  if (!outcome.ok()) return;
  JobLock lock(v.core);
  STRESS_CHECK(IsConcluded(job.job->status()), Describe(*job.job), ": waited for, but not concluded");
  STRESS_CHECK(*job.job->outcome() == *outcome, Describe(*job.job), ": another outcome");
}

void Monitor::AwaitALittle(Visit& v) {
  heart_.Beat("await a little");
  KnownJob job = v.world.AnyJob(rng_);
  if (!job.job) return;
  Count(Totals().awaits);
  hub_.TakeAgain(v.world);
  AioContext& context = v.world.AnyContext(rng_);
  context.Post("await a job", [this, &world = v.world, job = std::move(job.job), deadline = Soon(2000)]() mutable {
    Spawn("await a job", AwaitAndReturn(hub_, world, std::move(job), deadline));
  });
}

void Monitor::ReadEvents(Visit& v) {
  heart_.Beat("read events");
  EventPage page;
  {
    JobLock lock(v.core);
    if (!v.checker.has_value()) {
      const bool from_start = rng_.OneIn(2);
      v.checker.emplace(from_start);
      if (!from_start) v.cursor.next = v.core.last_event() + 1;
    }
    page = v.core.ReadEvents(v.cursor, rng_.Between(1, 100));
  }
  STRESS_CHECK(page.events.size() <= 64, "a page of ", page.events.size(), " events");
  v.checker->Consume(page);
}

void Monitor::Observe(Visit& v) {
  heart_.Beat("observe");
  Count(Totals().observers);
  if (v.observer != nullptr) {
    v.observer.reset();
    v.observed->closed = true;
    v.observed.reset();
    return;
  }
  v.observed = std::make_shared<Observer>();
  v.observer = std::make_unique<monitor::EventObserver>(
      v.core, v.world.AnyContext(rng_), [observed = v.observed](const EventPage& page) {
        STRESS_CHECK(!observed->closed, "a call to a closed observer");
        STRESS_CHECK(internal::HeldJobMutex() == nullptr, "an observer under job_mutex");
        observed->checker.Consume(page);
      });
}

void Monitor::Query(Visit& v) {
  heart_.Beat("query");
  Count(Totals().queries);
  if (rng_.OneIn(4)) {
    const monitor::WaitDump dump = monitor::DumpWaits(v.core);
    STRESS_CHECK(!ToString(dump).empty() && !dump.loops.empty(), "an empty dump");
    for (size_t i = 1; i < dump.jobs.size(); ++i) {
      STRESS_CHECK(dump.jobs[i - 1].number < dump.jobs[i].number, "jobs out of order");
    }
    return;
  }
  std::vector<monitor::JobInfo> infos;
  if (rng_.OneIn(2)) {
    infos = monitor::SnapshotJobs(v.core);
  } else {
    JobLock lock(v.core);
    monitor::QueryCursor cursor;
    infos = monitor::QueryPage(v.core, cursor, rng_.Between(1, 100));
    STRESS_CHECK(infos.size() <= monitor::kMaxPage, "a page of ", infos.size());
  }
  uint64_t before = UINT64_MAX;
  for (const monitor::JobInfo& info : infos) {
    STRESS_CHECK(info.number < before, "job ", info.number, " after ", before);
    before = info.number;
    SeeProgress(v, info.number, info.progress);
  }
}

}  // namespace jobcore::stress
