// SPDX-License-Identifier: Apache-2.0
//
// Where the small objects of the event loop come from that live for a moment: frames of coroutines, and what is
// posted to another thread. Each thread keeps a few blocks of each size; those that a thread frees and does not need
// itself go, many at a time, to the threads that allocate them. Bounded; a thread that ends gives back what it kept.

#ifndef JOBCORE_JOB_COMMON_BLOCK_POOL_H_
#define JOBCORE_JOB_COMMON_BLOCK_POOL_H_

#include <cstddef>
#include <new>

#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::internal {

// As operator new and delete, with the default alignment. Any thread may free what another has allocated.
void* AllocateBlock(size_t size);
void FreeBlock(void* block, size_t size) noexcept;

// Objects of classes that derive from this come from the pool. Deleted as what they were created as.
struct Pooled {
  static void* operator new(size_t size) { return AllocateBlock(size); }
  static void operator delete(void* block, size_t size) noexcept { FreeBlock(block, size); }
  // The pool knows no larger alignment.
  static void* operator new(size_t size, std::align_val_t alignment) { return ::operator new(size, alignment); }
  static void operator delete(void* block, size_t size, std::align_val_t alignment) noexcept {
    ::operator delete(block, size, alignment);
  }
};

// The same for std::allocate_shared.
template <typename T>
struct PoolAllocator {
  using value_type = T;

  PoolAllocator() = default;
  template <typename U>
  PoolAllocator(const PoolAllocator<U>&) {}  // NOLINT(google-explicit-constructor)

  T* allocate(size_t count) {
    static_assert(alignof(T) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__);
    return static_cast<T*>(AllocateBlock(count * sizeof(T)));
  }
  void deallocate(T* block, size_t count) noexcept { FreeBlock(block, count * sizeof(T)); }
  friend bool operator==(const PoolAllocator&, const PoolAllocator&) { return true; }
};

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_JOB_COMMON_BLOCK_POOL_H_
