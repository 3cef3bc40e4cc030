// SPDX-License-Identifier: Apache-2.0

#include "job-testing/sim_disk.h"

#include <unistd.h>

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
  if (internal::FaultPoint("disk.eio")) return {.error = EIO};
  switch (request.op) {
    case IoRequest::Op::kDataSync:
    case IoRequest::Op::kFileSync:
    case IoRequest::Op::kWriteback:
    case IoRequest::Op::kEvict:
      return {};
    case IoRequest::Op::kRead:
      if (internal::FaultPoint("disk.early_end")) return {};
      return {.bytes = ReadAt(request.fd, request.offset, request.buffer)};
    case IoRequest::Op::kWrite: {
      if (internal::FaultPoint("disk.enospc")) return {.error = ENOSPC};
      const int error = WriteAt(request.fd, request.offset, request.buffer);
      return {.bytes = error == 0 ? request.size : 0, .error = error};
    }
    case IoRequest::Op::kPunchHole:
    case IoRequest::Op::kZeroRange: {
      if (internal::FaultPoint("disk.no_holes")) return {.error = EOPNOTSUPP};
      const std::vector<std::byte> zeros(request.size);
      return {.error = WriteAt(request.fd, request.offset, zeros)};
    }
    case IoRequest::Op::kAllocate: {
      if (internal::FaultPoint("disk.enospc")) return {.error = ENOSPC};
      const auto file = files_.find(request.fd);
      const uint64_t end = request.offset + request.size;
      if (file != files_.end() && file->second.size() < end) file->second.resize(end);
      return {};
    }
    case IoRequest::Op::kCopyRange:
    case IoRequest::Op::kCopyData:
      break;
  }
  if (internal::FaultPoint("disk.no_copy_range")) return {.error = EOPNOTSUPP};
  if (internal::FaultPoint("disk.enospc")) return {.error = ENOSPC};
  std::vector<std::byte> buffer(request.size);
  buffer.resize(ReadAt(request.fd, request.offset, buffer));
  const int error = WriteAt(request.to_fd, request.to_offset, buffer);
  return {.bytes = error == 0 ? buffer.size() : 0, .error = error};
}

size_t SimDisk::ReadAt(int fd, uint64_t offset, std::span<std::byte> buffer) const {
  const auto found = files_.find(fd);
  if (found == files_.end()) {
    const ssize_t bytes = pread(fd, buffer.data(), buffer.size(), static_cast<off_t>(offset));
    if (bytes < 0) internal::Die(absl::StrCat("SimDisk: descriptor ", fd, " cannot be read"));
    return static_cast<size_t>(bytes);
  }
  const std::vector<std::byte>& file = found->second;
  if (offset >= file.size()) return 0;
  const size_t bytes = std::min<uint64_t>(buffer.size(), file.size() - offset);
  std::copy_n(file.begin() + static_cast<std::ptrdiff_t>(offset), bytes, buffer.begin());
  return bytes;
}

int SimDisk::WriteAt(int fd, uint64_t offset, std::span<const std::byte> buffer) {
  const auto found = files_.find(fd);
  if (found == files_.end()) {
    const ssize_t bytes = pwrite(fd, buffer.data(), buffer.size(), static_cast<off_t>(offset));
    return bytes < 0 ? errno : 0;
  }
  std::vector<std::byte>& file = found->second;
  if (file.size() < offset + buffer.size()) file.resize(offset + buffer.size());
  std::copy(buffer.begin(), buffer.end(), file.begin() + static_cast<std::ptrdiff_t>(offset));
  return 0;
}

}  // namespace jobcore::inline JOBCORE_ABI::testing
