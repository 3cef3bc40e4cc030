// SPDX-License-Identifier: Apache-2.0
//
// Forward declarations of the public classes that users name in their own headers, and the one namespace switch of the
// library. Forward-declare through this header, never by hand: the names live in an inline namespace that differs
// between the production build (`jobcore`) and the instrumented one (`jobcore::testing`), so that linking a program
// against both, or against the wrong one, fails at link time instead of at run time.

#ifndef JOBCORE_JOB_COMMON_FWD_H_
#define JOBCORE_JOB_COMMON_FWD_H_

#ifdef JOBCORE_INSTRUMENTED
#define JOBCORE_ABI instrumented
#else
#define JOBCORE_ABI v0
#endif

namespace jobcore::inline JOBCORE_ABI {

// The event loop (knows nothing of jobs).
class AioContext;
class AioTimer;
class BottomHalf;
class Clock;
class CoRoot;
class FdHandler;
class IOThread;
class IoEngine;
class Poller;
class TaskScope;
class WaitDomain;
class WorkItem;
template <typename T>
class Co;

// Jobs.
class Admission;
class BlockingDriver;
class BlockingJob;
class BlockingPool;
class DrainedSection;
class Job;
class JobContext;
class JobCore;
class JobDriver;
class JobLock;
class JobMutex;
class JobRef;
class JobTxn;
class JobTxnBuilder;
class JobUnlock;
class Progress;
class Resource;
struct JobEvent;
struct JobSpec;
enum class JobStatus : unsigned char;
enum class JobVerb : unsigned char;

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_JOB_COMMON_FWD_H_
