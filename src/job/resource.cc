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
#include "aio/probe.h"
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
  std::vector<Resource*>& all = ResourceOps::All(core_);
  const auto by_number = [](const Resource* a, const Resource* b) { return a->number_ < b->number_; };
  all.insert(std::upper_bound(all.begin(), all.end(), this, by_number), this);
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

bool Resource::drained() const {
  core_.mutex().AssertHeld("Resource::drained");
  return granted_ != 0;
}

size_t Resource::parked() const {
  core_.mutex().AssertHeld("Resource::parked");
  return parked_.size();
}

std::vector<JobRef> Resource::jobs() const {
  core_.mutex().AssertHeld("Resource::jobs");
  std::vector<JobRef> jobs;
  jobs.reserve(jobs_.size());
  for (Job* job : jobs_) jobs.emplace_back(*job);
  return jobs;
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
  if (parent == nullptr) return false;
  const auto covers = [](const internal::Section* section, const Resource* what) {
    return std::find(section->resources.begin(), section->resources.end(), what) != section->resources.end();
  };
  const auto covers_parent = [&](const internal::Section* section) { return covers(section, parent); };
  // Those who have the parent drained have this drained, too: the request is of one of them. It waits for who has a
  // part of what they have. Who has this and other things besides may be waiting for them in the same way, somewhere
  // else, so one of the two must not wait, and both have to reckon with each other.
  const auto goes_before_others = [&](const internal::Section* holders) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) {
    if (!holders->granted) return true;
    return covers(holders, &resource) &&
           std::none_of(resource.sections_.begin(), resource.sections_.end(),
                        [&](const internal::Section* other) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) {
                          return other->granted && !covers_parent(other) &&
                                 std::all_of(other->resources.begin(), other->resources.end(),
                                             [&](const Resource* r) { return covers(holders, r); });
                        });
  };
  if (parent->granted_ != 0 && std::all_of(parent->sections_.begin(), parent->sections_.end(), goes_before_others)) {
    internal::Reached("resource.holder_gets_through");
    return true;
  }
  // A section here waits for the parent as well, or has been granted: then the parent is of one who has a section
  // himself. Those who have this drained have that drained, too, and so expect what comes of it.
  return std::any_of(resource.sections_.begin(), resource.sections_.end(), covers_parent) &&
         std::all_of(resource.sections_.begin(), resource.sections_.end(),
                     [&](const internal::Section* section) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) {
                       return !section->granted || covers_parent(section);
                     });
}

bool ResourceOps::Park(Resource::AdmitAwaiter& request) {
  JobLock lock(*request.core_);
  // Where the producer has been sent: what he asks for from now on must not come before this.
  if (request.producer_ != nullptr) request.resource_ = request.producer_->resource_;
  Resource& resource = *request.resource_;
  if (!MayEnter(resource, request.parent_)) {
    request.parked_ = true;
    internal::Reached("resource.request_parked");
    request.waiter_.SuspendIn("admission to a drained resource");
    ParkAt(resource, request);
    JobOps::NoteContext(resource.core_, request.context_);
    return true;
  }
  CountIn(resource);
  request.admitted_ = true;
  // Behind those of the same context that were parked, and have not gone on yet.
  if (FindResumption(resource, *request.context_) == nullptr) {
    request.context_ = nullptr;  // there is nothing to forget
    return false;
  }
  internal::Reached("resource.request_behind_others");
  request.waiter_.SuspendIn("admission behind others");
  ResumeLater(request);
  return true;
}

void ResourceOps::ParkAt(Resource& resource, Resource::AdmitAwaiter& request) {
  request.resource_ = &resource;
  resource.parked_.push_back(&request);
  if (request.parent_ != nullptr) request.parent_->parked_elsewhere_.push_back(&resource);
}

// The request is parked there no more.
void ResourceOps::HasLeft(Resource& resource, const Resource::AdmitAwaiter& request) {
  if (request.parent_ == nullptr) return;
  std::vector<Resource*>& elsewhere = request.parent_->parked_elsewhere_;
  elsewhere.erase(std::find(elsewhere.begin(), elsewhere.end(), &resource));
}

