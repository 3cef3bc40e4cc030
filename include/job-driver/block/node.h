// SPDX-License-Identifier: Apache-2.0
//
// Node: an image, a window of another node, or something that changes how one behaves. What jobs copy, and clients
// read and write.
//
//   clients     block::NodeEdge disk = *block::NodeEdge::Attach(node, {.user = "export 'disk0'", .writes = true});
//               int error = co_await disk.Write(offset, data);       // in any context; waits while the node is drained
//   jobs        StatusOr<Admission> in = job.Admit(node->resource());
//               int error = co_await node->Read(*in, offset, buffer);
//   who drains  co_await DrainedSection::Open({&node->resource()}, …);
//
// A node has no thread: a request runs in the context of whoever makes it, and any number of them at a time. What a
// node has is admission (resource.h): every request is made with one, so nothing is written behind the back of
// whoever has the node drained, whoever turns up meanwhile.
//
// The context that a node "lives in" is where those who serve it run: exports, and jobs created on it. MoveNode moves
// both it and them.

#ifndef JOBCORE_JOB_DRIVER_BLOCK_NODE_H_
#define JOBCORE_JOB_DRIVER_BLOCK_NODE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "job-common/aio_context.h"
#include "job-common/coroutine.h"
#include "job-common/fwd.h"
#include "job-common/job_mutex.h"
#include "job-common/sync.h"
#include "job-driver/resource.h"

namespace jobcore::inline JOBCORE_ABI::block {

class NodeBitmaps;
class NodeEdge;
class WriteFilter;

// What a node changes at once: data, zeros, or nothing that anybody may rely on.
struct NodeWrite {
  enum class Kind : unsigned char {
    kData,
    kZeroes,   // reads as zeros afterwards
    kDiscard,  // need not be stored any more; reads as zeros, or as before
  };
  Kind kind = Kind::kData;
  uint64_t offset = 0;                   // bytes
  uint64_t length = 0;                   // bytes; that of `data`, if kData
  std::span<const std::byte> data = {};  // kData
  bool may_unmap = false;                // kZeroes: as a hole, where there are such

  uint64_t end() const { return offset + length; }
};

// Where a part of a node is, if it is in a file as it is in the node.
struct FilePart {
  IoEngine* engine = nullptr;
  int fd = -1;
  uint64_t offset = 0;
};

// What is stored in some part of a node.
struct BlockStatus {
  uint64_t length = 0;  // bytes from the offset asked for that are alike; at least 1, at most as many as asked for
  bool zero = false;    // they read as zeros
  bool stored = true;   // they take room; not: a hole
};

class Node : public std::enable_shared_from_this<Node> {
 public:
  struct Options {
    std::string name;                               // as in "node 'disk0'"
    std::shared_ptr<AioContext> context = nullptr;  // where it lives; null: the core's main context
    bool read_only = false;
  };

  virtual ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  // --- Any thread ---
  const std::string& name() const { return resource_.name(); }
  // Its driver, as configurations spell it: "file", "raw", …
  virtual const char* driver() const = 0;
  uint64_t size() const { return size_.load(std::memory_order_acquire); }  // bytes
  bool read_only() const { return read_only_; }
  std::shared_ptr<AioContext> context() const;
  Resource& resource() { return resource_; }
  // What it stands for is as this process has left it, as far as can be told; otherwise an error that says what
  // somebody else has done. Jobs ask before they call a copy whole. May block for a moment.
  virtual absl::Status CheckIntact() const { return absl::OkStatus(); }
  JobCore& core() const { return resource_.core(); }
  NodeBitmaps& bitmaps() { return *bitmaps_; }  // see node_bitmaps.h

  // --- Requests: a home thread, with an admission to this node that lasts until they are over ---
  // 0, or an errno: EINVAL: beyond its end. EROFS: it is read-only. Otherwise as the driver fails, then part of the
  // work may have been done. Not inside a co_await expression with arguments that own something (coroutine.h).
  [[nodiscard]] Co<int> Read(const Admission& in, uint64_t offset, std::span<std::byte> buffer)
      JOBCORE_EXCLUDES(job_mutex);
  [[nodiscard]] Co<int> Write(const Admission& in, uint64_t offset, std::span<const std::byte> data)
      JOBCORE_EXCLUDES(job_mutex) {
    return Change(in, {.kind = NodeWrite::Kind::kData, .offset = offset, .length = data.size(), .data = data});
  }
  [[nodiscard]] Co<int> Change(const Admission& in, NodeWrite write) JOBCORE_EXCLUDES(job_mutex);
  // Writes here what is in another node, `from`, as who reads there and writes here, but without a buffer of the
  // caller's: an engine copies from file to file. EOPNOTSUPP: that cannot be. Whatever fails, part of it may have been
  // done; reading and writing goes on where this does not, or tells which side it is.
  [[nodiscard]] Co<int> CopyFrom(const Admission& in, uint64_t offset, uint64_t length, Node& from,
                                 const Admission& from_in, uint64_t from_offset) JOBCORE_EXCLUDES(job_mutex);
  // What was written before this was called is on stable storage afterwards.
  [[nodiscard]] Co<int> Flush(const Admission& in) JOBCORE_EXCLUDES(job_mutex);
  // What is stored from `offset` on, of at most `length` bytes; drivers that cannot tell say "data". InvalidArgument:
  // beyond its end (it may just have shrunk), or no bytes at all. Otherwise fails only as the driver's I/O does.
  [[nodiscard]] Co<absl::StatusOr<BlockStatus>> Status(const Admission& in, uint64_t offset, uint64_t length)
      JOBCORE_EXCLUDES(job_mutex);

