// SPDX-License-Identifier: Apache-2.0

#include "tools/jobctl/export_command.h"

#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "job-common/aio_wait.h"
#include "job-common/io_engine.h"
#include "job-common/iothread.h"
#include "job-common/job_core.h"
#include "job-driver/block/file_node.h"
#include "job-driver/block/node_edge.h"
#include "job-driver/nbd/server.h"
#include "tools/jobctl/put.h"
#include "tools/jobctl/signals.h"

namespace jobctl {
namespace {

using namespace jobcore;

constexpr int kIoWorkers = 16;

int Fail(const absl::Status& status, int exit_status) {
  Put(STDERR_FILENO, absl::StrCat("jobctl: ", absl::string_view(status.message()), "\n"));
  return exit_status;
}

absl::StatusOr<std::unique_ptr<IoEngine>> MakeEngine(SessionOptions::Engine engine) {
  switch (engine) {
    case SessionOptions::Engine::kAuto:
      return IoEngine::Best(kIoWorkers);
    case SessionOptions::Engine::kThreads:
      return IoEngine::ThreadPool(kIoWorkers);
    case SessionOptions::Engine::kUring:
      break;
  }
  return IoEngine::Uring(kIoWorkers);
}

// One run of the command. All but the requests happens on the main thread.
class Exporter {
 public:
  Exporter(const ExportCommand& command, std::unique_ptr<IoEngine> engine)
      : command_(command), engine_(std::move(engine)) {}

  int Run() JOBCORE_EXCLUDES(job_mutex);

 private:
  absl::Status Open();
  absl::Status Listen();
  void OnSignal(int signal);
  // What was written is on stable storage before this exits.
  absl::Status FlushNode() JOBCORE_EXCLUDES(job_mutex);

  const ExportCommand& command_;
  // Destroyed from the bottom up.
  const std::unique_ptr<IoEngine> engine_;
  std::unique_ptr<IOThread> thread_;
  JobCore core_;
  std::optional<SignalWatch> signals_;
  std::shared_ptr<block::Node> node_;
  std::unique_ptr<nbd::Server> server_;
  bool ending_ = false;
};

int Exporter::Run() {
  if (absl::Status s = Open(); !s.ok()) return Fail(s, kExitUsage);
  absl::StatusOr<SignalWatch> signals =
      SignalWatch::Create(core_.main_context(), [this](int signal) { OnSignal(signal); });
  if (!signals.ok()) return Fail(signals.status(), kExitFailed);
  signals_.emplace(*std::move(signals));
  if (absl::Status s = Listen(); !s.ok()) return Fail(s, kExitFailed);
  absl::Status status =
      AioWaitWhileUnlocked(core_, [this] { return !server_->stopped(); }, {.name = "NBD clients", .watched = false});
  if (status.ok() && !command_.read_only) status = FlushNode();
  return status.ok() ? kExitDone : Fail(status, kExitFailed);
}

absl::Status Exporter::Open() {
  if (command_.io_threads > 0) thread_ = std::make_unique<IOThread>("io0");
  const std::shared_ptr<AioContext> home = thread_ != nullptr ? thread_->context().shared_from_this() : nullptr;
  absl::StatusOr<std::shared_ptr<block::Node>> node =
      block::OpenFileNode(core_, {.node = {.name = std::filesystem::path(command_.image).filename().string(),
                                           .context = home,
                                           .read_only = command_.read_only},
                                  .filename = command_.image,
                                  .engine = engine_.get(),
                                  .direct = command_.direct,
                                  .no_flush = !command_.sync,
                                  .discard = command_.discard});
  if (!node.ok()) return node.status();
  node_ = *std::move(node);
  return absl::OkStatus();
}

absl::Status Exporter::Listen() {
  const nbd::Address address =
      command_.socket.empty() ? nbd::Address::Inet(command_.host, command_.port) : nbd::Address::Unix(command_.socket);
  absl::StatusOr<std::unique_ptr<nbd::Server>> server =
      nbd::Server::Start(core_, {.address = address, .max_connections = command_.max_connections});
  if (!server.ok()) return server.status();
  server_ = *std::move(server);
  const absl::Status added =
      server_->Add({.id = "export", .node = node_, .name = command_.name, .writable = !command_.read_only});
  if (!added.ok()) {
    OnSignal(SIGTERM);
    const absl::Status stopped =
        AioWaitWhileUnlocked(core_, [this] { return !server_->stopped(); }, {.name = "end of the NBD server"});
    return stopped.ok() ? added : stopped;
  }
  Put(STDOUT_FILENO,
      absl::StrCat("'", command_.image, "' (", node_->size(), " bytes, ", command_.read_only ? "read-only" : "writable",
                   ") is at ", server_->address().ToString(), ", export '", server_->Exports().front().name, "'\n"));
  return absl::OkStatus();
}

void Exporter::OnSignal(int signal) {
  switch (signal) {
    case SIGINT:
    case SIGTERM:
    case SIGHUP:
      if (std::exchange(ending_, true) && signal != SIGHUP) _exit(kExitCancelled);
      if (server_ != nullptr) server_->Shutdown();
      return;
    case SIGTSTP:
    case SIGQUIT:
      ActOnSignal(signal);
      return;
    default:
      return;
  }
}

absl::Status Exporter::FlushNode() {
  std::optional<int> error;
  const auto flush = [](std::shared_ptr<block::Node> node, std::optional<int>& result) -> Co<void> {
    const Admission in = co_await node->resource().Admit();
    result = co_await node->Flush(in);
  };
  Spawn("last flush", flush(node_, error));
  absl::Status waited = AioWaitWhileUnlocked(core_.main_context(), [&error] { return !error.has_value(); },
                                             {.name = "last flush", .watched = false});
  if (!waited.ok()) return waited;
  return *error == 0 ? absl::OkStatus() : absl::ErrnoToStatus(*error, absl::StrCat("cannot flush ", command_.image));
}

}  // namespace

int RunExport(const ExportCommand& command) {
  if (command.socket.empty() == command.port.empty()) {
    return Fail(absl::InvalidArgumentError("one of --socket and --port is needed"), kExitUsage);
  }
  BlockSignals();  // before there is any other thread
  absl::StatusOr<std::unique_ptr<IoEngine>> engine = MakeEngine(command.engine);
  if (!engine.ok()) return Fail(engine.status(), kExitUsage);
  return Exporter(command, *std::move(engine)).Run();
}

}  // namespace jobctl
