// SPDX-License-Identifier: Apache-2.0
//
// ServerState: what a server and its connections share.

#ifndef JOBCORE_NBD_SERVER_STATE_H_
#define JOBCORE_NBD_SERVER_STATE_H_

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "absl/status/status.h"
#include "job-common/aio_context.h"
#include "job-common/fwd.h"
#include "job-common/job_core.h"
#include "job-common/sync.h"
#include "job-driver/nbd/server.h"
#include "nbd/export.h"
#include "nbd/listener.h"
#include "nbd/negotiation.h"

namespace jobcore::inline JOBCORE_ABI::nbd {

class ServerState : public std::enable_shared_from_this<ServerState> {
 public:
  ServerState(JobCore& core, Server::Options options, Listener listener)
      : core_(core), options_(std::move(options)), address_(listener.address()), listener_(std::move(listener)) {}
  ServerState(const ServerState&) = delete;
  ServerState& operator=(const ServerState&) = delete;

  // --- Any thread ---
  void Start();
  void Shutdown();
  bool stopped() const { return stopped_.load(std::memory_order_acquire); }
  const Address& address() const { return address_; }
  AioContext& main() const { return core_.main_context(); }
  Nanoseconds handshake_timeout() const { return options_.handshake_timeout; }
  absl::Status Add(ExportOptions options);
  absl::Status Remove(std::string_view id, RemoveMode mode);
  std::vector<ExportInfo> Exports() const;
  int connections() const;
  // By the name that clients use. Null: there is none.
  std::shared_ptr<Export> Find(std::string_view name) const;
  std::vector<std::shared_ptr<Export>> All() const;
  // It has ended: nothing of it is in flight. `chosen`: its export, if it had got so far.
  void OnEnded(std::shared_ptr<Connection> connection, std::shared_ptr<Export> chosen);

 private:
  // --- Main context ---
  void Listen();
  void AcceptAll();
  void Accept(internal::UniqueFd socket);
  void StopListening();
  void WatchListener();
  void FinishExport(const std::shared_ptr<Export>& finished) JOBCORE_EXCLUDES(job_mutex);
  void CheckStopped() JOBCORE_EXCLUDES(job_mutex);

  JobCore& core_;
  const Server::Options options_;
  const Address address_;
  std::atomic<bool> stopped_{false};

  // Main context, once the server has been started.
  std::optional<Listener> listener_;
  std::unique_ptr<FdHandler> handler_;
  std::unique_ptr<AioTimer> retry_;

  mutable internal::Mutex mutex_;                                        // before those of exports; guards the rest
  std::map<std::string, std::shared_ptr<Export>, std::less<>> exports_;  // by id
  std::unordered_set<std::shared_ptr<Connection>> connections_;
  bool stopping_ = false;
};

}  // namespace jobcore::inline JOBCORE_ABI::nbd

#endif  // JOBCORE_NBD_SERVER_STATE_H_
