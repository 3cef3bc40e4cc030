// SPDX-License-Identifier: Apache-2.0
//
// A daemon in this process, and clients that talk to it without sockets. Nodes for it are made of nothing (null-co).

#ifndef JOBCORE_TESTS_QMP_DAEMON_WORLD_H_
#define JOBCORE_TESTS_QMP_DAEMON_WORLD_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "job-common/aio_wait.h"
#include "job-common/job_mutex.h"
#include "qmp/json_text.h"
#include "qmp/json_value.h"
#include "qmp/session.h"
#include "tools/jobcored/daemon.h"

namespace jobcore_test {

class DaemonWorld {
 public:
  class Client;

  DaemonWorld() : daemon(jobcore::qmp::Server::Options()) {}
  ~DaemonWorld() { (void)End(); }
  DaemonWorld(const DaemonWorld&) = delete;
  DaemonWorld& operator=(const DaemonWorld&) = delete;

  // Ends all jobs; false: that does not succeed. Later calls do nothing.
  bool End() {
    if (!std::exchange(end_begun_, true)) {
      jobcore::Spawn("end of the test", [](DaemonWorld& self) -> jobcore::Co<void> {
        (void)co_await self.daemon.EndAll(/*callers=*/0);
        self.ended_ = true;
      }(*this));
    }
    return RunUntil([this] { return ended_; });
  }

  // Turns of the loop until `done` holds; false: it does not within half a minute.
  bool RunUntil(const std::function<bool()>& done) {
    const jobcore::TimePoint deadline = jobcore::Clock::System().Now() + std::chrono::seconds(30);
    while (!done()) {
      const jobcore::TimePoint now = jobcore::Clock::System().Now();
      if (now > deadline) return false;
      daemon.core.main_context().RunOnce(/*may_block=*/true, now + std::chrono::milliseconds(1));
    }
    return true;
  }

  jobcored::Daemon daemon;

 private:
  bool end_begun_ = false;
  bool ended_ = false;
};

class DaemonWorld::Client {
 public:
  explicit Client(DaemonWorld& world)
      : world_(world),
        session_(jobcore::qmp::Session::Create(world.daemon.monitor, [this](const std::string& line) { Take(line); })) {
    session_->SetRoom([this] { return room; });
    (void)Call("qmp_capabilities");
  }
  ~Client() {
    session_->Close();
    session_->DropEventSource();
  }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Waits for the reply: {"return": …} or {"error": …}; null: there is none.
  jobcore::qmp::JsonValue Call(std::string_view command, jobcore::qmp::JsonObject arguments = {}) {
    replies_.clear();
    session_->Feed(
        jobcore::qmp::WriteJson(jobcore::qmp::JsonObject{{"execute", command}, {"arguments", std::move(arguments)}}));
    return world_.RunUntil([this] { return !replies_.empty(); }) ? replies_.front() : jobcore::qmp::JsonValue();
  }
  // What it returns; null: an error.
  jobcore::qmp::JsonValue Return(std::string_view command, jobcore::qmp::JsonObject arguments = {}) {
    const jobcore::qmp::JsonValue reply = Call(command, std::move(arguments));
    const jobcore::qmp::JsonObject* const object = reply.AsObject();
    const jobcore::qmp::JsonValue* const value = object == nullptr ? nullptr : object->Find("return");
    return value == nullptr ? jobcore::qmp::JsonValue() : *value;
  }
  // The text of its error; empty: none.
  std::string ErrorOf(std::string_view command, jobcore::qmp::JsonObject arguments = {}) {
    const jobcore::qmp::JsonValue reply = Call(command, std::move(arguments));
    const jobcore::qmp::JsonObject* const object = reply.AsObject();
    const jobcore::qmp::JsonValue* const error = object == nullptr ? nullptr : object->Find("error");
    return error == nullptr ? std::string() : *error->AsObject()->Find("desc")->AsString();
  }
  void OnRoom() { session_->OnRoom(); }

  // Two nodes of a MiB, and a backup of one to the other, which copies next to nothing a second until it is let loose.
  void StartFrozenBackup(const std::string& id) {
    using jobcore::qmp::JsonObject;
    for (const char* const end : {"-src", "-dst"}) {
      (void)Call("blockdev-add",
                 JsonObject{{"driver", "null-co"}, {"node-name", id + end}, {"size", 1 << 20}, {"read-zeroes", true}});
    }
    (void)Call("blockdev-backup", JsonObject{{"job-id", id},
                                             {"device", id + "-src"},
                                             {"target", id + "-dst"},
                                             {"sync", "full"},
                                             {"speed", 1},
                                             {"auto-dismiss", false}});
  }

  bool room = true;
  std::vector<jobcore::qmp::JsonValue> events;

 private:
  void Take(const std::string& line) {
    jobcore::qmp::JsonValue value = *jobcore::qmp::ParseJson(line);
    const bool event = value.AsObject()->Find("event") != nullptr;
    (event ? events : replies_).push_back(std::move(value));
  }

  DaemonWorld& world_;
  std::vector<jobcore::qmp::JsonValue> replies_;
  std::shared_ptr<jobcore::qmp::Session> session_;
};

// A member of a member …; null: there is none. Numbers choose elements of lists.
inline jobcore::qmp::JsonValue At(const jobcore::qmp::JsonValue& value) { return value; }
template <typename... Rest>
jobcore::qmp::JsonValue At(const jobcore::qmp::JsonValue& value, std::string_view name, Rest... rest);
template <typename... Rest>
jobcore::qmp::JsonValue At(const jobcore::qmp::JsonValue& value, int index, Rest... rest) {
  const jobcore::qmp::JsonArray* const array = value.AsArray();
  if (array == nullptr || static_cast<size_t>(index) >= array->size()) return {};
  return At((*array)[static_cast<size_t>(index)], rest...);
}
template <typename... Rest>
jobcore::qmp::JsonValue At(const jobcore::qmp::JsonValue& value, std::string_view name, Rest... rest) {
  const jobcore::qmp::JsonObject* const object = value.AsObject();
  const jobcore::qmp::JsonValue* const member = object == nullptr ? nullptr : object->Find(name);
  return member == nullptr ? jobcore::qmp::JsonValue() : At(*member, rest...);
}
inline size_t SizeOf(const jobcore::qmp::JsonValue& value) {
  return value.AsArray() == nullptr ? 0 : value.AsArray()->size();
}
inline int64_t IntOf(const jobcore::qmp::JsonValue& value) { return value.AsInt() == nullptr ? -1 : *value.AsInt(); }

}  // namespace jobcore_test

#endif  // JOBCORE_TESTS_QMP_DAEMON_WORLD_H_
