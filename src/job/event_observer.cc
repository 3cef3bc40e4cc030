// SPDX-License-Identifier: Apache-2.0

#include "job-monitor/event_observer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "aio/check.h"
#include "job-common/aio_wait.h"
#include "job/job_ops.h"

namespace jobcore::inline JOBCORE_ABI {

namespace internal {

// Shared by the handle, the core's list (while open), and the work item (while it is queued).
struct ObserverState final : WorkItem {
  ObserverState(JobCore& c, AioContext& ctx, monitor::EventObserver::Callback cb)
      : WorkItem("event observer", &Run), core(c), context(ctx.shared_from_this()), callback(std::move(cb)) {}

  static void Run(WorkItem& item, Reason reason) JOBCORE_EXCLUDES(job_mutex);
  // The next page, unless there is none or the observer has been closed. `self` keeps the state in the queue.
  bool TakePage() ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

  JobCore& core;
  const std::shared_ptr<AioContext> context;

  // --- Home thread of `context` ---
  monitor::EventObserver::Callback callback;
  EventPage page;  // kept from call to call: its events keep their memory

  EventCursor cursor ABSL_GUARDED_BY(job_mutex);
  bool closed ABSL_GUARDED_BY(job_mutex) = false;
  bool in_call ABSL_GUARDED_BY(job_mutex) = false;
  std::shared_ptr<ObserverState> queued ABSL_GUARDED_BY(job_mutex);  // itself, while the item is in the queue
};

bool ObserverState::TakePage() {
  if (closed) return false;
  JobOps::ReadEvents(core, cursor, page);
  in_call = !page.events.empty();
  return in_call;
}

void ObserverState::Run(WorkItem& item, Reason reason) {
  auto& state = static_cast<ObserverState&>(item);
  std::shared_ptr<ObserverState> self;
  {
    JobLock lock(state.core);
    self = std::move(state.queued);
    if (reason == Reason::kDrop || !state.TakePage()) return;
  }
  state.callback(state.page);

  JobLock lock(state.core);
  state.in_call = false;
  JobOps::NoteChange(state.core);  // Close may be waiting for the end of the call
  const bool behind = state.cursor.next <= state.core.last_event();
  if (behind && !state.closed && state.queued == nullptr) {
    state.queued = self;
    JobOps::Defer(state.core, *state.context, state);
  }
}

}  // namespace internal

void JobOps::WakeObservers(JobCore& core) {
  for (const std::shared_ptr<internal::ObserverState>& observer : core.observers_) {
    if (observer->queued != nullptr) continue;
    observer->queued = observer;
    Defer(core, *observer->context, *observer);
  }
}

void JobOps::AddObserver(JobCore& core, std::shared_ptr<internal::ObserverState> state) {
  NoteContext(core, state->context);
  core.observers_.push_back(std::move(state));
}

void JobOps::RemoveObserver(JobCore& core, const std::shared_ptr<internal::ObserverState>& state) {
  std::erase(core.observers_, state);
}

void JobOps::ReadEvents(JobCore& core, EventCursor& cursor, EventPage& page) {
  core.events_.Read(cursor, EventPage::kMax, page);
}

namespace monitor {

EventObserver::EventObserver(JobCore& core, AioContext& context, Callback callback, std::optional<EventCursor> from)
    : state_(std::make_shared<internal::ObserverState>(core, context, std::move(callback))) {
  JobLock lock(core);
  state_->cursor = from.value_or(EventCursor{core.last_event() + 1});
  JobOps::AddObserver(core, state_);
  if (state_->cursor.next <= core.last_event()) JobOps::WakeObservers(core);
}

EventObserver::~EventObserver() { Close(); }

void EventObserver::Close() {
  constexpr std::string_view kName = "end of an event observer's call";
  internal::ObserverState& state = *state_;
  if (!state.context->IsHome()) {
    if (absl::Status refusal = CheckMayWait(state.core.main_context(), kName); !refusal.ok()) {
      internal::Die(absl::StrCat("EventObserver::Close: ", refusal.message()));
    }
  }
  {
    JobLock lock(state.core);
    state.closed = true;
    JobOps::RemoveObserver(state.core, state_);
    if (!state.in_call) return;
  }
  if (state.context->IsHome()) return;  // from the call itself
  const absl::Status status = AioWaitWhileUnlocked(state.core,
                                                   [&]() JOBCORE_EXCLUDES(job_mutex) {
                                                     JobLock lock(state.core);
                                                     return state.in_call;
                                                   },
                                                   {.name = kName});
  if (!status.ok()) internal::Die(absl::StrCat("EventObserver::Close: ", status.message()));
}

Co<void> EventObserver::CloseAsync() {
  const std::shared_ptr<internal::ObserverState> state = state_;
  {
    JobLock lock(state->core);
    state->closed = true;
    JobOps::RemoveObserver(state->core, state);
  }
  if (state->context->IsHome()) co_return;
  const auto in_call = [state]() JOBCORE_EXCLUDES(job_mutex) {
    JobLock lock(state->core);
    return state->in_call;
  };
  (void)co_await AioWaitWhile(state->core, in_call, {.name = "end of an event observer's call"});
}

}  // namespace monitor
}  // namespace jobcore::inline JOBCORE_ABI
