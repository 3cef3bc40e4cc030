// SPDX-License-Identifier: Apache-2.0
//
// The end of a mirror, for which clients have to wait: as little as possible, and not for ever.

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "block/test_nodes.h"
#include "job-driver/block/mirror.h"

namespace jobcore::block {
namespace {

using namespace jobcore_test;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kSize = uint64_t{4} << 20;

// Notes what it is asked for, and what there is to be found then.
class Publisher final : public MirrorPublisher {
 public:
  explicit Publisher(std::function<Co<absl::Status>()> publish) : publish_(std::move(publish)) {}
  Co<absl::Status> Publish() override {
    log.push_back("publish");
    return publish_();
  }
  Co<void> Revoke() override {
    log.push_back("revoke");
    return {};
  }
  std::vector<std::string> log = {};

 private:
  const std::function<Co<absl::Status>()> publish_;
};

class MirrorEnd : public ::testing::Test {
 protected:
  JobRef Ready(JobSpec spec) {
    spec.drain_timeout = std::chrono::seconds(10);
    const MirrorOptions options = {.source = source_, .target = target_, .publisher = publisher_};
    absl::StatusOr<JobRef> job = Await(world_, CreateMirror(world_.core(), spec, options));
    EXPECT_TRUE(job.ok()) << job.status();
    EXPECT_TRUE(StartJob(**job).ok());
    EXPECT_TRUE(world_.RunUntilStatus(*job, "ready"));
    return *std::move(job);
  }
  // One that waits for its group's finalize; it has been told to switch over.
  JobRef Pending() {
    JobRef job = Ready({.id = "m", .auto_finalize = false});
    EXPECT_TRUE(world_.Complete(job).ok());
    EXPECT_TRUE(world_.RunUntilStatus(job, "pending"));
    return job;
  }
  // Finalizes a job whose target does not answer any more, and waits until it has been asked to do `what`.
  void FinalizeHanging(const JobRef& job, const std::string& what) {
    hangs_ = true;
    target_->before = [this] { return Hang(); };
    const size_t before = target_->log().size();
    ASSERT_TRUE(world_.Finalize(job).ok());
    const auto waits = [&] { return target_->log().size() > before && target_->log().back() == what; };
    ASSERT_TRUE(world_.RunUntil(waits, "a request that hangs"));
  }
  void AnswerAtLast() {
    hangs_ = false;
    world_.main().wait_domain().Kick();
  }
  Co<void> Hang() {
    const auto hangs = [this] { return hangs_; };
    EXPECT_TRUE((co_await AioWaitWhile(world_.main(), hangs, {.name = "a request that hangs"})).ok());
  }
  void Write(uint64_t offset, uint64_t length) {
    const std::string text(length, 'x');
    EXPECT_EQ(Await(world_, client_->Write(offset, Bytes(text))), 0);
  }

