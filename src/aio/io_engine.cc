// SPDX-License-Identifier: Apache-2.0

#include "job-common/io_engine.h"

#include <memory>
#include <optional>
#include <utility>

#include "aio/check.h"

namespace jobcore::inline JOBCORE_ABI {

bool IoRequest::await_ready() {
  if (!cached || op != Op::kRead) return false;
  const std::optional<IoResult> result = engine_.ReadAtOnce(*this);
  if (result.has_value()) result_ = *result;
  return result.has_value();
}

void IoRequest::Start() {
  AioContext* const home = AioContext::Current();
  if (home == nullptr) internal::Die("IoRequest: awaited on a thread that is home of no context");
  context_ = home->shared_from_this();
  engine_.Submit(*this);
}

void IoRequest::Complete(IoResult result) {
  result_ = result;
  // Out of *this, which may be gone as soon as it is posted. And a request that stays in the queue of
  // a context that will not run any more must not keep it alive.
  const std::shared_ptr<AioContext> context = std::move(context_);
  context->Post(*this);
}

void IoRequest::Resume(WorkItem& item, Reason reason) {
  const CoHandle waiter = static_cast<IoRequest&>(item).waiter_;
  if (reason == Reason::kRun) waiter.Resume();  // dropped: the coroutine stays suspended, its owner's
}

std::unique_ptr<IoEngine> IoEngine::Best(int threads) {
  absl::StatusOr<std::unique_ptr<IoEngine>> uring = Uring(threads);
  return uring.ok() ? *std::move(uring) : ThreadPool(threads);
}

}  // namespace jobcore::inline JOBCORE_ABI
