// SPDX-License-Identifier: Apache-2.0
//
// kill -9 at any moment, while clients write as fast as they can, and mirrors, backups and moves come and go: what was
// acknowledged is there, whole, where the clients were, under the name of that image, which it gets when it is whole;
// copies that had concluded are those of their moments; and all images can be used again at once.
//
// The page cache survives the process, so this is about the process's own memory, and about what is promised before it
// is done. What the cache loses when the power fails: node_power_cut_test.cc.

#include <signal.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "block/child_process.h"
#include "block/image_storm.h"
#include "block/seeds.h"
#include "block/stamp.h"
#include "block/storm_history.h"
#include "block/storm_journal.h"
#include "block/test_files.h"
#include "gtest/gtest.h"
#include "job-common/io_engine.h"
#include "job-driver/block/file_node.h"
#include "job-driver/block/node_edge.h"

namespace jobcore::block {
namespace {

using jobcore_test::ChildProcess;
using jobcore_test::TempDir;

// What all seeds together have come by: a test in which nothing happens finds nothing.
struct Reached {
  uint64_t acknowledged = 0;
  uint64_t flushed = 0;
  uint64_t switches = 0;
  uint64_t backups = 0;          // that had concluded
  uint64_t mirrors = 0;          // that had ended softly
  uint64_t while_switching = 0;  // killed when a switch had been asked for and had not been seen
  uint64_t locks_lasted = 0;     // the kernel closed an image some time after the process had gone
};

class Killed {
 public:
  // `how`: see victim/image_storm_victim.cc.
  Killed(std::string how, uint32_t seed, Reached& reached)
      : how_(std::move(how)), seed_(seed), reached_(reached), journal_(dir_.Path("journal")) {}

  void Run() {
    KillVictim();
    if (::testing::Test::HasFailure()) return;
    OpenImages();
    if (::testing::Test::HasFailure()) return;
    const std::vector<StormEvent> events = journal_.Events();
    for (const StormEvent& event : events) history_.Apply(event);
    EXPECT_EQ(history_.problem(), "");
    for (uint8_t i = 0; i < ImageStorm::kDisks; ++i) CheckDisk(i);
    if (::testing::Test::HasFailure()) return;
    for (const auto& [image, copy] : history_.copies()) {
      if (!copy.concluded) continue;
      ++(copy.moment.empty() ? reached_.mirrors : reached_.backups);
      EXPECT_EQ(CheckCopy(copy, StampsOf(image, copy.disk), events), "") << "image " << image;
    }
    reached_.switches += history_.switches();
    GoOn();
  }

 private:
  void KillVictim() {
    std::minstd_rand random(seed_ * 7919 + 1);
    random.discard(4);
    const uint64_t most = how_ == "wait" ? 8000 : how_ == "switched" ? 4 : random() % 2 == 0 ? 40 : 400;
    const uint64_t events = 1 + random() % most;
    ChildProcess victim({IMAGE_STORM_VICTIM, dir_.path(), std::to_string(seed_), ring_ ? "ring" : "threads", how_,
                         std::to_string(events)});
    if (how_ == "wait") {
      const TimePoint deadline = Patience(std::chrono::seconds(60));
      while (journal_.size() < events && Clock::System().Now() < deadline) std::this_thread::yield();
      victim.Kill(SIGKILL);
    }
    EXPECT_EQ(victim.Wait(), 1000 + SIGKILL) << victim.out() << victim.err();
    EXPECT_NE(journal_.size(), 0u) << "it did not come to anything";
  }

  // All that it has made, with locks that only one can have.
  void OpenImages() {
    for (uint16_t i = 0;; ++i) {
      const bool published = jobcore_test::Exists(ImageStorm::FileOf(dir_.path(), i));
      if (!published && !jobcore_test::Exists(ImageStorm::HiddenFileOf(dir_.path(), i))) break;
      images_.push_back(published ? Open(i) : nullptr);
    }
    ASSERT_GE(images_.size(), size_t{ImageStorm::kDisks});
  }
  std::shared_ptr<Node> Open(uint16_t image) {
    const FileOptions options = {.node = {.name = std::to_string(image)},
                                 .filename = ImageStorm::FileOf(dir_.path(), image),
                                 .engine = engine_.get(),
                                 .locking = FileOptions::Locking::kOn};
    absl::StatusOr<std::shared_ptr<Node>> node = OpenFileNode(world_.core(), options);
    // The kernel ends a ring, and what was in flight there, some time after the process, and only then closes the
    // files.
    if (!node.ok() && ring_) {
      ++reached_.locks_lasted;
      const TimePoint deadline = Patience();
      while (!node.ok() && Clock::System().Now() < deadline) {
        std::this_thread::yield();
        node = OpenFileNode(world_.core(), options);
      }
    }
    EXPECT_TRUE(node.ok()) << node.status();
    return node.ok() ? *std::move(node) : nullptr;
  }

