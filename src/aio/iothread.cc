// SPDX-License-Identifier: Apache-2.0

#include "job-common/iothread.h"

#include <pthread.h>

#include <mutex>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "aio/check.h"
#include "job-common/job_mutex.h"

namespace jobcore::inline JOBCORE_ABI {
namespace {

AioContext::Options ContextOptions(std::string name, IOThread::Options& options) {
  return {.name = std::move(name),
          .kind = AioContext::Kind::kIOThread,
          .clock = options.clock,
          .poller = std::move(options.poller),
          .poll_max = options.poll_max};
}

}  // namespace

IOThread::IOThread(std::string name, Options options)
    : context_(AioContext::Create(ContextOptions(std::move(name), options))) {
  if (!options.start_thread) return;
  thread_ = internal::Thread(&IOThread::Run, this);
  std::unique_lock lock(mutex_);
  home_taken_.wait(lock, [this] { return is_home_; });
}

IOThread::~IOThread() {
  if (const absl::Status status = Stop(); !status.ok()) {
    internal::Die(absl::StrCat("~IOThread: ", status.message()));
  }
}

void IOThread::Run() {
  pthread_setname_np(pthread_self(), name().substr(0, 15).c_str());
  const AioHome home(*context_);
  {
    const std::scoped_lock lock(mutex_);
    is_home_ = true;
    home_taken_.notify_one();
  }
  while (running_) context_->RunOnce(true);
  context_->Close();
}

absl::Status IOThread::Stop() {
  internal::AssertNoJobMutexHeld("IOThread::Stop", name().c_str());
  if (stopped_) return absl::OkStatus();
  if (thread_.joinable() && context_->IsHome()) {
    return absl::FailedPreconditionError(
        absl::StrCat("I/O thread '", name(), "' cannot stop itself: stop it from another thread"));
  }
  if (int users = 0; !context_->users_.compare_exchange_strong(users, AioContext::kNoMoreUsers)) {
    return absl::FailedPreconditionError(absl::StrCat("I/O thread '", name(), "' is in use by ", users, " job(s), export(s) or move(s)"));
  }
  stopped_ = true;
  if (!thread_.joinable()) {
    context_->CloseQueue();
    return absl::OkStatus();
  }
  context_->Post("I/O thread stop", [this] { running_ = false; });
  thread_.join();
  return absl::OkStatus();
}

}  // namespace jobcore::inline JOBCORE_ABI
