// SPDX-License-Identifier: Apache-2.0

#include "hot_path/counting.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <optional>

// glibc's own names for what we replace.
extern "C" {
void* __libc_malloc(size_t size) noexcept;
void* __libc_calloc(size_t count, size_t size) noexcept;
void* __libc_realloc(void* block, size_t size) noexcept;
void* __libc_memalign(size_t alignment, size_t size) noexcept;
}

namespace {

constinit std::atomic<bool> counting{false};
constinit std::atomic<uint64_t> allocations{0};
constinit std::atomic<uint64_t> locks{0};

void Note(std::atomic<uint64_t>& counter) {
  if (counting.load(std::memory_order_relaxed)) counter.fetch_add(1, std::memory_order_relaxed);
}

using MutexFunction = int (*)(pthread_mutex_t*);

// Not a static local: its guard might lock.
int CallReal(std::atomic<MutexFunction>& function, const char* name, pthread_mutex_t* mutex) {
  MutexFunction real = function.load(std::memory_order_relaxed);
  if (real == nullptr) {
    real = reinterpret_cast<MutexFunction>(dlsym(RTLD_NEXT, name));
    function.store(real, std::memory_order_relaxed);
  }
  return real(mutex);
}
constinit std::atomic<MutexFunction> real_lock{nullptr};
constinit std::atomic<MutexFunction> real_trylock{nullptr};

}  // namespace

extern "C" {

void* malloc(size_t size) noexcept {
  Note(allocations);
  return __libc_malloc(size);
}
void* calloc(size_t count, size_t size) noexcept {
  Note(allocations);
  return __libc_calloc(count, size);
}
void* realloc(void* block, size_t size) noexcept {
  Note(allocations);
  return __libc_realloc(block, size);
}
void* aligned_alloc(size_t alignment, size_t size) noexcept {
  Note(allocations);
  return __libc_memalign(alignment, size);
}
int posix_memalign(void** block, size_t alignment, size_t size) noexcept {
  Note(allocations);
  *block = __libc_memalign(alignment, size);
  return *block == nullptr ? ENOMEM : 0;
}

int pthread_mutex_lock(pthread_mutex_t* mutex) noexcept {
  Note(locks);
  return CallReal(real_lock, "pthread_mutex_lock", mutex);
}
int pthread_mutex_trylock(pthread_mutex_t* mutex) noexcept {
  Note(locks);
  return CallReal(real_trylock, "pthread_mutex_trylock", mutex);
}

}  // extern "C"

namespace jobcore::hot_path {
namespace {

// How the child tells its tracer where the region lies: a harmless system call with an argument that nobody else uses.
constexpr auto kMark = SYS_getpgid;
constexpr int kBegin = -0x6a6f6231;
constexpr int kEnd = -0x6a6f6232;

// Shared by parent and child.
struct Results {
  std::atomic<bool> traced{false};
  std::atomic<bool> done{false};
  std::atomic<uint64_t> allocations{0};
  std::atomic<uint64_t> locks{0};
};

class CountedRegion final : public Region {
 public:
  explicit CountedRegion(Results& results) : results_(results) {}
  void Begin() override {
    syscall(kMark, kBegin);
    counting.store(true);
  }
  void End() override {
    counting.store(false);
    syscall(kMark, kEnd);
    results_.allocations.store(allocations.load());
    results_.locks.store(locks.load());
    results_.done.store(true);
  }

 private:
  Results& results_;
};

[[noreturn]] void RunChild(Results& results, absl::FunctionRef<void(Region&)> code) {
  if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) == 0) {
    results.traced.store(true);
    (void)raise(SIGSTOP);  // until the parent is ready
  }
  CountedRegion region(results);
  code(region);
  _exit(0);
}

// Where the child stands at a system call: counts it if it is entered within the region.
void NoteSystemCall(pid_t child, bool& inside, uint64_t& calls) {
  __ptrace_syscall_info info{};
  if (ptrace(PTRACE_GET_SYSCALL_INFO, child, sizeof(info), &info) <= 0 || info.op != PTRACE_SYSCALL_INFO_ENTRY) return;
  if (info.entry.nr == kMark && static_cast<int>(info.entry.args[0]) == kBegin) {
    inside = true;
  } else if (info.entry.nr == kMark && static_cast<int>(info.entry.args[0]) == kEnd) {
    inside = false;
  } else if (inside && info.entry.nr != SYS_clock_gettime) {  // a system call on machines whose clock is bad
    ++calls;
  }
}

// Until it exits: its status for waitpid's macros.
int Follow(pid_t child, uint64_t& calls) {
  constexpr int kSystemCallStop = SIGTRAP | 0x80;
  bool inside = false;
  bool first = true;
  int status = 0;
  while (waitpid(child, &status, 0) == child && WIFSTOPPED(status)) {
    int deliver = 0;
    if (first) {
      first = false;
      ptrace(PTRACE_SETOPTIONS, child, nullptr, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
    } else if (WSTOPSIG(status) == kSystemCallStop) {
      NoteSystemCall(child, inside, calls);
    } else {
      deliver = WSTOPSIG(status);
    }
    ptrace(PTRACE_SYSCALL, child, nullptr, deliver);
  }
  return status;
}

}  // namespace

std::optional<Counts> Count(absl::FunctionRef<void(Region&)> code) {
  void* const shared = mmap(nullptr, sizeof(Results), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return std::nullopt;
  auto* const results = new (shared) Results;
  const pid_t child = fork();
  if (child == 0) RunChild(*results, code);
  uint64_t calls = 0;
  const int status = child > 0 ? Follow(child, calls) : 1;
  std::optional<Counts> counts;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && results->done.load()) {
    counts = Counts{results->allocations.load(), results->locks.load(), {}};
    if (results->traced.load()) counts->system_calls = calls;
  }
  munmap(shared, sizeof(Results));
  return counts;
}

}  // namespace jobcore::hot_path
