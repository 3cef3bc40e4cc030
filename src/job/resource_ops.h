// SPDX-License-Identifier: Apache-2.0
//
// Resources and sections from inside; the public headers are thin doors to it.

#ifndef JOBCORE_SRC_JOB_RESOURCE_OPS_H_
#define JOBCORE_SRC_JOB_RESOURCE_OPS_H_

#include <deque>
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
  Section(std::string n, JobCore& c, std::vector<Resource*> r, TimePoint t)
      : name(std::move(n)), core(c), resources(std::move(r)), since(t) {}

  const std::string name;
  JobCore& core;
  const std::vector<Resource*> resources;  // each once, by number
  const TimePoint since;
  bool open = false;     // guarded by job_mutex: in the lists of its resources
  bool granted = false;  // guarded by job_mutex
};

// Requests of one context that have been admitted after they were parked, on their way to go on, in the order in which
// they came. Belongs to the queue of the context; the resource knows it while it is not empty.
struct Resumption final : WorkItem {
  Resumption(Function function, Resource& r, std::shared_ptr<AioContext> c)
      : WorkItem("requests that were parked", function), resource(&r), context(std::move(c)) {}

  Resource* resource;  // null once it is empty: emptied by the context's home thread, filled under job_mutex
  const std::shared_ptr<AioContext> context;
  std::deque<Resource::AdmitAwaiter*> requests;  // guarded by job_mutex
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
  // For dumps: adds those of a page of resources that are being drained, from number `after` on; returns where the
  // next page begins, UINT64_MAX at the end.
  static uint64_t ObservePage(JobCore& core, uint64_t after, std::vector<monitor::ResourceState>& out)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static std::optional<monitor::ResourceState> Observe(const Resource& resource, TimePoint now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

  // --- Jobs ---
  static void AddUser(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void RemoveUser(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void Attach(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void Detach(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // A request that is counted, whatever the sections say.
  static Admission Count(Resource& resource, bool in_background = false) {
    CountIn(resource);
    return Admission(resource, in_background);
  }
  static bool TryAdmit(Resource& resource) { return resource.TryAdmit(); }
  static Admission AdoptInBackground(Resource& resource) { return Admission(resource, /*in_background=*/true); }

  // --- Requests ---
  static bool Park(Resource::AdmitAwaiter& request) JOBCORE_EXCLUDES(job_mutex);
  static void Forget(Resource::AdmitAwaiter& request) JOBCORE_EXCLUDES(job_mutex);
  static void Send(Producer& producer, Resource& to) JOBCORE_EXCLUDES(job_mutex);

 private:
  static void NoteCaller(JobCore& core) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void CountIn(Resource& resource) { resource.word_.fetch_add(Resource::kOne, std::memory_order_acq_rel); }
  static bool IsStill(const internal::Section& section) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static bool TryGrant(internal::Section& section) JOBCORE_EXCLUDES(job_mutex);
  static absl::Status WhyNot(const internal::Section& section, const absl::Status& waited) JOBCORE_EXCLUDES(job_mutex);
  static bool MayEnter(const Resource& resource, const Resource* parent) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void ParkAt(Resource& resource, Resource::AdmitAwaiter& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void HasLeft(Resource& resource, const Resource::AdmitAwaiter& request)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void ReleaseParked(Resource& resource) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void ReleaseParkedBy(Resource& resource) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static internal::Resumption* FindResumption(const Resource& resource, const AioContext& context)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void ResumeLater(Resource::AdmitAwaiter& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void TakeOut(Resource::AdmitAwaiter& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void ResumeAll(WorkItem& item, WorkItem::Reason reason) JOBCORE_EXCLUDES(job_mutex);
  static void OpenFastPathIfUnused(Resource& resource) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
};

// The pause reasons of resources: this, and the resource's name.
inline constexpr std::string_view kDrainPrefix = "drain:";
std::string DrainReason(const Resource& resource);

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_SRC_JOB_RESOURCE_OPS_H_