  // The other half of a CopyFrom, for the driver of the other side.
  [[nodiscard]] Co<int> CopyTo(const Admission& in, uint64_t offset, uint64_t length, FilePart to)
      JOBCORE_EXCLUDES(job_mutex);

  // --- Filters: see write_filter.h ---
  // From now on writes pass `filter` first. Nothing of this node must be in flight: `section` covers it (aborts).
  void AddFilter(const DrainedSection& section, std::shared_ptr<WriteFilter> filter);
  // Writes that begin from now on do not pass it; those that have begun still may. Any thread.
  void RemoveFilter(const WriteFilter& filter);

 protected:
  Node(JobCore& core, Options options, uint64_t size);

  // --- What a driver implements. Called on home threads, several at a time; ranges are within the node ---
  virtual Co<int> DoRead(const Admission& in, uint64_t offset, std::span<std::byte> buffer)
      JOBCORE_EXCLUDES(job_mutex) = 0;
  virtual Co<int> DoWrite(const Admission& in, NodeWrite write) JOBCORE_EXCLUDES(job_mutex) = 0;
  // The two halves of CopyFrom: where the part is to go, then the copying itself. By default it cannot be done.
  virtual Co<int> DoCopyFrom(const Admission& in, uint64_t offset, uint64_t length, Node& from,
                             const Admission& from_in, uint64_t from_offset) JOBCORE_EXCLUDES(job_mutex);
  virtual Co<int> DoCopyTo(const Admission& in, uint64_t offset, uint64_t length, FilePart to)
      JOBCORE_EXCLUDES(job_mutex);
  virtual Co<int> DoFlush(const Admission& in) JOBCORE_EXCLUDES(job_mutex) = 0;
  virtual Co<absl::StatusOr<BlockStatus>> DoStatus(const Admission& in, uint64_t offset, uint64_t length)
      JOBCORE_EXCLUDES(job_mutex);
  // InvalidArgument: not a size that it can have. By default none but the one that it has.
  virtual Co<absl::Status> DoResize(const Admission& in, uint64_t size) JOBCORE_EXCLUDES(job_mutex);
  // Its edge to the node that it stands upon, which moves with it; null: none.
  virtual const NodeEdge* below() const { return nullptr; }

 private:
  friend class GraphOps;
  friend class NodeEdge;
  using Filters = std::vector<std::shared_ptr<WriteFilter>>;
  class Chain;

  void CheckAdmission(const Admission& in) const;
  bool Contains(uint64_t offset, uint64_t length) const;
  Co<int> ChangeFiltered(const Admission& in, NodeWrite write) JOBCORE_EXCLUDES(job_mutex);
  Co<absl::StatusOr<BlockStatus>> NoStatus(uint64_t offset, uint64_t length);
  std::shared_ptr<const Filters> filters() const;

  const bool read_only_;
  std::atomic<uint64_t> size_;
  internal::Atomic<bool> filtered_{false};  // there are filters
  Resource resource_;
  const std::unique_ptr<NodeBitmaps> bitmaps_;

  mutable internal::Mutex mutex_;  // guards the rest. Only edges' mutexes, and job_mutex, are taken under it
  std::shared_ptr<AioContext> context_;
  std::shared_ptr<const Filters> filters_;  // null: none. The newest first; replaced as a whole
  std::vector<NodeEdge*> edges_;            // of those who use it
  const NodeEdge* resizing_ = nullptr;      // whose user is just resizing it
  bool switching_ = false;                  // a transaction is to switch its users over, or others to it
  const Node* moving_ = nullptr;            // which node is being moved, with this one below it, or this one itself
};

}  // namespace jobcore::inline JOBCORE_ABI::block

#endif  // JOBCORE_JOB_DRIVER_BLOCK_NODE_H_
