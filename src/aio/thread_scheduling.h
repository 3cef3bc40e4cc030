// SPDX-License-Identifier: Apache-2.0
//
// What threads ask of the scheduler. Each is a request for the calling thread alone, and without effect where the
// kernel does not know it, or has been told by somebody else how to treat the thread.

#ifndef JOBCORE_AIO_THREAD_SCHEDULING_H_
#define JOBCORE_AIO_THREAD_SCHEDULING_H_

#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::internal {

// For a thread that mostly waits: it is given a processor soon after it has been woken, even if those that compute have
// theirs for some milliseconds yet. Its share of the processors stays what it was. Linux 6.12 and later.
// Threads that this one makes inherit it.
void AskToRunPromptly();

// Undoes that, if this thread has inherited it.
void AskToRunAsUsual();

// For a thread that computes for long: if others want a processor, too, they get nine tenths of it. Not the least that
// can be asked for: clients may be waiting for a job to end, and programs that compute for days must not keep it from
// that.
void AskToYield();

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_AIO_THREAD_SCHEDULING_H_
