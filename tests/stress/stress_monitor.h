// SPDX-License-Identifier: Apache-2.0
//
// A Monitor: a plain thread that does everything that a controller of jobs can do, at random, and compares
// each answer with what the state of the job, seen under the same lock, says it must be.

#ifndef JOBCORE_TESTS_STRESS_STRESS_MONITOR_H_
#define JOBCORE_TESTS_STRESS_STRESS_MONITOR_H_

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "job-common/coroutine.h"
#include "job-common/job_core.h"
#include "job-monitor/event_observer.h"
#include "job-monitor/job_monitor.h"
#include "job-monitor/job_query.h"
#include "stress/stress_checker.h"
#include "stress/stress_util.h"
#include "stress/stress_world.h"

namespace jobcore::stress {

class Monitor {
 public:
  Monitor(int index, uint64_t seed, Hub& hub);
  // Until `stop`.
  void Run(const std::atomic<bool>& stop) JOBCORE_EXCLUDES(job_mutex);

 private:
  // A group under construction, and an observer: kept for the length of a visit.
  struct OpenGroup {
    explicit OpenGroup(JobCore& core) : builder(core) {}
    JobTxnBuilder builder;
    std::shared_ptr<GroupRecord> record = std::make_shared<GroupRecord>();
    std::vector<KnownJob> members;
    uint64_t size = 0;
  };
  struct Observer {
    EventChecker checker{false};
    bool closed = false;
  };
  struct Visit {
    explicit Visit(World& w) : world(w), core(w.core()) {}
    World& world;
    JobCore& core;
    EventCursor cursor;
    std::optional<EventChecker> checker;
    std::map<uint64_t, uint64_t> progress;  // by job number: the last seen
    std::unique_ptr<OpenGroup> group;
    std::shared_ptr<Observer> observed;
    std::unique_ptr<monitor::EventObserver> observer;
  };

  void Step(Visit& v) JOBCORE_EXCLUDES(job_mutex);
  // A verb on some job, under the lock, sometimes with a gap before it.
  void Act(Visit& v) JOBCORE_EXCLUDES(job_mutex);
  void ActOn(Visit& v, Job& job, JobRecord* record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  void PauseOrResume(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  void Cancel(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  void CompleteOrFinalize(Visit& v, Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  void Move(Visit& v, Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  void SetSpeed(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  void Change(Visit& v, Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  void Look(Visit& v, Job& job, const JobRecord* record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

  KnownJob Create(Visit& v, OpenGroup* group, AioContext* context) JOBCORE_EXCLUDES(job_mutex);
  void CreateOne(Visit& v) JOBCORE_EXCLUDES(job_mutex);
  void BuildGroup(Visit& v) JOBCORE_EXCLUDES(job_mutex);
  void Start(const KnownJob& job) JOBCORE_EXCLUDES(job_mutex);
  void StartOrAbandon(Visit& v) JOBCORE_EXCLUDES(job_mutex);
  void UseThread(Visit& v) JOBCORE_EXCLUDES(job_mutex);
  void WaitALittle(Visit& v) JOBCORE_EXCLUDES(job_mutex);
  void AwaitALittle(Visit& v) JOBCORE_EXCLUDES(job_mutex);
  void Drain(Visit& v) JOBCORE_EXCLUDES(job_mutex);
  void MakeRequests(Visit& v) JOBCORE_EXCLUDES(job_mutex);
  void ReadEvents(Visit& v) JOBCORE_EXCLUDES(job_mutex);
  void Observe(Visit& v) JOBCORE_EXCLUDES(job_mutex);
  void Query(Visit& v) JOBCORE_EXCLUDES(job_mutex);
  void SeeProgress(Visit& v, uint64_t number, const ProgressSnapshot& now);
  TimePoint Soon(uint64_t micros);

  Rng rng_;
  Hub& hub_;
  Heart heart_;
};

}  // namespace jobcore::stress

#endif  // JOBCORE_TESTS_STRESS_STRESS_MONITOR_H_
