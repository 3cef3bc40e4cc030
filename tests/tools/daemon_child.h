// SPDX-License-Identifier: Apache-2.0
//
// DaemonChild: a jobcored with images of its own, in a temporary folder.

#ifndef JOBCORE_TESTS_TOOLS_DAEMON_CHILD_H_
#define JOBCORE_TESTS_TOOLS_DAEMON_CHILD_H_

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "block/child_process.h"
#include "block/test_files.h"

namespace jobcore_test {

using Words = std::vector<std::string>;

// Who a daemon tells that it can be used.
class ReadySocket {
 public:
  explicit ReadySocket(const std::string& path) : path_(path), fd_(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    if (bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) abort();
  }
  ~ReadySocket() { close(fd_); }
  ReadySocket(const ReadySocket&) = delete;
  ReadySocket& operator=(const ReadySocket&) = delete;

  const std::string& path() const { return path_; }
  // The next message; nothing: none has come for far too long.
  std::optional<std::string> Receive() {
    constexpr int kHangs = 60000;
    pollfd readable = {.fd = fd_, .events = POLLIN, .revents = 0};
    char text[256];
    if (poll(&readable, 1, kHangs) <= 0) return std::nullopt;
    const ssize_t n = recv(fd_, text, sizeof text, 0);
    return n < 0 ? std::nullopt : std::optional<std::string>(std::string(text, static_cast<size_t>(n)));
  }

 private:
  const std::string path_;
  const int fd_;
};

// A node of an image in that folder, as a command.
inline std::string AddNode(const std::string& folder, const std::string& name) {
  return R"({"execute": "blockdev-add", "arguments": {"driver": "raw", "node-name": ")" + name +
         R"(", "file": {"driver": "file", "filename": ")" + folder + "/" + name + ".img\"}}}\n";
}

class DaemonChild {
 public:
  // With a node for each of `images`, which are made.
  explicit DaemonChild(const Words& images, const Words& arguments = {}) {
    std::string config;
    for (const std::string& image : images) {
      WriteFile(dir_.Path(image + ".img"), Pattern(kImageBytes, image[0]));
      config += AddNode(dir_.path(), image);
    }
    WriteFile(dir_.Path("nodes.json"), config);
    Words command = {"env",
                     "NOTIFY_SOCKET=" + supervisor_.path(),
                     JOBCORED_PATH,
                     "--qmp",
                     "unix:" + socket(),
                     "--config",
                     dir_.Path("nodes.json")};
    command.insert(command.end(), arguments.begin(), arguments.end());
    process_ = std::make_unique<ChildProcess>(command);
    EXPECT_EQ(supervisor_.Receive(), "READY=1");
  }

  static constexpr size_t kImageBytes = 4 << 20;
  std::string socket() const { return dir_.Path("monitor.sock"); }
  std::string Image(const std::string& name) const { return dir_.Path(name + ".img"); }
  const TempDir& dir() const { return dir_; }
  ChildProcess& process() { return *process_; }
  ReadySocket& supervisor() { return supervisor_; }

 private:
  const TempDir dir_;
  ReadySocket supervisor_{dir_.Path("ready.sock")};
  std::unique_ptr<ChildProcess> process_;
};

struct Result {
  int exit_status;
  std::string out;
  std::string err;
};
inline Result RunProgram(const Words& command) {
  ChildProcess child(command);
  const int exit_status = child.Wait();
  return {exit_status, child.out(), child.err()};
}

// `jobctl --connect SOCKET …`, as a command, and at once.
inline Words Remote(const std::string& socket, const Words& arguments) {
  Words command = {JOBCTL_PATH, "--connect", socket};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return command;
}

}  // namespace jobcore_test

#endif  // JOBCORE_TESTS_TOOLS_DAEMON_CHILD_H_
