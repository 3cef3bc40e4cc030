// SPDX-License-Identifier: Apache-2.0
//
// Server: a monitor's sockets, and the clients that have connected to them. Each client has its own conversation and
// gets every event.

#ifndef JOBCORE_QMP_SERVER_H_
#define JOBCORE_QMP_SERVER_H_

#include <sys/types.h>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "job-common/aio_context.h"
#include "job-common/fwd.h"
#include "job-common/job_mutex.h"
#include "qmp/connection.h"
#include "qmp/session.h"
#include "qmp/unix_socket.h"

namespace jobcore::inline JOBCORE_ABI::qmp {

// All on the context's home thread, which carries out the commands as well.
class Server {
 public:
  struct Options {
    size_t max_clients = 256;
    std::vector<uid_t> allowed_users = {};  // besides the one that this process runs as, and root
    Connection::Limits limits = {};
  };

  Server(AioContext& context, Monitor& monitor, Options options);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Clients can connect from now on. Errors: ListenOnUnixSocket.
  absl::Status Listen(const std::string& path);
  // To all who have negotiated.
  void SendEvent(const std::string& line);
  size_t clients() const { return connections_.size(); }

  // All that has been said has been sent. Waiters for the context are woken up when this becomes true.
  bool all_sent() const;
  // No more clients, and the names of the sockets are free. Those that there are stay.
  void StopListening();

 private:
  struct Listener {
    UnixListener socket;
    std::unique_ptr<FdHandler> handler;
  };

  void Accept(Listener& listener);
  void AcceptAgain();
  bool MayConnect(int fd) const;
  void OnChange() JOBCORE_EXCLUDES(job_mutex);
  void Sweep();

  AioContext& context_;
  Monitor& monitor_;
  const Options options_;
  std::vector<std::unique_ptr<Listener>> listeners_;
  // When a client could not be accepted for lack of something that others may give back.
  AioTimer retry_;
  // Connections close inside their own callbacks: they are removed later.
  BottomHalf sweep_;
  std::vector<std::unique_ptr<Connection>> connections_;
};

}  // namespace jobcore::inline JOBCORE_ABI::qmp

#endif  // JOBCORE_QMP_SERVER_H_
