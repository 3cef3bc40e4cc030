// SPDX-License-Identifier: Apache-2.0
//
// Proxy: stands between a client and a daemon, and can let their connection break.

#ifndef JOBCORE_TESTS_TOOLS_PROXY_H_
#define JOBCORE_TESTS_TOOLS_PROXY_H_

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <string>
#include <thread>

#include "block/unique_fd.h"

namespace jobcore_test {

// One connection at a time.
class Proxy {
 public:
  Proxy(const std::string& path, const std::string& daemon) : daemon_(daemon), listener_(Socket()) {
    const sockaddr_un name = NameOf(path);
    EXPECT_EQ(bind(listener_.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name), 0);
    EXPECT_EQ(listen(listener_.get(), 1), 0);
    thread_ = std::thread([this] {
      while (!ended_) Serve();
    });
  }
  ~Proxy() {
    ended_ = true;
    Break();
    thread_.join();
  }
  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;

  // The connection that there is, or the next one, ends now.
  void Break() { EXPECT_EQ(eventfd_write(break_.get(), 1), 0); }

 private:
  using UniqueFd = jobcore::internal::UniqueFd;

  static UniqueFd Socket() { return UniqueFd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)); }
  static sockaddr_un NameOf(const std::string& path) {
    sockaddr_un name = {};
    name.sun_family = AF_UNIX;
    std::memcpy(name.sun_path, path.data(), path.size());
    return name;
  }

  void Serve() {
    pollfd waiting[] = {{listener_.get(), POLLIN, 0}, {break_.get(), POLLIN, 0}};
    poll(waiting, 2, -1);
    eventfd_t ignored;
    if (waiting[1].revents != 0) {
      eventfd_read(break_.get(), &ignored);
      return;
    }
    const UniqueFd client(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)), daemon = Socket();
    const sockaddr_un name = NameOf(daemon_);
    if (connect(daemon.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0) return;
    for (;;) {
      pollfd fds[] = {{client.get(), POLLIN, 0}, {daemon.get(), POLLIN, 0}, {break_.get(), POLLIN, 0}};
      poll(fds, 3, -1);
      if (fds[2].revents != 0) {
        eventfd_read(break_.get(), &ignored);
        return;
      }
      if (fds[0].revents != 0 && !Pass(client.get(), daemon.get())) return;
      if (fds[1].revents != 0 && !Pass(daemon.get(), client.get())) return;
    }
  }
  static bool Pass(int from, int to) {
    char buffer[4096];
    const ssize_t n = recv(from, buffer, sizeof buffer, 0);
    return n > 0 && send(to, buffer, static_cast<size_t>(n), MSG_NOSIGNAL) == n;
  }

  const std::string daemon_;
  const UniqueFd listener_;
  const UniqueFd break_{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::atomic<bool> ended_ = false;
  std::thread thread_;
};

}  // namespace jobcore_test

#endif  // JOBCORE_TESTS_TOOLS_PROXY_H_
