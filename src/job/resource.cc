// SPDX-License-Identifier: Apache-2.0
//
// Resources. While a section is open, or a request that was parked has not gone on yet, the way in is under
// job_mutex (kClosed); otherwise it is one compare-and-swap.

#include "job-driver/resource.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "aio/check.h"
#include "aio/coroutine_internal.h"
#include "job-common/aio_wait.h"
#include "job-common/job_core.h"
#include "job/job_ops.h"
#include "job/resource_ops.h"

namespace jobcore::inline JOBCORE_ABI {
namespace {

std::atomic<uint64_t> next_resource{1};  // only for an order: nobody reads anything by it

}  // namespace

std::string DrainReason(const Resource& resource) { return absl::StrCat(Absl(kDrainPrefix), resource.name()); }

// --- Resource ---

Resource::Resource(JobCore& core, std::string name)
    : core_(core),
      main_(core.main_context().shared_from_this()),
      name_(std::move(name)),
      number_(next_resource.fetch_add(1, std::memory_order_relaxed)) {
  JobLock lock(core_);
  ResourceOps::All(core_).push_back(this);
}

Resource::~Resource() {
  JobLock lock(core_);
  const char* const why = !sections_.empty() ? "a section over it is open"
                          : !parked_.empty() ? "requests wait to be admitted"
                          : in_flight() != 0 ? "requests are in flight"
                          : users_ != 0      ? "a group with a job that names it has not concluded"
                                             : nullptr;
  if (why != nullptr) internal::Die(absl::StrCat("Resource '", name_, "' destroyed while ", why));
  std::erase(ResourceOps::All(core_), this);
}

bool Resource::draining() const {
  core_.mutex().AssertHeld("Resource::draining");
  return !sections_.empty();
}

size_t Resource::parked() const {
  core_.mutex().AssertHeld("Resource::parked");
  return parked_.size();
}

void Resource::Finish() {
  uint64_t word = word_.load(std::memory_order_acquire);
  for (;;) {
    // Once the request has been taken off, whoever waits for that may destroy this.
    const std::shared_ptr<AioContext> main = (word & kClosed) != 0 ? main_ : nullptr;
    if (!word_.compare_exchange_weak(word, word - kOne, std::memory_order_seq_cst, std::memory_order_acquire)) continue;
    if (main != nullptr && (word - kOne) < kOne) main->wait_domain().Kick();
    return;
  }
}

// --- Requests ---

Co<absl::StatusOr<DrainedSection>> ResourceOps::Refuse(absl::Status status) { co_return status; }

bool ResourceOps::MayEnter(const Resource& resource, const Resource* parent) {
  if (resource.sections_.empty()) return true;
  if (parent == nullptr || resource.granted_ != 0) return false;
  // All sections here wait; one of them for the parent as well.
  return std::any_of(parent->sections_.begin(), parent->sections_.end(), [&](const internal::Section* section) {
    return std::find(section->resources.begin(), section->resources.end(), &resource) != section->resources.end();
  });
}

bool ResourceOps::Park(Resource::AdmitAwaiter& awaiter, CoHandle waiter) {
  Resource& resource = awaiter.resource_;
  const std::shared_ptr<AioContext> context = AioContext::Current()->shared_from_this();
  auto request = std::make_unique<internal::ParkedRequest>(resource, awaiter.parent_, waiter, context, &GoOn);
  request->awaiter = &awaiter;

  JobLock lock(resource.core_);
  if (MayEnter(resource, awaiter.parent_)) {
    if (resource.resuming_ == 0) {
      CountIn(resource);
      return false;
    }
    waiter.SuspendIn("admission behind others");
    LetGoOn(*request);  // behind those of the same context that were parked, and have not gone on yet
  } else {
    waiter.SuspendIn("admission to a drained resource");
    resource.parked_.push_back(request.get());
    JobOps::NoteContext(resource.core_, context);
  }
  awaiter.parked_ = request.release();
  return true;
}

// Counted here, not when it goes on: a section that is opened in between must see it.
void ResourceOps::LetGoOn(internal::ParkedRequest& request) {
  Resource& resource = *request.resource;
  CountIn(resource);
  request.admitted = true;
  ++resource.resuming_;
  JobOps::Defer(resource.core_, request.context, request);
}

void ResourceOps::ReleaseParked(Resource& resource) {
  std::erase_if(resource.parked_, [&](internal::ParkedRequest* request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) {
    if (!MayEnter(resource, request->parent)) return false;
    LetGoOn(*request);
    return true;
  });
}

void ResourceOps::OpenFastPathIfUnused(Resource& resource) {
  if (!resource.sections_.empty() || resource.resuming_ != 0) return;
  resource.word_.fetch_and(~Resource::kClosed, std::memory_order_acq_rel);
}

void ResourceOps::CountOff(Resource& resource) {
  --resource.resuming_;
  OpenFastPathIfUnused(resource);
}

// In its own context; or, when that has gone, anywhere.
void ResourceOps::GoOn(WorkItem& item, WorkItem::Reason reason) {
  const std::unique_ptr<internal::ParkedRequest> request(static_cast<internal::ParkedRequest*>(&item));
  Resource* const resource = request->resource;
  if (resource == nullptr) return;
  {
    JobLock lock(resource->core_);
    CountOff(*resource);
  }
  request->awaiter->parked_ = nullptr;
  if (reason == WorkItem::Reason::kRun) {
    request->waiter.Resume();
  } else {
    Admission(*resource).End();  // it will never run
  }
}

void ResourceOps::Forget(internal::ParkedRequest& request) {
  Resource& resource = *request.resource;
  std::unique_ptr<internal::ParkedRequest> parked;
  {
    JobLock lock(resource.core_);
    if (!request.admitted) {
      std::erase(resource.parked_, &request);
      parked.reset(&request);  // nobody else knows it
      return;
    }
    CountOff(resource);
    request.resource = nullptr;  // GoOn deletes it
  }
  Admission(resource).End();
}

bool Resource::AdmitAwaiter::Park(CoHandle self) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  if (AioContext::Current() == nullptr) {
    internal::Die(absl::StrCat("Resource '", resource_.name_, "': Admit on a thread that is home of no context"));
  }
  return ResourceOps::Park(*this, self);
}

