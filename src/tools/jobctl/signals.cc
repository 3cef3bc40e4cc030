// SPDX-License-Identifier: Apache-2.0

#include "tools/jobctl/signals.h"

#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <utility>

#include "absl/status/status.h"

namespace jobctl {
namespace {

sigset_t WatchedSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, SIGUSR1}) {
    struct sigaction action{};
    // The kernel forgets an ignored signal only if it is not blocked.
    if (sigaction(signal, nullptr, &action) == 0 && action.sa_handler != SIG_IGN) sigaddset(&set, signal);
  }
  return set;
}

}  // namespace

void BlockSignals() {
  const sigset_t set = WatchedSignals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
}

void ActOnSignal(int signal) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  raise(signal);
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);  // here it acts
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

absl::StatusOr<SignalWatch> SignalWatch::Create(jobcore::AioContext& context,
                                                absl::AnyInvocable<void(int signal)> callback) {
  const sigset_t set = WatchedSignals();
  jobcore::internal::UniqueFd fd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd) return absl::ErrnoToStatus(errno, "signalfd");
  auto handler = jobcore::FdHandler::Create(context, "signals", fd.get(), jobcore::FdEvents::kReadable,
                                            [fd = fd.get(), callback = std::move(callback)](jobcore::FdEvents) mutable {
                                              signalfd_siginfo info;
                                              if (read(fd, &info, sizeof(info)) == sizeof(info))
                                                callback(static_cast<int>(info.ssi_signo));
                                            });
  if (!handler.ok()) return handler.status();
  return SignalWatch(std::move(fd), *std::move(handler));
}

}  // namespace jobctl
