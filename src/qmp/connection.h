// SPDX-License-Identifier: Apache-2.0
//
// Connection: a client's socket, and its session. Everything is bounded: who does not read what it is sent is
// not read from any more, nor is what it has asked for carried out (so there is one large answer at most, however
// large); and when it leaves too many events unread it loses the connection.

#ifndef JOBCORE_QMP_CONNECTION_H_
#define JOBCORE_QMP_CONNECTION_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "block/unique_fd.h"
#include "job-common/aio_context.h"
#include "job-common/fwd.h"
#include "job-common/poller.h"
#include "qmp/session.h"

namespace jobcore::inline JOBCORE_ABI::qmp {

// All on the context's home thread.
class Connection {
 public:
  struct Limits {
    size_t unsent_to_read = size_t{256} << 10;  // bytes; with more of them unsent no further command begins
    size_t unsent = size_t{8} << 20;            // bytes besides an answer; an event that makes it more closes
  };

  // Greets. `on_change`: it has closed, or has sent everything.
  Connection(AioContext& context, Monitor& monitor, internal::UniqueFd socket, const Limits& limits,
             absl::AnyInvocable<void()> on_change);
  ~Connection();  // closes
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // What all are told, whether they read it or not.
  void SendEvent(const std::string& line);
  bool closed() const { return !socket_; }
  bool all_sent() const { return closed() || sent_ == output_.size(); }

 private:
  void OnSocket(FdEvents events);
  void ReadSome();
  void Send(const std::string& line);
  void Flush();
  size_t unsent() const { return output_.size() - sent_; }
  bool HasRoom() const { return unsent() <= limits_.unsent_to_read; }
  // What to wait for now; or this was the end.
  void Settle();
  void Close();

  const Limits limits_;
  absl::AnyInvocable<void()> on_change_;
  internal::UniqueFd socket_;
  std::unique_ptr<FdHandler> handler_;  // null: closed
  FdEvents interest_ = FdEvents::kReadable;
  std::string output_;
  size_t sent_ = 0;     // of output_
  size_t longest_ = 0;  // line since all had been sent: the large answer that there may be
  bool ended_ = false;  // the client sends nothing more
  std::shared_ptr<Session> session_;
};

}  // namespace jobcore::inline JOBCORE_ABI::qmp

#endif  // JOBCORE_QMP_CONNECTION_H_