void Resource::AdmitAwaiter::Forget() { ResourceOps::Forget(*parked_); }

// --- Sections ---

absl::StatusOr<std::unique_ptr<internal::Section>> ResourceOps::Make(absl::Span<Resource* const> resources,
                                                                     const DrainOptions& options) {
  const auto refuse = [&](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat("section '", Absl(options.name), "': ", why));
  };
  std::vector<Resource*> sorted(resources.begin(), resources.end());
  if (sorted.empty()) return refuse("no resources");
  for (const Resource* resource : sorted) {
    if (resource == nullptr) return refuse("a resource is null");
    if (&resource->core_ != &sorted.front()->core_) return refuse("its resources belong to different cores");
  }
  std::sort(sorted.begin(), sorted.end(), [](const Resource* a, const Resource* b) { return a->number_ < b->number_; });
  sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
  JobCore& core = sorted.front()->core_;
  return std::unique_ptr<internal::Section>(new internal::Section{.name = std::string(options.name),
                                                                  .core = core,
                                                                  .resources = std::move(sorted),
                                                                  .since = core.main_context().clock().Now()});
}

void ResourceOps::Close(internal::Section& section) {
  JobLock lock(section.core);
  section.open = true;
  for (Resource* resource : section.resources) {
    resource->word_.fetch_or(Resource::kClosed, std::memory_order_seq_cst);
    resource->sections_.push_back(&section);
    if (resource->sections_.size() > 1) continue;
    for (Job* job : resource->jobs_) JobOps::AddReason(*job, DrainReason(*resource));
  }
  // Requests that are parked by another section that waits too, and on behalf of which this one waits.
  for (Resource* resource : section.resources) ReleaseParked(*resource);
  JobOps::NoteChange(section.core);
}

void ResourceOps::Reopen(internal::Section& section) {
  JobLock lock(section.core);
  if (!std::exchange(section.open, false)) return;
  for (Resource* resource : section.resources) {
    std::erase(resource->sections_, &section);
    if (section.granted) --resource->granted_;
  }
  for (Resource* resource : section.resources) {
    ReleaseParked(*resource);
    if (!resource->sections_.empty()) continue;
    const std::string reason = DrainReason(*resource);
    for (Job* job : resource->jobs_) {
      // Another resource of the job may have the same name.
      const bool still = std::any_of(job->resources_.begin(), job->resources_.end(),
                                     [&](const Resource* other) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) {
                                       return !other->sections_.empty() && other->name_ == resource->name_;
                                     });
      if (!still) JobOps::RemoveReason(*job, reason);
    }
    OpenFastPathIfUnused(*resource);
  }
  JobOps::NoteChange(section.core);
}