  std::vector<Stamp> StampsOf(uint16_t image, uint8_t disk) const {
    const std::string content = jobcore_test::ReadFile(ImageStorm::FileOf(dir_.path(), image));
    EXPECT_EQ(content.size(), ImageStorm::kSize);
    return ReadStamps(std::as_bytes(std::span(content)), disk, 0);
  }

  // Each block is as it was written by one of the writes that may have been the last. If nobody was seen on the other
  // side of a switch that was going on, this side must still have everything.
  void CheckDisk(uint8_t number) {
    const StormHistory::Disk& disk = history_.disk(number);
    if (disk.copy.has_value()) ++reached_.while_switching;
    ASSERT_NE(images_[disk.image], nullptr)
        << "disk " << int{number} << " is on image " << disk.image << ", which has not been given its name";
    const std::vector<Stamp> stamps = StampsOf(disk.image, number);
    ASSERT_EQ(stamps.size(), disk.begun.size() * kBlockSectors);
    for (size_t i = 0; i < disk.begun.size(); ++i) {
      reached_.acknowledged += disk.acknowledged[i];
      reached_.flushed += disk.flushed[i];
      const Stamp stamp = stamps[i * kBlockSectors];
      const std::string where = absl::StrCat("disk ", number, ", image ", disk.image, ", block ", i, ": ");
      // A page is written as a whole, or not at all.
      for (size_t s = 1; s < kBlockSectors; ++s) {
        ASSERT_EQ(stamps[i * kBlockSectors + s], stamp) << where << "torn at sector " << s;
      }
      ASSERT_TRUE(IsWithin(stamp, disk.flushed[i], disk.begun[i]))
          << where << ToString(stamp) << ", flushed was " << disk.flushed[i] << ", begun " << disk.begun[i];
      ASSERT_TRUE(IsWithin(stamp, disk.acknowledged[i], disk.begun[i]))
          << where << ToString(stamp) << ", acknowledged was " << disk.acknowledged[i] << ", begun " << disk.begun[i];
    }
  }

  // Work goes on: a mirror of what is left comes to its end.
  void GoOn() {
    const std::shared_ptr<Node>& source = images_[history_.disk(0).image];
    const auto image = static_cast<uint16_t>(images_.size());
    jobcore_test::WriteSparseFile(ImageStorm::FileOf(dir_.path(), image), ImageStorm::kSize, {});
    const std::shared_ptr<Node> target = Open(image);
    const std::unique_ptr<NodeEdge> client = *NodeEdge::Attach(source, {.user = "client", .writes = true});
    const JobRef mirror = world_.Mirror({.id = "mirror"}, {.source = source, .target = target});
    ASSERT_TRUE(world_.RunUntilStatus(mirror, "ready"));
    world_.Switch(mirror);
    EXPECT_EQ(client->node(), target);
    EXPECT_TRUE(StampsOf(image, 0) == StampsOf(history_.disk(0).image, 0));
  }

  const std::string how_;
  const uint32_t seed_;
  const bool ring_ = seed_ % 2 != 0;
  Reached& reached_;
  TempDir dir_;
  StormJournal journal_;
  const std::unique_ptr<IoEngine> engine_ = IoEngine::ThreadPool(1);
  NodeWorld world_{0};
  std::vector<std::shared_ptr<Node>> images_;
  StormHistory history_{ImageStorm::kDisks, ImageStorm::kBlocks};
};

constexpr uint64_t kKills = 12;  // each way

// A test of its own for each way, as each has so much time only.
class NodeKill : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Way, NodeKill, ::testing::Values("round", "switch", "switched", "wait"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(NodeKill, WhatWasAcknowledgedAndWhatHadConcludedSurvivesTheProcess) {
  Reached reached;
  const std::string how = GetParam();
  const uint64_t kills = jobcore_test::ForEachSeed(kKills, [&](uint32_t seed) { Killed(how, seed, reached).Run(); });
  std::printf(
      "%llu kills; %llu writes of blocks acknowledged, %llu flushed; %llu switches, %llu kills within one; %llu "
      "backups and "
      "%llu mirrors of a moment; %llu images locked for a moment more\n",
      static_cast<unsigned long long>(kills), static_cast<unsigned long long>(reached.acknowledged),
      static_cast<unsigned long long>(reached.flushed), static_cast<unsigned long long>(reached.switches),
      static_cast<unsigned long long>(reached.while_switching), static_cast<unsigned long long>(reached.backups),
      static_cast<unsigned long long>(reached.mirrors), static_cast<unsigned long long>(reached.locks_lasted));
  if (kills < kKills) return;
  EXPECT_NE(reached.flushed, 0u);
  if (how == "switch") {
    EXPECT_NE(reached.while_switching, 0u);
  }
  if (how == "switched") {
    EXPECT_GE(reached.switches, kills);
  }
  if (how != "round") return;  // the others come that far, or not, as it happens
  EXPECT_NE(reached.switches, 0u);
  EXPECT_NE(reached.backups, 0u);
  EXPECT_NE(reached.mirrors, 0u);
}

}  // namespace
}  // namespace jobcore::block