void ResourceOps::Send(Producer& producer, Resource& to) {
  JobLock lock(to.core_);
  Resource& from = *std::exchange(producer.resource_, &to);
  if (&from == &to) return;
  std::erase_if(from.parked_, [&](Resource::AdmitAwaiter* request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) {
    if (request->producer_ != &producer) return false;
    internal::Reached("resource.parked_request_sent_elsewhere");
    HasLeft(from, *request);
    ParkAt(to, *request);
    return true;
  });
  ReleaseParked(to);  // on behalf of somebody who may enter here
}

void Producer::SendTo(Resource& resource) { ResourceOps::Send(*this, resource); }

void ResourceOps::ReleaseParked(Resource& resource) {
  std::erase_if(resource.parked_, [&](Resource::AdmitAwaiter* request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) {
    if (!MayEnter(resource, request->parent_)) return false;
    // Counted here, not when it goes on: a section that is opened in between must see it.
    internal::Reached("resource.counted_at_section_end");
    CountIn(resource);
    request->admitted_ = true;
    request->parked_ = false;
    HasLeft(resource, *request);
    ResumeLater(*request);
    return true;
  });
}

// Sections over the resource have changed: for those who wait for it, and those that wait elsewhere on behalf of its
// requests, who may enter there now.
void ResourceOps::ReleaseParkedBy(Resource& resource) {
  ReleaseParked(resource);
  std::vector<Resource*> elsewhere = resource.parked_elsewhere_;
  std::sort(elsewhere.begin(), elsewhere.end());
  elsewhere.erase(std::unique(elsewhere.begin(), elsewhere.end()), elsewhere.end());
  for (Resource* other : elsewhere) ReleaseParked(*other);
}

void ResourceOps::OpenFastPathIfUnused(Resource& resource) {
  if (!resource.sections_.empty() || !resource.resumptions_.empty()) return;
  resource.word_.fetch_and(~Resource::kClosed, std::memory_order_acq_rel);
}

internal::Resumption* ResourceOps::FindResumption(const Resource& resource, const AioContext& context) {
  for (internal::Resumption* resumption : resource.resumptions_) {
    if (resumption->context.get() == &context) return resumption;
  }
  return nullptr;
}

// One item for all requests of a context: it may be posted from several threads, and only so do they keep their order.
void ResourceOps::ResumeLater(Resource::AdmitAwaiter& request) {
  Resource& resource = *request.resource_;
  internal::Resumption* resumption = FindResumption(resource, *request.context_);
  if (resumption == nullptr) {
    resumption = new internal::Resumption(&ResumeAll, resource, request.context_);  // deletes itself
    resource.resumptions_.push_back(resumption);
    JobOps::Defer(resource.core_, *request.context_, *resumption);
  }
  resumption->requests.push_back(&request);
  request.resumption_ = resumption;
}

// It goes on, or never will.
void ResourceOps::TakeOut(Resource::AdmitAwaiter& request) {
  internal::Resumption& resumption = *std::exchange(request.resumption_, nullptr);
  if (resumption.requests.front() == &request) {
    resumption.requests.pop_front();
  } else {
    std::erase(resumption.requests, &request);
  }
  if (!resumption.requests.empty()) return;
  std::erase(request.resource_->resumptions_, &resumption);
  OpenFastPathIfUnused(*request.resource_);
  resumption.resource = nullptr;
}

