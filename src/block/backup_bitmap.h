// SPDX-License-Identifier: Apache-2.0
//
// BackupBitmap: the named bitmap that a backup goes by, and leaves behind. It goes on recording while the job runs,
// and so says too much rather than too little, whatever becomes of the job; what has been written since the job's
// moment is noted here, and is what is left of the bitmap in the end.

#ifndef JOBCORE_BLOCK_BACKUP_BITMAP_H_
#define JOBCORE_BLOCK_BACKUP_BITMAP_H_

#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

#include "absl/status/statusor.h"
#include "block/piece_map.h"
#include "job-common/fwd.h"
#include "job-common/sync.h"
#include "job-driver/block/backup.h"
#include "job-driver/block/dirty_bitmap.h"
#include "job-driver/block/node_bitmaps.h"

namespace jobcore::inline JOBCORE_ABI::block {

class BackupBitmap {
 public:
  // For the job that is about to be made; the source is drained. Null: it goes by none. InvalidArgument: what is asked
  // of the bitmap makes no sense; otherwise as NodeBitmaps::Claim.
  static absl::StatusOr<std::shared_ptr<BackupBitmap>> Claim(const BackupOptions& options, const BitmapUser& job);

  BackupBitmap(BitmapClaim claim, BackupOptions::Sync sync, BackupOptions::BitmapMode mode);

  DirtyBitmap Content() const { return claim_.Content(); }

  // Any thread: a write to the source begins, which will be recorded when it has ended. So Commit, which has the mutex,
  // either sees it here, or comes before the bitmap learns of it.
  void NoteWrite(uint64_t offset, uint64_t length) {
    if (!recording_) return;
    const std::lock_guard lock(mutex_);
    since_.Set(offset, length);
  }

  // --- The main context, after Run: one of these, at most, and then Release ---
  // The target is what the source was.
  void Commit();
  // The target has been made what the source was, but for what is in `lacking`.
  void Abort(const DirtyBitmap& lacking);
  // The source still exists.
  void Release() { claim_.Release(); }

 private:
  BitmapClaim claim_;
  const BackupOptions::Sync sync_;
  const BackupOptions::BitmapMode mode_;
  const bool recording_;  // nobody else changes that while the bitmap is claimed

  internal::Mutex mutex_;
  DirtyBitmap since_;  // what has been written since the moment of the backup
};

}  // namespace jobcore::inline JOBCORE_ABI::block

#endif  // JOBCORE_BLOCK_BACKUP_BITMAP_H_
