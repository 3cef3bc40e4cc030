// SPDX-License-Identifier: Apache-2.0

#include "block/node_copier.h"

#include <algorithm>
#include <bit>

#include "absl/strings/str_cat.h"
#include "block/file_error.h"
#include "block/graph_ops.h"
#include "job-monitor/job_monitor.h"

namespace jobcore::inline JOBCORE_ABI::block {

Co<CopyResult> CopyPart(CopySide from, CopySide to, uint64_t offset, uint64_t length, Buffer& buffer, bool unmap) {
  for (const uint64_t end = offset + length; offset < end;) {
    const absl::StatusOr<BlockStatus> status = co_await from.node.Status(from.in, offset, end - offset);
    // Whoever cannot tell can perhaps read.
    const uint64_t piece = status.ok() ? status->length : end - offset;
    int error = 0;
    if (status.ok() && status->zero) {
      const NodeWrite zeros = {.kind = NodeWrite::Kind::kZeroes, .offset = offset, .length = piece, .may_unmap = unmap};
      error = co_await to.node.Change(to.in, zeros);
    } else {
      error = co_await to.node.CopyFrom(to.in, offset, piece, from.node, from.in, offset);
      if (error != 0) {
        const std::span<std::byte> data = buffer.first(piece);
        error = co_await from.node.Read(from.in, offset, data);
        if (error != 0) co_return CopyResult{.read_error = error};
        error = co_await to.node.Write(to.in, offset, data);
      }
    }
    if (error != 0) co_return CopyResult{.write_error = error};
    offset += piece;
  }
  co_return CopyResult{};
}

namespace {

bool StandsUpon(const std::shared_ptr<Node>& upper, const Node& lower) {
  const std::vector<std::shared_ptr<Node>> tower = GraphOps::Tower(upper);
  return std::any_of(tower.begin() + 1, tower.end(), [&](const auto& node) { return node.get() == &lower; });
}

absl::StatusOr<std::shared_ptr<const TargetUse>> UseTarget(const std::shared_ptr<Node>& target,
                                                           const std::string& user) {
  EdgeOptions options = {.user = user, .writes = true, .lets_write = false, .job_use = EdgeOptions::JobUse::kTarget};
  auto use = std::make_shared<TargetUse>();
  for (const std::shared_ptr<Node>& node : GraphOps::Tower(target)) {
    absl::StatusOr<std::unique_ptr<NodeEdge>> edge = NodeEdge::Attach(node, options);
    if (!edge.ok()) return edge.status();
    use->push_back(*std::move(edge));
    // What is below is written to by the node above it, whose edge says what others may do there.
    options.writes = false;
    options.lets_write = options.lets_resize = true;
  }
  return use;
}

absl::Status Check(const char* what, const NodeCopier::Options& options, const DrainedSection& section) {
  const auto invalid = [what](const auto&... text) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": ", text...));
  };
  if (options.source == nullptr || options.target == nullptr) return invalid("it needs a source and a target");
  const Node& source = *options.source;
  const Node& target = *options.target;
  if (&source == &target) return invalid("node '", source.name(), "' cannot be source and target");
  for (const auto& [upper, lower] : {std::pair(options.source, &target), std::pair(options.target, &source)}) {
    if (!StandsUpon(upper, *lower)) continue;
    return invalid("node '", upper->name(), "' stands upon node '", lower->name(), "': they are the same image");
  }
  if (source.size() != target.size()) {
    return invalid("node '", source.name(), "' has ", source.size(), " bytes, and node '", target.name(), "' has ",
                   target.size());
  }
  constexpr uint64_t kMost = uint64_t{64} << 20;
  if (!std::has_single_bit(options.granularity) || options.granularity < 512 || options.granularity > kMost) {
    return invalid("the granularity must be a power of two from 512 to ", kMost, ", not ", options.granularity);
  }
  if (options.in_flight < 1 || options.in_flight > 256) {
    return invalid("in_flight must be from 1 to 256, not ", options.in_flight);
  }
  if (!section.covers(options.source->resource())) return invalid("node '", source.name(), "' is not drained");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<NodeCopier> NodeCopier::Make(const char* what, Options options, const DrainedSection& section,
                                            JobSpec& spec) {
  if (absl::Status s = Check(what, options, section); !s.ok()) return s;
  const std::string user = absl::StrCat("job '", spec.id, "'");
  absl::StatusOr<std::unique_ptr<NodeEdge>> source_edge =
      NodeEdge::Attach(options.source, {.user = user, .job_use = EdgeOptions::JobUse::kSource});
  if (!source_edge.ok()) return source_edge.status();
  absl::StatusOr<std::shared_ptr<const TargetUse>> target_use = UseTarget(options.target, user);
  if (!target_use.ok()) return target_use.status();
  spec.resources = {&options.source->resource(), &options.target->resource()};
  return NodeCopier(std::move(options), *std::move(source_edge), *std::move(target_use));
}

