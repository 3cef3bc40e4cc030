// SPDX-License-Identifier: Apache-2.0

#include "job-driver/block/node_bitmaps.h"

#include <algorithm>
#include <bit>
#include <mutex>
#include <optional>

#include "absl/strings/str_cat.h"
#include "aio/check.h"
#include "job-driver/block/write_filter.h"

namespace jobcore::inline JOBCORE_ABI::block {

struct NodeBitmaps::Bitmap {
  Bitmap(BitmapOptions options, uint64_t size, BitmapUser u)
      : name(std::move(options.name)),
        dirty(std::in_place, size, options.granularity),
        recording(options.recording),
        user(std::move(u)) {}

  const std::string name;
  std::optional<DirtyBitmap> dirty;  // always there; another one when the node has been resized
  bool recording;
  bool hidden = false;
  size_t claims = 1;
  BitmapUser user;  // of the claims; nobody's, if there are none
};

// What the node's writes pass.
class NodeBitmaps::Recorder final : public WriteFilter {
 public:
  explicit Recorder(NodeBitmaps& bitmaps) : bitmaps_(bitmaps) {}

  Co<int> Write(const Admission& in, NodeWrite write, Below& below) override JOBCORE_EXCLUDES(job_mutex) {
    const int error = co_await below.Write(in, write);
    bitmaps_.Record(write.offset, write.length);  // whatever has come of it
    co_return error;
  }

