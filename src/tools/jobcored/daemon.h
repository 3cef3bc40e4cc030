// SPDX-License-Identifier: Apache-2.0
//
// Daemon: what the commands of jobcored work on. Everything is of the main context, which carries them out.

#ifndef JOBCORE_TOOLS_JOBCORED_DAEMON_H_
#define JOBCORE_TOOLS_JOBCORED_DAEMON_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "job-common/clock.h"
#include "job-common/iothread.h"
#include "job-common/job_core.h"
#include "job-common/job_mutex.h"
#include "job-driver/block/node.h"
#include "job-driver/nbd/server.h"
#include "qmp/command_table.h"
#include "qmp/job_events.h"
#include "qmp/json_value.h"
#include "qmp/server.h"
#include "qmp/session.h"
#include "tools/jobcored/job_uses.h"
#include "tools/jobcored/node_options.h"
#include "tools/jobcored/node_registry.h"

namespace jobcored {

class Daemon {
 public:
  explicit Daemon(jobcore::qmp::Server::Options options) JOBCORE_EXCLUDES(jobcore::job_mutex);
  // No job has been left open: see EndAll.
  ~Daemon() JOBCORE_EXCLUDES(jobcore::job_mutex);
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  // "qemu" tells clients which version of the protocol is spoken.
  static jobcore::qmp::JsonObject Version();

  void SendEvent(std::string_view name, jobcore::qmp::JsonObject data) JOBCORE_EXCLUDES(jobcore::job_mutex);
  // Of what commands wait for, where the wire has no time limit of its own.
  jobcore::TimePoint Deadline() const;
  // From now on commands are refused that would begin something. Waits for all of those under way, but for this one if
  // one calls (`callers`: 1, or 0); force-cancels all jobs, waits until they have concluded, and dismisses them; then
  // lets go of the exports. May be called again meanwhile.
  jobcore::Co<absl::Status> EndAll(size_t callers, jobcore::TimePoint deadline = jobcore::kNoDeadline)
      JOBCORE_EXCLUDES(jobcore::job_mutex);
  // DeadlineExceeded: it still stops.
  jobcore::Co<absl::Status> StopNbdServer(jobcore::TimePoint deadline = jobcore::kNoDeadline)
      JOBCORE_EXCLUDES(jobcore::job_mutex);

  // In the order in which they may go: what is further down is used by what is above.
  Engines engines;
  std::map<std::string, std::unique_ptr<jobcore::IOThread>, std::less<>> iothreads;
  jobcore::JobCore core;
  NodeRegistry nodes;
  JobUses job_uses;
  std::shared_ptr<jobcore::nbd::Server> nbd;  // null: none; one that stops is there until it has
  jobcore::qmp::CommandTable commands;
  jobcore::qmp::Monitor monitor;
  jobcore::qmp::Server server;
  jobcore::qmp::JobEvents events;

 private:
  std::optional<jobcore::qmp::Error> Refuse(const jobcore::qmp::Command& command) const;
  jobcore::Co<absl::Status> EndEverything(jobcore::TimePoint deadline) JOBCORE_EXCLUDES(jobcore::job_mutex);

  bool ending_ = false;
  size_t ending_callers_ = 0;          // commands that wait for the end
  std::optional<absl::Status> ended_;  // how that went
};

}  // namespace jobcored

#endif  // JOBCORE_TOOLS_JOBCORED_DAEMON_H_
