// SPDX-License-Identifier: Apache-2.0

#ifndef JOBCORE_TESTING_TSAN_H_
#define JOBCORE_TESTING_TSAN_H_

#include "job-common/fwd.h"

#if defined(__SANITIZE_THREAD__)
#define JOBCORE_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define JOBCORE_TSAN 1
#endif
#endif

#ifdef JOBCORE_TSAN
extern "C" {
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
void AnnotateIgnoreSyncBegin(const char* file, int line);
void AnnotateIgnoreSyncEnd(const char* file, int line);
}
#endif

namespace jobcore::inline JOBCORE_ABI::internal {

// A delayed store would release all that its thread has done meanwhile, and so hide races from ThreadSanitizer.
#ifdef JOBCORE_TSAN
inline constexpr bool kUnderTsan = true;
#else
inline constexpr bool kUnderTsan = false;
#endif

// ThreadSanitizer does not see what the test's own machinery does in this scope: neither its accesses, which are
// serialised by the switching, nor that the switching orders anything.
class HiddenFromTsan {
 public:
#ifdef JOBCORE_TSAN
  HiddenFromTsan() {
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
    AnnotateIgnoreSyncBegin(__FILE__, __LINE__);
  }
  ~HiddenFromTsan() {
    AnnotateIgnoreSyncEnd(__FILE__, __LINE__);
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
  }
#else
  HiddenFromTsan() {}   // NOLINT(modernize-use-equals-default): so that a scope of it is not an unused variable
  ~HiddenFromTsan() {}  // NOLINT(modernize-use-equals-default)
#endif
  HiddenFromTsan(const HiddenFromTsan&) = delete;
  HiddenFromTsan& operator=(const HiddenFromTsan&) = delete;
};

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_TESTING_TSAN_H_
