// SPDX-License-Identifier: Apache-2.0
//
// Export: a node that clients may choose, and who has.

#ifndef JOBCORE_NBD_EXPORT_H_
#define JOBCORE_NBD_EXPORT_H_

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "job-common/aio_context.h"
#include "job-common/fwd.h"
#include "job-common/sync.h"
#include "job-driver/block/node_edge.h"
#include "job-driver/nbd/server.h"
#include "nbd/negotiation.h"

namespace jobcore::inline JOBCORE_ABI::nbd {

class Connection;

class Export : public std::enable_shared_from_this<Export> {
 public:
  // A user of the node, and of the context where it lives, until Finish.
  static absl::StatusOr<std::shared_ptr<Export>> Create(ExportOptions options);
  explicit Export(const ExportOptions& options);
  ~Export();
  Export(const Export&) = delete;
  Export& operator=(const Export&) = delete;

  // --- Any thread ---
  const std::string& id() const { return id_; }
  const std::string& name() const { return name_; }
  ExportInfo info() const;
  // None: it has been removed.
  std::optional<ExportFacts> Facts() const;
  // The connection's from now on, until Leave; None: it has been removed.
  std::optional<ExportFacts> Join(const std::shared_ptr<Connection>& connection);
  // True: it was the last one of an export that has been removed.
  bool Leave(const Connection& connection);
  // From here on nobody joins it. True: nobody has.
  absl::StatusOr<bool> Remove(RemoveMode mode);
  // Nobody has joined it, nor will any more: lets go of the node and the context.
  void Finish();

  // --- Those who have joined it ---
  block::NodeEdge& edge() { return *edge_; }
  // Where they are to live.
  std::shared_ptr<AioContext> home() const;

 private:
  ExportFacts FactsLocked() const;
  // The node has been switched, or has moved.
  void OnMoved();

  const std::string id_;
  const std::string name_;
  const std::string description_;
  const bool writable_;
  const std::shared_ptr<AioContext> fixed_home_;

  mutable internal::Mutex mutex_;  // before those of edges and connections; guards the rest
  // Set once, before anybody joins, and reset when nobody can any more.
  std::unique_ptr<block::NodeEdge> edge_;
  std::shared_ptr<AioContext> home_;  // which has a user for this
  std::vector<std::shared_ptr<Connection>> joined_;
  bool removed_ = false;
};

}  // namespace jobcore::inline JOBCORE_ABI::nbd

#endif  // JOBCORE_NBD_EXPORT_H_
