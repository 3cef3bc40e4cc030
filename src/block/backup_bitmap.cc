// SPDX-License-Identifier: Apache-2.0

#include "block/backup_bitmap.h"

#include <algorithm>

namespace jobcore::inline JOBCORE_ABI::block {

using Sync = BackupOptions::Sync;
using BitmapMode = BackupOptions::BitmapMode;

absl::StatusOr<std::shared_ptr<BackupBitmap>> BackupBitmap::Claim(const BackupOptions& options, const BitmapUser& job) {
  if (options.bitmap.empty()) {
    if (options.sync != Sync::kBitmap) return nullptr;
    return absl::InvalidArgumentError("must provide a valid bitmap name for 'bitmap' sync mode");
  }
  if (options.sync == Sync::kNone) {
    return absl::InvalidArgumentError("sync mode 'none' does not produce meaningful bitmap outputs");
  }
  if (options.sync == Sync::kFull && options.bitmap_mode == BitmapMode::kNever) {
    return absl::InvalidArgumentError(
        "Bitmap sync mode 'never' has no meaningful effect when combined with sync mode 'full'");
  }
  absl::StatusOr<BitmapClaim> claim = options.source->bitmaps().Claim(options.bitmap, job);
  if (!claim.ok()) return claim.status();
  return std::make_shared<BackupBitmap>(*std::move(claim), options.sync, options.bitmap_mode);
}

BackupBitmap::BackupBitmap(BitmapClaim claim, Sync sync, BitmapMode mode)
    : claim_(std::move(claim)),
      sync_(sync),
      mode_(mode),
      recording_(claim_.Info().recording),
      since_(claim_.size(), claim_.Info().granularity) {}

void BackupBitmap::Commit() {
  if (mode_ == BitmapMode::kNever) return;
  const std::lock_guard lock(mutex_);
  claim_.Replace(since_);
}

void BackupBitmap::Abort(const DirtyBitmap& lacking) {
  if (mode_ != BitmapMode::kAlways) return;
  const std::lock_guard lock(mutex_);
  // What was dirty, or with kFull everything, as far as it has not been copied.
  DirtyBitmap left = claim_.Content();
  if (sync_ == Sync::kFull) left.SetAll();
  for (uint64_t at = 0; at < left.size(); at += left.granularity()) {
    const uint64_t length = std::min(left.granularity(), left.size() - at);
    if (!lacking.AnyDirty(at, length) && !since_.IsDirty(at)) left.Clear(at, length);
  }
  claim_.Replace(left);
}

}  // namespace jobcore::inline JOBCORE_ABI::block
