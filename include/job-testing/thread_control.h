// SPDX-License-Identifier: Apache-2.0
//
// What the instrumented primitives (instrumented_sync.h) ask of ControlledThreads. On a thread that is not controlled
// nothing here does anything. Instrumented build only.

#ifndef JOBCORE_JOB_TESTING_THREAD_CONTROL_H_
#define JOBCORE_JOB_TESTING_THREAD_CONTROL_H_

#include <cstdint>

#include "job-common/clock.h"
#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::internal {

struct ControlledThread;

// The calling thread; null: not controlled.
ControlledThread* ThisControlledThread();

// Any thread may go on instead of this one. `what` lives forever.
void SwitchPoint(const char* what);

// Other threads go on until one calls Unblock(on), or until `deadline` by the controlled clock: then false. May
// return true without any reason. Controlled threads only.
bool Block(const void* on, const char* what, TimePoint deadline = kNoDeadline);
// Those who are blocked on it may go on: all, or one, whichever.
void UnblockAll(const void* on);
void UnblockOne(const void* on);

// A thread to be, made by the one that starts it (null if that is not controlled); it calls Begin first and End last.
ControlledThread* NewThread();
void BeginThread(ControlledThread* self);
void EndThread(ControlledThread* self);
void JoinThread(ControlledThread* thread);

// --- The store buffer: what this thread has stored, and others do not see yet ---

// A store that may wait, as on every processor with a store buffer: true if it does. `apply(target, bits)` performs
// it, on this thread, at the latest when this thread does anything that a fence stands before.
bool BufferStore(void* target, uint64_t bits, void (*apply)(void* target, uint64_t bits));
// Performs what waits.
void DrainStores();
// The same, where there is no point before: others may go on first, and not see what waits.
void FlushStores();
// `target` is going away: nobody else will see what waits for it.
void DropStore(const void* target);
// What this thread has stored in `target` and others do not see yet.
bool ReadOwnStore(const void* target, uint64_t& bits);

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_JOB_TESTING_THREAD_CONTROL_H_
