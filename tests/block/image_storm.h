// SPDX-License-Identifier: Apache-2.0
//
// ImageStorm: everything at once, on image files: clients that write as fast as they can, and somebody who mirrors
// their disks, pauses, moves, cancels and completes that, and starts backups of all of them at one moment. A journal
// has what was promised to whom.

#ifndef JOBCORE_TESTS_BLOCK_IMAGE_STORM_H_
#define JOBCORE_TESTS_BLOCK_IMAGE_STORM_H_

#include <fcntl.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "block/node_world.h"
#include "block/stamp.h"
#include "block/storm_client.h"
#include "block/storm_journal.h"
#include "job-common/job_txn.h"
#include "job-driver/block/file_node.h"

namespace jobcore::block {

class ImageStorm {
 public:
  static constexpr uint64_t kDisks = 2;
  static constexpr uint64_t kBlocks = 64;
  static constexpr uint64_t kSize = kBlocks * kBlockBytes;
  static constexpr uint16_t kClients = 3;  // of each disk

  struct Options {
    std::string directory = {};
    IoEngine* engine = nullptr;
    StormJournal* journal = nullptr;
    uint32_t seed = 1;
    // Whenever there is a new image, before anything is written to it. Null: nobody cares.
    std::function<void(const std::string& filename, uint16_t image, uint8_t disk)> on_image = nullptr;
  };

  static std::string FileOf(const std::string& directory, uint16_t image) {
    return absl::StrCat(directory, "/image", image);
  }
  // Until it is published; those of mirrors.
  static std::string HiddenFileOf(const std::string& directory, uint16_t image) {
    return absl::StrCat(FileOf(directory, image), ".hidden");
  }

  explicit ImageStorm(Options options)
      : options_(std::move(options)), world_(2, options_.seed), direct_(world_.Below(2) == 0) {
    for (uint8_t i = 0; i < kDisks; ++i) disks_.push_back(NewImage(i));
    for (uint8_t i = 0; i < kDisks; ++i) {
      for (uint16_t client = 0; client < kClients; ++client) {
        clients_.push_back(std::make_unique<StormClient>(
            StormClient::Options{.node = disks_[i],
                                 .context = client == 0 ? &world_.main() : &world_.io(client - size_t{1}),
                                 .name = absl::StrCat("seed ", options_.seed, ", disk ", i, ", client ", client),
                                 .journal = options_.journal,
                                 .disk = i,
                                 .client = client,
                                 .clients = kClients,
                                 .seed = 1 + world_.Below(1u << 30)}));
      }
    }
    for (const auto& client : clients_) client->Start();
  }

  // Some jobs, from their creation to their end.
  void Round() {
    if (Coin()) StartBackups();
    Mirror();
    EndBackups();
    LetClientsWork();
  }
  void Stop() {
    for (const auto& client : clients_) client->Stop();
    for (const auto& client : clients_) {
      EXPECT_TRUE(world_.RunUntil([&] { return !client->running(); }, "the end of a client"));
    }
    clients_.clear();
  }

 private:
  using Kind = StormEvent::Kind;
  struct Copy {
    JobRef job;
    std::shared_ptr<Node> target;
    uint8_t disk;
    bool soft = false;
  };

  bool Coin() { return world_.Below(2) == 0; }
  std::string NewName() { return absl::StrCat("job", jobs_++); }
  void Append(Kind kind, const Copy& copy) {
    options_.journal->Append({.kind = kind, .disk = copy.disk, .image = ImageOf(*copy.target)});
  }

  // Gives a mirror's image its name.
  class Publisher final : public MirrorPublisher {
   public:
    Publisher(const std::string& directory, uint16_t image)
        : name_(FileOf(directory, image)), hidden_(HiddenFileOf(directory, image)) {}
    Co<absl::Status> Publish() override {
      co_return rename(hidden_.c_str(), name_.c_str()) == 0 ? absl::OkStatus() : absl::UnknownError("rename");
    }
    Co<void> Revoke() override {
      if (rename(name_.c_str(), hidden_.c_str()) != 0) std::abort();
      return {};
    }

   private:
    const std::string name_;
    const std::string hidden_;
  };

  std::shared_ptr<Node> NewImage(uint8_t disk, bool hidden = false) {
    const uint16_t image = images_++;
    const std::string file = hidden ? HiddenFileOf(options_.directory, image) : FileOf(options_.directory, image);
    const int fd = open(file.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, static_cast<off_t>(kSize)) != 0 || close(fd) != 0) std::abort();
    if (options_.on_image) options_.on_image(file, image, disk);
    FileOptions node = {
        .node = {.name = std::to_string(image), .context = world_.io(world_.Below(2)).shared_from_this()},
        .filename = file,
        .engine = options_.engine,
        .direct = direct_,
        .locking = FileOptions::Locking::kOn};
    absl::StatusOr<std::shared_ptr<Node>> opened = OpenFileNode(world_.core(), node);
    if (!opened.ok() && node.direct) {  // not on every file system
      node.direct = false;
      opened = OpenFileNode(world_.core(), node);
    }
    EXPECT_TRUE(opened.ok()) << opened.status();
    return *std::move(opened);
  }

