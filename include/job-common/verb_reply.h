// SPDX-License-Identifier: Apache-2.0
//
// VerbReply: the answer to a verb that is accepted now and carried out later (complete, finalize).

#ifndef JOBCORE_JOB_COMMON_VERB_REPLY_H_
#define JOBCORE_JOB_COMMON_VERB_REPLY_H_

#include <memory>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "job-common/aio_context.h"
#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI {

// Called exactly once if the verb was accepted, as a callback of the context given (which must not be stopped
// before); never if the verb was refused (it returned an error): then what the callback holds is destroyed with
// the argument, that is by the caller, under the caller's JobLock.
class VerbReply {
 public:
  VerbReply() = default;  // nobody wants to know
  VerbReply(AioContext& context, absl::AnyInvocable<void(absl::Status)> callback)
      : context_(context.shared_from_this()), callback_(std::move(callback)) {}

  // Any thread, not under job_mutex; once.
  void Send(absl::Status status) && {
    if (context_ == nullptr) return;
    const std::shared_ptr<AioContext> context = std::move(context_);  // until Post has returned
    context->Post(*new Item(std::move(callback_), std::move(status)));
  }

 private:
  friend class JobOps;

  struct Item final : WorkItem {
    Item(absl::AnyInvocable<void(absl::Status)> c, absl::Status s)
        : WorkItem("verb reply", &Invoke), callback(std::move(c)), status(std::move(s)) {}
    static void Invoke(WorkItem& self, Reason reason) {
      const std::unique_ptr<Item> item(static_cast<Item*>(&self));
      if (reason == Reason::kRun) item->callback(std::move(item->status));
    }
    absl::AnyInvocable<void(absl::Status)> callback;
    absl::Status status;
  };

  std::shared_ptr<AioContext> context_;
  absl::AnyInvocable<void(absl::Status)> callback_;
};

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_JOB_COMMON_VERB_REPLY_H_
