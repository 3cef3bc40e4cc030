// SPDX-License-Identifier: Apache-2.0
//
// Resource: a thing that requests are made of (a disk, a table, a device) and that sometimes has to stand still:
// to be copied consistently, to be replaced by another. What it is made of is not our business here.
//
//   producers   Admission in = co_await disk.Admit();            // parks while the disk is drained
//               co_await Write(…);                               // in flight until `in` ends
//   who drains  auto section = co_await DrainedSection::Open({&disk, &log}, {.name = "snapshot"});
//               if (!section.ok()) …                             // from here on, nothing is in flight there
//   jobs        CreateJob(core, {.id = "backup0", .resources = {&disk}}, …);   // paused by its drains
//
// "Drained" is a state of the resource, tested where requests enter, and no message to those producers that
// happen to be known: who turns up during a section is stopped as well. A request that waits to be admitted is
// not in flight; when the section ends, it is counted again before anybody else can look.
//
// Sections are counted: several may be open at a time, nested or overlapping, and a resource stands still until
// the last one ends. They say that nobody else makes requests, not that nobody else has a section.

#ifndef JOBCORE_JOB_DRIVER_RESOURCE_H_
#define JOBCORE_JOB_DRIVER_RESOURCE_H_

#include <atomic>
#include <concepts>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "job-common/aio_context.h"
#include "job-common/clock.h"
#include "job-common/coroutine.h"
#include "job-common/fwd.h"
#include "job-common/job_mutex.h"
#include "job-common/sync.h"

namespace jobcore::inline JOBCORE_ABI {

namespace internal {
struct Resumption;
struct Section;
}  // namespace internal

class Producer;

class Resource {
 public:
  // Any thread. `name` appears in pause reasons ("drain:<name>"), errors and dumps. `core` outlives it.
  Resource(JobCore& core, std::string name);
  // Aborts if a request is in flight or parked, a section is open, or a job that names it, or one of its group, has not
  // concluded.
  ~Resource() JOBCORE_EXCLUDES(job_mutex);
  Resource(const Resource&) = delete;
  Resource& operator=(const Resource&) = delete;

  JobCore& core() const { return core_; }
  const std::string& name() const { return name_; }

  class AdmitAwaiter;

  // For co_await, on a home thread: an Admission, at once and without a lock while nobody drains; otherwise when
  // the last section has ended. Requests of one context are admitted in the order in which they came.
  // A coroutine that is destroyed while it is parked here leaves no trace.
  [[nodiscard]] AdmitAwaiter Admit();
  // The same for a request that is made on behalf of another one, `parent`, of some other resource: it also
  // passes while both resources are being drained together, since the parent could not come to its end otherwise, and
  // once they are: then the parent is of somebody who has it drained. Of two sections over this that somebody has, the
  // one that is a part of the other comes first; two that overlap crosswise do not wait for each other.
  [[nodiscard]] AdmitAwaiter Admit(const Admission& parent);
  // The same for a request of `producer`, on behalf of `parent` if not null. The admission may be to another resource:
  // the one that he has been sent to meanwhile; or still to this one, if he has been sent elsewhere before this call.
  [[nodiscard]] AdmitAwaiter Admit(const Producer& producer, const Admission* parent);

  // Any thread; as of now.
  size_t in_flight() const { return static_cast<size_t>(word_.load(std::memory_order_acquire) / kOne); }
  // Somebody drains it, or has it drained.
  bool draining() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // A section over it has been granted: what is in flight, if anything, belongs to those who have one.
  bool drained() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  size_t parked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // Those that name it in JobSpec::resources and whose Run has not ended.
  std::vector<JobRef> jobs() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

 private:
  friend class Admission;
  friend class ResourceOps;  // src/job/resource.cc

  static constexpr uint64_t kClosed = 1;  // the way in is under job_mutex
  static constexpr uint64_t kOne = 2;     // one request in flight

  bool TryAdmit() {
    uint64_t word = word_.load(std::memory_order_relaxed);
    while ((word & kClosed) == 0)
      if (word_.compare_exchange_weak(word, word + kOne, std::memory_order_acq_rel, std::memory_order_relaxed))
        return true;
    return false;
  }
  void Finish() JOBCORE_EXCLUDES(job_mutex);

