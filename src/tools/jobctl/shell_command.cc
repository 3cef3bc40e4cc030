// SPDX-License-Identifier: Apache-2.0

#include "tools/jobctl/shell_command.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <memory>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/strings/str_split.h"
#include "tools/jobctl/line_editor.h"
#include "tools/jobctl/qmp_client.h"
#include "tools/jobctl/remote_job.h"
#include "tools/jobctl/session.h"

namespace jobctl {
namespace {

// As a shell of the system does it.
constexpr int kExitSignal = 128;
constexpr int kExitNotFound = 127;

// The exit status.
int RunAlone(const std::string& socket, std::vector<std::string> words) {
  words.insert(words.begin(), {"jobctl", "--connect", socket});
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);

  const auto before = signal(SIGINT, SIG_IGN);
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGINT, SIG_DFL);
    execv("/proc/self/exe", arguments.data());
    _exit(kExitNotFound);
  }
  int status = 0;
  while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  signal(SIGINT, before);
  if (child < 0) return kExitFailed;
  return WIFEXITED(status) ? WEXITSTATUS(status) : kExitSignal + WTERMSIG(status);
}

std::vector<std::string> JobIds(const std::string& socket) {
  std::vector<std::string> ids;
  const absl::StatusOr<std::unique_ptr<QmpClient>> client = QmpClient::Connect(socket);
  if (!client.ok()) return ids;
  const absl::StatusOr<std::vector<jobcore::monitor::JobInfo>> jobs = QueryJobs(**client);
  if (!jobs.ok()) return ids;
  ids.reserve(jobs->size());
  for (const jobcore::monitor::JobInfo& job : *jobs) ids.push_back(job.id);
  return ids;
}

}  // namespace

int RunShell(const std::string& socket, const std::vector<std::string>& commands) {
  LineEditor editor("jobctl> ", [&](std::string_view first) { return first.empty() ? commands : JobIds(socket); });
  int status = kExitDone;
  while (const std::optional<std::string> line = editor.Read()) {
    const std::vector<std::string> words = absl::StrSplit(*line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    if (words.empty() || words[0][0] == '#') continue;
    if (words[0] == "quit" || words[0] == "exit") break;
    status = RunAlone(socket, words);
  }
  return status;
}

}  // namespace jobctl