  // Of all disks, in one group or not, and of one moment.
  void StartBackups() {
    std::vector<Resource*> resources;
    for (uint8_t i = 0; i < kDisks; ++i) {
      backups_.push_back({.job = {}, .target = NewImage(i), .disk = i});
      resources.push_back(&disks_[i]->resource());
    }
    JobTxnBuilder txn(world_.core());
    JobTxnBuilder* const group = Coin() ? &txn : nullptr;
    {
      const DrainedSection section = world_.Drain(resources);
      for (Copy& backup : backups_) {
        Append(Kind::kBackup, backup);
        const JobSpec spec = {.id = NewName(), .group = group};
        const BackupOptions options = {.source = disks_[backup.disk],
                                       .target = backup.target,
                                       .granularity = uint64_t{4096} << world_.Below(4),
                                       .in_flight = static_cast<int>(1 + world_.Below(4))};
        backup.job = *CreateBackup(world_.core(), spec, options, section);
      }
    }
    EXPECT_TRUE(txn.Seal().ok());
    for (const Copy& backup : backups_) EXPECT_TRUE(StartJob(*backup.job).ok());
  }
  void EndBackups() {
    if (world_.Below(4) == 0) {
      for (const Copy& backup : backups_) (void)world_.Cancel(backup.job);
    }
    for (const Copy& backup : backups_) {
      EXPECT_TRUE(world_.RunUntilNull(backup.job));
      if (world_.Outcome(backup.job) == "succeeded") Append(Kind::kBackedUp, backup);
    }
    backups_.clear();
  }

  // Of one disk, or of several, in one group or not. To new images, and perhaps the clients go there.
  void Mirror() {
    std::vector<Copy> mirrors;
    std::vector<Resource*> resources;
    const uint32_t which = 1 + world_.Below(3);
    for (uint8_t i = 0; i < kDisks; ++i) {
      if ((which >> i & 1) == 0) continue;
      mirrors.push_back({.job = {}, .target = NewImage(i, /*hidden=*/true), .disk = i, .soft = world_.Below(3) == 0});
      resources.push_back(&disks_[i]->resource());
    }
    CreateMirrors(mirrors, resources);
    PauseAndMove(mirrors);
    const bool cancelled = world_.Below(5) == 0;
    if (cancelled) {
      for (const Copy& mirror : mirrors) (void)world_.Cancel(mirror.job);
    } else {
      End(mirrors);
    }
    EXPECT_TRUE(world_.RunUntil([&] {
      for (const Copy& mirror : mirrors) (void)world_.Finalize(mirror.job);
      return std::all_of(mirrors.begin(), mirrors.end(),
                         [&](const Copy& mirror) { return world_.Status(mirror.job) == "null"; });
    }));
    if (cancelled) return;
    for (const Copy& mirror : mirrors) {
      const std::string outcome = world_.Outcome(mirror.job);
      if (outcome != "succeeded") StormIsBroken(absl::StrCat("seed ", options_.seed, ": a mirror has ", outcome));
      Append(mirror.soft ? Kind::kSoftlyCanceled : Kind::kSwitched, mirror);
      if (!mirror.soft) disks_[mirror.disk] = mirror.target;
    }
  }
  void CreateMirrors(std::vector<Copy>& mirrors, const std::vector<Resource*>& resources) {
    JobTxnBuilder txn(world_.core());
    JobTxnBuilder* const group = Coin() ? &txn : nullptr;
    const DrainedSection section = world_.Drain(resources);
    for (Copy& mirror : mirrors) {
      const JobSpec spec = {.id = NewName(), .group = group, .auto_finalize = Coin()};
      const auto mode = Coin() ? MirrorOptions::CopyMode::kBackground : MirrorOptions::CopyMode::kWriteBlocking;
      const MirrorOptions options = {
          .source = disks_[mirror.disk],
          .target = mirror.target,
          .copy_mode = mode,
          .granularity = uint64_t{4096} << world_.Below(4),
          .in_flight = static_cast<int>(1 + world_.Below(4)),
          .publisher = std::make_shared<Publisher>(options_.directory, ImageOf(*mirror.target))};
      mirror.job = *CreateMirror(world_.core(), spec, options, section);
    }
    EXPECT_TRUE(txn.Seal().ok());
    for (const Copy& mirror : mirrors) EXPECT_TRUE(StartJob(*mirror.job).ok());
  }
  void PauseAndMove(const std::vector<Copy>& mirrors) {
    for (const Copy& mirror : mirrors) {
      if (Coin()) (void)world_.Pause(mirror.job);
      if (Coin()) {
        const std::shared_ptr<Node>& node = Coin() ? disks_[mirror.disk] : mirror.target;
        (void)world_.Await(MoveNode(node, world_.io(world_.Below(2)).shared_from_this()));
      }
      LetClientsWork();
    }
    for (const Copy& mirror : mirrors) (void)world_.Resume(mirror.job);
  }
  void End(const std::vector<Copy>& mirrors) {
    for (const Copy& mirror : mirrors) EXPECT_TRUE(world_.RunUntilStatus(mirror.job, "ready"));
    LetClientsWork();
    for (const Copy& mirror : mirrors) {
      Append(mirror.soft ? Kind::kSoftCancel : Kind::kComplete, mirror);
      const absl::Status asked =
          mirror.soft ? world_.Cancel(mirror.job, CancelMode::kSoft) : world_.Complete(mirror.job);
      EXPECT_TRUE(asked.ok()) << asked;
    }
  }
  void LetClientsWork() {
    for (const auto& client : clients_) {
      const uint64_t enough = client->acknowledged() + 1 + world_.Below(8);
      EXPECT_TRUE(world_.RunUntil([&] { return client->acknowledged() >= enough || !client->running(); }, "a client"));
    }
  }

  const Options options_;
  NodeWorld world_;
  const bool direct_;
  uint16_t images_ = 0;
  int jobs_ = 0;
  std::vector<std::shared_ptr<Node>> disks_;  // where clients are
  std::vector<std::unique_ptr<StormClient>> clients_;
  std::vector<Copy> backups_;
};

}  // namespace jobcore::block

#endif  // JOBCORE_TESTS_BLOCK_IMAGE_STORM_H_
