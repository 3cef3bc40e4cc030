// SPDX-License-Identifier: Apache-2.0

#include "qmp/session.h"

#include <exception>
#include <optional>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "qmp/json_text.h"

namespace jobcore::inline JOBCORE_ABI::qmp {
namespace {

JsonObject ToJson(const Error& error) {
  return {{"class", kErrorClassNames[static_cast<size_t>(error.error_class)]}, {"desc", error.text}};
}

Error NotFound(std::string text) { return {ErrorClass::kCommandNotFound, std::move(text)}; }

}  // namespace

std::shared_ptr<Session> Session::Create(Monitor& monitor, Send send) {
  return std::shared_ptr<Session>(new Session(monitor, std::move(send)));
}

void Session::Greet() {
  const std::span<const std::string_view> offered = CommandTable::Capabilities();
  JsonArray capabilities(offered.begin(), offered.end());
  const JsonObject greeting = {{"version", monitor_.version}, {"capabilities", std::move(capabilities)}};
  send_(WriteJson(JsonObject{{"QMP", greeting}}));
}

void Session::Feed(std::string_view bytes) {
  framer_.Feed(bytes, [this](absl::StatusOr<std::string> text) { Receive(std::move(text)); });
  ServeWaiting();
}

void Session::ServeWaiting() {
  if (!serving_ && !waiting_.empty() && HasRoom()) Spawn("monitor session", Serve(shared_from_this()));
}

void Session::OnRoom() {
  ServeWaiting();
  PumpEvents();
}

void Session::Receive(absl::StatusOr<std::string> text) {
  if (closed_) return;
  const size_t bytes = text.ok() ? text->size() : 0;
  absl::StatusOr<JsonValue> value = text.ok() ? ParseJson(*text) : text.status();
  Request request;
  if (value.ok()) {
    request = ParseRequest(*std::move(value), oob_);
  } else {
    request.error = GenericError(std::string(value.status().message()));
  }
  if (!request.oob || request.error.has_value()) {
    waiting_.push_back({std::move(request), bytes});
    waiting_bytes_ += bytes;
    return;
  }
  // Out of band: beside whatever is being carried out.
  Spawn("monitor command, out of band", [](std::shared_ptr<Session> self, Request oob) -> Co<void> {
    Reply reply = co_await self->Execute(oob);
    self->Answer(oob, std::move(reply));
  }(shared_from_this(), std::move(request)));
}

Co<void> Session::Serve(std::shared_ptr<Session> self) {
  self->serving_ = true;
  while (!self->waiting_.empty() && self->HasRoom()) {
    Waiting next = std::move(self->waiting_.front());
    self->waiting_.pop_front();
    Reply reply = co_await self->Execute(next.request);
    self->waiting_bytes_ -= next.bytes;
    self->Answer(next.request, std::move(reply));
    self->on_progress_();
  }
  self->serving_ = false;
  self->on_progress_();
}

namespace {

class Executing {
 public:
  explicit Executing(Monitor& monitor) : monitor_(monitor) { ++monitor_.executing; }
  Executing(const Executing&) = delete;
  Executing& operator=(const Executing&) = delete;
  ~Executing() {
    --monitor_.executing;
    monitor_.on_executed();
  }

 private:
  Monitor& monitor_;
};

}  // namespace

Co<Reply> Session::Execute(Request& request) {
  if (request.error.has_value()) co_return *std::move(request.error);
  const bool negotiates = request.command == CommandTable::kNegotiation;
  if (!negotiated_ && !negotiates) {
    co_return NotFound(
        absl::StrCat("Expecting capabilities negotiation with '", std::string(CommandTable::kNegotiation), "'"));
  }
  const Command* const command = monitor_.commands.Find(request.command);
  if (command == nullptr) co_return NotFound(absl::StrCat("The command ", request.command, " has not been found"));
  if (request.oob && !command->allows_oob) {
    co_return GenericError(absl::StrCat("The command ", request.command, " does not support OOB"));
  }
  if (std::optional<Error> error = CheckArguments(*command->arguments, request.arguments)) {
    co_return *std::move(error);
  }
  if (negotiates && !negotiated_) co_return Negotiate(request.arguments);
  if (std::optional<Error> error = monitor_.check(*command)) co_return *std::move(error);
  const Executing executing(monitor_);
  try {
    if (command->session_handler != nullptr) co_return command->session_handler(*this, Arguments(request.arguments));
    co_return co_await command->handler(Arguments(request.arguments));
  } catch (const std::exception& error) {  // of the standard library: no memory, no thread
    co_return GenericError(absl::StrCat("The command ", request.command, " has failed: ", error.what()));
  }
}

Reply Session::Negotiate(const JsonObject& arguments) {
  if (const JsonValue* const enable = arguments.Find("enable")) oob_ = !enable->AsArray()->empty();
  negotiated_ = true;
  return {};
}

void Session::Answer(const Request& request, Reply reply) {
  if (closed_) return;
  monitor_.before_reply();
  PumpEvents();
  if (closed_) return;  // too slow for what happened before
  JsonObject message;
  if (const Error* const error = reply.error()) {
    message.Set("error", ToJson(*error));
  } else {
    message.Set("return", std::move(reply).TakeValue());
  }
  if (request.id.has_value()) message.Set("id", *request.id);
  send_(WriteJson(std::move(message)));
  if (!next_source_.has_value()) return;
  source_ = *std::exchange(next_source_, std::nullopt);
  PumpEvents();
}

void Session::PumpEvents() {
  if (source_ != nullptr) source_->Pump();
}

void Session::SendEvent(const std::string& line) {
  if (negotiated_ && !closed_) send_(line);
}

void Session::Close() {
  closed_ = true;
  for (const Waiting& waiting : waiting_) waiting_bytes_ -= waiting.bytes;
  waiting_.clear();
}

}  // namespace jobcore::inline JOBCORE_ABI::qmp