  TestWorld world_{{.virtual_time = true}};
  bool hangs_ = false;
  std::shared_ptr<Publisher> publisher_;
  std::shared_ptr<LoggingNode> source_ = LoggingNode::Make(world_, "disk", kSize);
  std::shared_ptr<LoggingNode> target_ = LoggingNode::Make(world_, "copy", kSize);
  std::unique_ptr<NodeEdge> client_ = Edge(source_, {.user = "client", .writes = true});
};

TEST_F(MirrorEnd, WhatIsThereIsFlushedBeforeClientsHaveToWait) {
  const JobRef job = Pending();
  EXPECT_THAT(target_->log(), Contains("flush"));
  const size_t before = target_->log().size();
  Write(0, 512);
  ASSERT_TRUE(world_.Finalize(job).ok());
  ASSERT_TRUE(world_.RunUntilNull(job));
  EXPECT_EQ(world_.Outcome(job), "succeeded");
  // And what has been written since: copied, and flushed again.
  const std::vector<std::string> log = target_->log();
  EXPECT_EQ(log.back(), "flush");
  EXPECT_EQ(log.size(), before + 2);
  EXPECT_EQ(client_->node(), target_);
}

TEST_F(MirrorEnd, CopyIsPublishedWhenItIsWholeAndBeforeAnythingIsAcknowledgedInIt) {
  Gate& gate = world_.NewGate();
  publisher_ = std::make_shared<Publisher>([&]() -> Co<absl::Status> {
    EXPECT_EQ(target_->log().back(), "flush");
    co_await gate.Pass();
    EXPECT_EQ(client_->node(), source_);
    co_return absl::OkStatus();
  });
  const JobRef job = Pending();
  EXPECT_THAT(publisher_->log, IsEmpty());
  Write(0, 512);
  ASSERT_TRUE(world_.Finalize(job).ok());
  ASSERT_TRUE(world_.RunUntil([&] { return gate.reached() == 1; }));
  const std::string text(512, 'y');
  Started<int> late(client_->Write(0, Bytes(text)));
  world_.Settle();
  EXPECT_FALSE(late.done());
  gate.Open();
  ASSERT_TRUE(world_.RunUntilNull(job));
  EXPECT_EQ(world_.Outcome(job), "succeeded");
  ASSERT_TRUE(world_.RunUntil([&] { return late.done(); }));
  EXPECT_EQ(target_->content(0, 512), text);
  EXPECT_THAT(publisher_->log, ElementsAre("publish"));
}

TEST_F(MirrorEnd, MirrorThatCannotBePublishedFailsAndItsUsersStay) {
  publisher_ = std::make_shared<Publisher>(
      []() -> Co<absl::Status> { co_return absl::AlreadyExistsError("somebody has the name"); });
  const JobRef job = Pending();
  ASSERT_TRUE(world_.Finalize(job).ok());
  ASSERT_TRUE(world_.RunUntilNull(job));
  EXPECT_THAT(world_.Outcome(job), HasSubstr("somebody has the name"));
  EXPECT_EQ(client_->node(), source_);
  EXPECT_THAT(publisher_->log, ElementsAre("publish"));
}

// While the section lasts: nobody finds a copy that lacks what clients have written since.
TEST_F(MirrorEnd, WhatWasPublishedIsRevokedIfTheGroupAborts) {
  publisher_ = std::make_shared<Publisher>([]() -> Co<absl::Status> { co_return absl::OkStatus(); });
  JobTxnBuilder group(world_.core());
  Script script;
  script.prepare = []() -> Co<absl::Status> { co_return absl::InternalError("prepare fails"); };
  script.abort = [&]() -> Co<void> {
    EXPECT_THAT(publisher_->log, ElementsAre("publish", "revoke"));
    co_return;
  };
  // Those who came last come first.
  const JobRef other = world_.Start({.id = "other", .group = &group}, std::move(script));
  const JobRef job = Ready({.id = "m", .group = &group});
  ASSERT_TRUE(group.Seal().ok());
  ASSERT_TRUE(world_.Complete(job).ok());
  ASSERT_TRUE(world_.RunUntilNull(job));
  EXPECT_EQ(client_->node(), source_);
  EXPECT_THAT(publisher_->log, ElementsAre("publish", "revoke"));
}

TEST_F(MirrorEnd, PublishingThatHangsIsGivenUpAndRevokedWhenItHasEnded) {
  publisher_ = std::make_shared<Publisher>([this]() -> Co<absl::Status> {
    co_await Hang();
    co_return absl::OkStatus();
  });
  const JobRef job = Pending();
  hangs_ = true;
  ASSERT_TRUE(world_.Finalize(job).ok());
  ASSERT_TRUE(world_.RunUntil([&] { return !publisher_->log.empty(); }));
  world_.clock().Advance(std::chrono::seconds(11));
  ASSERT_TRUE(world_.RunUntilStatus(job, "aborting"));
  Write(0, 512);
  EXPECT_THAT(publisher_->log, ElementsAre("publish"));
  AnswerAtLast();
  ASSERT_TRUE(world_.RunUntilNull(job));
  EXPECT_THAT(world_.Outcome(job), HasSubstr("'copy' is still being published; they stay there"));
  EXPECT_THAT(publisher_->log, ElementsAre("publish", "revoke"));
  EXPECT_EQ(client_->node(), source_);
}

TEST_F(MirrorEnd, ClientsDoNotWaitLongerThanTheTimeoutForTheRest) {
  const JobRef job = Pending();
  for (uint64_t offset = 0; offset < kSize; offset += kSize / 4) Write(offset, kSize / 4);
  target_->before = [this] {
    world_.clock().Advance(std::chrono::seconds(6));
    return Co<void>();
  };
  ASSERT_TRUE(world_.Finalize(job).ok());
  ASSERT_TRUE(world_.RunUntilNull(job));
  EXPECT_THAT(world_.Outcome(job), HasSubstr("users of node 'disk' have waited for the end of the mirror for 10 s, and "
                                             "2097152 bytes are still to be copied; they stay there"));
  EXPECT_EQ(client_->node(), source_);
  target_->before = nullptr;
  Write(0, 512);
  EXPECT_EQ(source_->content(0, 512), std::string(512, 'x'));
}

TEST_F(MirrorEnd, ClientsDoNotWaitLongerThanTheTimeoutForARequestThatHangs) {
  const struct {
    bool write;
    const char* hangs;
    const char* text;
  } kCases[] = {
      {false, "flush", "for 10 s, and node 'copy' is still being flushed; they stay there"},
      {true, "zeroes 0+65536", "for 10 s, and 65536 bytes are still to be copied; they stay there"},
  };
  for (const auto& c : kCases) {
    source_ = LoggingNode::Make(world_, "disk", kSize);
    target_ = LoggingNode::Make(world_, "copy", kSize);
    client_ = Edge(source_, {.user = "client", .writes = true});
    const JobRef job = Pending();
    if (c.write) Write(0, 512);
    FinalizeHanging(job, c.hangs);
    world_.clock().Advance(std::chrono::seconds(11));
    Write(512, 512);  // now, and not when the request has ended
    EXPECT_EQ(source_->content(512, 512), std::string(512, 'x'));
    // Which the job waits for.
    EXPECT_TRUE(world_.RunUntilStatus(job, "aborting"));
    EXPECT_THAT(UsersOf(*target_), ::testing::ElementsAre("job 'm'"));
    AnswerAtLast();
    ASSERT_TRUE(world_.RunUntilNull(job));
    EXPECT_THAT(world_.Outcome(job), HasSubstr(c.text));
    EXPECT_EQ(client_->node(), source_);
    EXPECT_THAT(UsersOf(*target_), ::testing::IsEmpty());
  }
}

TEST_F(MirrorEnd, CancelEndsItAtOnceEvenIfARequestHangs) {
  const JobRef job = Pending();
  FinalizeHanging(job, "flush");
  ASSERT_TRUE(world_.Cancel(job).ok());
  Write(0, 512);
  EXPECT_EQ(source_->content(0, 512), std::string(512, 'x'));
  EXPECT_TRUE(world_.RunUntilStatus(job, "aborting"));
  AnswerAtLast();
  ASSERT_TRUE(world_.RunUntilNull(job));
  EXPECT_THAT(world_.Outcome(job), HasSubstr("cancelled"));
  EXPECT_EQ(client_->node(), source_);
}

// Somebody else who has it drained as well may write there, which nobody can keep him from.
TEST_F(MirrorEnd, NobodyIsSwitchedIfTheOwnerOfAnotherSectionHasWrittenAfterTheLastCopy) {
  Gate& gate = world_.NewGate();
  JobTxnBuilder group(world_.core());
  // The older one is prepared later.
  const JobRef other = world_.Start({.id = "other", .group = &group}, {.prepare = [&gate]() -> Co<absl::Status> {
                                      co_await gate.Pass();
                                      co_return absl::OkStatus();
                                    }});
  const JobRef job = Ready({.id = "m", .group = &group});
  ASSERT_TRUE(group.Seal().ok());
  ASSERT_TRUE(world_.Complete(job).ok());
  ASSERT_TRUE(world_.RunUntil([&] { return gate.reached() == 1; }, "the moment between last copy and commit"));
  {
    const DrainedSection section = Drained({source_.get()});
    const Admission in = section.Admit(source_->resource());
    const std::string text(512, 'y');
    EXPECT_EQ(Await(world_, source_->Write(in, 0, Bytes(text))), 0);
  }
  gate.Open();
  ASSERT_TRUE(world_.RunUntilNull(job));
  EXPECT_THAT(world_.Outcome(job),
              HasSubstr("node 'disk' was written to by somebody else who has it drained, after the "
                        "last copy: its users stay there"));
  EXPECT_EQ(client_->node(), source_);
  EXPECT_EQ(source_->content(0, 512), std::string(512, 'y'));
  EXPECT_TRUE(world_.RunUntilNull(other));
}

}  // namespace
}  // namespace jobcore::block
