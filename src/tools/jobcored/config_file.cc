// SPDX-License-Identifier: Apache-2.0

#include "tools/jobcored/config_file.h"

#include <cerrno>
#include <fstream>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "block/file_error.h"
#include "job-common/aio_wait.h"
#include "qmp/json_text.h"
#include "qmp/message_framer.h"
#include "qmp/session.h"

namespace jobcored {
namespace {

namespace qmp = jobcore::qmp;
using jobcore::internal::FileError;
using jobcore::internal::Quoted;

// Of {"execute": NAME}; empty: it is none.
std::string CommandName(const std::string& text) {
  const absl::StatusOr<qmp::JsonValue> value = qmp::ParseJson(text);
  const qmp::JsonObject* const object = value.ok() ? value->AsObject() : nullptr;
  const qmp::JsonValue* const name = object == nullptr ? nullptr : object->Find("execute");
  return name == nullptr || name->AsString() == nullptr ? "" : *name->AsString();
}

// A conversation with ourselves.
class Conversation {
 public:
  explicit Conversation(Daemon& daemon)
      : daemon_(daemon),
        session_(qmp::Session::Create(daemon.monitor, [this](std::string line) { reply_ = std::move(line); })) {
    session_->OnProgress([&daemon] { daemon.core.main_context().wait_domain().Kick(); });
  }
  ~Conversation() { session_->Close(); }
  Conversation(const Conversation&) = delete;
  Conversation& operator=(const Conversation&) = delete;

  absl::Status Execute(const std::string& text) JOBCORE_EXCLUDES(jobcore::job_mutex) {
    reply_.clear();
    session_->Feed(text);
    absl::Status waited = AioWaitWhileUnlocked(daemon_.core, [this] { return !session_->idle(); },
                                               {.name = "a command of the configuration"});
    if (!waited.ok()) return waited;
    const absl::StatusOr<qmp::JsonValue> reply = qmp::ParseJson(reply_);
    if (!reply.ok()) return reply.status();
    const qmp::JsonValue* const error = reply->AsObject()->Find("error");
    return error == nullptr ? absl::OkStatus()
                            : absl::AbortedError(*error->AsObject()->Find("desc")->AsString());  // as every error has
  }

 private:
  Daemon& daemon_;
  std::string reply_;
  const std::shared_ptr<qmp::Session> session_;
};

}  // namespace

absl::Status RunConfigFile(Daemon& daemon, const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return FileError("cannot open", path, errno);
  Conversation conversation(daemon);
  if (absl::Status s = conversation.Execute(R"({"execute": "qmp_capabilities"})"); !s.ok()) return s;

  qmp::MessageFramer framer;
  absl::Status result;
  size_t line = 0, begun = 0;  // `begun`: the line of the command that has begun
  const auto fail = [&path, &result](size_t where, const std::string& command, absl::string_view why) {
    result = absl::InvalidArgumentError(
        absl::StrCat(Quoted(path), ", line ", where, ": ", command, command.empty() ? "" : ": ", why));
  };
  std::string text;
  while (result.ok() && std::getline(file, text)) {
    ++line;
    // By bytes, so that it is known in which line a command begins.
    for (const char byte : text += '\n') {
      if (framer.pending() == 0) begun = line;
      framer.Feed({&byte, 1}, [&](const absl::StatusOr<std::string>& command) JOBCORE_EXCLUDES(jobcore::job_mutex) {
        if (!result.ok()) return;
        const absl::Status done = command.ok() ? conversation.Execute(*command) : command.status();
        if (!done.ok()) fail(begun, command.ok() ? CommandName(*command) : "", done.message());
      });
    }
  }
  if (result.ok() && framer.pending() > 0) fail(begun, "", "the command that begins there has no end");
  return result;
}

}  // namespace jobcored
