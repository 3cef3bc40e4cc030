// SPDX-License-Identifier: Apache-2.0
//
// QmpClient: one conversation with a daemon that speaks QMP, a command at a time.

#ifndef JOBCORE_TOOLS_JOBCTL_QMP_CLIENT_H_
#define JOBCORE_TOOLS_JOBCTL_QMP_CLIENT_H_

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "block/unique_fd.h"
#include "job-common/clock.h"
#include "qmp/json_value.h"

namespace jobctl {

namespace qmp = jobcore::qmp;

// Of one thread, which it blocks. Unavailable, from any of its functions: the connection is no more, and the text says
// why.
class QmpClient {
 public:
  // Has negotiated. Other errors than Unavailable: whoever is there does not speak QMP.
  static absl::StatusOr<std::unique_ptr<QmpClient>> Connect(const std::string& socket);

  // Waits for the reply. Unimplemented: there is no such command; FailedPrecondition: it was refused, or has failed,
  // and this is the daemon's text.
  absl::StatusOr<qmp::JsonValue> Execute(std::string_view command, qmp::JsonObject arguments = {});

  // The next event; nothing: none has come until then. Those that came with replies are not lost.
  absl::StatusOr<std::optional<qmp::JsonObject>> NextEvent(jobcore::TimePoint deadline);

 private:
  QmpClient(std::string socket_name, jobcore::internal::UniqueFd socket)
      : name_(std::move(socket_name)), socket_(std::move(socket)) {}

  absl::Status Negotiate();
  absl::Status Send(const qmp::JsonObject& message);
  // DeadlineExceeded: there was none until then.
  absl::StatusOr<qmp::JsonObject> Receive(jobcore::TimePoint deadline);
  absl::Status Lost(std::string_view why) const;

  const std::string name_;
  jobcore::internal::UniqueFd socket_;
  std::string received_;  // not looked at so far
  size_t searched_ = 0;   // of that: has no end of a line
  std::deque<qmp::JsonObject> events_;
};

}  // namespace jobctl

#endif  // JOBCORE_TOOLS_JOBCTL_QMP_CLIENT_H_