void ResourceOps::ResumeAll(WorkItem& item, WorkItem::Reason reason) {
  std::unique_ptr<internal::Resumption> self(static_cast<internal::Resumption*>(&item));
  // As many as there are now: those that line up behind them meanwhile wait for the next turn.
  for (size_t n = 0, limit = 1; n < limit && self->resource != nullptr; ++n) {
    Resource& resource = *self->resource;  // it lives while one of these is counted
    CoHandle waiter;
    {
      JobLock lock(resource.core_);
      if (n == 0) limit = self->requests.size();
      Resource::AdmitAwaiter& request = *self->requests.front();
      TakeOut(request);
      waiter = request.waiter_;
      request.context_ = nullptr;
      if (reason == WorkItem::Reason::kDrop) request.admitted_ = false;
    }
    if (reason == WorkItem::Reason::kRun) {
      waiter.Resume();
    } else {
      Admission(resource).End();  // its context has gone: it will never run
    }
  }
  if (self->resource == nullptr) return;
  const std::shared_ptr<AioContext> context = self->context;
  context->Post(*self.release());
}

void ResourceOps::Forget(Resource::AdmitAwaiter& request) {
  {
    JobLock lock(*request.core_);
    if (std::exchange(request.parked_, false)) {
      std::erase(request.resource_->parked_, &request);
      HasLeft(*request.resource_, request);
    }
    if (request.resumption_ != nullptr) TakeOut(request);
  }
  if (request.admitted_) Admission(*request.resource_).End();  // counted, and then nobody took it
}

Resource::AdmitAwaiter::~AdmitAwaiter() {
  if (context_ != nullptr) ResourceOps::Forget(*this);
}

// Called from await_suspend, where clang cannot follow the negative capability: see ParkAwaiter in gate.cc.
bool Resource::AdmitAwaiter::Park(CoHandle self) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  AioContext* const home = AioContext::Current();
  if (home == nullptr) {
    internal::Die(absl::StrCat("Resource '", resource_->name_, "': Admit on a thread that is home of no context"));
  }
  core_ = &resource_->core_;
  context_ = home->shared_from_this();
  waiter_ = self;
  return ResourceOps::Park(*this);
}

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
  return std::make_unique<internal::Section>(std::string(options.name), core, std::move(sorted),
                                             core.main_context().clock().Now());
}

// ~JobCore waits until nobody who has been here is still about to kick.
void ResourceOps::NoteCaller(JobCore& core) {
  if (AioContext* const here = AioContext::Current()) JobOps::NoteContext(core, here->shared_from_this());
}

void ResourceOps::Close(internal::Section& section) {
  JobLock lock(section.core);
  NoteCaller(section.core);
  section.open = true;
  for (Resource* resource : section.resources) {
    resource->word_.fetch_or(Resource::kClosed, std::memory_order_seq_cst);
    resource->sections_.push_back(&section);
    if (resource->sections_.size() > 1) continue;
    for (Job* job : resource->jobs_) JobOps::AddReason(*job, DrainReason(*resource));
  }
  // Requests that are parked by another section that waits too, and on behalf of which this one waits.
  for (Resource* resource : section.resources) ReleaseParkedBy(*resource);
  JobOps::NoteChange(section.core);
}

