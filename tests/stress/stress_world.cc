// SPDX-License-Identifier: Apache-2.0

#include "stress/stress_world.h"

#include <algorithm>
#include <cstdio>

#include "job-common/aio_wait.h"

namespace jobcore::stress {
namespace {

constexpr size_t kKnownJobs = 64;
// Large enough that the world's own observer loses nothing.
constexpr size_t kLargeRing = 1 << 20;

JobCore::Options CoreOptions(JobCore::MainLoop main_loop, Rng& rng) {
  JobCore::Options options;
  options.main_loop = main_loop;
  options.event_capacity = rng.OneIn(4) ? rng.Between(1, 64) : kLargeRing;
  return options;
}

}  // namespace

World::World(std::string name, JobCore::MainLoop main_loop, Rng& rng, int fd)
    : name_(std::move(name)),
      shutdown_(!rng.OneIn(4)),
      threads_end_first_(shutdown_ && rng.OneIn(2)),
      engine_(IoEngine::ThreadPool(static_cast<int>(rng.Between(1, 2)))),
      core_(std::make_unique<JobCore>(CoreOptions(main_loop, rng))),
      driver_world_{*core_, *engine_, fd} {
  Count(Totals().worlds);
  if (shutdown_) {  // resources end after all jobs, and before the core
    for (const char* const name : {"disk0", "disk1"}) disks_.push_back(std::make_unique<Disk>(*core_, name));
  }
  const uint64_t threads = rng.Between(1, 3);
  for (uint64_t i = 0; i < threads; ++i) {
    IOThread::Options options;
    if (rng.OneIn(2)) options.poll_max = rng.Micros(1, 50);
    threads_.push_back(std::make_unique<IOThread>(absl::StrCat(name_, ".io", i), std::move(options)));
    Count(Totals().iothreads);
  }
  AioContext& context = rng.OneIn(2) ? core_->main_context() : threads_[0]->context();
  observer_ = std::make_unique<monitor::EventObserver>(
      *core_, context, [this](const EventPage& page) { checker_.Consume(page); }, EventCursor());
  // Looks far more often than one would, to meet everything in the middle.
  constexpr std::chrono::seconds kStuck(20);
  monitor::Watchdog::Options watch;
  watch.callback = monitor::Watchdog::ToStderr();
  watch.wait_limit = watch.overdue_limit = watch.loop_limit = kStuck;
  watch.interval = rng.Micros(200, 20'000);
  watchdog_ = std::make_unique<monitor::Watchdog>(*core_, std::move(watch));
}

void World::Finish() {
  Forget();
  if (shutdown_) {
    const absl::StatusOr<monitor::ShutdownReport> report = monitor::Shutdown(*core_, monitor::ShutdownMode::kCancel);
    STRESS_CHECK(report.ok(), name_, ": ", report.status().ToString());
    STRESS_CHECK(report->clean(), name_, ": ", report->open.size(), " jobs open after a shutdown without deadline");
    JobLock lock(*core_);
    STRESS_CHECK(core_->job_count() == 0, name_, ": ", core_->job_count(), " jobs left after the shutdown");
  }
  disks_.clear();
  EndEvents();
  if (threads_end_first_) threads_.clear();
  watchdog_.reset();
  core_.reset();
  threads_.clear();

  const bool all_events = shutdown_ && checker_.complete();
  for (const std::shared_ptr<JobRecord>& record : records_) {
    CheckHooks(*record);
    if (!all_events || record->number == 0 || record->id.empty()) continue;
    const auto trace = checker_.traces().find(record->number);
    STRESS_CHECK(trace != checker_.traces().end(), name_, ": no event of job ", record->number);
    CheckStory(*record, trace->second);
  }
  for (const std::shared_ptr<ReplyRecord>& reply : replies_) {
    STRESS_CHECK(reply->calls == (reply->accepted ? 1 : 0), name_, ": a verb was ",
                 reply->accepted ? "accepted" : "refused", " and answered ", reply->calls.load(), " times");
  }
}

void World::EndEvents() {
  observer_.reset();
  EventCursor cursor{checker_.next()};
  for (;;) {
    EventPage page;
    {
      JobLock lock(*core_);
      page = core_->ReadEvents(cursor);
    }
    if (page.events.empty()) return;
    checker_.Consume(page);
  }
}

void World::Forget() {
  std::vector<KnownJob> known;
  {
    const std::scoped_lock lock(mutex_);
    known.swap(known_);
  }
}

std::unique_ptr<JobDriver> World::NewDriver(Rng& rng, std::string id, std::shared_ptr<GroupRecord> group,
                                            std::shared_ptr<JobRecord>& record) {
  record = std::make_shared<JobRecord>(std::move(id), MakePlan(rng), std::move(group));
  {
    const std::scoped_lock lock(mutex_);
    records_.push_back(record);
  }
  return std::make_unique<StressDriver>(driver_world_, record);
}

std::string World::NewId(Rng& rng) {
  if (rng.OneIn(12)) return absl::StrCat("shared", rng.Below(4));  // taken, perhaps
  return absl::StrCat("j", next_id_.fetch_add(1, std::memory_order_relaxed));
}

AioContext& World::AnyContext(Rng& rng) {
  const uint64_t i = rng.Below(threads_.size() + 1);
  return i == threads_.size() ? core_->main_context() : threads_[i]->context();
}

AioContext& World::ReplyContext(Rng& rng) {
  return threads_end_first_ ? core_->main_context() : AnyContext(rng);  // one that answers to the end
}

VerbReply World::NewReply(Rng& rng, std::shared_ptr<ReplyRecord>& record) {
  record = std::make_shared<ReplyRecord>();
  {
    const std::scoped_lock lock(mutex_);
    replies_.push_back(record);
  }
  AioContext& context = ReplyContext(rng);
  return VerbReply(context, [record, &context](const absl::Status&) {
    STRESS_CHECK(context.IsHome(), "a reply outside of its context");
    STRESS_CHECK(internal::HeldJobMutex() == nullptr, "a reply under job_mutex");
    record->calls.fetch_add(1);
    Count(Totals().replies);
  });
}

void World::Know(Rng& rng, KnownJob job) {
  const std::scoped_lock lock(mutex_);
  if (known_.size() < kKnownJobs) {
    known_.push_back(std::move(job));
  } else {
    std::swap(known_[rng.Below(kKnownJobs)], job);
  }
}

KnownJob World::AnyJob(Rng& rng) {
  const std::scoped_lock lock(mutex_);
  if (known_.empty()) return {};
  return known_[rng.Below(known_.size())];
}

void World::ShutDownEarly(Rng& rng) {
  const auto mode = rng.OneIn(2) ? monitor::ShutdownMode::kDrain : monitor::ShutdownMode::kCancel;
  const TimePoint deadline = SaturatingAdd(Clock::System().Now(), rng.Micros(0, 20'000));
  const absl::StatusOr<monitor::ShutdownReport> report = monitor::Shutdown(*core_, mode, deadline);
  STRESS_CHECK(report.ok(), name_, ": ", report.status().ToString());
}

void World::Dump() {
  std::fprintf(stderr, "  world %s\n", name_.c_str());
  if (!mutex_.try_lock()) return;
  for (const std::shared_ptr<JobRecord>& record : records_) {
    if (record->destroyed) continue;
    std::fprintf(stderr, "    job '%s' kind %d: driver was last at '%s'\n", record->id.c_str(),
                 static_cast<int>(record->plan.kind), record->note.load());
  }
  mutex_.unlock();
  if (core_ == nullptr) return;
  std::fputs(ToString(monitor::DumpWaits(*core_)).c_str(), stderr);
}

// --- Hub ---

Hub::Entry* Hub::Find(World& world) {
  return &*std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.world == &world; });
}

void Hub::Open(World& world) {
  const std::scoped_lock lock(mutex_);
  entries_.push_back({&world});
}

void Hub::Close(World& world) {
  {
    const std::scoped_lock lock(mutex_);
    Find(world)->open = false;
  }
  const absl::Status status = AioWaitWhileUnlocked(world.core(),
                                                   [&] {
                                                     const std::scoped_lock lock(mutex_);
                                                     return Find(world)->leases != 0;
                                                   },
                                                   {.name = "end of the leases"});
  STRESS_CHECK(status.ok(), status.ToString());
}

void Hub::Remove(World& world) {
  const std::scoped_lock lock(mutex_);
  std::erase_if(entries_, [&](const Entry& e) { return e.world == &world; });
}

World* Hub::Take(Rng& rng) {
  const std::scoped_lock lock(mutex_);
  std::vector<Entry*> open;
  for (Entry& entry : entries_) {
    if (entry.open) open.push_back(&entry);
  }
  if (open.empty()) return nullptr;
  Entry* const entry = open[rng.Below(open.size())];
  ++entry->leases;
  return entry->world;
}

void Hub::TakeAgain(World& world) {
  const std::scoped_lock lock(mutex_);
  ++Find(world)->leases;
}

void Hub::Return(World& world) {
  // Under the lock: the world ends as soon as it is free.
  const std::scoped_lock lock(mutex_);
  if (--Find(world)->leases == 0) world.core().main_context().wait_domain().Kick();
}

void Hub::Dump() {
  if (!mutex_.try_lock()) return;
  for (Entry& entry : entries_) {
    std::fprintf(stderr, "  %d leases, %s:\n", entry.leases, entry.open ? "open" : "closing");
    entry.world->Dump();
  }
  mutex_.unlock();
}

}  // namespace jobcore::stress
