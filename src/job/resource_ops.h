// SPDX-License-Identifier: Apache-2.0
//
// Resources and sections from inside; the public headers are thin doors to it.

#ifndef JOBCORE_SRC_JOB_RESOURCE_OPS_H_
#define JOBCORE_SRC_JOB_RESOURCE_OPS_H_

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "job-common/coroutine.h"
#include "job-common/job.h"
#include "job-common/job_core.h"
#include "job-common/job_mutex.h"
#include "job-driver/resource.h"
#include "job-monitor/wait_dump.h"

namespace jobcore::inline JOBCORE_ABI {

namespace internal {

struct Section {
  const std::string name;
  JobCore& core;
  const std::vector<Resource*> resources;  // each once, by number
  const TimePoint since;
  bool open = false;     // guarded by job_mutex: in the lists of its resources
  bool granted = false;  // guarded by job_mutex
};

// A request that waits to be admitted, and then for its turn. On the heap, because it may be in the queue of its
// context when the coroutine that waits is destroyed.
struct ParkedRequest final : WorkItem {
  ParkedRequest(Resource& r, const Resource* p, CoHandle w, std::shared_ptr<AioContext> c, Function function)
      : WorkItem("request that was parked", function), resource(&r), parent(p), waiter(w), context(std::move(c)) {}

  Resource* resource;  // null: nobody waits any more
  const Resource* const parent;
  const CoHandle waiter;
  const std::shared_ptr<AioContext> context;
  Resource::AdmitAwaiter* awaiter = nullptr;
  bool admitted = false;  // guarded by job_mutex: it is counted, and in the queue of its context
};

}  // namespace internal

class ResourceOps {
 public:
  // --- Sections ---
  static absl::StatusOr<std::unique_ptr<internal::Section>> Make(absl::Span<Resource* const> resources,
                                                                 const DrainOptions& options);
  static Co<absl::StatusOr<DrainedSection>> Refuse(absl::Status status);
  // Aborted as soon as `give_up` says so.
  static Co<absl::StatusOr<DrainedSection>> Open(std::unique_ptr<internal::Section> section, TimePoint deadline,
                                                 absl::AnyInvocable<bool()> give_up) JOBCORE_EXCLUDES(job_mutex);
  static absl::StatusOr<DrainedSection> OpenBlocking(std::unique_ptr<internal::Section> section, TimePoint deadline)
      JOBCORE_EXCLUDES(job_mutex);
  static void Close(internal::Section& section) JOBCORE_EXCLUDES(job_mutex);
  static void Reopen(internal::Section& section) JOBCORE_EXCLUDES(job_mutex);
  // What a section that has not been granted waits for; empty: nothing.
  static std::string WaitsFor(const internal::Section& section) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static std::vector<Resource*>& All(JobCore& core) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) { return core.resources_; }
  // For dumps; nothing if nobody drains it.
  static std::optional<monitor::ResourceState> Observe(const Resource& resource, TimePoint now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

  // --- Jobs ---
  static void AddUser(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void RemoveUser(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void Attach(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void Detach(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // A request that is counted, whatever the sections say.
  static Admission Count(Resource& resource) {
    CountIn(resource);
    return Admission(resource);
  }
  static bool Granted(const Resource& resource) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) {
    return resource.granted_ != 0;
  }
  static bool TryAdmit(Resource& resource) { return resource.TryAdmit(); }
  static Admission Adopt(Resource& resource) { return Admission(resource); }

  // --- Requests ---
  // False: admitted at once.
  static bool Park(Resource::AdmitAwaiter& awaiter, CoHandle waiter) JOBCORE_EXCLUDES(job_mutex);
  // Whoever waited is being destroyed.
  static void Forget(internal::ParkedRequest& request) JOBCORE_EXCLUDES(job_mutex);

 private:
  static void CountIn(Resource& resource) { resource.word_.fetch_add(Resource::kOne, std::memory_order_acq_rel); }
  static bool IsStill(const internal::Section& section) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static bool TryGrant(internal::Section& section) JOBCORE_EXCLUDES(job_mutex);
  static absl::Status WhyNot(const internal::Section& section, const absl::Status& waited) JOBCORE_EXCLUDES(job_mutex);
  static bool MayEnter(const Resource& resource, const Resource* parent) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void LetGoOn(internal::ParkedRequest& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void GoOn(WorkItem& item, WorkItem::Reason reason) JOBCORE_EXCLUDES(job_mutex);
  static void CountOff(Resource& resource) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void ReleaseParked(Resource& resource) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void OpenFastPathIfUnused(Resource& resource) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
};

// The pause reasons of resources: this, and the resource's name.
inline constexpr std::string_view kDrainPrefix = "drain:";
std::string DrainReason(const Resource& resource);

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_SRC_JOB_RESOURCE_OPS_H_
