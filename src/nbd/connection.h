// SPDX-License-Identifier: Apache-2.0
//
// Connection: one client, from accept to its last reply. The handshake happens in the core's main context; after it,
// the connection lives where its export does, in one context at a time.
//
// Its requests run beside each other. Each has its admission to the node only while the node works on it: not while
// its data come in, nor while its reply waits for a client who does not read. So no client can hold up a drained
// section.

#ifndef JOBCORE_NBD_CONNECTION_H_
#define JOBCORE_NBD_CONNECTION_H_

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/container/inlined_vector.h"
#include "block/unique_fd.h"
#include "job-common/aio_context.h"
#include "job-common/coroutine.h"
#include "job-common/fwd.h"
#include "job-common/job_mutex.h"
#include "job-common/sync.h"
#include "job-common/task_scope.h"
#include "nbd/buffer_pool.h"
#include "nbd/channel.h"
#include "nbd/export.h"
#include "nbd/negotiation.h"
#include "nbd/request.h"
#include "nbd/wire.h"

namespace jobcore::inline JOBCORE_ABI::nbd {

class ServerState;

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  static constexpr size_t kMaxRequests = 16;  // in flight

  Connection(std::shared_ptr<ServerState> server, internal::UniqueFd socket);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Main context; once.
  void Start();

  // --- Any thread ---
  // Nothing more comes or goes; it ends when its requests have.
  void Close();
  // Its export lives elsewhere by now.
  void GoHome();

 private:
  class Claims;
  // A request, and the payload that came with it.
  struct Call {
    wire::Request request;
    BufferPool::Buffer data = {};
  };
  // A part of what a read yields.
  struct Extent {
    uint64_t offset = 0;  // of the export
    uint64_t length = 0;
    bool zero = false;  // and not in the buffer
  };
  using Extents = absl::InlinedVector<Extent, 4>;

  // --- The context that it is in ---
  Co<void> Handshake(std::shared_ptr<Connection> self);
  // True: an export has been chosen.
  Co<bool> Negotiate();
  Co<void> Serve(std::shared_ptr<Connection> self) JOBCORE_EXCLUDES(job_mutex);
  // Until there is nothing more to serve here. True: elsewhere there may be.
  Co<bool> ServeRequests() JOBCORE_EXCLUDES(job_mutex);
  // What follows the header of a request. False: it did not come.
  Co<bool> ReceivePayload(const Verdict& verdict, BufferPool::Buffer& data);
  // Begins the next stay. False: there is none.
  bool MoveHome();
  bool IsHome();
  void End();

  Co<void> Run(Call call) JOBCORE_EXCLUDES(job_mutex);
  Co<void> Read(const wire::Request& request) JOBCORE_EXCLUDES(job_mutex);
  Co<int> ReadExtents(const wire::Request& request, Extents& extents, BufferPool::Buffer& data)
      JOBCORE_EXCLUDES(job_mutex);
  Co<int> Change(const Call& call) JOBCORE_EXCLUDES(job_mutex);
  Co<int> Flush() JOBCORE_EXCLUDES(job_mutex);
  Co<void> BlockStatus(const wire::Request& request) JOBCORE_EXCLUDES(job_mutex);
  Co<void> Reply(wire::Request request, wire::Error error, const char* why);
  // The reply to a request is about to be sent. True: others may follow within this turn of the loop.
  bool EndWork() {
    --at_work_;
    return at_work_ > 0 || channel_.HasReceived(wire::kRequestSize);
  }

  const std::shared_ptr<ServerState> server_;
  BufferPool buffers_;
  Channel channel_;
  Terms terms_;
  ExportFacts facts_;
  std::shared_ptr<Export> export_;  // once it has been chosen
  std::optional<TaskScope> tasks_;  // of a stay: the requests
  size_t at_work_ = 0;              // requests without a reply
  size_t payload_in_flight_ = 0;    // bytes

  internal::Atomic<bool> go_home_{false};  // the export may live elsewhere by now
  mutable internal::Mutex mutex_;          // a leaf; guards the rest
  std::shared_ptr<AioContext> context_;    // where it is, or is just going to; null: in its handshake, or at its end
};

}  // namespace jobcore::inline JOBCORE_ABI::nbd

#endif  // JOBCORE_NBD_CONNECTION_H_