NodeCopier::NodeCopier(Options options, std::unique_ptr<NodeEdge> source_edge,
                       std::shared_ptr<const TargetUse> target_use)
    : options_(std::move(options)),
      piece_bytes_(std::max(options_.granularity, kPieceBytes)),
      source_edge_(std::move(source_edge)),
      target_use_(std::move(target_use)) {}

Co<bool> NodeCopier::Copy(JobContext& job, uint64_t offset, uint64_t length, bool ask) {
  absl::StatusOr<Admission> from = job.Admit(source().resource());
  absl::StatusOr<Admission> to = job.Admit(target()->resource());
  if (!from.ok() || !to.ok()) {  // force-cancelled
    Fail(from.ok() ? to.status() : from.status());
    co_return false;
  }
  if (options_.clients_wait) {
    from->SetForeground();
    to->SetForeground();
  }
  Buffer buffer = TakeBuffer();
  const CopyResult result =
      co_await CopyPart({source(), *from}, {*target(), *to}, offset, length, buffer, options_.unmap);
  buffers_.push_back(std::move(buffer));
  if (result.ok()) co_return true;

  const bool read = result.read_error != 0;
  const int error = read ? result.read_error : result.write_error;
  ErrorAction action = ErrorAction::kReport;
  if (ask) {
    action = job.HandleError(read ? IoOperation::kRead : IoOperation::kWrite,
                             read ? options_.on_source_error : options_.on_target_error, error);
  }
  if (action == ErrorAction::kReport) {
    if (read) CheckSource();  // that may say more
    Fail(read ? internal::FileErrorAt("cannot read node", source().name(), offset, error)
              : internal::FileErrorAt("cannot write node", target()->name(), offset, error));
  }
  co_return false;
}

Co<absl::Status> NodeCopier::FlushTarget(JobContext& job) {
  const absl::StatusOr<Admission> in = job.Admit(target()->resource());
  if (!in.ok()) co_return in.status();
  const int error = co_await target()->Flush(*in);
  if (error != 0) co_return internal::FileError("cannot flush node", target()->name(), error);
  co_return absl::OkStatus();
}

Buffer NodeCopier::TakeBuffer() {
  if (buffers_.empty()) return Buffer(piece_bytes_);
  Buffer buffer = std::move(buffers_.back());
  buffers_.pop_back();
  return buffer;
}

Co<absl::StatusOr<DrainedSection>> DrainSource(const char* what, std::string id, std::shared_ptr<Node> source,
                                               TimePoint deadline) {
  if (source == nullptr) co_return absl::InvalidArgumentError(absl::StrCat(what, ": it needs a source and a target"));
  Resource* const resource = &source->resource();
  const std::string name = absl::StrCat("start of ", what, " '", id, "'");
  co_return co_await DrainedSection::Open({&resource, 1}, {.name = name, .deadline = deadline});
}

namespace {

// The node may have been moved while the job was made for its old context. MoveNode sets the context first, and then
// looks for jobs; this looks once the job can be found: one of them sees the other, whoever is first.
void FollowNode(Job& job, const Node& node, std::shared_ptr<AioContext> context) JOBCORE_EXCLUDES(job_mutex) {
  for (std::shared_ptr<AioContext> now = node.context(); now != context; now = node.context()) {
    context = std::move(now);
    JobLock lock(node.core());
    (void)monitor::Move(job, *context);  // refused if it is over, or nobody serves that context any more
  }
}

}  // namespace

absl::StatusOr<JobRef> CreateFilteringJob(JobCore& core, JobSpec spec, Node& source, const DrainedSection& section,
                                          std::shared_ptr<WriteFilter> filter, PieceMap& map,
                                          std::unique_ptr<JobDriver> driver) {
  const std::shared_ptr<AioContext> context = source.context();
  spec.context = context.get();
  // Before anybody can find the job: one that is cancelled at once leaves no filter.
  source.AddFilter(section, std::move(filter));
  absl::StatusOr<JobRef> job = CreateJob(core, spec, std::move(driver));
  if (!job.ok()) return job;
  map.SetJob(**job);
  FollowNode(**job, source, context);
  return job;
}

}  // namespace jobcore::inline JOBCORE_ABI::block
