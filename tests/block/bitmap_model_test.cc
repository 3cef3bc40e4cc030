// SPDX-License-Identifier: Apache-2.0
//
// Bitmaps against a model of a few lines, under random transactions that commit or fail, writes, and resizes.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "block/node_world.h"
#include "block/test_nodes.h"
#include "gmock/gmock.h"
#include "job-driver/block/block_actions.h"
#include "job-driver/block/node_bitmaps.h"
#include "job-monitor/action_transaction.h"

namespace jobcore::block {
namespace {

using monitor::ActionTransaction;

struct ModelBitmap {
  uint64_t granularity = 0;
  bool recording = true;
  std::set<uint64_t> dirty = {};  // chunks

  void Set(uint64_t offset, uint64_t length) {
    for (uint64_t chunk = offset / granularity; chunk * granularity < offset + length; ++chunk) dirty.insert(chunk);
  }
};
using Model = std::map<std::string, std::shared_ptr<ModelBitmap>>;

class RandomBitmaps : public ::testing::TestWithParam<uint32_t> {
 protected:
  uint64_t Below(uint64_t n) { return random_() % n; }
  std::string AnyName() { return std::string(1, static_cast<char>('a' + Below(4))); }

  // Adds one to `transaction`, and to `commits` what it is to do to the model. False: it fails. `visible` is what the
  // next action finds.
  bool AddRandomAction(ActionTransaction& transaction, Model& visible, std::vector<std::function<void()>>& commits) {
    const std::string name = AnyName();
    const auto found = visible.find(name);
    const std::shared_ptr<ModelBitmap> bitmap = found == visible.end() ? nullptr : found->second;
    switch (Below(8)) {
      case 0:
      case 1: {
        const bool recording = Below(4) != 0;
        const uint64_t granularity = uint64_t{512} << Below(4);
        transaction.Add(AddBitmapAction(node, {.name = name, .granularity = granularity, .recording = recording}));
        if (bitmap != nullptr) return false;
        visible[name] = std::make_shared<ModelBitmap>(ModelBitmap{.granularity = granularity, .recording = recording});
        return true;
      }
      case 2:
        transaction.Add(RemoveBitmapAction(node, name));
        visible.erase(name);
        return bitmap != nullptr;
      case 3:
        transaction.Add(ClearBitmapAction(node, name));
        commits.push_back([bitmap] { bitmap->dirty.clear(); });
        return bitmap != nullptr;
      case 4:
        transaction.Add(EnableBitmapAction(node, name));
        commits.push_back([bitmap] { bitmap->recording = true; });
        return bitmap != nullptr;
      case 5:
        transaction.Add(DisableBitmapAction(node, name));
        commits.push_back([bitmap] { bitmap->recording = false; });
        return bitmap != nullptr;
      case 6: {
        const std::string from = AnyName();
        const auto other = visible.find(from);
        transaction.Add(MergeBitmapsAction({node, name}, {{node, from}}));
        if (bitmap == nullptr || other == visible.end()) return false;
        commits.push_back([this, bitmap, source = other->second] {
          const std::set<uint64_t> dirty = source->dirty;  // perhaps that of `bitmap`
          for (const uint64_t chunk : dirty) {
            const uint64_t at = chunk * source->granularity;
            bitmap->Set(at, std::min(source->granularity, node->size() - at));
          }
        });
        return true;
      }
      default:
        if (Below(3) != 0) return true;
        transaction.Add(monitor::FailingAction());
        return false;
    }
  }

  void RunRandomTransaction() {
    ActionTransaction transaction(world.core());
    Model visible = model_;
    std::vector<std::function<void()>> commits;
    bool succeeds = true;
    for (uint64_t n = 1 + Below(5); n > 0 && succeeds; --n) succeeds = AddRandomAction(transaction, visible, commits);
    const absl::Status status = world.Await(ActionTransaction::Run(std::move(transaction)));
    EXPECT_EQ(status.ok(), succeeds) << status;
    if (!succeeds) return;
    for (const auto& commit : commits) commit();
    model_ = visible;
  }

  void WriteSomewhere() {
    const uint64_t offset = Below(node->size());
    const uint64_t length = 1 + Below(std::min<uint64_t>(node->size() - offset, 6000));
    const std::string data(length, 'x');
    EXPECT_EQ(world.Await(edge->Write(offset, jobcore_test::Bytes(data))), 0);
    for (const auto& [name, bitmap] : model_) {
      if (bitmap->recording) bitmap->Set(offset, length);
    }
  }

  void Resize() {
    const uint64_t before = node->size();
    const uint64_t size = 512 * (1 + Below(80));
    const absl::Status status = world.Await(edge->Resize(size));
    ASSERT_TRUE(status.ok()) << status;
    for (const auto& [name, bitmap] : model_) {
      std::erase_if(bitmap->dirty, [&](uint64_t chunk) { return chunk * bitmap->granularity >= size; });
      if (size > before) bitmap->Set(before, size - before);
    }
  }

  void Compare() {
    const std::vector<BitmapInfo> list = node->bitmaps().List();
    ASSERT_EQ(list.size(), model_.size());
    auto expected = model_.begin();
    for (const BitmapInfo& info : list) {
      const auto& [name, bitmap] = *expected++;
      EXPECT_EQ(info.name, name);
      EXPECT_EQ(info.granularity, bitmap->granularity);
      EXPECT_EQ(info.recording, bitmap->recording);
      EXPECT_EQ(info.busy_with, "");
      const DirtyBitmap content = *node->bitmaps().Content(name);
      std::set<uint64_t> dirty;
      for (uint64_t at = 0; at < node->size(); at += info.granularity) {
        if (content.IsDirty(at)) dirty.insert(at / info.granularity);
      }
      ASSERT_EQ(dirty, bitmap->dirty) << name;
    }
  }

  NodeWorld world{1};
  std::shared_ptr<Node> node = jobcore_test::LoggingNode::Make(world, "disk", uint64_t{64} * 512);
  std::unique_ptr<NodeEdge> edge = jobcore_test::Edge(node, {.user = "client", .writes = true, .lets_resize = true});

 private:
  Model model_;
  std::mt19937 random_{GetParam()};
};

TEST_P(RandomBitmaps, AreAsTheModelSays) {
  for (int i = 0; i < 300 && !HasFailure(); ++i) {
    const uint64_t what = Below(16);
    if (what == 0) {
      Resize();
    } else if (what < 8) {
      WriteSomewhere();
    } else {
      RunRandomTransaction();
    }
    Compare();
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomBitmaps, ::testing::Range(1u, 11u));

}  // namespace
}  // namespace jobcore::block