  // --- Constant after creation ---
  JobCore& core_;
  const std::shared_ptr<AioContext> main_;  // whose wait domain is kicked, perhaps after this has gone
  const std::string name_;
  const uint64_t number_;  // the order in which sections look at resources

  // --- Lock-free ---
  internal::Atomic<uint64_t> word_{0};  // requests in flight, and kClosed

  // --- Guarded by job_mutex ---
  size_t users_ ABSL_GUARDED_BY(job_mutex) = 0;    // jobs that name it and have not concluded
  size_t granted_ ABSL_GUARDED_BY(job_mutex) = 0;  // sections that have been granted
  std::vector<Job*> jobs_ ABSL_GUARDED_BY(job_mutex);
  std::vector<internal::Section*> sections_ ABSL_GUARDED_BY(job_mutex);        // opening or granted
  std::vector<AdmitAwaiter*> parked_ ABSL_GUARDED_BY(job_mutex);               // in the order in which they came
  std::vector<internal::Resumption*> resumptions_ ABSL_GUARDED_BY(job_mutex);  // one per context; none is empty
  // Where requests are parked that are made on behalf of those of this: once for each.
  std::vector<Resource*> parked_elsewhere_ ABSL_GUARDED_BY(job_mutex);
};

// A request in flight, for as long as it lives. Movable to any thread; not to be ended under job_mutex.
class [[nodiscard]] Admission {
 public:
  Admission() = default;  // none
  Admission(Admission&& other) noexcept
      : resource_(std::exchange(other.resource_, nullptr)), in_background_(other.in_background_) {}
  Admission& operator=(Admission&& other) noexcept JOBCORE_EXCLUDES(job_mutex) {
    if (this != &other) {
      End();
      resource_ = std::exchange(other.resource_, nullptr);
      in_background_ = other.in_background_;
    }
    return *this;
  }
  ~Admission() JOBCORE_EXCLUDES(job_mutex) { End(); }

  // The resource may be destroyed once this has been called.
  void End() JOBCORE_EXCLUDES(job_mutex) {
    if (resource_ != nullptr) std::exchange(resource_, nullptr)->Finish();
  }
  explicit operator bool() const { return resource_ != nullptr; }
  Resource* resource() const { return resource_; }
  // Made in the Run of a job (JobContext::Admit), or on behalf of such a request: no client waits for it.
  bool in_background() const { return in_background_; }
  // But clients do wait for this one, or may come to.
  void SetForeground() { in_background_ = false; }

 private:
  friend class Resource;
  friend class ResourceOps;
  explicit Admission(Resource& admitted_to, bool in_background = false)
      : resource_(&admitted_to), in_background_(in_background) {}
  Resource* resource_ = nullptr;
  bool in_background_ = false;
};

struct DrainOptions {
  std::string_view name = "unnamed section";  // who drains, for dumps and errors; copied
  // On the clock of the core's main context.
  TimePoint deadline = kNoDeadline;
};

// Some resources stand still: while this lives no request enters them, and those inside have finished; the jobs
// that name them in JobSpec::resources are parked with reason "drain:<resource>", have ended their Run, or have
// not begun it. (One that is force-cancelled meanwhile runs to its end, but JobContext::Admit refuses it.) Movable to
// any thread; destroying it under job_mutex is not allowed.
class [[nodiscard]] DrainedSection {
 public:
  DrainedSection();  // of nothing
  DrainedSection(DrainedSection&&) noexcept;
  DrainedSection& operator=(DrainedSection&&) noexcept JOBCORE_EXCLUDES(job_mutex);
  ~DrainedSection() JOBCORE_EXCLUDES(job_mutex);  // ends it

