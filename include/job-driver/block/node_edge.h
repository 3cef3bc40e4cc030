// SPDX-License-Identifier: Apache-2.0
//
// NodeEdge: somebody's use of a node, and the way by which requests get there. An export has one, a job one for
// each node that it works on, a node that stands upon another one has one to that.
//
// An edge says what its user does, and what it can bear that others do; who does not fit in is refused, with a
// message that names the one in the way. When a job switches everybody over from one node to another (SwitchUsers),
// edges are what is switched: a request that waited for the old node to be let go of goes to the new one.

#ifndef JOBCORE_JOB_DRIVER_BLOCK_NODE_EDGE_H_
#define JOBCORE_JOB_DRIVER_BLOCK_NODE_EDGE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "job-common/coroutine.h"
#include "job-common/fwd.h"
#include "job-common/job_mutex.h"
#include "job-common/sync.h"
#include "job-driver/block/node.h"
#include "job-driver/resource.h"

namespace jobcore::inline JOBCORE_ABI::block {

// Two edges to one node get along if each lets the other do what it does, where their parts overlap, and if not one is
// of a job that copies the node and the other one of a job that makes it a copy. Those two would not see each other
// when they end: each drains its nodes, and goes on with requests of its own (JobSpec::still_at_end).
struct EdgeOptions {
  enum class JobUse : unsigned char {
    kNone,    // not a job's; follows when users are switched over
    kSource,  // a job copies the node
    kTarget,  // a job makes it a copy, or one that stands upon it
  };

  std::string user;          // "export 'e0'", "job 'mirror0'": for messages
  bool writes = false;       // changes the node
  bool lets_write = true;    // others may change its content
  bool lets_resize = false;  // and its size
  JobUse job_use = JobUse::kNone;
  // Bytes: all that it reads and writes is within this.
  uint64_t part_offset = 0;
  uint64_t part_end = std::numeric_limits<uint64_t>::max();
  // The edge leads to another node now, or that lives in another context: for users who live where their node does.
  // Any thread; the node may be drained; it must not throw. It may still be called once when the edge has gone.
  std::function<void()> on_moved = nullptr;
};

class NodeEdge {
 public:
  // FailedPrecondition: someone else's use and this one exclude each other. PermissionDenied: it is to write, and
  // the node is read-only.
  static absl::StatusOr<std::unique_ptr<NodeEdge>> Attach(std::shared_ptr<Node> node, EdgeOptions options);
  // No request must be in flight.
  ~NodeEdge();
  NodeEdge(const NodeEdge&) = delete;
  NodeEdge& operator=(const NodeEdge&) = delete;

  const std::string& user() const { return options_.user; }
  std::shared_ptr<Node> node() const;  // any thread; as of now

  // A request's way in.
  struct Entry {
    std::shared_ptr<Node> node;  // before `in`: it is to outlive that
    Admission in;
  };
  // Home thread. Waits while the node is drained; then the node that the edge leads to by that time. What waits keeps
  // its order: requests of one context by one edge enter in the order in which they came, also where some of them began
  // to wait for a node before its users were switched over to another one, which may be drained as well.
  // `parent`: the request to the node that stands upon this one, on whose behalf this is; null: a client's own.
  [[nodiscard]] Co<Entry> Enter(const Admission* parent = nullptr) JOBCORE_EXCLUDES(job_mutex);

  // Entering and one request, see Node.
  [[nodiscard]] Co<int> Read(uint64_t offset, std::span<std::byte> buffer, const Admission* parent = nullptr)
      JOBCORE_EXCLUDES(job_mutex);
  [[nodiscard]] Co<int> Write(uint64_t offset, std::span<const std::byte> data, const Admission* parent = nullptr)
      JOBCORE_EXCLUDES(job_mutex);
  [[nodiscard]] Co<int> Change(NodeWrite write, const Admission* parent = nullptr) JOBCORE_EXCLUDES(job_mutex);
  [[nodiscard]] Co<int> Flush(const Admission* parent = nullptr) JOBCORE_EXCLUDES(job_mutex);
  [[nodiscard]] Co<absl::StatusOr<BlockStatus>> Status(uint64_t offset, uint64_t length,
                                                       const Admission* parent = nullptr) JOBCORE_EXCLUDES(job_mutex);
  // Drains the node, and those that it stands upon: whoever waits for this has no request, nor an Entry, of his own in
  // there. FailedPrecondition: somebody else relies on the node's size; the text says who. InvalidArgument: not a size
  // that the node can have. PermissionDenied: this edge is not to change it. Otherwise as DrainedSection::Open, and as
  // the driver, fails.
  [[nodiscard]] Co<absl::Status> Resize(uint64_t size, const Admission* parent = nullptr) JOBCORE_EXCLUDES(job_mutex);

 private:
  friend class GraphOps;
  NodeEdge(std::shared_ptr<Node> node, EdgeOptions options);

  const EdgeOptions options_;
  mutable internal::Mutex mutex_;  // a leaf
  std::shared_ptr<Node> node_;     // changes only while the old and the new one are drained
  Producer producer_;              // sent where the edge leads
};

}  // namespace jobcore::inline JOBCORE_ABI::block

#endif  // JOBCORE_JOB_DRIVER_BLOCK_NODE_EDGE_H_
