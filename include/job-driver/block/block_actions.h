// SPDX-License-Identifier: Apache-2.0
//
// What can be done to nodes in a transaction (action_transaction.h): all of it at one moment, in which none of them is
// written to, or none of it.
//
// Each action says what its Prepare can fail with; nothing else makes it fail. Actions see what those before them have
// prepared: one may add a bitmap and the next one merge another into it.

#ifndef JOBCORE_JOB_DRIVER_BLOCK_BLOCK_ACTIONS_H_
#define JOBCORE_JOB_DRIVER_BLOCK_BLOCK_ACTIONS_H_

#include <memory>
#include <string>
#include <vector>

#include "job-common/aio_context.h"
#include "job-common/fwd.h"
#include "job-driver/block/backup.h"
#include "job-driver/block/mirror.h"
#include "job-driver/block/node.h"
#include "job-driver/block/node_bitmaps.h"
#include "job-driver/job_driver.h"
#include "job-monitor/action_transaction.h"

namespace jobcore::inline JOBCORE_ABI::block {

// --- Jobs ---
// Prepare creates the job, so that it can be found, and be cancelled; Commit starts it, about the moment of the
// transaction; Abort cancels it, with the events of a job that is cancelled before it was started, and Clean waits
// until it has let go of its nodes. `spec.group` is the transaction's, if that is grouped. Errors: as CreateBackup,
// CreateMirror.
std::unique_ptr<monitor::Action> StartBackupAction(JobSpec spec, BackupOptions options);
std::unique_ptr<monitor::Action> StartMirrorAction(JobSpec spec, MirrorOptions options);

// --- Bitmaps ---
// Prepare claims the bitmap, so that it is busy, but for the other actions of the transaction, and Commit changes it.
// Errors: as NodeBitmaps::Add, and Claim.
std::unique_ptr<monitor::Action> AddBitmapAction(std::shared_ptr<Node> node, BitmapOptions options);
std::unique_ptr<monitor::Action> RemoveBitmapAction(std::shared_ptr<Node> node, std::string name);
std::unique_ptr<monitor::Action> ClearBitmapAction(std::shared_ptr<Node> node, std::string name);
std::unique_ptr<monitor::Action> EnableBitmapAction(std::shared_ptr<Node> node, std::string name);
std::unique_ptr<monitor::Action> DisableBitmapAction(std::shared_ptr<Node> node, std::string name);

struct BitmapOfNode {
  std::shared_ptr<Node> node;
  std::string name;
};
// What is dirty in one of `sources` is dirty in `target`. InvalidArgument: the nodes are not of one size.
std::unique_ptr<monitor::Action> MergeBitmapsAction(BitmapOfNode target, std::vector<BitmapOfNode> sources);

// --- Nodes ---
// SwitchUsers (graph.h). FailedPrecondition: `to` cannot take the place of `from`, see CheckSwitch; or one of them is
// just being resized, or switched by somebody else. Until it has ended nobody can begin to use either, but
// for jobs.
std::unique_ptr<monitor::Action> SwitchUsersAction(std::shared_ptr<Node> from, std::shared_ptr<Node> to);
// As MoveNode (graph.h): FailedPrecondition: `context` has been stopped; a node is just being moved by somebody else.
// Clean waits for the jobs to arrive.
std::unique_ptr<monitor::Action> SetContextAction(std::shared_ptr<Node> node, std::shared_ptr<AioContext> context);

}  // namespace jobcore::inline JOBCORE_ABI::block

#endif  // JOBCORE_JOB_DRIVER_BLOCK_BLOCK_ACTIONS_H_
