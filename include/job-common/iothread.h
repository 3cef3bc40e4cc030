// SPDX-License-Identifier: Apache-2.0
//
// IOThread: a thread that runs an AioContext. Jobs, and the I/O they do, live in one.

#ifndef JOBCORE_JOB_COMMON_IOTHREAD_H_
#define JOBCORE_JOB_COMMON_IOTHREAD_H_

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "job-common/aio_context.h"
#include "job-common/clock.h"
#include "job-common/fwd.h"
#include "job-common/job_mutex.h"
#include "job-common/sync.h"

namespace jobcore::inline JOBCORE_ABI {

class IOThread {
 public:
  struct Options {
    Clock* clock = nullptr;            // null: Clock::System()
    std::unique_ptr<Poller> poller{};  // null: Poller::Epoll()
    Nanoseconds poll_max{0};           // see AioContext::Options
    // False: no thread is started; whoever owns this runs context() itself, inside an AioHome. For tests that
    // run all contexts on one thread. Stop() then only marks the context closed.
    bool start_thread = true;
  };

  // Any thread. Returns when the loop is running.
  explicit IOThread(std::string name) : IOThread(std::move(name), Options()) {}
  IOThread(std::string name, Options options);
  // Stops. Aborts, naming the context, if jobs or exports still live in it.
  ~IOThread() JOBCORE_EXCLUDES(job_mutex);
  IOThread(const IOThread&) = delete;
  IOThread& operator=(const IOThread&) = delete;

  const std::string& name() const { return context_->name(); }
  AioContext& context() const { return *context_; }

  // Lets the loop finish what has been posted so far and joins the thread; the second call does nothing.
  // FailedPrecondition if jobs or exports still live here, or if called on this thread itself. Not from two threads at
  // the same time.
  absl::Status Stop() JOBCORE_EXCLUDES(job_mutex);

 private:
  void Run() JOBCORE_EXCLUDES(job_mutex);

  const std::shared_ptr<AioContext> context_;
  bool running_ = true;  // home thread only: cleared by a bottom half (a plain flag would lose the race, R-40)
  bool stopped_ = false;
  internal::Mutex mutex_;
  internal::CondVar home_taken_;
  bool is_home_ = false;  // guarded by mutex_
  internal::Thread thread_;
};

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_JOB_COMMON_IOTHREAD_H_
