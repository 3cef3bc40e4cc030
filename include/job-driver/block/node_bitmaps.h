// SPDX-License-Identifier: Apache-2.0
//
// NodeBitmaps: the named dirty bitmaps of a node. One that is recording notes what is written to the node from now on,
// so that somebody can ask later what has changed since.
//
//   block::NodeBitmaps& bitmaps = node->bitmaps();
//   absl::StatusOr<block::BitmapClaim> b0 = bitmaps.Add(section, {.name = "b0"}, {.name = "me", .id = this});
//   b0->Release();                                    // anybody may have it now
//   bitmaps.List();                                   // "b0": 0 bytes dirty, recording
//
// Whoever changes a bitmap claims it first; while somebody has, it is busy, and others are refused. Bitmaps live and
// die with their node: they are not stored anywhere, and do not follow its users when these are switched over.
//
// In transactions: block_actions.h.

#ifndef JOBCORE_JOB_DRIVER_BLOCK_NODE_BITMAPS_H_
#define JOBCORE_JOB_DRIVER_BLOCK_NODE_BITMAPS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "job-common/coroutine.h"
#include "job-common/fwd.h"
#include "job-common/sync.h"
#include "job-driver/block/dirty_bitmap.h"
#include "job-driver/block/node.h"
#include "job-driver/resource.h"

namespace jobcore::inline JOBCORE_ABI::block {

class BitmapClaim;

struct BitmapOptions {
  std::string name;                           // 1 to 1023 characters; unique among those of the node
  uint64_t granularity = uint64_t{64} << 10;  // bytes; a power of two from 512 to 2 GiB
  bool recording = true;
};

struct BitmapInfo {
  std::string name;
  uint64_t granularity = 0;  // bytes
  uint64_t dirty_bytes = 0;  // whole chunks, but for the last one of the node
  bool recording = false;
  std::string busy_with;  // who has claimed it; empty: nobody
};

// Who claims bitmaps. Claims with the same id get along: those of one transaction, of one job.
struct BitmapUser {
  std::string name;  // for messages: "job 'backup0'"
  const void* id = nullptr;
};

// Any thread.
class NodeBitmaps {
 public:
  explicit NodeBitmaps(Node& node);  // node's own
  ~NodeBitmaps();                    // no claim is left
  NodeBitmaps(const NodeBitmaps&) = delete;
  NodeBitmaps& operator=(const NodeBitmaps&) = delete;

  std::vector<BitmapInfo> List() const;  // in the order of their names
  // NotFound: there is none.
  absl::StatusOr<BitmapInfo> Find(std::string_view name) const;
  // What it says now. NotFound: there is none.
  absl::StatusOr<DirtyBitmap> Content(std::string_view name) const;

  // All clean, and claimed. It sees all writes that begin after `section`, which covers the node (aborts).
  //   AlreadyExists    there is one of that name; one that `user` has hidden does not count
  //   InvalidArgument  bad name or granularity
  absl::StatusOr<BitmapClaim> Add(const DrainedSection& section, BitmapOptions options, const BitmapUser& user);
  // NotFound: there is none. FailedPrecondition: it is busy, with somebody else.
  absl::StatusOr<BitmapClaim> Claim(std::string_view name, const BitmapUser& user);

 private:
  friend class BitmapClaim;
  friend class NodeEdge;
  class Recorder;
  struct Bitmap;
  using Bitmaps = std::vector<std::shared_ptr<Bitmap>>;

  Bitmaps::const_iterator FindVisible(std::string_view name) const;
  absl::Status NotFound(std::string_view name) const;
  static BitmapInfo InfoOf(const Bitmap& bitmap);
  void Record(uint64_t offset, uint64_t length);
  // The node, which is drained, has another size now: what has been added is dirty.
  void Resize(uint64_t size);
  void Erase(const Bitmap& bitmap);

  Node& node_;
  mutable internal::Mutex mutex_;  // before the node's; guards the rest, and the bitmaps
  Bitmaps bitmaps_;
  std::shared_ptr<Recorder> recorder_;  // a filter of the node; null: there are no bitmaps
};

// A bitmap that is busy with one user, for as long as this lives, which is not longer than the node. Its changes
// cannot fail. Moved from, or released: not to be used any more.
class [[nodiscard]] BitmapClaim {
 public:
  BitmapClaim(BitmapClaim&& other) noexcept
      : bitmaps_(std::exchange(other.bitmaps_, nullptr)), bitmap_(std::move(other.bitmap_)) {}
  BitmapClaim& operator=(BitmapClaim&& other) noexcept;
  ~BitmapClaim() { Release(); }
  void Release();

  const std::string& name() const;
  BitmapInfo Info() const;
  DirtyBitmap Content() const;
  uint64_t size() const;  // bytes; the node's

  // Nothing is dirty, but for what is being written.
  void Clear();
  void SetRecording(bool recording);
  // What is dirty in `source`, of this node or of another, is dirty here, as far as this goes.
  void Merge(const BitmapClaim& source);
  // What the range touches is dirty.
  void Set(uint64_t offset, uint64_t length);
  // What is dirty in `content`, which is of the same size and granularity (aborts otherwise), is dirty, and nothing
  // else.
  void Replace(const DirtyBitmap& content);

  // As if it had been removed, while it goes on recording: nobody finds it. Undone by Hide(false).
  void Hide(bool hidden = true);
  // It is no more, for anybody; and this is released.
  void Remove();

 private:
  friend class NodeBitmaps;
  BitmapClaim(NodeBitmaps& bitmaps, std::shared_ptr<NodeBitmaps::Bitmap> bitmap)
      : bitmaps_(&bitmaps), bitmap_(std::move(bitmap)) {}

  NodeBitmaps* bitmaps_;  // null: released
  std::shared_ptr<NodeBitmaps::Bitmap> bitmap_;
};

}  // namespace jobcore::inline JOBCORE_ABI::block

#endif  // JOBCORE_JOB_DRIVER_BLOCK_NODE_BITMAPS_H_
