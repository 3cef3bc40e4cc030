// SPDX-License-Identifier: Apache-2.0
//
// What the tests of the gate share: a live object in virtual time, and coroutines that ask to be let in.

#ifndef JOBCORE_TESTS_GATE_GATE_WORLD_H_
#define JOBCORE_TESTS_GATE_GATE_WORLD_H_

#include <chrono>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "job-common/coroutine.h"
#include "job-monitor/job_gate.h"
#include "support/virtual_time.h"

namespace jobcore::gate {

// One who asks; `grant` has a value when he has his answer.
template <typename G>
struct Asking {
  std::string api;
  AcquireOptions options;
  std::optional<absl::StatusOr<G>> grant;

  bool waits() const { return !grant.has_value(); }
  bool in() const { return grant.has_value() && grant->ok(); }
  absl::StatusCode code() const { return waits() ? absl::StatusCode::kUnknown : grant->status().code(); }
  std::string message() const { return waits() ? "" : std::string(grant->status().message()); }
  void End() { (*grant)->End(); }
};

struct GateWorld {
  explicit GateWorld(JobGate::Options options = {}) : gate(ids, WithClock(std::move(options), loop)) {
    gate.BeginLife();
  }
  ~GateWorld() {
    gate.Remove();  // whoever still waits
    Run();
  }
  GateWorld(const GateWorld&) = delete;
  GateWorld& operator=(const GateWorld&) = delete;

  // `ask(options)` is what JobGate::Await… returns. The answers in the order in which they came: `order`.
  template <typename G, typename Ask>
  void Spawn(Asking<G>& who, Ask ask) {
    struct Coroutine {
      static Co<void> Run(GateWorld& world, Asking<G>& who, Ask ask) {
        absl::StatusOr<G> answer = co_await ask(who.options);
        who.grant = std::move(answer);
        if (who.in()) world.order += who.api.substr(0, 1);
      }
    };
    who.options.owner.api = who.api;
    jobcore::Spawn("asking", Coroutine::Run(*this, who, std::move(ask)));
  }
  Asking<NormalGrant>& Ask(std::string api, JobClass job_class, AcquireOptions options = {}) {
    Asking<NormalGrant>& who = normal.emplace_back(std::move(api), std::move(options), std::nullopt);
    Spawn(who, [this, job_class](const AcquireOptions& o) { return gate.AwaitBegin(job_class, o); });
    return who;
  }
  Asking<AsyncGrant>& AskAsync(std::string api, AsyncKind kind, AcquireOptions options = {}) {
    Asking<AsyncGrant>& who = async.emplace_back(std::move(api), std::move(options), std::nullopt);
    Spawn(who, [this, kind](const AcquireOptions& o) { return gate.AwaitAsync(kind, o); });
    return who;
  }
  Asking<NestedGrant>& AskNested(std::string api, const AsyncGrant& job, AcquireOptions options = {}) {
    Asking<NestedGrant>& who = nested.emplace_back(std::move(api), std::move(options), std::nullopt);
    Spawn(who, [this, &job](const AcquireOptions& o) { return gate.AwaitNested(job, o); });
    return who;
  }
  Asking<AgentGrant>& AskAgent(std::string api, AcquireOptions options = {}) {
    Asking<AgentGrant>& who = agent.emplace_back(std::move(api), std::move(options), std::nullopt);
    Spawn(who, [this](const AcquireOptions& o) { return gate.AwaitAgent(o); });
    return who;
  }
  void Run() { loop.RunReady(); }
  void RunFor(Nanoseconds time) {
    const TimePoint end = loop.clock().Now() + time;
    while (loop.clock().Now() < end) loop.context().RunOnce(true, end);
    Run();
  }
  TimePoint After(Nanoseconds time) { return loop.clock().Now() + time; }

  static JobGate::Options WithClock(JobGate::Options options, support::VirtualLoop& loop) {
    options.clock = &loop.clock();
    return options;
  }

  support::VirtualLoop loop;
  JobIds ids{7};
  JobGate gate;
  std::string order;
  std::deque<Asking<NormalGrant>> normal;
  std::deque<Asking<AsyncGrant>> async;
  std::deque<Asking<NestedGrant>> nested;
  std::deque<Asking<AgentGrant>> agent;
};

}  // namespace jobcore::gate

#endif  // JOBCORE_TESTS_GATE_GATE_WORLD_H_
