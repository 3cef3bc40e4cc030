// SPDX-License-Identifier: Apache-2.0

#include "testing/child_run.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include "absl/strings/str_cat.h"
#include "aio/check.h"
#include "testing/choices_mirror.h"

namespace jobcore::inline JOBCORE_ABI::internal {
namespace {

constexpr size_t kMostOutput = 64 << 10;

struct Shared {
  std::atomic<uint64_t> runs{0};
  ChoicesMirror mirror;
};

struct Unmap {
  void operator()(Shared* shared) const { munmap(shared, sizeof(Shared)); }
};

std::unique_ptr<Shared, Unmap> MapShared() {
  void* const memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) Die(absl::StrCat("RunInChild: mmap: ", std::strerror(errno)));
  return std::unique_ptr<Shared, Unmap>(new (memory) Shared);
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {
    if (fd_ < 0) Die(absl::StrCat("RunInChild: no descriptor: ", std::strerror(errno)));
  }
  ~Descriptor() { Close(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  void Close() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

 private:
  int fd_;
};

[[noreturn]] void Child(Shared& shared, int output, absl::FunctionRef<testing::Choices*(uint64_t)> next,
                        absl::FunctionRef<void(testing::Choices&)> scenario) {
  const rlimit no_core{0, 0};
  (void)setrlimit(RLIMIT_CORE, &no_core);
  dup2(output, STDOUT_FILENO);
  dup2(output, STDERR_FILENO);
  for (uint64_t run = 0;; ++run) {
    testing::Choices* const choices = next(run);
    if (choices == nullptr) break;
    std::fflush(stdout);
    (void)!ftruncate(output, 0);
    lseek(output, 0, SEEK_SET);
    shared.mirror.Watch(*choices);
    shared.runs.store(run + 1, std::memory_order_release);
    scenario(*choices);
  }
  std::exit(0);  // not _exit: here LeakSanitizer looks
}

// False if it had to be killed: a run went on for longer than `limit`.
bool AwaitEnd(const Shared& shared, int alive, pid_t child, std::chrono::milliseconds limit) {
  using SteadyClock = std::chrono::steady_clock;
  uint64_t run = 0;
  auto since = SteadyClock::now();
  for (;;) {
    const auto left = limit - std::chrono::duration_cast<std::chrono::milliseconds>(SteadyClock::now() - since);
    pollfd end{.fd = alive, .events = POLLIN, .revents = 0};
    const int ready = poll(&end, 1, static_cast<int>(std::max<int64_t>(left.count(), 0)));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) Die(absl::StrCat("RunInChild: poll: ", std::strerror(errno)));
    const uint64_t now = shared.runs.load(std::memory_order_acquire);
    if (now != run) {
      run = now;
      since = SteadyClock::now();
    } else if (ready == 0) {
      kill(child, SIGKILL);
      return false;
    }
  }
}

std::string ReadAll(int fd) {
  std::string text(kMostOutput, '\0');
  const ssize_t n = pread(fd, text.data(), text.size(), 0);
  text.resize(n < 0 ? 0 : static_cast<size_t>(n));
  return text;
}

}  // namespace

std::string ChildEnd::Signature() const {
  std::string line = output.substr(0, output.find('\n'));
  std::erase_if(line, [](char c) { return c >= '0' && c <= '9'; });
  return absl::StrCat(how, ": ", line);
}

ChildEnd RunInChild(absl::FunctionRef<testing::Choices*(uint64_t run)> next,
                    absl::FunctionRef<void(testing::Choices&)> scenario, std::chrono::milliseconds limit_per_run) {
  const auto shared = MapShared();
  const Descriptor output(memfd_create("scenario output", MFD_CLOEXEC));
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) Die(absl::StrCat("RunInChild: pipe: ", std::strerror(errno)));
  const Descriptor alive(ends[0]);  // at its end when the child is
  Descriptor held_by_child(ends[1]);
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child < 0) Die(absl::StrCat("RunInChild: fork: ", std::strerror(errno)));
  if (child == 0) Child(*shared, output.get(), next, scenario);
  held_by_child.Close();

  const bool ended = AwaitEnd(*shared, alive.get(), child, limit_per_run);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  ChildEnd end;
  end.failed = !ended || status != 0;
  if (!ended) {
    end.how = absl::StrCat("no end within ", limit_per_run.count(), " ms");
  } else if (WIFSIGNALED(status)) {
    end.how = absl::StrCat("signal ", WTERMSIG(status), " (", strsignal(WTERMSIG(status)), ")");
  } else if (status != 0) {
    end.how = absl::StrCat("exit status ", WEXITSTATUS(status));
  }
  end.output = ReadAll(output.get());
  end.runs = shared->runs.load(std::memory_order_acquire);
  end.choices = shared->mirror.Read();
  return end;
}

}  // namespace jobcore::inline JOBCORE_ABI::internal
