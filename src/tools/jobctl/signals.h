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

// Blocks SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT and SIGUSR1, but those that are ignored (by nohup, or by a
// shell for its background jobs), for this thread and those it makes from now on. Ignores SIGPIPE and SIGXFSZ, so that
// they show as errors of the write that meets them instead of killing us.
void BlockSignals();

// Lets one of them do what it does by default: SIGTSTP stops the process, SIGQUIT ends it. Returns when it goes on; at
// once, if there is no shell that could continue it. Leaves the signal blocked.
void ActOnSignal(int signal);

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