void ResourceOps::Reopen(internal::Section& section) {
  JobLock lock(section.core);
  if (!std::exchange(section.open, false)) return;
  NoteCaller(section.core);
  for (Resource* resource : section.resources) {
    std::erase(resource->sections_, &section);
    if (section.granted) --resource->granted_;
  }
  for (Resource* resource : section.resources) {
    ReleaseParkedBy(*resource);
    if (!resource->sections_.empty()) continue;
    const std::string reason = DrainReason(*resource);
    for (Job* job : resource->jobs_) {
      // Another resource of the job may have the same name.
      const bool still = std::any_of(job->resources().begin(), job->resources().end(),
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
  const auto add = [&](const auto&... parts) { absl::StrAppend(&text, text.empty() ? "" : "; ", parts...); };
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

uint64_t ResourceOps::ObservePage(JobCore& core, uint64_t after, std::vector<monitor::ResourceState>& out) {
  constexpr int kPage = 64;
  const TimePoint now = core.main_context().clock().Now();
  const std::vector<Resource*>& all = All(core);
  auto next = std::upper_bound(all.begin(), all.end(), after,
                               [](uint64_t number, const Resource* resource) { return number < resource->number_; });
  for (int i = 0; i < kPage; ++i, ++next) {
    if (next == all.end()) return UINT64_MAX;
    after = (*next)->number_;
    if (auto state = Observe(**next, now)) out.push_back(*std::move(state));
  }
  return after;
}

bool ResourceOps::TryGrant(internal::Section& section) {
  JobLock lock(section.core);
  if (!IsStill(section)) {
    internal::Reached("section.not_still_at_grant");
    return false;
  }
  section.granted = true;
  for (Resource* resource : section.resources) ++resource->granted_;
  return true;
}

absl::Status ResourceOps::WhyNot(const internal::Section& section, const absl::Status& waited) {
  if (!absl::IsDeadlineExceeded(waited)) return waited;
  internal::Reached("section.deadline");
  JobLock lock(section.core);
  return absl::DeadlineExceededError(
      absl::StrCat("section '", section.name, "' was not reached by its deadline: ", WaitsFor(section)));
}

Co<absl::StatusOr<DrainedSection>> ResourceOps::Open(std::unique_ptr<internal::Section> section, TimePoint deadline,
                                                     absl::AnyInvocable<bool()> give_up) {
  internal::Section& s = *section;
  const CoRoot* const chain = co_await internal::ThisRoot();
  if (const Job* job = JobOps::JobOf(*chain); job != nullptr && !job->resources().empty()) {
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
  DrainedSection result(std::move(section));
  internal::Section& s = *result.section_;
  if (absl::Status refusal = CheckMayWait(s.core.main_context(), s.name); !refusal.ok()) return refusal;
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
  for (Resource* resource : job.resources()) ++resource->users_;
  for (Resource* resource : job.still_at_end()) ++resource->users_;
}

void ResourceOps::RemoveUser(Job& job) {
  for (Resource* resource : job.resources()) --resource->users_;
  for (Resource* resource : job.still_at_end()) --resource->users_;
}

void ResourceOps::Attach(Job& job) {
  for (Resource* resource : job.resources()) {
    resource->jobs_.push_back(&job);
    if (resource->sections_.empty()) continue;
    internal::Reached("resource.job_comes_while_drained");
    JobOps::AddReason(job, DrainReason(*resource));
  }
}

void ResourceOps::Detach(Job& job) {
  for (Resource* resource : job.resources()) std::erase(resource->jobs_, &job);
}

absl::StatusOr<Admission> JobContext::Admit(Resource& resource) { return JobOps::Admit(job_, resource); }

absl::StatusOr<Admission> JobOps::Admit(Job& job, Resource& resource) {
  const auto refuse = [&](absl::string_view why) {
    return absl::FailedPreconditionError(
        absl::StrCat("Job '", job.id_, "' cannot make a request of resource '", resource.name(), "': ", why));
  };
  const auto names = [&](absl::Span<Resource* const> list) {
    return std::find(list.begin(), list.end(), &resource) != list.end();
  };
  if (job.word_.activity() == JobWord::Activity::kDone) {
    // Whether it is before Prepare or after Clean is seen by whether the section is open.
    JobLock lock(job.core_);
    if (!names(job.still_at_end()) || !job.txn_->section_open_) {
      return refuse("after its Run, it can do so from Prepare to Clean, if it is named in JobSpec::still_at_end");
    }
    return ResourceOps::Count(resource);
  }
  if (!names(job.resources())) return refuse("it is not named in JobSpec::resources");
  if (ResourceOps::TryAdmit(resource)) return ResourceOps::AdoptInBackground(resource);
  JobLock lock(job.core_);
  if (job.word_.force_cancelled()) {
    internal::Reached("admit.cancelled");
    return absl::CancelledError(
        absl::StrCat("Job '", job.id_, "' was cancelled while resource '", resource.name(), "' was being drained"));
  }
  if (IsQuiet(&job)) return refuse("it is paused; what runs beside Run has to come to an end in the Pause hook");
  return ResourceOps::Count(resource, /*in_background=*/true);
}

}  // namespace jobcore::inline JOBCORE_ABI
