// SPDX-License-Identifier: Apache-2.0
//
// BufferPool: the payloads of a connection's requests. Keeps some of those that have been given back: fresh memory
// costs a fault for each page.

#ifndef JOBCORE_NBD_BUFFER_POOL_H_
#define JOBCORE_NBD_BUFFER_POOL_H_

#include <cstddef>
#include <new>
#include <span>
#include <utility>
#include <vector>

#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::nbd {

// One thread at a time.
class BufferPool {
 public:
  // Aligned for files that are open past the page cache.
  class Buffer {
   public:
    Buffer() = default;
    Buffer(Buffer&& other) noexcept
        : pool_(other.pool_),
          data_(std::exchange(other.data_, nullptr)),
          size_(other.size_),
          capacity_(other.capacity_) {}
    Buffer& operator=(Buffer&& other) noexcept {
      std::swap(pool_, other.pool_);
      std::swap(data_, other.data_);
      std::swap(size_, other.size_);
      std::swap(capacity_, other.capacity_);
      return *this;
    }
    ~Buffer() {
      if (data_ != nullptr) pool_->GiveBack(data_, capacity_);
    }
    explicit operator bool() const { return data_ != nullptr; }
    std::span<std::byte> bytes() const { return {data_, size_}; }

   private:
    friend class BufferPool;
    Buffer(BufferPool& pool, std::byte* data, size_t size, size_t capacity)
        : pool_(&pool), data_(data), size_(size), capacity_(capacity) {}
    BufferPool* pool_ = nullptr;
    std::byte* data_ = nullptr;
    size_t size_ = 0;
    size_t capacity_ = 0;
  };

  BufferPool() = default;
  ~BufferPool() {
    for (const Kept& kept : kept_) Free(kept.data);
  }
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  // Its content is anything. False, if there is no memory.
  Buffer Take(size_t size) {
    const size_t capacity = CapacityFor(size);
    for (Kept& kept : kept_) {
      if (kept.capacity != capacity) continue;
      std::swap(kept, kept_.back());
      std::byte* const data = kept_.back().data;
      kept_.pop_back();
      kept_bytes_ -= capacity;
      return Buffer(*this, data, size, capacity);
    }
    auto* const data = static_cast<std::byte*>(::operator new(capacity, kAlignment, std::nothrow));
    return data != nullptr ? Buffer(*this, data, size, capacity) : Buffer();
  }

 private:
  static constexpr std::align_val_t kAlignment{4096};
  static constexpr size_t kMaxKept = size_t{8} << 20;  // bytes

  struct Kept {
    std::byte* data;
    size_t capacity;
  };
  static size_t CapacityFor(size_t size) {
    size_t capacity = 4096;
    while (capacity < size) capacity *= 2;
    return capacity;
  }
  static void Free(std::byte* data) { ::operator delete(data, kAlignment); }
  void GiveBack(std::byte* data, size_t capacity) {
    // Rather what is in use now than what was once.
    while (!kept_.empty() && kept_bytes_ + capacity > kMaxKept) {
      Free(kept_.front().data);
      kept_bytes_ -= kept_.front().capacity;
      kept_.erase(kept_.begin());
    }
    if (kept_bytes_ + capacity > kMaxKept) {
      Free(data);
      return;
    }
    kept_.push_back({data, capacity});
    kept_bytes_ += capacity;
  }

  std::vector<Kept> kept_;
  size_t kept_bytes_ = 0;
};

}  // namespace jobcore::inline JOBCORE_ABI::nbd

#endif  // JOBCORE_NBD_BUFFER_POOL_H_
