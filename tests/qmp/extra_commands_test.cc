// SPDX-License-Identifier: Apache-2.0
//
// The commands and events beyond the reference, as docs/monitor.md has them.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "qmp/daemon_world.h"

namespace jobcore_test {
namespace {

using jobcore::qmp::JsonArray;
using jobcore::qmp::JsonObject;
using jobcore::qmp::JsonValue;
using ::testing::HasSubstr;

class ExtraCommands : public testing::Test {
 protected:
  JsonValue Job(const std::string& id) { return At(client.Return("x-query-jobs", {{"id", id}}), 0); }
  void RunUntilStatus(const std::string& id, const std::string& status) {
    EXPECT_TRUE(world.RunUntil([&] { return At(Job(id), "status") == JsonValue(status); })) << id << " " << status;
  }
  // Two backups in one group, running and as good as frozen; its number.
  int64_t StartGroup() {
    JsonArray actions;
    for (const char* const id : {"a", "b"}) {
      for (const char* const end : {"-src", "-dst"}) {
        const JsonObject node = {{"driver", "null-co"}, {"node-name", absl::StrCat(id, end)}, {"size", 1 << 20}};
        EXPECT_EQ(client.ErrorOf("blockdev-add", node), "");
      }
      const JsonObject data = {{"job-id", id},         {"device", absl::StrCat(id, "-src")},
                               {"sync", "full"},       {"target", absl::StrCat(id, "-dst")},
                               {"speed", 1},           {"auto-finalize", false},
                               {"auto-dismiss", false}};
      actions.push_back(JsonObject{{"type", "blockdev-backup"}, {"data", data}});
    }
    const JsonObject properties = {{"completion-mode", "grouped"}};
    EXPECT_EQ(client.ErrorOf("transaction", {{"actions", actions}, {"properties", properties}}), "");
    return IntOf(At(Job("a"), "group"));
  }
  void LetLoose() {
    for (const char* const id : {"a", "b"}) (void)client.Call("block-job-set-speed", {{"device", id}, {"speed", 0}});
  }

