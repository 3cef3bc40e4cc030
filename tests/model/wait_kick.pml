/* SPDX-License-Identifier: Apache-2.0
   WaitDomain: include/job-common/wait_domain.h, src/aio/wait_domain.cc, src/aio/aio_wait.cc. Two threads change what a
   thread (parked, or running its loop) and a coroutine wait for, and kick. Checked: every wait ends (else: invalid end
   state); the coroutine goes on once; its CoWaiter is freed once, and neither kicked nor run after that.

   BUG_KICK_FIRST: the changer kicks before it writes. R-55
   BUG_KICK_NO_EPOCH: Kick reads the number of waiters without having increased the epoch. R-07
   BUG_COUNT_RELEASE: Add counts with a release store, not a seq_cst increment. R-07
   BUG_KICK_IF_PARKED: OnKick does nothing unless the waiter says that it sleeps. R-17
   BUG_FORGET_KICK: Park forgets earlier kicks when it begins, not when it ends. R-08
   BUG_POSTED_LATE: CoWaiter::Run clears posted_ after it has looked at the condition. R-03
   BUG_FREE_IF_POSTED: Abandon frees the waiter even if it is in the queue. R-65
   BUG_ABANDON_EARLY: Abandon looks at posted_ before it has left the domain. R-02 */
#define THREADS 4 /* 0: a plain thread that parks, or a home thread; 1: home of the coroutine; 2, 3: changers */
#define CELLS 5
#include "store_buffer.inc"
#include "variant.inc"
#define CO 1
#define WAITERS 0
#define EPOCH 1
#define CHANGED 0 /* + thread 2, 3: the condition that everybody waits for is that both have changed */
#define POSTED 4  /* CoWaiter::posted_ */
bit locked, listed[2], kicked, asleep, queued, freed, resumed;

inline lock() { atomic { !locked -> flush(t); locked = 1 } }
inline unlock() { atomic { flush(t); locked = 0 } } /* all that is stored under it is read under it */
inline add(i) { atomic { flush(t); before = mem[i]; mem[i] = before + 1 } }
inline Add() { /* WaitDomain::Add */
  lock(); listed[t] = 1; unlock();
  VARIANT(BUG_COUNT_RELEASE, before = LOAD(t, WAITERS); store(t, WAITERS, before + 1), add(WAITERS));
  before = LOAD(t, EPOCH)
}
inline Remove() { /* WaitDomain::Remove */
  lock(); listed[t] = 0; atomic { flush(t); mem[WAITERS] = mem[WAITERS] - 1 }; unlock()
}
/* Of ParkedWaiter and LoopWaiter (its Notify: notify.pml); of CoWaiter. Who runs the domain's own loop is counted alike,
   and notified without the list: one step less, and nothing of the waiter is touched. */
inline OnKick(w) {
  if
  :: listed[w] && w != CO -> VARIANT(BUG_KICK_IF_PARKED, kicked = asleep, kicked = 1)
  :: listed[w] && w == CO -> assert(!freed);
     exchange(t, POSTED, 1, before);
     if :: !before -> assert(!queued); queued = 1 :: else fi
  :: !listed[w]
  fi
}
inline Kick() { /* WaitDomain::Kick */
  VARIANT(BUG_KICK_NO_EPOCH, skip, add(EPOCH));
  if
  :: LOAD(t, WAITERS) -> lock(); OnKick(0); OnKick(CO); unlock()
  :: else
  fi
}
inline Condition() { over = LOAD(t, CHANGED + 2); if :: over -> over = LOAD(t, CHANGED + 3) :: else fi }

active proctype waiter() { /* WaitParked, WaitInLoop */
  byte t = 0, before;
  bit over;
  Add();
  do
  :: Condition();
     if
     :: over -> break
     :: else -> asleep = 1;
        VARIANT(BUG_FORGET_KICK, kicked = 0, skip);
        atomic { kicked -> flush(t); VARIANT(BUG_FORGET_KICK, skip, kicked = 0); asleep = 0 }
     fi
  od;
  Remove()
}

inline Abandon() { /* CoWaiter::Abandon */
  VARIANT(BUG_ABANDON_EARLY, before = LOAD(t, POSTED), skip);
  Remove();
  VARIANT(BUG_ABANDON_EARLY, skip, before = LOAD(t, POSTED));
  assert(!resumed); resumed = 1;
  if :: before -> VARIANT(BUG_FREE_IF_POSTED, freed = 1, abandoned = 1) :: else -> assert(!freed); freed = 1 fi
}
active proctype coroutine() { /* internal::WaitWhile and its home loop */
  byte t = CO, before;
  bit over, abandoned, deadline;
  if :: deadline = 0 :: deadline = 1 fi;
  Add(); Condition();
  if :: over -> Abandon() :: else fi; /* await_ready */
  do
  :: queued -> queued = 0; assert(!freed); /* CoWaiter::Run */
     VARIANT(BUG_POSTED_LATE, skip, exchange(t, POSTED, 0, before));
     if
     :: abandoned -> freed = 1
     :: else -> Condition(); /* Resume */
        VARIANT(BUG_POSTED_LATE, exchange(t, POSTED, 0, before), skip);
        if :: over -> Abandon() :: else fi
     fi
  :: deadline && !resumed -> Abandon() /* its timer: Finished says that the wait is over */
  :: resumed && freed && !queued -> break
  od
}
active [2] proctype changer() {
  byte t = _pid - THREADS, before;
  VARIANT(BUG_KICK_FIRST, Kick(); store(t, CHANGED + t, 1), store(t, CHANGED + t, 1); Kick())
}
