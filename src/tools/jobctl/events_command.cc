// SPDX-License-Identifier: Apache-2.0

#include "tools/jobctl/events_command.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "job-common/clock.h"
#include "qmp/json_text.h"
#include "tools/jobctl/format.h"
#include "tools/jobctl/job_table.h"
#include "tools/jobctl/put.h"
#include "tools/jobctl/qmp_client.h"
#include "tools/jobctl/remote_job.h"

namespace jobctl {
namespace {

using jobcore::Clock;
using jobcore::TimePoint;

class EventLog {
 public:
  explicit EventLog(const EventsOptions& options) : options_(options), next_(options.from) {}

  absl::Status Run() {
    absl::StatusOr<std::unique_ptr<QmpClient>> client = QmpClient::Connect(options_.socket);
    for (;;) {
      if (!client.ok()) return client.status();
      absl::Status ended = Follow(**client);
      if (!numbered_ || !absl::IsUnavailable(ended)) return ended;
      client = ConnectAgain(ended);
    }
  }

 private:
  // From next_ on.
  absl::Status Follow(QmpClient& client) {
    absl::StatusOr<Subscription> subscription = Subscribe(client, next_);
    if (absl::IsFailedPrecondition(subscription.status()) && numbered_) {
      // It has not got so far: it is another one than before, which counts anew.
      Say("restarted", "the daemon has been restarted");
      subscription = Subscribe(client, 1);
    }
    if (!subscription.ok()) return subscription.status();
    numbered_ = subscription->numbered;
    if (!numbered_ && next_ != 0) {
      return absl::UnimplementedError("the daemon does not number its events: it cannot be told where to begin");
    }
    SayLost(subscription->missed);
    if (numbered_) next_ = subscription->next;
    for (;;) {
      const absl::StatusOr<std::optional<qmp::JsonObject>> event = client.NextEvent(jobcore::kNoDeadline);
      if (!event.ok()) return event.status();
      SayLost(MissedEvents(**event));
      const std::optional<RemoteEvent> read = ReadEvent(**event, numbered_);
      if (!read) continue;
      Print(*read);
      if (numbered_) next_ = read->sequence + 1;
    }
  }

  absl::StatusOr<std::unique_ptr<QmpClient>> ConnectAgain(const absl::Status& lost) {
    const TimePoint deadline = Clock::System().Now() + options_.retry;
    for (;;) {
      absl::StatusOr<std::unique_ptr<QmpClient>> client = QmpClient::Connect(options_.socket);
      if (client.ok() || !absl::IsUnavailable(client.status())) return client;
      if (Clock::System().Now() >= deadline) return lost;
      constexpr int kPauseMilliseconds = 100;
      poll(nullptr, 0, kPauseMilliseconds);
    }
  }

  void Print(const RemoteEvent& event) {
    if (options_.json) return PutLine(qmp::WriteJson(event.data));
    id_width_ = std::max(id_width_, event.id.size());
    PutLine(absl::StrCat(Stamp(Clock::System().Now() - start_), " ", Left(event.id, id_width_), "  ", event.text));
  }
  void SayLost(uint64_t count) {
    if (count > 0) Say("lost", absl::StrCat(count, " events lost"), {{"count", count}});
  }
  void Say(std::string_view type, const std::string& text, qmp::JsonObject more = {}) {
    more.Set("type", type);
    PutLine(options_.json ? qmp::WriteJson(more) : absl::StrCat(Stamp(Clock::System().Now() - start_), " ", text));
  }
  static void PutLine(const std::string& text) { Put(STDOUT_FILENO, text + "\n"); }

  const EventsOptions& options_;
  const TimePoint start_ = Clock::System().Now();
  uint64_t next_;  // number of the first event that has not been shown; 0: whatever comes
  bool numbered_ = false;
  size_t id_width_ = 0;
};

}  // namespace

absl::Status ShowEvents(const EventsOptions& options) { return EventLog(options).Run(); }

}  // namespace jobctl
