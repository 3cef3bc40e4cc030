// SPDX-License-Identifier: Apache-2.0
//
// The pairs of threads in the core of which at least one must see what the other has written, on two real CPUs and with
// the orderings that the core uses: the outcome in which neither sees anything must never appear. To show that it could
// be seen here at all, each pair of two variables comes once more with one ordering too weak: there it must appear.
//
//   core_litmus [ROUNDS]     exit status 77: this machine cannot show it
//
// A round is played in cells of its own, a batch of them between two barriers, so that both threads run freely through
// the same cells at the same time (as litmus7 does it).

#include <pthread.h>
#include <sched.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

namespace {

constexpr size_t kBatch = 256;
constexpr uint64_t kDefaultRounds = 1'000'000;
constexpr uint64_t kEnough = 50;  // of a weak twin, to believe that its pair has been tried
constexpr int kMaxTries = 10;
constexpr auto kMaxTime = std::chrono::seconds(15);  // after which nothing is tried again
constexpr int kSkipped = 77;                         // known to CMakeLists.txt

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr auto kAcquire = std::memory_order_acquire;
constexpr auto kRelease = std::memory_order_release;
constexpr auto kAcqRel = std::memory_order_acq_rel;
constexpr auto kSeqCst = std::memory_order_seq_cst;

// The variables of one round, each in a cache line of its own.
struct Cell {
  struct alignas(64) Variable {
    std::atomic<uint32_t> value{0};
  };
  std::atomic<uint32_t>& operator[](size_t i) { return variables[i].value; }

  std::array<Variable, 3> variables;
  bool first_saw = false;
  bool second_saw = false;
};

// One side of a pair: writes, reads, and says whether it has seen the other one.
using Side = bool (*)(Cell& cell);

struct Pair {
  const char* name;
  Side first;
  Side second;
  // Its twin: the same with one ordering too weak. Null: both sides are of one variable, and there is none.
  Side weak_first = nullptr;
  Side weak_second = nullptr;
};

// --- src/aio/aio_context.cc: 0 is queue_ or notified_, 1 is sleeping_ ---

void Push(Cell& c) {  // AioContext::Post
  uint32_t head = c[0].load(kRelaxed);
  while (!c[0].compare_exchange_weak(head, 1, kSeqCst, kRelaxed)) {
  }
}
bool PostThenWake(Cell& c) {
  Push(c);
  return c[1].load(kSeqCst) != 0;
}
bool NotifyThenWake(Cell& c) {
  c[0].store(1, kSeqCst);
  return c[1].load(kSeqCst) != 0;
}
bool NotifyTooWeak(Cell& c) {
  c[0].store(1, kRelease);
  return c[1].load(kSeqCst) != 0;
}
bool AnnounceSleep(Cell& c) {
  c[1].store(1, kSeqCst);
  return c[0].load(kSeqCst) != 0;
}
bool AnnounceSleepTooWeak(Cell& c) {
  c[1].store(1, kRelease);
  return c[0].load(kSeqCst) != 0;
}

// --- src/aio/wait_domain.cc: 0 is the condition, 1 the number of waiters, 2 the epoch ---

bool ChangeThenKick(Cell& c) {
  c[0].store(1, kRelaxed);
  c[2].fetch_add(1, kSeqCst);
  return c[1].load(kSeqCst) != 0;
}
bool KickTooWeak(Cell& c) {
  c[0].store(1, kRelease);
  return c[1].load(kSeqCst) != 0;
}
bool AddThenLook(Cell& c) {
  c[1].fetch_add(1, kSeqCst);
  (void)c[2].load(kSeqCst);
  return c[0].load(kRelaxed) != 0;
}

// --- include/job-driver/resource.h: 0 is word_, that begins with no request; both sides are of one variable ---

constexpr uint32_t kClosed = 1;
constexpr uint32_t kOne = 2;

bool AdmitFast(Cell& c) {  // Resource::TryAdmit; sees that the way in is closed
  uint32_t word = c[0].load(kRelaxed);
  while ((word & kClosed) == 0) {
    if (c[0].compare_exchange_weak(word, word + kOne, kAcqRel, kRelaxed)) return false;
  }
  return true;
}
bool CloseThenCount(Cell& c) {  // ResourceOps::Close, IsStill
  c[0].fetch_or(kClosed, kSeqCst);
  return c[0].load(kAcquire) / kOne != 0;
}

// --- include/job-common/job_word.h: 0 is word_, 1 what the job is woken for; both sides are of one variable ---

constexpr uint32_t kIdle = 1;
constexpr uint32_t kWoken = 2;

bool TakeByEnter(Cell& c) {  // sees that the job is idle
  uint32_t word = c[0].load(kAcquire);
  for (;;) {
    const uint32_t desired = (word & kIdle) != 0 ? kWoken : word | kWoken;
    if (c[0].compare_exchange_weak(word, desired, kAcqRel, kAcquire)) return (word & kIdle) != 0;
  }
}
bool TryIdle(Cell& c) {  // sees that it has been woken
  uint32_t word = c[0].load(kAcquire);
  while ((word & kWoken) == 0) {
    if (c[0].compare_exchange_weak(word, word | kIdle, kAcqRel, kAcquire)) return false;
  }
  return true;
}

constexpr Pair kPairs[] = {
    {"post / sleep", PostThenWake, AnnounceSleep, PostThenWake, AnnounceSleepTooWeak},
    {"notify / sleep", NotifyThenWake, AnnounceSleep, NotifyTooWeak, AnnounceSleep},
    {"kick / wait", ChangeThenKick, AddThenLook, KickTooWeak, AddThenLook},
    {"admit / close of a resource", AdmitFast, CloseThenCount},
    {"enter / idle", TakeByEnter, TryIdle},
};

// Both threads leave it at about the same moment. Spins; yields if the other one has no CPU.
class Barrier {
 public:
  void Wait() {
    const uint32_t generation = generation_.load(kAcquire);
    if (arrived_.fetch_add(1, kAcqRel) == 1) {
      arrived_.store(0, kRelaxed);
      generation_.store(generation + 1, kRelease);
      return;
    }
    constexpr int kSpins = 10'000;
    for (int spins = 0; generation_.load(kAcquire) == generation; ++spins) {
      if (spins > kSpins) sched_yield();
    }
  }

