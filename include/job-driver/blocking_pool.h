// SPDX-License-Identifier: Apache-2.0
//
// BlockingPool: the threads on which the functions of BlockingDrivers run. One pool serves many jobs, of any
// context and of several cores:
//
//   BlockingPool pool(4);                                        // outlives its jobs: before the core
//   JobCore core;
//   CreateJob(core, {.id = "sum0"}, std::make_unique<Checksum>(pool, path));
//
// First come, first served. A function has its thread to itself until it returns: it keeps it while its job is
// paused too. As many paused jobs as there are threads therefore stop all the others; in a pool of one, a
// single one does. They can still be paused and cancelled where they wait.

#ifndef JOBCORE_JOB_DRIVER_BLOCKING_POOL_H_
#define JOBCORE_JOB_DRIVER_BLOCKING_POOL_H_

#include <cstddef>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "job-common/fwd.h"
#include "job-common/job_mutex.h"
#include "job-common/sync.h"

namespace jobcore::inline JOBCORE_ABI {

class BlockingPool {
 public:
  // Never more than `max_threads` (at least 1, aborts otherwise), each made when first needed and then kept.
  // `name` names the threads for debuggers.
  explicit BlockingPool(size_t max_threads, std::string name = "blocking");
  // Ends the threads. Aborts if functions still run or wait: finish or cancel their jobs first, or destroy
  // their core. Not on a thread of this pool.
  ~BlockingPool();
  BlockingPool(const BlockingPool&) = delete;
  BlockingPool& operator=(const BlockingPool&) = delete;

  struct Usage {
    size_t max_threads = 0;
    size_t threads = 0;  // made so far
    size_t running = 0;  // functions on a thread, those held by a pause included
    size_t queued = 0;   // waiting for a thread; without those that are paused while they wait
  };
  // Any thread; one consistent moment.
  Usage usage() const;

  const std::string& name() const { return name_; }

 private:
  friend class BlockingJob;

  // What a thread does. Shared by its owner and the thread: it may be over, for its owner, inside Finished.
  class Task {
   public:
    virtual ~Task() = default;
    virtual void Perform() noexcept JOBCORE_EXCLUDES(job_mutex) = 0;
    // The last that happens to it, when it counts as running no more: whoever waits for this may destroy the
    // pool, whose destructor waits for the thread.
    virtual void Finished() noexcept JOBCORE_EXCLUDES(job_mutex) = 0;

   private:
    friend class BlockingPool;
    std::list<std::shared_ptr<Task>>::iterator place_;  // while queued
  };

  // Throws std::system_error, and has done nothing, if there is no thread and none can be made.
  void Submit(std::shared_ptr<Task> task);
  // `task` has been submitted. True: it was in the queue, and is not performed. False: a thread has it.
  bool Withdraw(Task& task);

  void Work() JOBCORE_EXCLUDES(job_mutex);

  const size_t max_threads_;
  const std::string name_;

  // All guarded by mutex_, a leaf.
  mutable internal::Mutex mutex_;
  internal::CondVar more_;
  std::list<std::shared_ptr<Task>> queue_;
  std::vector<internal::Thread> threads_;
  size_t idle_ = 0;  // threads that wait for work
  size_t running_ = 0;
  bool stopping_ = false;
};

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_JOB_DRIVER_BLOCKING_POOL_H_
