// SPDX-License-Identifier: Apache-2.0
//
// The options of nodes, as blockdev-add takes them, and nodes made of them.

#ifndef JOBCORE_TOOLS_JOBCORED_NODE_OPTIONS_H_
#define JOBCORE_TOOLS_JOBCORED_NODE_OPTIONS_H_

#include <memory>

#include "absl/status/statusor.h"
#include "job-common/io_engine.h"
#include "job-common/job_core.h"
#include "job-driver/block/node.h"
#include "qmp/arguments.h"
#include "qmp/schema.h"
#include "tools/jobcored/node_registry.h"

namespace jobcored {

extern const jobcore::qmp::Type kNodeOptions;

// What does the I/O of file nodes; io_uring from its first use on.
class Engines {
 public:
  jobcore::IoEngine& threads();
  jobcore::IoEngine& uring();  // or threads, where the kernel refuses it

 private:
  static constexpr int kThreads = 4;
  std::unique_ptr<jobcore::IoEngine> threads_;
  std::unique_ptr<jobcore::IoEngine> uring_;
};

// Makes the node, and those that it stands upon, out of checked options; those with names are known by them afterwards.
// On error nothing is left. Texts are the wire's.
absl::StatusOr<std::shared_ptr<jobcore::block::Node>> MakeNode(jobcore::JobCore& core, Engines& engines,
                                                               NodeRegistry& nodes, jobcore::qmp::Arguments options);

}  // namespace jobcored

#endif  // JOBCORE_TOOLS_JOBCORED_NODE_OPTIONS_H_
