// SPDX-License-Identifier: Apache-2.0
//
// jobcored_soak JOBCORED SECONDS SEED LIMIT_MS: eight clients at a time send the daemon commands made by chance, valid
// ones and others, pipelined, with garbage in between, and come and go. A ninth asks for the jobs, again and again, and
// measures how long the answer takes. In the end the daemon quits, and has to exit with 0: under a sanitizer, without a
// finding. Exit code 0: so it was, and the 99th percentile is below the limit.

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "block/unique_fd.h"
#include "qmp/json_text.h"
#include "qmp/json_value.h"
#include "qmp/random_commands.h"
#include "tools/jobcored/daemon.h"

namespace {

using jobcore::internal::UniqueFd;
using jobcore::qmp::JsonObject;
using std::chrono::steady_clock;

constexpr std::chrono::seconds kPatience{20};

class Connection {
 public:
  // Not connected: the daemon has gone.
  explicit Connection(const std::string& path) : socket_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    const bool connected = connect(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    if (!connected || !Ask(JsonObject{{"execute", "qmp_capabilities"}})) socket_ = UniqueFd();
  }
  bool open() const { return static_cast<bool>(socket_); }

  bool Send(const std::string& bytes) {
    return send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
  }
  // With an id of its own, by which the answer is known.
  std::string WithId(JsonObject command) {
    command.Set("id", ++last_id_);
    return jobcore::qmp::WriteJson(std::move(command));
  }
  // Until the answer to the last one that has been given an id has come.
  bool AwaitAnswer(std::chrono::milliseconds limit) {
    const std::string id = absl::StrCat("\"id\":", last_id_, "}\r\n");
    const steady_clock::time_point end = steady_clock::now() + limit;
    for (;;) {
      const size_t found = received_.find(id);
      if (found != std::string::npos) {
        received_.erase(0, found + id.size());
        return true;
      }
      if (received_.size() > id.size()) received_.erase(0, received_.size() - id.size());
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - steady_clock::now()).count();
      pollfd ready = {.fd = socket_.get(), .events = POLLIN, .revents = 0};
      if (left <= 0 || poll(&ready, 1, static_cast<int>(left)) <= 0) return false;
      char buffer[65536];
      const ssize_t got = recv(socket_.get(), buffer, sizeof buffer, 0);
      if (got <= 0) return false;
      received_.append(buffer, static_cast<size_t>(got));
    }
  }
  bool Ask(JsonObject command) { return Send(WithId(std::move(command))) && AwaitAnswer(kPatience); }

 private:
  UniqueFd socket_;
  std::string received_;
  int64_t last_id_ = 0;
};

class Client {
 public:
  Client(const jobcore::qmp::CommandTable& table, std::string path, unsigned seed)
      : path_(std::move(path)),
        random_(seed),
        commands_(table, [this](uint32_t n) { return static_cast<uint32_t>(random_()) % n; }) {}

  void Run(const std::atomic<bool>& stop) {
    std::optional<Connection> connection;
    while (!stop.load()) {
      if (!connection.has_value() || !connection->open()) connection.emplace(path_);
      if (!connection->open()) return;
      std::string bytes;
      for (unsigned n = 1 + random_() % 4; n > 0; --n) {
        if (random_() % 30 == 0) bytes += Garbage();
        bytes += connection->WithId(commands_.Next());
        ++sent_;
      }
      // A command may wait for what others do: whoever has waited for long enough goes, and leaves it behind.
      const bool answered = connection->Send(bytes) && connection->AwaitAnswer(std::chrono::milliseconds(500));
      if (!answered || random_() % 100 == 0) connection.reset();
      (void)poll(nullptr, 0, static_cast<int>(random_() % 8));  // some hundred commands a second, each
    }
  }
  uint64_t sent() const { return sent_; }