  // Closes all `resources` (of one core) in one step, then waits for all of them together, so that two who open
  // sections cannot wait for each other. Open everything that you need at once: whoever opens one section while
  // holding another may wait for a request that waits for him.
  //   DeadlineExceeded    and the resources are open again; the text names what was still in there
  //   InvalidArgument     resources of different cores, or a null one
  //   FailedPrecondition  in the Run of a job that has resources itself (it would wait for its own pause): name
  //                       them in JobSpec::still_at_end instead, or open the section from outside of the job
  [[nodiscard]] static Co<absl::StatusOr<DrainedSection>> Open(absl::Span<Resource* const> resources,
                                                               DrainOptions options = {}) JOBCORE_EXCLUDES(job_mutex);
  // The same for plain code, which blocks as AioWaitWhileUnlocked does. Not in BlockingDriver::RunBlocking of a job
  // that has one of these resources: it would wait for its own pause, and cannot be refused there.
  static absl::StatusOr<DrainedSection> OpenBlocking(absl::Span<Resource* const> resources, DrainOptions options = {})
      JOBCORE_EXCLUDES(job_mutex);

  // The resources go on: parked requests first, in order. Does not wait.
  void End() JOBCORE_EXCLUDES(job_mutex);
  explicit operator bool() const { return section_ != nullptr; }
  bool covers(const Resource& resource) const;
  // A request of the holder's own. `resource` must be covered (aborts).
  Admission Admit(Resource& resource) const;

 private:
  friend class ResourceOps;
  explicit DrainedSection(std::unique_ptr<internal::Section> section);
  std::unique_ptr<internal::Section> section_;
};

// Somebody who makes requests of one resource, and may be sent to another one, so that his requests, too, keep their
// order: those of one context are admitted in the order in which they came, wherever each of them found him.
class Producer {
 public:
  explicit Producer(Resource& resource) : resource_(&resource) {}
  Producer(const Producer&) = delete;
  Producer& operator=(const Producer&) = delete;

  // What he makes requests of from now on. Those of them that are parked go there with him, behind those that are
  // parked there already. Both resources are drained; both stay until this has returned, and the new one for as long as
  // he makes requests of it.
  void SendTo(Resource& resource) JOBCORE_EXCLUDES(job_mutex);

 private:
  friend class ResourceOps;
  Resource* resource_ ABSL_GUARDED_BY(job_mutex);
};

class [[nodiscard]] Resource::AdmitAwaiter {
 public:
  AdmitAwaiter(Resource& resource, Resource* parent, bool in_background, const Producer* producer = nullptr)
      : resource_(&resource), parent_(parent), producer_(producer), in_background_(in_background) {}
  AdmitAwaiter(const AdmitAwaiter&) = delete;
  AdmitAwaiter& operator=(const AdmitAwaiter&) = delete;
  ~AdmitAwaiter() JOBCORE_EXCLUDES(job_mutex);

  bool await_ready() { return admitted_ = resource_->TryAdmit(); }
  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> self) {
    return Park(CoHandle::Of(self));
  }
  Admission await_resume() {
    admitted_ = false;
    return Admission(*resource_, in_background_);
  }

 private:
  friend class ResourceOps;
  bool Park(CoHandle self);

  Resource* resource_;              // while it is parked: written under job_mutex
  Resource* const parent_;          // not null: of the request on whose behalf this is
  const Producer* const producer_;  // not null: he may be sent elsewhere while this is parked
  const bool in_background_;
  bool admitted_ = false;  // counted, and no Admission made of it yet
  bool parked_ = false;    // written under job_mutex
  // Written under job_mutex: what is going to resume this. Not a part of this, which may be destroyed meanwhile.
  internal::Resumption* resumption_ = nullptr;
  CoHandle waiter_;
  JobCore* core_ = nullptr;              // set with `context_`
  std::shared_ptr<AioContext> context_;  // of the coroutine; null: nothing of this is known to anybody
};

inline Resource::AdmitAwaiter Resource::Admit() { return AdmitAwaiter(*this, nullptr, /*in_background=*/false); }
inline Resource::AdmitAwaiter Resource::Admit(const Admission& parent) {
  return AdmitAwaiter(*this, parent.resource(), parent.in_background());
}
inline Resource::AdmitAwaiter Resource::Admit(const Producer& producer, const Admission* parent) {
  if (parent == nullptr) return AdmitAwaiter(*this, nullptr, /*in_background=*/false, &producer);
  return AdmitAwaiter(*this, parent->resource(), parent->in_background(), &producer);
}

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_JOB_DRIVER_RESOURCE_H_
