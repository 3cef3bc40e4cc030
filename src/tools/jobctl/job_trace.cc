// SPDX-License-Identifier: Apache-2.0

#include "tools/jobctl/job_trace.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace jobctl {
namespace {

namespace qmp = jobcore::qmp;
using jobcore::JobStatus;
using jobcore::WallTime;

// What the format calls processes: groups of tracks.
constexpr int kJobs = 1;
constexpr int kContexts = 2;

int64_t Microseconds(WallTime time) {
  return std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count();
}

qmp::JsonObject NameOf(const char* what, int process, uint64_t track, std::string_view name) {
  return {{"ph", "M"}, {"name", what}, {"pid", process}, {"tid", track}, {"args", qmp::JsonObject{{"name", name}}}};
}

}  // namespace

void JobTrace::AddEvent(const RemoteEvent& event) {
  Track& track = jobs_[event.number];
  track.id = event.id;
  if (track.context.empty()) track.context = event.context;
  if (!event.status) {
    track.marks.push_back({event.text, event.time});
    return;
  }
  if (!track.spans.empty() && !track.spans.back().end) track.spans.back().end = event.time;
  if (*event.status == JobStatus::kConcluded) track.marks.push_back({event.text, event.time});
  if (!IsConcluded(*event.status)) {
    track.spans.push_back({std::string(JobStatusName(*event.status)), event.time, std::nullopt});
  }
}

void JobTrace::AddContext(uint64_t job_number, const std::string& context) {
  const auto found = jobs_.find(job_number);
  if (found != jobs_.end() && found->second.context.empty()) found->second.context = context;
}

void JobTrace::AddPast(uint64_t job_number, const std::string& id, WallTime created, WallTime concluded) {
  const auto [added, is_new] = jobs_.try_emplace(job_number);
  if (is_new) added->second = {.id = id, .context = {}, .spans = {{"lived", created, concluded}}, .marks = {}};
}

qmp::JsonObject JobTrace::Finish(WallTime end) && {
  qmp::JsonArray events;
  events.push_back(NameOf("process_name", kJobs, 0, "jobs"));
  events.push_back(NameOf("process_name", kContexts, 0, "threads"));
  std::map<std::string, uint64_t> contexts;  // and the number of the track
  for (auto& [number, track] : jobs_) {
    events.push_back(NameOf("thread_name", kJobs, number, track.id));
    if (!track.context.empty()) contexts.emplace(track.context, contexts.size() + 1);
    for (const Span& span : track.spans) {
      const WallTime until = std::max(span.end.value_or(end), span.begin);
      const int64_t begin = Microseconds(span.begin);
      events.push_back(qmp::JsonObject{{"ph", "X"},
                                       {"cat", "job"},
                                       {"name", span.name},
                                       {"pid", kJobs},
                                       {"tid", number},
                                       {"ts", begin},
                                       {"dur", Microseconds(until) - begin}});
      const bool runs =
          span.name == JobStatusName(JobStatus::kRunning) || span.name == JobStatusName(JobStatus::kReady);
      if (track.context.empty() || !runs) continue;
      // A thread runs several jobs at a time: such spans need not be nested.
      for (const auto& [phase, time] : {std::pair("b", span.begin), std::pair("e", until)}) {
        events.push_back(qmp::JsonObject{{"ph", phase},
                                         {"cat", track.context},
                                         {"name", track.id},
                                         {"id", number},
                                         {"pid", kContexts},
                                         {"tid", contexts.at(track.context)},
                                         {"ts", Microseconds(time)}});
      }
    }
    for (const Mark& mark : track.marks) {
      events.push_back(qmp::JsonObject{{"ph", "i"},
                                       {"s", "t"},
                                       {"cat", "job"},
                                       {"name", mark.text},
                                       {"pid", kJobs},
                                       {"tid", number},
                                       {"ts", Microseconds(mark.time)}});
    }
  }
  for (const auto& [context, number] : contexts) {
    events.push_back(NameOf("thread_name", kContexts, number, context));
  }
  return {{"displayTimeUnit", "ms"}, {"traceEvents", std::move(events)}};
}

}  // namespace jobctl