 private:
  std::atomic<uint32_t> arrived_{0};
  std::atomic<uint32_t> generation_{0};
};

void Pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  (void)pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

std::vector<int> Cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

// In how many rounds neither has seen the other.
uint64_t Play(Side first_side, Side second_side, uint64_t rounds, int first_cpu, int second_cpu) {
  const uint64_t batches = (rounds + kBatch - 1) / kBatch;
  std::vector<Cell> cells(kBatch);
  Barrier barrier;
  uint64_t neither = 0;
  std::thread second([&] {
    Pin(second_cpu);
    for (uint64_t batch = 0; batch < batches; ++batch) {
      barrier.Wait();
      for (Cell& cell : cells) cell.second_saw = second_side(cell);
      barrier.Wait();
    }
  });
  std::thread first([&] {
    Pin(first_cpu);
    for (uint64_t batch = 0; batch < batches; ++batch) {
      barrier.Wait();
      for (Cell& cell : cells) cell.first_saw = first_side(cell);
      barrier.Wait();
      // The other thread waits for the next batch.
      for (Cell& cell : cells) {
        neither += !cell.first_saw && !cell.second_saw;
        for (size_t i = 0; i < cell.variables.size(); ++i) cell[i].store(0, kRelaxed);
      }
    }
  });
  first.join();
  second.join();
  return neither;
}

}  // namespace

int main(int argc, char** argv) {
  const uint64_t rounds = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : kDefaultRounds;
  const std::vector<int> cpus = Cpus();
  if (cpus.size() < 2) {
    std::printf("skipped: needs two CPUs\n");
    return kSkipped;
  }
  const auto end = std::chrono::steady_clock::now() + kMaxTime;
  bool wrong = false;
  bool blind = false;
  for (const Pair& pair : kPairs) {
    // As often as it takes until the twin has gone wrong: on a busy machine the threads may hardly ever meet.
    uint64_t neither = 0;
    uint64_t weak = 0;
    int tries = 0;
    do {
      neither += Play(pair.first, pair.second, rounds, cpus[0], cpus[1]);
      if (pair.weak_first != nullptr) weak += Play(pair.weak_first, pair.weak_second, rounds, cpus[0], cpus[1]);
    } while (++tries < kMaxTries && pair.weak_first != nullptr && weak < kEnough &&
             std::chrono::steady_clock::now() < end);
    wrong |= neither != 0;
    blind |= pair.weak_first != nullptr && weak == 0;
    std::printf("%-28s %2d x %llu rounds: neither saw the other in %llu", pair.name, tries,
                static_cast<unsigned long long>(rounds), static_cast<unsigned long long>(neither));
    if (pair.weak_first != nullptr) std::printf("; its weak twin: %llu", static_cast<unsigned long long>(weak));
    std::puts(neither != 0 ? ": WRONG" : "");
  }
  if (wrong) return EXIT_FAILURE;
  if (blind) std::printf("skipped: what is too weak does not go wrong on this machine, so the rest says nothing\n");
  return blind ? kSkipped : EXIT_SUCCESS;
}
