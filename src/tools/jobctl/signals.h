// SPDX-License-Identifier: Apache-2.0
//
// Signals as events of a loop, instead of as interruptions of arbitrary code.

#ifndef JOBCORE_TOOLS_JOBCTL_SIGNALS_H_
#define JOBCORE_TOOLS_JOBCTL_SIGNALS_H_

#include <memory>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "block/unique_fd.h"
#include "job-common/aio_context.h"

namespace jobctl {

// Blocks SIGINT, SIGTERM, SIGHUP, SIGUSR1 and SIGCONT, for this thread and those it makes from now on; ignores SIGPIPE and
// SIGXFSZ, so that they show as errors of the write that meets them instead of killing us.
void BlockSignals();

// Calls back in `context` for each of the blocked signals.
class SignalWatch {
 public:
  static absl::StatusOr<SignalWatch> Create(jobcore::AioContext& context,
                                            absl::AnyInvocable<void(int signal)> callback);

 private:
  SignalWatch(jobcore::internal::UniqueFd fd, std::unique_ptr<jobcore::FdHandler> handler)
      : fd_(std::move(fd)), handler_(std::move(handler)) {}

  jobcore::internal::UniqueFd fd_;  // closed after the handler is gone
  std::unique_ptr<jobcore::FdHandler> handler_;
};

}  // namespace jobctl

#endif  // JOBCORE_TOOLS_JOBCTL_SIGNALS_H_