  DaemonWorld world;
  DaemonWorld::Client client{world};
};

TEST_F(ExtraCommands, AJobIsShownInFull) {
  client.StartFrozenBackup("j");
  const JsonValue job = Job("j");
  EXPECT_EQ(At(job, "type"), JsonValue("backup"));
  EXPECT_EQ(At(job, "status"), JsonValue("running"));
  EXPECT_EQ(At(job, "context"), JsonValue("main"));
  EXPECT_EQ(At(job, "unit"), JsonValue("bytes"));
  EXPECT_EQ(At(job, "speed"), JsonValue(1));
  EXPECT_EQ(At(job, "reasons"), JsonValue(JsonArray()));
  EXPECT_EQ(At(job, "group"), At(job, "number")) << "it has a group of its own";
  EXPECT_GE(IntOf(At(job, "started")), IntOf(At(job, "created")));
  EXPECT_GT(IntOf(At(job, "created")), int64_t{1'600'000'000} * 1'000'000'000);
  EXPECT_TRUE(At(job, "ended").is_null());
  EXPECT_TRUE(At(job, "outcome").is_null());
  EXPECT_GT(IntOf(At(job, "seq")), 0);
  EXPECT_EQ(client.Return("x-query-jobs", {{"id", "other"}}), JsonValue(JsonArray()));

  EXPECT_EQ(client.ErrorOf("job-cancel", {{"id", "j"}}), "");
  RunUntilStatus("j", "concluded");
  EXPECT_EQ(At(Job("j"), "outcome"), JsonValue("cancelled"));
  EXPECT_GE(IntOf(At(Job("j"), "ended")), IntOf(At(Job("j"), "started")));
}

TEST_F(ExtraCommands, PausesHaveReasons) {
  client.StartFrozenBackup("j");
  EXPECT_EQ(client.ErrorOf("x-job-pause", {{"id", "j"}, {"reason", "night"}}), "");
  EXPECT_EQ(client.ErrorOf("job-pause", {{"id", "j"}}), "");
  RunUntilStatus("j", "paused");
  EXPECT_EQ(At(Job("j"), "reasons"), JsonValue(JsonArray({"night", "user"})));
  EXPECT_EQ(client.ErrorOf("job-resume", {{"id", "j"}}), "");
  EXPECT_EQ(At(Job("j"), "reasons"), JsonValue(JsonArray({"night"})));
  EXPECT_THAT(client.ErrorOf("x-job-resume", {{"id", "j"}}), HasSubstr("not paused"));
  EXPECT_EQ(client.ErrorOf("x-job-resume", {{"id", "j"}, {"reason", "night"}}), "");
  RunUntilStatus("j", "running");
}

TEST_F(ExtraCommands, AGroupIsPausedAndResumedInOneStep) {
  const int64_t group = StartGroup();
  EXPECT_EQ(At(Job("b"), "group"), JsonValue(group));
  EXPECT_EQ(SizeOf(client.Return("x-query-jobs", {{"group", group}})), 2u);
  EXPECT_EQ(client.ErrorOf("job-pause", {{"id", "b"}}), "");
  EXPECT_EQ(At(client.Return("x-group-pause", {{"group", group}}), "jobs"), JsonValue(JsonArray({"a"})));
  EXPECT_THAT(client.ErrorOf("x-group-pause", {{"group", group}}), HasSubstr("already paused"));
  EXPECT_EQ(At(client.Return("x-group-resume", {{"group", group}}), "jobs"), JsonValue(JsonArray({"a", "b"})));
  EXPECT_EQ(client.ErrorOf("x-group-pause", {{"group", group + 1000}}), "Group not found");
}

TEST_F(ExtraCommands, AGroupIsCancelledAndDismissed) {
  const int64_t group = StartGroup();
  EXPECT_THAT(client.ErrorOf("x-group-dismiss", {{"group", group}}), HasSubstr("cannot accept command verb 'dismiss'"));
  EXPECT_EQ(At(client.Return("x-group-cancel", {{"group", group}}), "jobs"), JsonValue(JsonArray({"a", "b"})));
  RunUntilStatus("a", "concluded");
  RunUntilStatus("b", "concluded");
  EXPECT_EQ(At(client.Return("x-group-dismiss", {{"group", group}}), "jobs"), JsonValue(JsonArray({"a", "b"})));
  EXPECT_EQ(SizeOf(client.Return("x-query-jobs")), 0u);
}

TEST_F(ExtraCommands, AGroupIsFinalizedAndTheAnswerSaysWhenThatIsDone) {
  const int64_t group = StartGroup();
  EXPECT_THAT(client.ErrorOf("x-group-finalize", {{"group", group}}), HasSubstr("cannot accept command verb"));
  LetLoose();
  RunUntilStatus("a", "pending");
  RunUntilStatus("b", "pending");
  EXPECT_EQ(At(client.Return("x-group-finalize", {{"group", group}}), "jobs"), JsonValue(JsonArray({"a", "b"})));
  EXPECT_EQ(At(Job("a"), "outcome"), JsonValue("succeeded"));
  EXPECT_EQ(At(Job("b"), "outcome"), JsonValue("succeeded"));
}

TEST_F(ExtraCommands, TheHistoryKnowsWhatHasBeenDismissed) {
  client.StartFrozenBackup("j");
  EXPECT_EQ(client.ErrorOf("x-job-pause", {{"id", "j"}, {"reason", "night"}}), "");
  RunUntilStatus("j", "paused");
  EXPECT_EQ(client.ErrorOf("job-cancel", {{"id", "j"}}), "");
  RunUntilStatus("j", "concluded");
  EXPECT_EQ(client.ErrorOf("job-dismiss", {{"id", "j"}}), "");
  const JsonValue record = At(client.Return("x-query-history"), 0);
  EXPECT_EQ(At(record, "id"), JsonValue("j"));
  EXPECT_EQ(At(record, "outcome"), JsonValue("cancelled"));
  EXPECT_EQ(At(record, "error"), JsonValue("Operation canceled"));
  const JsonValue pauses = At(record, "pauses");
  EXPECT_TRUE(std::any_of(pauses.AsArray()->begin(), pauses.AsArray()->end(),
                          [](const JsonValue& pause) { return At(pause, "reason") == JsonValue("night"); }));
  EXPECT_EQ(SizeOf(client.Return("x-query-history", {{"limit", 0}})), 0u);
  EXPECT_EQ(SizeOf(client.Return("x-query-history", {{"id", "k"}})), 0u);
  EXPECT_THAT(client.ErrorOf("x-query-history", {{"limit", -1}}), HasSubstr("non-negative"));
}

TEST_F(ExtraCommands, WaitsAreShownWithThoseWhoHoldThemUp) {
  client.StartFrozenBackup("j");
  EXPECT_EQ(client.ErrorOf("job-pause", {{"id", "j"}}), "");
  RunUntilStatus("j", "paused");
  const JsonValue waits = client.Return("x-query-waits");
  EXPECT_EQ(At(waits, "loops", 0, "name"), JsonValue("main"));
  EXPECT_EQ(At(waits, "jobs", 0, "id"), JsonValue("j"));
  EXPECT_EQ(At(waits, "jobs", 0, "status"), JsonValue("paused"));
  EXPECT_EQ(At(waits, "jobs", 0, "reasons"), JsonValue(JsonArray({"user"})));
  EXPECT_TRUE(At(waits, "obstacle").is_null());
}

TEST_F(ExtraCommands, ContentionIsCountedOnlyWhenThatIsSwitchedOn) {
  EXPECT_EQ(At(client.Return("x-query-contention"), "enabled"), JsonValue(false));
  EXPECT_EQ(At(client.Return("x-query-contention"), "acquisitions"), JsonValue(0));
  EXPECT_EQ(At(client.Return("x-query-contention", {{"enable", true}}), "enabled"), JsonValue(true));
  for (int i = 0; i < 40; ++i) (void)client.Call("query-jobs");
  const JsonValue counted = client.Return("x-query-contention");
  EXPECT_GE(IntOf(At(counted, "acquisitions")), 40);
  EXPECT_GE(IntOf(At(counted, "hold", "sampled")), 2);
  EXPECT_GT(IntOf(At(counted, "hold", "longest")), 0);
  EXPECT_GT(SizeOf(At(counted, "hold", "where")), 0u);
  EXPECT_LT(IntOf(At(client.Return("x-query-contention", {{"reset", true}}), "lasted")), int64_t{60} * 1'000'000'000);
  EXPECT_LT(IntOf(At(client.Return("x-query-contention"), "acquisitions")), IntOf(At(counted, "acquisitions")));
  (void)client.Call("x-query-contention", {{"enable", false}});
  EXPECT_EQ(At(client.Return("x-query-contention"), "enabled"), JsonValue(false));
}

// --- Events ---

class Subscribers : public ExtraCommands {
 protected:
  // One that is over at once: some six events.
  void RunJob(const std::string& id) {
    (void)client.Call("blockdev-add", {{"driver", "null-co"}, {"node-name", "n"}});
    (void)client.Call("block-stream", {{"job-id", id}, {"device", "n"}});
    EXPECT_TRUE(world.RunUntil([&] { return SizeOf(client.Return("query-jobs")) == 0; }));
  }
  static void ExpectNoGap(const std::vector<JsonValue>& events, int64_t first) {
    for (const JsonValue& event : events) EXPECT_EQ(IntOf(At(event, "data", "seq")), first++);
  }
};

TEST_F(Subscribers, GetAllThatHappensAndOthersDoNot) {
  DaemonWorld::Client subscriber(world);
  const JsonValue reply = subscriber.Return("x-subscribe");
  EXPECT_EQ(At(reply, "missed"), JsonValue(0));
  RunJob("j");
  ASSERT_TRUE(world.RunUntil([&] {
    return !subscriber.events.empty() && At(subscriber.events.back(), "data", "status") == JsonValue("null");
  }));
  ExpectNoGap(subscriber.events, IntOf(At(reply, "next")));
  const JsonValue first = subscriber.events.front();
  EXPECT_EQ(At(first, "event"), JsonValue("X_JOB_EVENT"));
  EXPECT_EQ(At(first, "data", "kind"), JsonValue("status"));
  EXPECT_EQ(At(first, "data", "status"), JsonValue("created"));
  EXPECT_EQ(At(first, "data", "id"), JsonValue("j"));
  EXPECT_TRUE(At(first, "data", "outcome").is_null());
  EXPECT_EQ(At(subscriber.events.back(), "data", "outcome"), JsonValue("succeeded"));
  EXPECT_EQ(At(subscriber.events.back(), "data", "type"), JsonValue("stream")) << "it is in the history";
  EXPECT_TRUE(client.events.empty());

  const size_t before = subscriber.events.size();
  (void)subscriber.Call("x-unsubscribe");
  RunJob("k");
  EXPECT_EQ(subscriber.events.size(), before);
}

TEST_F(Subscribers, WhoComesBackMissesNothing) {
  RunJob("j");
  DaemonWorld::Client subscriber(world);
  const JsonValue reply = subscriber.Return("x-subscribe", {{"from", 2}});
  EXPECT_EQ(At(reply, "next"), JsonValue(2));
  EXPECT_EQ(At(reply, "missed"), JsonValue(0));
  ASSERT_FALSE(subscriber.events.empty());
  ExpectNoGap(subscriber.events, 2);
  EXPECT_EQ(At(subscriber.events.back(), "data", "status"), JsonValue("null"));
  EXPECT_THAT(subscriber.ErrorOf("x-subscribe", {{"from", 1'000'000}}), HasSubstr("expects an event from 1 to"));
  EXPECT_THAT(subscriber.ErrorOf("x-subscribe", {{"from", 0}}), HasSubstr("expects an event from 1 to"));
}

TEST_F(Subscribers, WhatTheRingHasLostIsCounted) {
  DaemonWorld::Client slow(world);
  (void)slow.Call("x-subscribe");
  slow.room = false;
  constexpr int kJobs = 750;  // more events than the ring keeps
  for (int i = 0; i < kJobs; ++i) RunJob("j");
  EXPECT_TRUE(slow.events.empty());
  DaemonWorld::Client late(world);
  const JsonValue reply = late.Return("x-subscribe", {{"from", 1}});
  EXPECT_GT(IntOf(At(reply, "missed")), 0);
  EXPECT_EQ(IntOf(At(reply, "next")), 1 + IntOf(At(reply, "missed")));
  ExpectNoGap(late.events, IntOf(At(reply, "next")));

  slow.room = true;
  slow.OnRoom();
  ASSERT_FALSE(slow.events.empty());
  EXPECT_EQ(At(slow.events.front(), "event"), JsonValue("X_EVENTS_MISSED"));
  EXPECT_EQ(At(slow.events.front(), "data", "missed"), At(reply, "missed"));
  EXPECT_EQ(At(slow.events.front(), "data", "next"), At(reply, "next"));
  EXPECT_EQ(slow.events.size(), late.events.size() + 1);
}

}  // namespace
}  // namespace jobcore_test
