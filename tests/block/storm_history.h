// SPDX-License-Identifier: Apache-2.0
//
// StormHistory: what a journal says that has to be in the images, at any point of it.

#ifndef JOBCORE_TESTS_BLOCK_STORM_HISTORY_H_
#define JOBCORE_TESTS_BLOCK_STORM_HISTORY_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "block/stamp.h"
#include "block/storm_journal.h"

namespace jobcore::block {

// A copy that is to be of one moment.
struct StormCopy {
  uint8_t disk = 0;
  bool concluded = false;
  std::vector<uint16_t> moment = {};  // of a backup: the number in each block. Empty: a mirror that ended softly
  size_t asked = 0;                   // of such a mirror: its moment is between these events
  size_t done = 0;
};

class StormHistory {
 public:
  using Kind = StormEvent::Kind;
  using Numbers = std::vector<uint16_t>;  // of each block

  struct Disk {
    uint16_t image = 0;                           // where its clients are
    std::optional<uint16_t> copy = std::nullopt;  // where they may be by now
    Numbers begun;
    Numbers acknowledged;
    Numbers flushed;                            // acknowledged before a flush began that was acknowledged
    Numbers switched = {};                      // acknowledged before the last switch
    std::map<uint16_t, Numbers> flushing = {};  // acknowledged before a client's flush began
  };

  StormHistory(size_t disks, size_t blocks) {
    for (size_t i = 0; i < disks; ++i) {
      const Numbers none(blocks);
      disks_.push_back(
          {.image = static_cast<uint16_t>(i), .begun = none, .acknowledged = none, .flushed = none, .switched = none});
    }
  }

  const Disk& disk(size_t i) const { return disks_[i]; }
  size_t disks() const { return disks_.size(); }
  const std::map<uint16_t, StormCopy>& copies() const { return copies_; }  // by their images
  size_t events() const { return events_; }
  size_t switches() const { return switches_; }

  // True: the clients of its disk have just been found elsewhere.
  bool Apply(const StormEvent& event) {
    ++events_;
    Disk& disk = disks_[event.disk];
    switch (event.kind) {
      case Kind::kBegun:
        disk.begun[event.block] = event.number;
        return Follow(disk, event.image);
      case Kind::kAcknowledged:
        disk.acknowledged[event.block] = event.number;
        break;
      case Kind::kFlushBegun:
        disk.flushing[event.block] = disk.acknowledged;
        return Follow(disk, event.image);
      case Kind::kFlushed:
        for (size_t i = 0; i < disk.flushed.size(); ++i) {
          disk.flushed[i] = std::max(disk.flushed[i], disk.flushing[event.block][i]);
        }
        break;
      case Kind::kBackup:
        copies_[event.image] = {.disk = event.disk, .moment = disk.acknowledged};
        break;
      case Kind::kSoftCancel:
        copies_[event.image] = {.disk = event.disk, .asked = events_};
        break;
      case Kind::kBackedUp:
      case Kind::kSoftlyCanceled:
        copies_[event.image].concluded = true;
        copies_[event.image].done = events_;
        break;
      case Kind::kComplete:
        disk.copy = event.image;
        break;
      case Kind::kSwitched:
        return Follow(disk, event.image);
      case Kind::kNone:
      case Kind::kIoBegun:
      case Kind::kIoDone:
        break;
    }
    return false;
  }
  // What somebody who goes where nobody has sent him breaks.
  const std::string& problem() const { return problem_; }

 private:
  bool Follow(Disk& disk, uint16_t image) {
    if (disk.image == image) return false;
    if (disk.copy != image) problem_ = absl::StrCat("a client is on image ", image);
    disk.image = image;
    disk.copy.reset();
    disk.switched = disk.acknowledged;
    ++switches_;
    return true;
  }

  std::vector<Disk> disks_;
  std::map<uint16_t, StormCopy> copies_;
  size_t events_ = 0;
  size_t switches_ = 0;
  std::string problem_;
};

// Whether the image of a copy that has concluded is that of its moment. Empty: it is.
inline std::string CheckCopy(const StormCopy& copy, std::span<const Stamp> image, std::span<const StormEvent> events) {
  const size_t blocks = image.size() / kBlockSectors;
  const auto holds = [&](size_t block, uint16_t number) {
    const std::span<const Stamp> stamps = image.subspan(block * kBlockSectors, kBlockSectors);
    return std::all_of(stamps.begin(), stamps.end(), [number](Stamp stamp) { return IsOf(stamp, number); });
  };
  if (!copy.moment.empty()) {
    for (size_t i = 0; i < blocks; ++i) {
      if (holds(i, copy.moment[i])) continue;
      return absl::StrCat("block ", i, " has ", ToString(image[i * kBlockSectors]), " instead of number ",
                          copy.moment[i], ", that of the backup's moment");
    }
    return "";
  }
  // Nothing is in flight at the moment of a mirror's end. Is there one, between the question and the answer, of which
  // this is the image?
  StormHistory history(copy.disk + size_t{1}, blocks);
  std::vector<bool> fits(blocks);
  size_t misfits = blocks;
  size_t fewest = blocks;
  const auto look = [&](size_t block) {
    const StormHistory::Disk& disk = history.disk(copy.disk);
    const bool now = disk.begun[block] == disk.acknowledged[block] && holds(block, disk.acknowledged[block]);
    if (now != fits[block]) misfits = now ? misfits - 1 : misfits + 1;
    fits[block] = now;
  };
  for (size_t i = 0; i < blocks; ++i) look(i);
  for (size_t at = 0; at < copy.done; ++at) {
    const StormEvent& event = events[at];
    const bool of_block = event.kind == StormEvent::Kind::kBegun || event.kind == StormEvent::Kind::kAcknowledged;
    if (event.disk == copy.disk && of_block) {
      history.Apply(event);
      look(event.block);
    }
    if (at + 1 >= copy.asked) fewest = std::min(fewest, misfits);
  }
  if (fewest == 0) return "";
  return absl::StrCat("a mirror's copy is of no moment: at least ", fewest, " blocks are of others");
}

}  // namespace jobcore::block

#endif  // JOBCORE_TESTS_BLOCK_STORM_HISTORY_H_
