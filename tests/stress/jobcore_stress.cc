// SPDX-License-Identifier: Apache-2.0
//
// Everything at once: monitors on several threads against jobs in several I/O threads, in cores that come and
// go, all at random from a seed.   jobcore_stress --threads N --seconds S --seed X
//
// Owners (one thread with the main loops of its cores, one whose cores have a thread of their own) make worlds
// and end them; monitors visit them. What must hold is checked by the drivers (stress_driver), on the streams
// of events (stress_checker), at each verb (stress_monitor), and when a world ends (stress_world).

#include <poll.h>

#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "job-common/aio_context.h"
#include "job-common/aio_wait.h"
#include "stress/stress_monitor.h"
#include "stress/stress_util.h"
#include "stress/stress_world.h"

namespace jobcore::stress {
namespace {

constexpr std::chrono::seconds kHang{60};

struct Options {
  uint64_t threads = 4;
  uint64_t seconds = 10;
  uint64_t seed = 1;
};

bool Parse(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; i += 2) {
    const std::string_view name = argv[i];
    uint64_t* const value = name == "--threads"   ? &options.threads
                            : name == "--seconds" ? &options.seconds
                            : name == "--seed"    ? &options.seed
                                                  : nullptr;
    if (value == nullptr || i + 1 == argc) return false;
    const std::string_view text = argv[i + 1];
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
    if (error != std::errc() || end != text.data() + text.size()) return false;
  }
  return options.threads > 0;
}

// Makes worlds and ends them.
class Owner {
 public:
  Owner(JobCore::MainLoop main_loop, const Options& options, Hub& hub, int fd)
      : main_loop_(main_loop),
        seed_(options.seed),
        hub_(hub),
        fd_(fd),
        heart_(main_loop == JobCore::MainLoop::kThisThread ? "owner of main loops" : "owner of threads") {}

  void Run(TimePoint end) {
    for (uint64_t generation = 0; Clock::System().Now() < end; ++generation) {
      Rng rng(seed_, main_loop_ == JobCore::MainLoop::kThisThread ? 2 : 3, generation);
      std::vector<std::unique_ptr<World>> worlds;
      const uint64_t count = rng.OneIn(3) ? 2 : 1;  // two of one thread share their main context
      for (uint64_t i = 0; i < count; ++i) {
        heart_.Beat("make a world");
        worlds.push_back(std::make_unique<World>(Name(generation, i), main_loop_, rng, fd_));
        hub_.Open(*worlds.back());
      }
      if (count == 2 && rng.OneIn(2)) std::swap(worlds[0], worlds[1]);
      Live(worlds[0]->core(), SaturatingAdd(Clock::System().Now(), rng.Micros(200'000, 1'000'000)), rng);
      for (std::unique_ptr<World>& world : worlds) End(world, rng);
    }
  }

 private:
  std::string Name(uint64_t generation, uint64_t i) const {
    return absl::StrCat(main_loop_ == JobCore::MainLoop::kThisThread ? "m" : "t", generation, i == 0 ? "a" : "b");
  }

  void Live(JobCore& core, TimePoint until, Rng& rng) {
    if (main_loop_ == JobCore::MainLoop::kThisThread && rng.OneIn(3)) {
      heart_.Beat("run the main loop");
      AioTimer timer(core.main_context(), "end of a life", [&core] { core.QuitMainLoop(); });
      timer.ArmAt(until);
      core.RunMainLoop();
    } else if (main_loop_ == JobCore::MainLoop::kThisThread && rng.OneIn(2)) {
      heart_.Beat("run the main loop in a foreign one");
      RunForeign(core.main_context(), until);
    } else {
      heart_.Beat("wait for the end of a life");
      const absl::Status status =
          AioWaitWhileUnlocked(core, [] { return true; }, {.name = "a life", .deadline = until});
      STRESS_CHECK(absl::IsDeadlineExceeded(status), status.ToString());
    }
  }

  static void RunForeign(AioContext& context, TimePoint until) {
    for (;;) {
      Nanoseconds limit = until - Clock::System().Now();
      if (limit <= Nanoseconds::zero()) return;
      const Nanoseconds timeout = context.Prepare();
      if (timeout >= Nanoseconds::zero() && timeout < limit) limit = timeout;
      pollfd entry = {.fd = context.fd(), .events = POLLIN, .revents = 0};
      const timespec spec = {.tv_sec = limit.count() / 1'000'000'000, .tv_nsec = limit.count() % 1'000'000'000};
      STRESS_CHECK(ppoll(&entry, 1, &spec, nullptr) >= 0 || errno == EINTR, std::strerror(errno));
      context.Dispatch();
    }
  }

  void End(std::unique_ptr<World>& world, Rng& rng) {
    if (rng.OneIn(3)) {
      heart_.Beat("shut a world down while it is in use");
      world->ShutDownEarly(rng);
    }
    heart_.Beat("close a world");
    hub_.Close(*world);
    heart_.Beat("end a world");
    world->Finish();
    hub_.Remove(*world);
    world.reset();
  }

  const JobCore::MainLoop main_loop_;
  const uint64_t seed_;
  Hub& hub_;
  const int fd_;
  Heart heart_;
};

int Main(int argc, char** argv) {
  Options options;
  if (!Parse(argc, argv, options)) {
    std::fputs("usage: jobcore_stress [--threads N] [--seconds S] [--seed X]\n", stderr);
    return 2;
  }
  SetCommandLine(
      absl::StrCat(argv[0], " --threads ", options.threads, " --seconds ", options.seconds, " --seed ", options.seed));
  std::printf("jobcore_stress seed=%llu threads=%llu seconds=%llu\n", static_cast<unsigned long long>(options.seed),
              static_cast<unsigned long long>(options.threads), static_cast<unsigned long long>(options.seconds));
  std::fflush(stdout);
  std::FILE* const file = std::tmpfile();
  STRESS_CHECK(file != nullptr, "tmpfile: ", std::strerror(errno));
  const std::vector<char> content(64 * 1024, 'x');
  STRESS_CHECK(std::fwrite(content.data(), 1, content.size(), file) == content.size() && std::fflush(file) == 0,
               "temporary file");
  {
    Hub hub;
    const Watchdog watchdog(kHang, [&hub] { hub.Dump(); });
    std::atomic<bool> stop{false};
    const TimePoint end = SaturatingAdd(Clock::System().Now(), std::chrono::seconds(options.seconds));
    std::vector<std::thread> owners;
    for (const auto main_loop : {JobCore::MainLoop::kThisThread, JobCore::MainLoop::kOwnThread}) {
      owners.emplace_back([&, main_loop] { Owner(main_loop, options, hub, fileno(file)).Run(end); });
    }
    std::vector<std::thread> monitors;
    for (uint64_t i = 0; i < options.threads; ++i) {
      monitors.emplace_back([&, i] { Monitor(static_cast<int>(i), options.seed, hub).Run(stop); });
    }
    for (std::thread& owner : owners) owner.join();
    stop = true;
    for (std::thread& monitor : monitors) monitor.join();
  }
  std::fclose(file);
  PrintTotals();
  std::printf("ok\n");
  return 0;
}

}  // namespace
}  // namespace jobcore::stress

int main(int argc, char** argv) { return jobcore::stress::Main(argc, argv); }
