// SPDX-License-Identifier: Apache-2.0
//
// NodeCopier: a job's hands: its use of the nodes that it copies from and to, the copying of one part, and what is to
// be done when that fails.

#ifndef JOBCORE_BLOCK_NODE_COPIER_H_
#define JOBCORE_BLOCK_NODE_COPIER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "block/piece_map.h"
#include "job-common/clock.h"
#include "job-common/coroutine.h"
#include "job-common/error_policy.h"
#include "job-common/fwd.h"
#include "job-driver/block/node.h"
#include "job-driver/block/node_edge.h"
#include "job-driver/block/write_filter.h"
#include "job-driver/job_context.h"
#include "job-driver/job_driver.h"
#include "job-driver/resource.h"

namespace jobcore::inline JOBCORE_ABI::block {

// Memory for requests of any kind of node.
class Buffer {
 public:
  explicit Buffer(size_t bytes) : data_(static_cast<std::byte*>(::operator new(bytes, std::align_val_t{kAlignment}))) {}
  std::span<std::byte> first(size_t bytes) { return {data_.get(), bytes}; }

 private:
  static constexpr size_t kAlignment = 4096;  // for direct I/O
  struct Free {
    void operator()(std::byte* data) const { ::operator delete(data, std::align_val_t{kAlignment}); }
  };
  std::unique_ptr<std::byte, Free> data_;
};

// A side of a copy: a node, and a request that is in flight there as long as the copy lasts.
struct CopySide {
  Node& node;
  const Admission& in;
};

// 0, or the errno of the side that failed.
struct CopyResult {
  int read_error = 0;
  int write_error = 0;
  bool ok() const { return read_error == 0 && write_error == 0; }
};

// Any home thread. `buffer` is as large as the part, or larger. What reads as zeros is written as zeros (`unmap`: as a
// hole).
Co<CopyResult> CopyPart(CopySide from, CopySide to, uint64_t offset, uint64_t length, Buffer& buffer, bool unmap)
    JOBCORE_EXCLUDES(job_mutex);

// The use that a job makes of its target, and of what that stands upon: nobody else's job gets in there as long as
// there is a reference. The job has one, and its filter another: who abandons a job, so that its Clean does not run,
// does not wait for clients that are still copying.
using TargetUse = std::vector<std::unique_ptr<NodeEdge>>;

class NodeCopier {
 public:
  struct Options {
    std::shared_ptr<Node> source;
    std::shared_ptr<Node> target;
    uint64_t granularity;  // bytes
    int in_flight;
    OnError on_source_error;
    OnError on_target_error;
    bool unmap;
    bool clients_wait = false;  // for what is just being copied, each time that they write there
  };

  static constexpr uint64_t kPieceBytes = uint64_t{1} << 20;
  static constexpr int kPiecesPerTurn = 16;

  // For the job that `spec` is to make, which is told to live where the source does, and to use both nodes. `what`, as
  // "mirror", begins the texts of errors. InvalidArgument, FailedPrecondition, PermissionDenied.
  static absl::StatusOr<NodeCopier> Make(const char* what, Options options, const DrainedSection& section,
                                         JobSpec& spec);

  Node& source() const { return *options_.source; }
  const std::shared_ptr<Node>& target() const { return options_.target; }
  const std::shared_ptr<const TargetUse>& target_use() const { return target_use_; }
  size_t in_flight() const { return static_cast<size_t>(options_.in_flight); }
  // What is copied at once, at most.
  uint64_t piece_bytes() const { return piece_bytes_; }
  // To be asked after each piece: whether it is time to let the others of this context run. Nodes that answer at once
  // never suspend the job.
  bool IsTurnOver() {
    if (--left_of_turn_ != 0) return false;
    left_of_turn_ = kPiecesPerTurn;
    return true;
  }

  // --- Only by whoever runs: the job's context during Run, the main one after it ---

  // Copies a part of at most piece_bytes(). False: it is to be tried again, perhaps after the next pause point; or
  // `status` says why not. `ask`: the policies are asked what to do about an error; else it fails.
  Co<bool> Copy(JobContext& job, uint64_t offset, uint64_t length, bool ask) JOBCORE_EXCLUDES(job_mutex);
  Co<absl::Status> FlushTarget(JobContext& job) JOBCORE_EXCLUDES(job_mutex);
  // The first failure.
  const absl::Status& status() const { return status_; }
  void Fail(absl::Status status) {
    if (status_.ok()) status_ = std::move(status);
  }
  // Fails if somebody else has changed the source.
  void CheckSource() {
    if (absl::Status intact = source().CheckIntact(); !intact.ok()) Fail(std::move(intact));
  }
  void FreeBuffers() { buffers_.clear(); }
  // The nodes are not used any more.
  void Detach() {
    source_edge_.reset();
    target_use_.reset();
  }

 private:
  NodeCopier(Options options, std::unique_ptr<NodeEdge> source_edge, std::shared_ptr<const TargetUse> target_use);
  Buffer TakeBuffer();

  const Options options_;
  const uint64_t piece_bytes_;
  int left_of_turn_ = kPiecesPerTurn;
  std::unique_ptr<NodeEdge> source_edge_;
  std::shared_ptr<const TargetUse> target_use_;
  std::vector<Buffer> buffers_;
  absl::Status status_;
};

// How such jobs are made. `what` begins the texts of errors, and names the section.

// A section over the source of the job that `spec` is to make, for those who were given none.
Co<absl::StatusOr<DrainedSection>> DrainSource(const char* what, std::string id, std::shared_ptr<Node> source,
                                               TimePoint deadline) JOBCORE_EXCLUDES(job_mutex);
// Makes the job, where the source lives, with a filter that begins to see writes at the end of `section`. `map`, of the
// filter, learns which job it is to wake. Whatever fails, the driver's destructor has to remove the filter.
absl::StatusOr<JobRef> CreateFilteringJob(JobCore& core, JobSpec spec, Node& source, const DrainedSection& section,
                                          std::shared_ptr<WriteFilter> filter, PieceMap& map,
                                          std::unique_ptr<JobDriver> driver) JOBCORE_EXCLUDES(job_mutex);

}  // namespace jobcore::inline JOBCORE_ABI::block

#endif  // JOBCORE_BLOCK_NODE_COPIER_H_
