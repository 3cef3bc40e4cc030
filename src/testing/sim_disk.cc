// SPDX-License-Identifier: Apache-2.0

#include "job-testing/sim_disk.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "aio/check.h"
#include "aio/probe.h"

namespace jobcore::inline JOBCORE_ABI::testing {

SimDisk::~SimDisk() {
  if (!in_flight_.empty()) internal::Die(absl::StrCat("SimDisk: ", in_flight_.size(), " requests are in flight"));
}

int SimDisk::Create(std::vector<std::byte> content) {
  const std::scoped_lock lock(mutex_);
  files_.emplace(next_fd_, std::move(content));
  return next_fd_++;
}

std::vector<std::byte> SimDisk::Content(int fd) const {
  const std::scoped_lock lock(mutex_);
  return files_.at(fd);
}

void SimDisk::Submit(IoRequest& request) {
  const std::scoped_lock lock(mutex_);
  // In microseconds; one in four takes long.
  const uint32_t latency = choices_.OneIn(4) ? choices_.Below(20'000) : choices_.Below(200);
  in_flight_.push_back({&request, SaturatingAdd(clock_.Now(), std::chrono::microseconds(latency))});
}

TimePoint SimDisk::NextDue() {
  const std::scoped_lock lock(mutex_);
  TimePoint next = kNoDeadline;
  for (const InFlight& r : in_flight_) next = std::min(next, r.due);
  return next;
}

void SimDisk::Run(TimePoint now) {
  IoRequest* request = nullptr;
  IoResult result;
  {
    const std::scoped_lock lock(mutex_);
    std::vector<size_t> due;
    for (size_t i = 0; i < in_flight_.size(); ++i) {
      if (in_flight_[i].due <= now) due.push_back(i);
    }
    if (due.empty()) return;
    const size_t pick = choices_.Pick(due);
    request = in_flight_[pick].request;
    in_flight_.erase(in_flight_.begin() + static_cast<std::ptrdiff_t>(pick));
    result = Perform(*request);
  }
  request->Complete(result);
}

IoResult SimDisk::Perform(const IoRequest& request) {
  const auto found = files_.find(request.fd);
  if (found == files_.end()) return {.error = EBADF};
  if (internal::FaultPoint("disk.eio")) return {.bytes = request.size / 2, .error = EIO};
  switch (request.op) {
    case IoRequest::Op::kRead:
    case IoRequest::Op::kWrite:
      return Transfer(request, found->second);
    case IoRequest::Op::kDataSync:
    case IoRequest::Op::kFileSync:
      return {};
    case IoRequest::Op::kCopyRange:
      break;
  }
  const auto to = files_.find(request.to_fd);
  if (to == files_.end()) return {.error = EBADF};
  if (internal::FaultPoint("disk.no_copy_range")) return {.error = EOPNOTSUPP};
  if (internal::FaultPoint("disk.enospc")) return {.error = ENOSPC};
  const std::vector<std::byte>& source = found->second;
  if (request.offset >= source.size()) return {};
  const size_t bytes = std::min<uint64_t>(request.size, source.size() - request.offset);
  std::vector<std::byte>& target = to->second;
  if (target.size() < request.to_offset + bytes) target.resize(request.to_offset + bytes);
  std::copy_n(source.begin() + static_cast<std::ptrdiff_t>(request.offset), bytes,
              target.begin() + static_cast<std::ptrdiff_t>(request.to_offset));
  return {.bytes = bytes};
}

IoResult SimDisk::Transfer(const IoRequest& request, std::vector<std::byte>& file) {
  const auto at = static_cast<std::ptrdiff_t>(request.offset);
  if (request.op == IoRequest::Op::kWrite) {
    if (internal::FaultPoint("disk.enospc")) return {.error = ENOSPC};
    if (file.size() < request.offset + request.size) file.resize(request.offset + request.size);
    std::copy(request.buffer.begin(), request.buffer.end(), file.begin() + at);
    return {.bytes = request.size};
  }
  if (request.offset >= file.size() || internal::FaultPoint("disk.early_end")) return {};
  const size_t bytes = std::min<uint64_t>(request.size, file.size() - request.offset);
  std::copy_n(file.begin() + at, bytes, request.buffer.begin());
  return {.bytes = bytes};
}

}  // namespace jobcore::inline JOBCORE_ABI::testing
