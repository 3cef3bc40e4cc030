// SPDX-License-Identifier: Apache-2.0

#include "job-driver/blocking_pool.h"

#include <pthread.h>

#include <iterator>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "aio/check.h"
#include "job-common/sync.h"

namespace jobcore::inline JOBCORE_ABI {

BlockingPool::BlockingPool(size_t max_threads, std::string name) : max_threads_(max_threads), name_(std::move(name)) {
  if (max_threads_ < 1) internal::Die(absl::StrCat("BlockingPool '", name_, "': needs at least one thread"));
}

BlockingPool::~BlockingPool() {
  {
    const std::scoped_lock lock(mutex_);
    if (running_ != 0 || !queue_.empty()) {
      internal::Die(absl::StrCat("BlockingPool '", name_, "' destroyed while ", running_, " functions run in it and ",
                                 queue_.size(), " wait; finish or cancel their jobs, or destroy their core, first"));
    }
    stopping_ = true;
  }
  more_.notify_all();
  for (internal::Thread& thread : threads_) thread.join();
}

BlockingPool::Usage BlockingPool::usage() const {
  const std::scoped_lock lock(mutex_);
  return {.max_threads = max_threads_, .threads = threads_.size(), .running = running_, .queued = queue_.size()};
}

void BlockingPool::Submit(std::shared_ptr<Task> task) {
  const std::scoped_lock lock(mutex_);
  Task& queued = *task;
  queue_.push_back(std::move(task));
  queued.place_ = std::prev(queue_.end());
  // Threads that have been woken, and have not taken their task yet, are among the idle ones.
  if (queue_.size() > idle_ && threads_.size() < max_threads_) {
    try {
      threads_.emplace_back([this]() JOBCORE_EXCLUDES(job_mutex) { Work(); });
    } catch (const std::system_error&) {
      if (threads_.empty()) {
        queue_.pop_back();
        throw;
      }  // else those that there are will come to it
    }
  }
  more_.notify_one();
}

bool BlockingPool::Withdraw(Task& task) {
  std::shared_ptr<Task> withdrawn;  // outlives the lock
  const std::scoped_lock lock(mutex_);
  if (task.place_ == queue_.end()) return false;
  withdrawn = std::move(*task.place_);
  queue_.erase(std::exchange(task.place_, queue_.end()));
  return true;
}

void BlockingPool::Work() {
  pthread_setname_np(pthread_self(), name_.substr(0, 15).c_str());
  std::unique_lock lock(mutex_);
  for (;;) {
    ++idle_;
    more_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    --idle_;
    if (queue_.empty()) return;
    std::shared_ptr<Task> task = std::move(queue_.front());
    queue_.pop_front();
    task->place_ = queue_.end();
    ++running_;
    lock.unlock();
    task->Perform();
    lock.lock();
    --running_;  // before anybody can know that it has finished
    lock.unlock();
    task->Finished();
    task.reset();
    lock.lock();
  }
}

}  // namespace jobcore::inline JOBCORE_ABI
