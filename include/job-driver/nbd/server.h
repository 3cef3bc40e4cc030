// SPDX-License-Identifier: Apache-2.0
//
// nbd::Server: lets other programs use nodes, by the NBD protocol (fixed newstyle, structured replies).
//
//   auto server = *nbd::Server::Start(core, {.address = nbd::Address::Unix("/run/nbd.sock")});
//   absl::Status s = server->Add({.id = "e0", .node = disk, .name = "disk0", .writable = true});
//   …
//   server->Shutdown();
//   AioWaitWhileUnlocked(core, [&] { return !server->stopped(); }, {.name = "NBD server"});
//
// Each export is a user of its node like any other (node_edge.h): its requests wait while the node is drained, whoever
// connects meanwhile; when a mirror switches users over, they go to the new node, and clients notice nothing. The
// connections of an export run in the context that the node lives in, and follow it to another one, each at the end of
// a request; I/O threads that they need cannot be stopped. What is answered to a client has been done: its node's
// filters, flushes and switch-overs hold for it as for everybody.
//
// Clients are not trusted: what one can take is bounded (requests, memory, the time that its handshake may take), and
// what it does wrong ends its own connection at worst.

#ifndef JOBCORE_JOB_DRIVER_NBD_SERVER_H_
#define JOBCORE_JOB_DRIVER_NBD_SERVER_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "job-common/clock.h"
#include "job-common/fwd.h"
#include "job-common/job_mutex.h"
#include "job-driver/block/node.h"
#include "job-driver/nbd/address.h"

namespace jobcore::inline JOBCORE_ABI::nbd {

class ServerState;

struct ExportOptions {
  std::string id;  // of this export, in this server; for Remove and messages: "export 'e0'"
  std::shared_ptr<block::Node> node = nullptr;
  std::string name = {};         // that clients ask for, at most 4096 bytes; empty: the node's
  std::string description = {};  // for people, at most 4096 bytes
  bool writable = false;
  // Where its connections live. Null: in the context of its node, also when that moves. Given: there, wherever
  // the node moves.
  std::shared_ptr<AioContext> context = nullptr;
};

struct ExportInfo {
  std::string id;
  std::string name;
  std::string node;  // the name of the one that it leads to now
  uint64_t size = 0;
  bool writable = false;
  int connections = 0;
  bool removing = false;  // has been removed, and waits for its last connection to end
};

enum class RemoveMode : unsigned char {
  kSafe,  // not while clients are connected to it
  kHard,  // closes their connections
};

class Server {
 public:
  struct Options {
    Address address;
    int max_connections = 100;  // further ones wait until one has ended; 0: no limit
    // How long a client may take until it has chosen an export; then its connection is closed. 0: no limit.
    Nanoseconds handshake_timeout = std::chrono::seconds(10);
    // An export has gone: no request of it will reach a node, and the node may be removed. Main context.
    std::function<void(const std::string& id)> on_removed = nullptr;
  };

  // Any thread. Clients that connect from now on are served as soon as the main context runs. A name is resolved, and
  // so may block; a socket that nobody listens on any more is replaced.
  //   as bind(2) and listen(2) fail; InvalidArgument: an address that is none
  static absl::StatusOr<std::unique_ptr<Server>> Start(JobCore& core, Options options) JOBCORE_EXCLUDES(job_mutex);
  // It must have stopped (aborts). Before its core.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // --- Any thread ---
  // The one that it listens at: with the port that it got.
  const Address& address() const;

  //   AlreadyExists       there is one with that id, or that name (one that is being removed keeps the id)
  //   FailedPrecondition  the server stops; the node's users do not get along with this one (node_edge.h); the I/O
  //                       thread where it would live has been stopped
  //   PermissionDenied    it is to be writable, and the node is read-only
  //   InvalidArgument     no node; a text that is too long
  absl::Status Add(ExportOptions options) JOBCORE_EXCLUDES(job_mutex);

  // From here on no client finds it. It has gone when its last request has ended, see on_removed.
  //   NotFound            there is none with that id
  //   FailedPrecondition  kSafe: clients are connected to it; the text says how many
  absl::Status Remove(std::string_view id, RemoveMode mode) JOBCORE_EXCLUDES(job_mutex);

  std::vector<ExportInfo> Exports() const;  // in the order of their ids
  int connections() const;                  // handshakes included

  // Stops to listen, and removes all exports, hard. Returns at once; twice does nothing more.
  void Shutdown() JOBCORE_EXCLUDES(job_mutex);
  // After Shutdown: all connections and exports have gone, and on_removed has been called for each of these. Waiters
  // for the core are woken up when this becomes true.
  bool stopped() const;

 private:
  explicit Server(std::shared_ptr<ServerState> state);
  const std::shared_ptr<ServerState> state_;
};

}  // namespace jobcore::inline JOBCORE_ABI::nbd

#endif  // JOBCORE_JOB_DRIVER_NBD_SERVER_H_
