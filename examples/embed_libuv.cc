// SPDX-License-Identifier: Apache-2.0
//
// The main context inside a loop of somebody else, here libuv's: a daemon keeps its own loop, and jobs run in it,
// sleep in it, and are controlled from its callbacks.
#include <uv.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>

#include "job-driver/job_context.h"
#include "job-driver/job_driver.h"
#include "job-monitor/event_observer.h"
#include "job-monitor/job_monitor.h"
using namespace jobcore;

// While it lives, every turn of the loop is also one of the context. On the loop's thread, the context's home.
class Embedded {
 public:
  Embedded(uv_loop_t& loop, AioContext& context) : loop_(loop), context_(context) {
    uv_poll_init(&loop, &poll_, context.fd());
    uv_timer_init(&loop, &timer_);
    uv_prepare_init(&loop, &prepare_);
    uv_check_init(&loop, &check_);
    prepare_.data = check_.data = this;
    uv_poll_start(&poll_, UV_READABLE, [](uv_poll_t*, int, int) {});  // only wakes up the loop
    uv_prepare_start(&prepare_, [](uv_prepare_t* handle) { static_cast<Embedded*>(handle->data)->Prepare(); });
    uv_check_start(&check_, [](uv_check_t* handle) { static_cast<Embedded*>(handle->data)->context_.Dispatch(); });
  }
  ~Embedded() {
    for (uv_handle_t* handle : {reinterpret_cast<uv_handle_t*>(&poll_), reinterpret_cast<uv_handle_t*>(&timer_),
                                reinterpret_cast<uv_handle_t*>(&prepare_), reinterpret_cast<uv_handle_t*>(&check_)}) {
      uv_close(handle, nullptr);
    }
    uv_run(&loop_, UV_RUN_NOWAIT);  // libuv lets go of them in its next turn
  }

 private:
  // The loop is about to sleep: for no longer than the context would.
  void Prepare() {
    const Nanoseconds left = context_.Prepare();
    if (left < Nanoseconds::zero()) {
      uv_timer_stop(&timer_);
    } else {
      const auto milliseconds = std::chrono::ceil<std::chrono::milliseconds>(left).count();
      uv_timer_start(&timer_, [](uv_timer_t*) {}, static_cast<uint64_t>(milliseconds), 0);
    }
  }

  uv_loop_t& loop_;
  AioContext& context_;
  uv_poll_t poll_;
  uv_timer_t timer_;
  uv_prepare_t prepare_;
  uv_check_t check_;
};

class Nap final : public JobDriver {
  Co<absl::Status> Run(JobContext& job) override {
    constexpr int kNaps = 20;
    job.progress().SetRemaining(kNaps);
    for (int i = 0; i < kNaps; ++i) {
      const absl::Status slept = co_await job.Sleep(std::chrono::milliseconds(10));
      if (!slept.ok()) co_return slept;
      job.progress().Advance(1);
    }
    co_return absl::OkStatus();
  }
};

int main() {
  uv_loop_t* const loop = uv_default_loop();
  JobCore core;
  auto embedded = std::make_unique<Embedded>(*loop, core.main_context());
  monitor::EventObserver observer(core, core.main_context(), [loop](const EventPage& page) {
    for (const JobEvent& event : page.events) {
      std::printf("%s: %s\n", event.job_id.c_str(), ToString(event).c_str());
      if (event.status == JobStatus::kNull) uv_stop(loop);
    }
  });

  // The program's own business in the same loop: it pauses the job, and resumes it the next time.
  uv_timer_t own;
  uv_timer_init(loop, &own);
  own.data = &core;
  const auto pause_or_resume = [](uv_timer_t* timer) {
    auto& core = *static_cast<JobCore*>(timer->data);
    JobLock lock(core);
    Job* const job = monitor::Find(core, "nap");
    if (job == nullptr || monitor::Pause(*job).ok()) return;  // gone; or paused from now on
    monitor::Resume(*job).IgnoreError();
    uv_timer_stop(timer);
  };
  uv_timer_start(&own, pause_or_resume, 50, 50);

  {
    JobRef job = *CreateJob(core, {.id = "nap"}, std::make_unique<Nap>());  // its thread is this one
    if (!StartJob(*job).ok()) return 1;
  }
  uv_run(loop, UV_RUN_DEFAULT);

  uv_close(reinterpret_cast<uv_handle_t*>(&own), nullptr);
  embedded.reset();
  observer.Close();
  return uv_loop_close(loop);
}