bool ResourceOps::IsStill(const internal::Section& section) {
  return std::all_of(section.resources.begin(), section.resources.end(),
                     [](const Resource* resource) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) {
                       return resource->in_flight() == 0 &&
                              std::all_of(resource->jobs_.begin(), resource->jobs_.end(), &JobOps::IsQuiet);
                     });
}

std::string ResourceOps::WaitsFor(const internal::Section& section) {
  std::string text;
  const auto add = [&](auto... parts) { absl::StrAppend(&text, text.empty() ? "" : "; ", parts...); };
  for (const Resource* resource : section.resources) {
    if (const size_t n = resource->in_flight(); n != 0) {
      add("resource '", resource->name_, "' has ", n, n == 1 ? " request in flight" : " requests in flight");
    }
    for (const Job* job : resource->jobs_) {
      if (JobOps::IsQuiet(job)) continue;
      add("job '", job->id(), "' in state '", Absl(JobStatusName(job->status())), "' has not parked");
    }
  }
  return text;
}

std::optional<monitor::ResourceState> ResourceOps::Observe(const Resource& resource, TimePoint now) {
  if (resource.sections_.empty()) return std::nullopt;
  monitor::ResourceState state{
      .name = resource.name_, .in_flight = resource.in_flight(), .parked = resource.parked_.size()};
  for (const internal::Section* section : resource.sections_) {
    state.sections.push_back({.name = section->name,
                              .lasted = std::max(now - section->since, Nanoseconds(0)),
                              .granted = section->granted,
                              .held_by = section->granted ? "" : WaitsFor(*section)});
  }
  return state;
}

bool ResourceOps::TryGrant(internal::Section& section) {
  JobLock lock(section.core);
  if (!IsStill(section)) return false;
  section.granted = true;
  for (Resource* resource : section.resources) ++resource->granted_;
  return true;
}

absl::Status ResourceOps::WhyNot(const internal::Section& section, const absl::Status& waited) {
  if (!absl::IsDeadlineExceeded(waited)) return waited;
  JobLock lock(section.core);
  return absl::DeadlineExceededError(
      absl::StrCat("section '", section.name, "' was not reached by its deadline: ", WaitsFor(section)));
}

Co<absl::StatusOr<DrainedSection>> ResourceOps::Open(std::unique_ptr<internal::Section> section, TimePoint deadline,
                                                     absl::AnyInvocable<bool()> give_up) {
  internal::Section& s = *section;
  const CoRoot* const chain = co_await internal::ThisRoot();
  if (const Job* job = JobOps::JobOf(*chain); job != nullptr && !job->resources_.empty()) {
    co_return absl::FailedPreconditionError(absl::StrCat(
        "section '", s.name, "' opened by the Run of job '", job->id(),
        "', which has resources itself, so that it may wait for its own pause; use JobSpec::still_at_end"));
  }
  DrainedSection result(std::move(section));  // ends it on every way out
  Close(s);
  const auto must_wait = [&]() JOBCORE_EXCLUDES(job_mutex) {
    if (give_up()) return false;
    JobLock lock(s.core);
    return !IsStill(s);
  };
  do {  // again, if a job has come between the wait and the grant
    const absl::Status waited = co_await AioWaitWhile(s.core, must_wait, {.name = s.name, .deadline = deadline});
    if (!waited.ok()) co_return WhyNot(s, waited);
    if (give_up()) co_return absl::AbortedError(absl::StrCat("section '", s.name, "' was given up"));
  } while (!TryGrant(s));
  co_return std::move(result);
}

absl::StatusOr<DrainedSection> ResourceOps::OpenBlocking(std::unique_ptr<internal::Section> section,
                                                         TimePoint deadline) {
  internal::Section& s = *section;
  if (absl::Status refusal = CheckMayWait(s.core.main_context(), s.name); !refusal.ok()) return refusal;
  DrainedSection result(std::move(section));
  Close(s);
  const auto must_wait = [&]() JOBCORE_EXCLUDES(job_mutex) {
    JobLock lock(s.core);
    return !IsStill(s);
  };
  do {
    const absl::Status waited = AioWaitWhileUnlocked(s.core, must_wait, {.name = s.name, .deadline = deadline});
    if (!waited.ok()) return WhyNot(s, waited);
  } while (!TryGrant(s));
  return result;
}