 private:
  NodeBitmaps& bitmaps_;  // the node's, which is there as long as somebody writes to it
};

namespace {

constexpr size_t kLongestName = 1023;
constexpr uint64_t kLargestGranularity = uint64_t{1} << 31;

absl::Status Check(const BitmapOptions& options) {
  if (options.name.empty()) return absl::InvalidArgumentError("Bitmap name cannot be empty");
  if (options.name.size() > kLongestName) {
    return absl::InvalidArgumentError(
        absl::StrCat("Bitmap name is too long; it has ", options.name.size(), " of ", kLongestName, " characters"));
  }
  if (!std::has_single_bit(options.granularity) || options.granularity < 512 ||
      options.granularity > kLargestGranularity) {
    return absl::InvalidArgumentError(absl::StrCat("Granularity of bitmap '", options.name,
                                                   "' must be a power of two from 512 to ", kLargestGranularity,
                                                   ", not ", options.granularity));
  }
  return absl::OkStatus();
}

// As much of the range as there is.
void SetWithin(DirtyBitmap& bitmap, uint64_t offset, uint64_t length) {
  if (offset < bitmap.size()) bitmap.Set(offset, std::min(length, bitmap.size() - offset));
}

template <typename Visit>
void ForEachDirty(const DirtyBitmap& bitmap, Visit visit) {
  uint64_t from = 0;
  while (const std::optional<DirtyBitmap::Range> range = bitmap.Next(from, bitmap.size())) {
    visit(range->offset, range->length);
    from = range->offset + range->length;
  }
}

}  // namespace

// --- NodeBitmaps ---

NodeBitmaps::NodeBitmaps(Node& node) : node_(node) {}

NodeBitmaps::~NodeBitmaps() {
  for (const std::shared_ptr<Bitmap>& bitmap : bitmaps_) {
    if (bitmap->claims != 0) internal::Die(absl::StrCat("bitmap '", bitmap->name, "' destroyed while it is claimed"));
  }
}

NodeBitmaps::Bitmaps::const_iterator NodeBitmaps::FindVisible(std::string_view name) const {
  return std::find_if(bitmaps_.begin(), bitmaps_.end(),
                      [&](const std::shared_ptr<Bitmap>& bitmap) { return !bitmap->hidden && bitmap->name == name; });
}

absl::Status NodeBitmaps::NotFound(std::string_view name) const {
  return absl::NotFoundError(absl::StrCat("Dirty bitmap '", std::string(name), "' not found; node '", node_.name(),
                                          "' has none of that name"));
}

BitmapInfo NodeBitmaps::InfoOf(const Bitmap& bitmap) {
  return {.name = bitmap.name,
          .granularity = bitmap.dirty->granularity(),
          .dirty_bytes = bitmap.dirty->dirty_bytes(),
          .recording = bitmap.recording,
          .busy_with = bitmap.user.name};
}

std::vector<BitmapInfo> NodeBitmaps::List() const {
  std::vector<BitmapInfo> list;
  {
    const std::lock_guard lock(mutex_);
    list.reserve(bitmaps_.size());
    for (const std::shared_ptr<Bitmap>& bitmap : bitmaps_) {
      if (!bitmap->hidden) list.push_back(InfoOf(*bitmap));
    }
  }
  std::sort(list.begin(), list.end(), [](const BitmapInfo& a, const BitmapInfo& b) { return a.name < b.name; });
  return list;
}

absl::StatusOr<BitmapInfo> NodeBitmaps::Find(std::string_view name) const {
  const std::lock_guard lock(mutex_);
  const auto found = FindVisible(name);
  if (found == bitmaps_.end()) return NotFound(name);
  return InfoOf(**found);
}

absl::StatusOr<DirtyBitmap> NodeBitmaps::Content(std::string_view name) const {
  const std::lock_guard lock(mutex_);
  const auto found = FindVisible(name);
  if (found == bitmaps_.end()) return NotFound(name);
  return *(*found)->dirty;
}

absl::StatusOr<BitmapClaim> NodeBitmaps::Add(const DrainedSection& section, BitmapOptions options,
                                             const BitmapUser& user) {
  if (absl::Status s = Check(options); !s.ok()) return s;
  const std::lock_guard lock(mutex_);
  // Its size is looked at with the mutex: who changes it comes here after that.
  auto bitmap = std::make_shared<Bitmap>(std::move(options), node_.size(), user);
  for (const std::shared_ptr<Bitmap>& other : bitmaps_) {
    if (other->name != bitmap->name || (other->hidden && other->user.id == user.id)) continue;
    return absl::AlreadyExistsError(
        absl::StrCat("Bitmap already exists: ", bitmap->name, "; node '", node_.name(), "' has it"));
  }
  if (recorder_ == nullptr) {
    auto recorder = std::make_shared<Recorder>(*this);
    node_.AddFilter(section, recorder);
    recorder_ = std::move(recorder);
  } else if (!section.covers(node_.resource())) {
    internal::Die(absl::StrCat("node '", node_.name(), "' gets a bitmap without being drained"));
  }
  bitmaps_.push_back(bitmap);
  return BitmapClaim(*this, std::move(bitmap));
}

absl::StatusOr<BitmapClaim> NodeBitmaps::Claim(std::string_view name, const BitmapUser& user) {
  const std::lock_guard lock(mutex_);
  const auto found = FindVisible(name);
  if (found == bitmaps_.end()) return NotFound(name);
  Bitmap& bitmap = **found;
  if (bitmap.claims != 0 && bitmap.user.id != user.id) {
    return absl::FailedPreconditionError(absl::StrCat("Bitmap '", bitmap.name,
                                                      "' is currently in use by another operation and cannot be used; ",
                                                      bitmap.user.name, " has it"));
  }
  if (bitmap.claims++ == 0) bitmap.user = user;
  return BitmapClaim(*this, *found);
}

void NodeBitmaps::Record(uint64_t offset, uint64_t length) {
  const std::lock_guard lock(mutex_);
  for (const std::shared_ptr<Bitmap>& bitmap : bitmaps_) {
    if (bitmap->recording) SetWithin(*bitmap->dirty, offset, length);
  }
}

void NodeBitmaps::Resize(uint64_t size) {
  const std::lock_guard lock(mutex_);
  for (const std::shared_ptr<Bitmap>& bitmap : bitmaps_) {
    const DirtyBitmap before = *std::move(bitmap->dirty);
    DirtyBitmap& now = bitmap->dirty.emplace(size, before.granularity());
    ForEachDirty(before, [&](uint64_t offset, uint64_t length) { SetWithin(now, offset, length); });
    if (size > before.size()) now.Set(before.size(), size - before.size());
  }
}

void NodeBitmaps::Erase(const Bitmap& bitmap) {
  std::shared_ptr<Bitmap> kept;  // destroyed after the mutex, as the recorder
  std::shared_ptr<Recorder> recorder;
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(bitmaps_.begin(), bitmaps_.end(),
                                  [&](const std::shared_ptr<Bitmap>& other) { return other.get() == &bitmap; });
  if (found == bitmaps_.end()) return;  // somebody else of the same user has
  kept = *found;
  bitmaps_.erase(found);
  if (!bitmaps_.empty()) return;
  recorder = std::move(recorder_);
  node_.RemoveFilter(*recorder);
}

// --- BitmapClaim ---

BitmapClaim& BitmapClaim::operator=(BitmapClaim&& other) noexcept {
  if (this == &other) return *this;
  Release();
  bitmaps_ = std::exchange(other.bitmaps_, nullptr);
  bitmap_ = std::move(other.bitmap_);
  return *this;
}

void BitmapClaim::Release() {
  NodeBitmaps* const bitmaps = std::exchange(bitmaps_, nullptr);
  if (bitmaps == nullptr) return;
  {
    const std::lock_guard lock(bitmaps->mutex_);
    if (--bitmap_->claims == 0) bitmap_->user = BitmapUser();
  }
  bitmap_.reset();
}

const std::string& BitmapClaim::name() const { return bitmap_->name; }

BitmapInfo BitmapClaim::Info() const {
  const std::lock_guard lock(bitmaps_->mutex_);
  return NodeBitmaps::InfoOf(*bitmap_);
}

DirtyBitmap BitmapClaim::Content() const {
  const std::lock_guard lock(bitmaps_->mutex_);
  return *bitmap_->dirty;
}

uint64_t BitmapClaim::size() const {
  const std::lock_guard lock(bitmaps_->mutex_);
  return bitmap_->dirty->size();
}

void BitmapClaim::Clear() {
  const std::lock_guard lock(bitmaps_->mutex_);
  bitmap_->dirty->Clear(0, bitmap_->dirty->size());
}

void BitmapClaim::SetRecording(bool recording) {
  const std::lock_guard lock(bitmaps_->mutex_);
  bitmap_->recording = recording;
}

void BitmapClaim::Merge(const BitmapClaim& source) {
  const DirtyBitmap other = source.Content();  // a copy: it may be of another node, with its own mutex
  const std::lock_guard lock(bitmaps_->mutex_);
  DirtyBitmap& dirty = *bitmap_->dirty;
  ForEachDirty(other, [&](uint64_t offset, uint64_t length) { SetWithin(dirty, offset, length); });
}

void BitmapClaim::Set(uint64_t offset, uint64_t length) {
  const std::lock_guard lock(bitmaps_->mutex_);
  SetWithin(*bitmap_->dirty, offset, length);
}

void BitmapClaim::Replace(const DirtyBitmap& content) {
  const std::lock_guard lock(bitmaps_->mutex_);
  const DirtyBitmap& before = *bitmap_->dirty;
  if (content.size() != before.size() || content.granularity() != before.granularity()) {
    internal::Die(absl::StrCat("bitmap '", bitmap_->name, "' is replaced by one of another shape"));
  }
  bitmap_->dirty.emplace(content);
}

void BitmapClaim::Hide(bool hidden) {
  const std::lock_guard lock(bitmaps_->mutex_);
  bitmap_->hidden = hidden;
}

void BitmapClaim::Remove() {
  bitmaps_->Erase(*bitmap_);
  Release();
}

}  // namespace jobcore::inline JOBCORE_ABI::block
