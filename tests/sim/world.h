// SPDX-License-Identifier: Apache-2.0
//
// A world of jobs, groups, monitors, drains, as a plan says, watched by a JobChecker. What makes it go on is somebody
// else: a simulation, controlled threads, a fuzzer.

#ifndef JOBCORE_TESTS_SIM_WORLD_H_
#define JOBCORE_TESTS_SIM_WORLD_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "job-common/aio_context.h"
#include "job-common/clock.h"
#include "job-common/coroutine.h"
#include "job-common/io_engine.h"
#include "job-common/job.h"
#include "job-common/job_core.h"
#include "job-common/job_txn.h"
#include "job-driver/resource.h"
#include "job-monitor/event_observer.h"
#include "job-testing/job_checker.h"
#include "sim/plan.h"

namespace jobcore::sim {

struct Environment {
  Clock& clock;
  std::vector<std::shared_ptr<AioContext>> contexts;  // the main one first; all go by `clock`
  IoEngine& disk;
  int file = -1;  // for requests of jobs and producers
};

class World {
 public:
  // One thing at a time, on a plain thread; false: it is done. Several actors may act at the same time.
  struct Actor {
    std::string name;
    absl::AnyInvocable<bool()> step;
  };

  // Made and destroyed on the home thread of the main context. `explain`: see JobChecker.
  World(Environment environment, Plan plan, absl::AnyInvocable<std::string()> explain = {});
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  JobCore& core() { return *core_; }
  testing::JobChecker& checker() { return *checker_; }
  const Plan& plan() const { return plan_; }

  // Those who create jobs, and the monitors. Once. They must be done, and destroyed, before Finish.
  std::vector<Actor> TakeActors();

  // The epilogue: when the actors are done, brings to an end what would go on forever. To be called again whenever
  // everything has become quiet, until it returns false: then everything is over. A plain thread.
  bool Push();
  // How often Push may be needed. More: something hangs.
  int max_pushes() const { return 100; }

  // When Push has said that everything is over.
  void Finish();

  // --- For the world's drivers and coroutines: any thread ---
  const Environment& environment() const { return environment_; }
  Resource& resource(uint32_t i) { return *resources_[i]; }
  std::vector<Resource*> Resources(uint32_t set);
  // While a request is in flight nobody holds a section over this.
  void CheckNotStill(const Resource& resource);
  void CountStill(const std::vector<Resource*>& resources, int delta);
  // Something goes on that Push has to wait for.
  void Begin() { going_on_.fetch_add(1); }
  void End() { going_on_.fetch_sub(1); }
  // What a job's Run waits for that nobody is bound to bring about: while there is nothing, the job goes on by itself.
  enum class Awaits : unsigned char {
    kNothing,
    kWakeUp,      // a yield
    kCompletion,  // or a soft cancel
  };
  void SetAwaits(const JobPlan& job, Awaits what) { awaits_[static_cast<size_t>(&job - plan_.jobs.data())] = what; }
  [[noreturn]] void Broken(const std::string& what);

 private:
  class Creator;
  class Monitor;
  friend class Creator;
  friend class Monitor;

  JobSpec SpecOf(const JobPlan& job, JobTxnBuilder* group);
  // When everything has become quiet nobody is on the way any more: a job that has not stopped where it was told to, or
  // has not gone on from where nothing holds it, never will.
  void CheckAtRest();
  std::string StuckAtRest(const JobPlan& plan, const Job& job) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  AioContext& ContextOf(uint32_t i) { return *environment_.contexts[i % environment_.contexts.size()]; }

  const Environment environment_;
  const Plan plan_;
  std::unique_ptr<JobCore> core_;
  std::unique_ptr<testing::JobChecker> checker_;
  std::vector<std::unique_ptr<Resource>> resources_;
  std::vector<std::unique_ptr<std::atomic<int>>> still_;        // by resource: sections that are held over it
  std::vector<std::atomic<Awaits>> awaits_{plan_.jobs.size()};  // by job of the plan
  std::atomic<int> going_on_{0};
  int pushes_ = 0;
};

// Coroutines of the world: none is told when it has to stop, each ends by itself.
Co<void> Doze(AioContext& here, Nanoseconds time);
Co<void> AwaitOne(World& world, JobRef job, TimePoint deadline);
Co<void> HoldSection(World& world, uint32_t resources, Nanoseconds patience, Nanoseconds hold);
Co<void> MakeRequests(World& world, uint32_t resource, uint32_t count);

// The driver of a job of the plan.
std::unique_ptr<JobDriver> MakeDriver(World& world, const JobPlan& plan);

}  // namespace jobcore::sim

#endif  // JOBCORE_TESTS_SIM_WORLD_H_