// --- DrainedSection ---

DrainedSection::DrainedSection() = default;
DrainedSection::DrainedSection(std::unique_ptr<internal::Section> section) : section_(std::move(section)) {}
DrainedSection::DrainedSection(DrainedSection&&) noexcept = default;
DrainedSection::~DrainedSection() { End(); }

DrainedSection& DrainedSection::operator=(DrainedSection&& other) noexcept {
  if (this != &other) {
    End();
    section_ = std::move(other.section_);
  }
  return *this;
}

void DrainedSection::End() {
  if (section_ == nullptr) return;
  ResourceOps::Reopen(*section_);
  section_.reset();
}

bool DrainedSection::covers(const Resource& resource) const {
  return section_ != nullptr &&
         std::find(section_->resources.begin(), section_->resources.end(), &resource) != section_->resources.end();
}

Admission DrainedSection::Admit(Resource& resource) const {
  if (!covers(resource)) {
    internal::Die(absl::StrCat("DrainedSection::Admit: the section does not cover resource '", resource.name(), "'"));
  }
  return ResourceOps::Count(resource);
}

Co<absl::StatusOr<DrainedSection>> DrainedSection::Open(absl::Span<Resource* const> resources, DrainOptions options) {
  absl::StatusOr<std::unique_ptr<internal::Section>> section = ResourceOps::Make(resources, options);
  if (!section.ok()) return ResourceOps::Refuse(section.status());
  return ResourceOps::Open(*std::move(section), options.deadline, [] { return false; });
}

absl::StatusOr<DrainedSection> DrainedSection::OpenBlocking(absl::Span<Resource* const> resources,
                                                            DrainOptions options) {
  absl::StatusOr<std::unique_ptr<internal::Section>> section = ResourceOps::Make(resources, options);
  if (!section.ok()) return section.status();
  return ResourceOps::OpenBlocking(*std::move(section), options.deadline);
}

// --- Jobs ---

void ResourceOps::AddUser(Job& job) {
  for (Resource* resource : job.resources_) ++resource->users_;
  for (Resource* resource : job.still_at_end_) ++resource->users_;
}

void ResourceOps::RemoveUser(Job& job) {
  for (Resource* resource : job.resources_) --resource->users_;
  for (Resource* resource : job.still_at_end_) --resource->users_;
}

void ResourceOps::Attach(Job& job) {
  for (Resource* resource : job.resources_) {
    resource->jobs_.push_back(&job);
    if (!resource->sections_.empty()) JobOps::AddReason(job, DrainReason(*resource));
  }
}

void ResourceOps::Detach(Job& job) {
  for (Resource* resource : job.resources_) std::erase(resource->jobs_, &job);
}

absl::StatusOr<Admission> JobContext::Admit(Resource& resource) { return JobOps::Admit(job_, resource); }

absl::StatusOr<Admission> JobOps::Admit(Job& job, Resource& resource) {
  const auto refuse = [&](absl::string_view why) {
    return absl::FailedPreconditionError(
        absl::StrCat("Job '", job.id_, "' cannot make a request of resource '", resource.name(), "': ", why));
  };
  const auto names = [&](const std::vector<Resource*>& list) {
    return std::find(list.begin(), list.end(), &resource) != list.end();
  };
  if (job.word_.activity() == JobWord::Activity::kDone) {
    // Whether it is before Prepare or after Clean is seen by whether the section is open.
    JobLock lock(job.core_);
    if (!names(job.still_at_end_) || !job.txn_->section_open_) {
      return refuse("after its Run, it can do so from Prepare to Clean, if it is named in JobSpec::still_at_end");
    }
    return ResourceOps::Count(resource);
  }
  if (!names(job.resources_)) return refuse("it is not named in JobSpec::resources");
  if (ResourceOps::TryAdmit(resource)) return ResourceOps::Adopt(resource);
  JobLock lock(job.core_);
  if (job.word_.force_cancelled()) {
    return absl::CancelledError(
        absl::StrCat("Job '", job.id_, "' was cancelled while resource '", resource.name(), "' was being drained"));
  }
  if (IsQuiet(&job)) return refuse("it is paused; what runs beside Run has to come to an end in the Pause hook");
  return ResourceOps::Count(resource);
}

}  // namespace jobcore::inline JOBCORE_ABI
