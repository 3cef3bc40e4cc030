// SPDX-License-Identifier: Apache-2.0
//
// A World: one JobCore with its I/O threads, and all that is known of its jobs. Lives for a moment; monitors
// of other threads work in it while they hold a Lease.

#ifndef JOBCORE_TESTS_STRESS_STRESS_WORLD_H_
#define JOBCORE_TESTS_STRESS_STRESS_WORLD_H_

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "job-common/iothread.h"
#include "job-common/job_core.h"
#include "job-common/verb_reply.h"
#include "job-monitor/event_observer.h"
#include "job-monitor/job_wait.h"
#include "job-monitor/watchdog.h"
#include "stress/stress_checker.h"
#include "stress/stress_driver.h"
#include "stress/stress_util.h"

namespace jobcore::stress {

struct KnownJob {
  JobRef job;
  std::shared_ptr<JobRecord> record;
};

// How often the reply of one verb came. `accepted` belongs to the monitor, then to the world's owner.
struct ReplyRecord {
  bool accepted = false;
  std::atomic<int> calls{0};
};

class World {
 public:
  // On the thread that will destroy it.
  World(std::string name, JobCore::MainLoop main_loop, Rng& rng, int fd);
  ~World() = default;  // after Finish
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  const std::string& name() const { return name_; }
  JobCore& core() { return *core_; }

  // --- Any thread, with a lease ---
  std::unique_ptr<JobDriver> NewDriver(Rng& rng, std::string id, std::shared_ptr<GroupRecord> group,
                                       std::shared_ptr<JobRecord>& record);
  std::string NewId(Rng& rng);
  AioContext& AnyContext(Rng& rng);
  AioContext& ReplyContext(Rng& rng);
  VerbReply NewReply(Rng& rng, std::shared_ptr<ReplyRecord>& record);
  // Empty: the world has none.
  const std::vector<std::unique_ptr<Disk>>& disks() const { return disks_; }
  void Know(Rng& rng, KnownJob job);
  KnownJob AnyJob(Rng& rng);  // empty: none is known

  // --- The owner ---
  void ShutDownEarly(Rng& rng) JOBCORE_EXCLUDES(job_mutex);  // while monitors are at work
  // Ends the core and checks what is known of it. On the thread that made this; no leases are left.
  void Finish() JOBCORE_EXCLUDES(job_mutex);
  void Dump();  // of a hang; any thread

 private:
  void Forget();
  void EndEvents() JOBCORE_EXCLUDES(job_mutex);

  const std::string name_;
  const bool shutdown_;           // explicitly, before the core is destroyed
  const bool threads_end_first_;  // the I/O threads, before the core
  const std::unique_ptr<IoEngine> engine_;
  std::vector<std::unique_ptr<IOThread>> threads_;
  std::unique_ptr<JobCore> core_;
  std::vector<std::unique_ptr<Disk>> disks_;
  const DriverWorld driver_world_;
  std::atomic<uint64_t> next_id_{1};

  EventChecker checker_{true};  // the observer's context, then the owner
  std::unique_ptr<monitor::EventObserver> observer_;
  std::unique_ptr<monitor::Watchdog> watchdog_;  // prints what is stuck; the other one aborts

  std::mutex mutex_;  // a leaf; guards:
  std::vector<KnownJob> known_;
  std::vector<std::shared_ptr<JobRecord>> records_;
  std::vector<std::shared_ptr<ReplyRecord>> replies_;
};

// The worlds that there are, and who works in them.
class Hub {
 public:
  void Open(World& world);
  // No new leases; returns when the last one has ended. Runs the core's main loop if that is ours.
  void Close(World& world) JOBCORE_EXCLUDES(job_mutex);
  void Remove(World& world);
  World* Take(Rng& rng);         // null: no world is open
  void TakeAgain(World& world);  // with a lease: one more
  void Return(World& world) JOBCORE_EXCLUDES(job_mutex);
  void Dump();

 private:
  struct Entry {
    World* world;
    int leases = 0;
    bool open = true;
  };
  Entry* Find(World& world);

  std::mutex mutex_;  // guards:
  std::vector<Entry> entries_;
};

class Lease {
 public:
  Lease(Hub& hub, World& world) : hub_(hub), world_(world) {}  // has been taken
  ~Lease() { hub_.Return(world_); }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;

 private:
  Hub& hub_;
  World& world_;
};

}  // namespace jobcore::stress

#endif  // JOBCORE_TESTS_STRESS_STRESS_WORLD_H_