 private:
  std::string Garbage() {
    std::string garbage;
    for (unsigned n = random_() % 40; n > 0; --n) garbage.push_back(static_cast<char>(random_()));
    return garbage + "\xff\n";  // from here on everything is understood again
  }

  const std::string path_;
  std::mt19937 random_;
  jobcore_test::RandomCommands commands_;
  uint64_t sent_ = 0;
};

struct Prober {
  std::vector<double> milliseconds;

  bool Run(const std::string& path, steady_clock::time_point end) {
    Connection connection(path);
    while (connection.open() && steady_clock::now() < end) {
      const steady_clock::time_point begin = steady_clock::now();
      if (!connection.Ask(JsonObject{{"execute", "query-jobs"}})) return false;
      milliseconds.push_back(std::chrono::duration<double, std::milli>(steady_clock::now() - begin).count());
      (void)poll(nullptr, 0, 1);
    }
    return connection.open();
  }
  double Percentile(double p) {
    if (milliseconds.empty()) return 0;
    const auto at = static_cast<size_t>(p * static_cast<double>(milliseconds.size() - 1));
    std::nth_element(milliseconds.begin(), milliseconds.begin() + static_cast<std::ptrdiff_t>(at), milliseconds.end());
    return milliseconds[at];
  }
};

int Soak(const char* program, int seconds, unsigned seed, double limit) {
  constexpr int kClients = 8;
  std::string folder = (std::filesystem::temp_directory_path() / "jobcored-soak-XXXXXX").string();
  if (mkdtemp(folder.data()) == nullptr) return 2;
  const std::string path = folder + "/monitor.sock";
  const std::string monitor = "unix:" + path;
  const pid_t daemon = fork();
  if (daemon < 0) return 2;
  if (daemon == 0) {
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);  // whatever becomes of this program
    (void)execl(program, program, "--qmp", monitor.c_str(), static_cast<char*>(nullptr));
    _exit(127);
  }
  const steady_clock::time_point begin = steady_clock::now();
  while (!Connection(path).open() && steady_clock::now() < begin + kPatience) (void)poll(nullptr, 0, 10);

  const jobcored::Daemon described({});  // for its table
  std::atomic<bool> stop{false};
  std::vector<Client> clients;
  clients.reserve(kClients);
  for (unsigned i = 0; i < kClients; ++i) clients.emplace_back(described.commands, path, seed * kClients + i);
  std::vector<std::thread> threads;
  threads.reserve(kClients);
  for (Client& client : clients) threads.emplace_back([&client, &stop] { client.Run(stop); });
  Prober prober;
  const bool alive = prober.Run(path, steady_clock::now() + std::chrono::seconds(seconds));
  stop.store(true);
  for (std::thread& thread : threads) thread.join();

  const bool quit = alive && Connection(path).Ask(JsonObject{{"execute", "quit"}});
  if (!quit) {
    std::printf("the daemon does not answer any more\n");
    (void)kill(daemon, SIGABRT);
  }
  int status = 0;
  rusage usage = {};
  (void)wait4(daemon, &status, 0, &usage);
  std::filesystem::remove_all(folder);
  uint64_t sent = 0;
  for (const Client& client : clients) sent += client.sent();
  const double p99 = prober.Percentile(0.99);
  std::printf("seed %u: %llu commands, %zu times query-jobs: median %.2f ms, p99 %.2f ms; %ld KiB at most\n", seed,
              static_cast<unsigned long long>(sent), prober.milliseconds.size(), prober.Percentile(0.5), p99,
              usage.ru_maxrss);
  const bool clean = quit && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  if (!clean) std::printf("the daemon has not ended as it should: wait status %#x\n", static_cast<unsigned>(status));
  return clean && p99 < limit ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: jobcored_soak JOBCORED SECONDS SEED LIMIT_MS\n");
    return 2;
  }
  return Soak(argv[1], std::atoi(argv[2]), static_cast<unsigned>(std::atoi(argv[3])), std::atof(argv[4]));
}
