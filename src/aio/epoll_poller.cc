// SPDX-License-Identifier: Apache-2.0

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <ctime>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "aio/check.h"
#include "job-common/poller.h"

namespace jobcore::inline JOBCORE_ABI {
namespace {

using internal::Die;

constexpr uint64_t kWakeToken = 0;  // contexts count from 1

uint32_t ToEpoll(FdEvents interest) {
  return (Has(interest, FdEvents::kReadable) ? EPOLLIN | EPOLLRDHUP : 0u) |
         (Has(interest, FdEvents::kWritable) ? EPOLLOUT : 0u);
}

FdEvents FromEpoll(uint32_t events) {
  FdEvents result = FdEvents::kNone;
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)) result = result | FdEvents::kReadable;
  if (events & EPOLLOUT) result = result | FdEvents::kWritable;
  if (events & (EPOLLERR | EPOLLHUP)) result = result | FdEvents::kError;
  return result;
}

class EpollPoller final : public Poller {
 public:
  EpollPoller() : epoll_(epoll_create1(EPOLL_CLOEXEC)), event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (epoll_ < 0 || event_ < 0) Die(absl::StrCat("Poller: no descriptors: ", std::strerror(errno)));
    // Edge-triggered: every write to it is an event of its own, whatever its count, so that nobody has to read it.
    epoll_event wake{};
    wake.events = EPOLLIN | EPOLLET;
    wake.data.u64 = kWakeToken;
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, event_, &wake) != 0) {
      Die(absl::StrCat("Poller: epoll_ctl: ", std::strerror(errno)));
    }
  }

  ~EpollPoller() override {
    close(event_);
    close(epoll_);
  }

  absl::Status Add(int fd, FdEvents interest, uint64_t token) override {
    return Control(EPOLL_CTL_ADD, fd, interest, token);
  }

  absl::Status Modify(int fd, FdEvents interest, uint64_t token) override {
    return Control(EPOLL_CTL_MOD, fd, interest, token);
  }

  void Remove(int fd) override {
    // Fails if the caller has closed the descriptor already, against the rules, but then it is gone anyway.
    (void)epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr);
  }

  void Wait(Nanoseconds timeout, std::vector<Ready>& ready) override {
    std::array<epoll_event, 64> events;
    const int n = EpollWait(events.data(), static_cast<int>(events.size()), timeout);
    if (n < 0 && errno != EINTR) Die(absl::StrCat("Poller: epoll_wait: ", std::strerror(errno)));
    for (int i = 0; i < n; ++i) {
      if (events[i].data.u64 != kWakeToken) ready.push_back({events[i].data.u64, FromEpoll(events[i].events)});
    }
  }

  void Wake() override {
    const uint64_t one = 1;
    while (write(event_, &one, sizeof(one)) < 0 && errno == EINTR) {
    }
  }

  int fd() const override { return epoll_; }

 private:
  absl::Status Control(int operation, int fd, FdEvents interest, uint64_t token) {
    epoll_event event{};
    event.events = ToEpoll(interest);
    event.data.u64 = token;
    if (epoll_ctl(epoll_, operation, fd, &event) == 0) return absl::OkStatus();
    return absl::ErrnoToStatus(errno, absl::StrCat("epoll_ctl on descriptor ", fd));
  }

  int EpollWait(epoll_event* events, int max, Nanoseconds timeout) {
    if (have_pwait2_) {
      const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(timeout);
      timespec ts{.tv_sec = seconds.count(), .tv_nsec = (timeout - seconds).count()};
      const int n = epoll_pwait2(epoll_, events, max, timeout.count() < 0 ? nullptr : &ts, nullptr);
      if (n >= 0 || (errno != ENOSYS && errno != EPERM)) return n;
      have_pwait2_ = false;  // Linux before 5.11, or a sandbox that does not know it
    }
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(timeout).count();
    return epoll_wait(epoll_, events, max, timeout.count() < 0 ? -1 : static_cast<int>(std::min<int64_t>(ms, INT_MAX)));
  }

  const int epoll_;
  const int event_;
  bool have_pwait2_ = true;
};

}  // namespace

std::unique_ptr<Poller> Poller::Epoll() { return std::make_unique<EpollPoller>(); }

}  // namespace jobcore::inline JOBCORE_ABI
