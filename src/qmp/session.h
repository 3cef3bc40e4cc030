// SPDX-License-Identifier: Apache-2.0
//
// Session: one client's conversation, from the greeting to the end of its connection. It is told what bytes have come,
// and hands out those that are to go; sockets are somebody else's business (connection.h).
//
// Commands of one client are carried out one after the other, in the order in which they came; a handler that waits
// makes this session wait, and no other. What is out of band (and negotiated) overtakes them.

#ifndef JOBCORE_QMP_SESSION_H_
#define JOBCORE_QMP_SESSION_H_

#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "job-common/coroutine.h"
#include "job-common/fwd.h"
#include "qmp/command_table.h"
#include "qmp/error.h"
#include "qmp/event_source.h"
#include "qmp/json_value.h"
#include "qmp/message_framer.h"
#include "qmp/request.h"

namespace jobcore::inline JOBCORE_ABI::qmp {

// What all sessions of a monitor have in common; lives longer than they.
struct Monitor {
  const CommandTable& commands;
  JsonObject version;  // of the greeting, and query-version
  // Called before each reply goes out: so that what happened before it is told before it.
  absl::AnyInvocable<void()> before_reply = [] {};
  // Whether a command may be carried out now; an error says why not.
  absl::AnyInvocable<std::optional<Error>(const Command&)> check = [](const Command&) { return std::nullopt; };
  size_t executing = 0;  // handlers that have not finished
  absl::AnyInvocable<void()> on_executed = [] {};
};

// All on one home thread. Held by a shared_ptr: a handler that is still at work when its client has gone keeps the
// session until it has finished.
class Session : public std::enable_shared_from_this<Session> {
 public:
  // `send` takes whole lines; not called any more after Close.
  using Send = absl::AnyInvocable<void(std::string line)>;

  // Requests that wait for others before them, and the bytes that they came as, with those of the one that is being
  // carried out. Above that nothing more should be fed: see ready().
  static constexpr size_t kMaxWaiting = 8;
  static constexpr size_t kMaxWaitingBytes = size_t{1} << 20;

  static std::shared_ptr<Session> Create(Monitor& monitor, Send send);

  void Greet();
  void Feed(std::string_view bytes);
  bool ready() const { return waiting_.size() < kMaxWaiting && waiting_bytes_ < kMaxWaitingBytes; }
  // Nothing is being carried out, and nothing waits to be.
  bool idle() const { return !serving_ && waiting_.empty(); }
  // Called whenever ready() or idle() may have become true.
  void OnProgress(absl::AnyInvocable<void()> callback) { on_progress_ = std::move(callback); }
  // Events go to those who have negotiated.
  void SendEvent(const std::string& line);
  // Whether the client takes what is sent to it. As long as it does not, no further request is carried out, and nothing
  // taken from its event source. Whoever sees it become true calls OnRoom.
  void SetRoom(absl::AnyInvocable<bool() const> has_room) { has_room_ = std::move(has_room); }
  bool HasRoom() const { return !closed_ && has_room_(); }
  void OnRoom();
  // The client's own events, in place of those that it has had so far; null: none. For a handler: they begin after its
  // answer.
  void SetEventSource(std::unique_ptr<EventSource> source) { next_source_ = std::move(source); }
  // At the end of the connection, outside of all that it calls.
  void DropEventSource() { source_ = nullptr, next_source_.reset(); }
  // The client has gone: nothing is sent any more, and what waits is forgotten; a command that is being carried out
  // goes on.
  void Close();

 private:
  Session(Monitor& monitor, Send send) : monitor_(monitor), send_(std::move(send)) {}

  struct Waiting {
    Request request;
    size_t bytes;
  };

  void Receive(absl::StatusOr<std::string> text);
  void ServeWaiting();
  void PumpEvents();
  static Co<void> Serve(std::shared_ptr<Session> self);
  Co<Reply> Execute(Request& request);
  Reply Negotiate(const JsonObject& arguments);
  void Answer(const Request& request, Reply reply);

  Monitor& monitor_;
  Send send_;
  absl::AnyInvocable<void()> on_progress_ = [] {};
  absl::AnyInvocable<bool() const> has_room_ = [] { return true; };
  std::unique_ptr<EventSource> source_;                      // null: none
  std::optional<std::unique_ptr<EventSource>> next_source_;  // after the answer that is being made
  MessageFramer framer_;
  std::deque<Waiting> waiting_;
  size_t waiting_bytes_ = 0;
  bool serving_ = false;
  bool negotiated_ = false;
  bool oob_ = false;
  bool closed_ = false;
};

}  // namespace jobcore::inline JOBCORE_ABI::qmp

#endif  // JOBCORE_QMP_SESSION_H_
