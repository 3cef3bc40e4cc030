// SPDX-License-Identifier: Apache-2.0
//
// The power fails at any moment, while clients write and flush, and mirrors, backups and moves come and go: what was
// flushed is on the medium, where the clients were; a target had been flushed when its clients came; and copies that
// had concluded are on the medium, too.
//
// Requests run in real threads, and are written down. Then all moments at which the power may have failed, and all
// ways to lose what was not synced, are looked at: see write_cache.h.

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "block/cached_engine.h"
#include "block/image_storm.h"
#include "block/seeds.h"
#include "block/stamp.h"
#include "block/storm_history.h"
#include "block/storm_journal.h"
#include "block/test_files.h"
#include "block/write_cache.h"
#include "gtest/gtest.h"

namespace jobcore::block {
namespace {

// Goes through the journal. Any violation shows right behind the event that made a promise (a flush is acknowledged,
// clients come to an image, a copy concludes) or broke one (something else is written there).
class PowerCuts {
 public:
  PowerCuts(const std::vector<StormEvent>& events, const std::vector<CachedRequest>& requests)
      : events_(events), requests_(requests), cache_(ImageStorm::kBlocks * kBlockSectors, requests) {}

  // What is wrong; empty: nothing.
  std::string Check() {
    for (const StormEvent& event : events_) {
      std::string wrong = Step(event);
      if (wrong.empty()) wrong = history_.problem();
      if (!wrong.empty()) return absl::StrCat("after event ", history_.events(), ": ", wrong);
    }
    return "";
  }
  size_t switches() const { return history_.switches(); }
  size_t copies() const { return copies_; }
  size_t flushes() const { return flushes_; }

 private:
  using Kind = StormEvent::Kind;

  std::string Step(const StormEvent& event) {
    const bool switched = history_.Apply(event);
    if (switched) return CheckDisk(event.disk);
    switch (event.kind) {
      case Kind::kIoBegun:
        cache_.Begin(event.index());
        return CheckWritten(requests_[event.index()]);
      case Kind::kIoDone:
        cache_.End(event.index());
        return "";
      case Kind::kFlushed:
        ++flushes_;
        return CheckDisk(event.disk);
      case Kind::kBackedUp:
      case Kind::kSoftlyCanceled:
        ++copies_;
        return CheckConcluded(event.image);
      default:
        return "";
    }
  }

  std::string CheckDisk(size_t disk) { return CheckSectors(disk, 0, ImageStorm::kBlocks * kBlockSectors); }
  std::string CheckWritten(const CachedRequest& request) {
    for (size_t i = 0; i < history_.disks(); ++i) {
      if (history_.disk(i).image == request.image) return CheckSectors(i, request.first_sector, request.stamps.size());
    }
    return "";
  }
  std::string CheckSectors(size_t number, uint64_t first, uint64_t count) {
    const StormHistory::Disk& disk = history_.disk(number);
    const std::vector<WriteCache::Sector>& image = cache_.Image(disk.image);
    for (uint64_t i = first; i < first + count; ++i) {
      const uint64_t block = i / kBlockSectors;
      for (const WriteCache::Version& version : image[i]) {
        const char* what = "flushed";
        uint16_t least = disk.flushed[block];
        if (IsWithin(version.stamp, least, disk.begun[block])) {
          what = "acknowledged before the switch";
          least = disk.switched[block];
        }
        if (IsWithin(version.stamp, least, disk.begun[block])) continue;
        return absl::StrCat("disk ", number, ", image ", disk.image, ", block ", block, ": ", ToString(version.stamp),
                            " may be left, but number ", least, " was ", what, ", and ", disk.begun[block], " begun");
      }
    }
    return "";
  }
  std::string CheckConcluded(uint16_t image) {
    std::vector<Stamp> stamps;
    for (const WriteCache::Sector& sector : cache_.Image(image)) {
      if (sector.size() != 1) return absl::StrCat("copy on image ", image, " has concluded, and is not synced");
      stamps.push_back(sector.front().stamp);
    }
    const std::string wrong = CheckCopy(history_.copies().at(image), stamps, events_);
    return wrong.empty() ? "" : absl::StrCat("image ", image, ": ", wrong);
  }

  const std::vector<StormEvent>& events_;
  const std::vector<CachedRequest>& requests_;
  WriteCache cache_;
  StormHistory history_{ImageStorm::kDisks, ImageStorm::kBlocks};
  size_t copies_ = 0;
  size_t flushes_ = 0;
};

TEST(NodePowerCut, WhatWasFlushedAndWhatHadConcludedSurvivesAnyLossOfUnsyncedWrites) {
  size_t moments = 0;
  size_t switches = 0;
  size_t copies = 0;
  size_t flushes = 0;
  size_t copied = 0;
  const uint64_t storms = jobcore_test::ForEachSeed(6, [&](uint32_t seed) {
    const jobcore_test::TempDir dir;
    StormJournal journal;
    CachedEngine engine(journal, seed);
    {
      ImageStorm storm({.directory = dir.path(),
                        .engine = &engine,
                        .journal = &journal,
                        .seed = seed,
                        .on_image = [&](const std::string& filename, uint16_t image, uint8_t disk) {
                          engine.AddImage(filename, image, disk);
                        }});
      // Where jobs are slow clients write the more meanwhile.
      for (int i = 0; i < 8 && journal.size() < 50'000; ++i) storm.Round();
      storm.Stop();
    }
    const std::vector<StormEvent> events = journal.Events();
    PowerCuts cuts(events, engine.requests());
    EXPECT_EQ(cuts.Check(), "");
    moments += events.size();
    switches += cuts.switches();
    copies += cuts.copies();
    flushes += cuts.flushes();
    copied += engine.copies();
  });
  std::printf("%llu storms, %zu moments; %zu flushes, %zu switches, %zu copies; %zu requests from file to file\n",
              static_cast<unsigned long long>(storms), moments, flushes, switches, copies, copied);
  if (storms == 1) return;
  EXPECT_NE(switches, 0u);
  EXPECT_NE(copies, 0u);
  EXPECT_NE(flushes, 0u);
  EXPECT_NE(copied, 0u);
}

}  // namespace
}  // namespace jobcore::block
