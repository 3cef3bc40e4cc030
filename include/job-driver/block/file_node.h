// SPDX-License-Identifier: Apache-2.0
//
// A file node: a regular file, or a block device, as a node.

#ifndef JOBCORE_JOB_DRIVER_BLOCK_FILE_NODE_H_
#define JOBCORE_JOB_DRIVER_BLOCK_FILE_NODE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "job-common/fwd.h"
#include "job-driver/block/node.h"

namespace jobcore::inline JOBCORE_ABI::block {

struct FileOptions {
  enum class Locking : unsigned char {
    kOff,
    kAuto,  // if the file system can
    kOn,    // else it is not opened
  };

  Node::Options node = {};
  std::string filename = {};
  // Does the I/O; outlives the node. A thread pool is quicker where most is in the page cache.
  IoEngine* engine = nullptr;
  bool direct = false;    // past the page cache. Requests of any alignment are taken nevertheless
  bool no_flush = false;  // Flush does nothing: for what need not outlive a power failure
  bool discard = false;   // discards free room; otherwise they do nothing
  Locking locking = Locking::kAuto;
};

// Opens the file. Blocks for a moment.
//   NotFound, PermissionDenied, …  as open(2) fails
//   InvalidArgument                a directory, a pipe, …
//   FailedPrecondition             another process, or another node, uses it in a way that excludes this one; the locks
//                                  are those that QEMU's tools set, too (OFD locks on bytes 100 to 203), and so are the
//                                  rules: one may write, or all may read who cannot bear that (QEMU's tools can,
//                                  where they only read a raw image). The locks of a process that was killed last
//                                  until the kernel has ended its requests: with io_uring a moment longer than it
//
// A node that is to be written locks out all other writers, whatever its users let others do; a device is opened
// exclusively then, so that one that is mounted is refused. The file may be larger than a multiple of 512 bytes. Where
// somebody who does not heed locks has cut it, reads fail with EIO. CheckIntact names the file and both sizes then, or
// if it has grown; of a read-only node also if the file has been modified.
absl::StatusOr<std::shared_ptr<Node>> OpenFileNode(JobCore& core, FileOptions options);

}  // namespace jobcore::inline JOBCORE_ABI::block

#endif  // JOBCORE_JOB_DRIVER_BLOCK_FILE_NODE_H_
