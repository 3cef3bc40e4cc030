/* SPDX-License-Identifier: Apache-2.0
   The wake-up of an event loop: src/aio/aio_context.cc. Two threads post items, schedule a bottom half and notify, in
   any mix. Checked: every item runs once; what was written before Schedule or Notify is seen by a run of the bottom half,
   or by a turn; the loop never sleeps on while something is left to do (that would be an invalid end state).

   BUG_NOTIFY_RELEASE: Notify stores notified_ with release, not seq_cst. R-05
   BUG_SLEEP_RELEASE: AnnounceSleep stores sleeping_ with release, not seq_cst. R-05
   BUG_NO_RECHECK: AnnounceSleep does not look for work again once it has announced the sleep. R-05
   BUG_SKIP_IF_NOTIFIED: Notify returns at once if notified_ is set already. R-01
   BUG_ACK_LATE: RunReady acknowledges after the work, not before it. R-03
   BUG_BH_SKIP_IF_QUEUED: Schedule returns at once if a load says that the node is queued. R-01
   BUG_BH_CLEAR_LATE: Node::Invoke clears its bits after the callback. R-01 */
#define THREADS 3 /* 0: the loop's home; 1, 2: others */
#define CELLS 10
#include "store_buffer.inc"
#include "variant.inc"
#define HOME 0
#define QUEUE 0 /* a bit for each item: NODE is the bottom half's, the rest are posted */
#define NOTIFIED 1
#define SLEEPING 2
#define EVENT 3 /* the poller's */
#define BITS 4  /* of the node: kQueued and kScheduled, here always set and cleared together */
#define WORK 4  /* + thread: what was written before Schedule */
#define WANT 6  /* + thread: what was written before Notify */
#define NODE 1
#define ITEM(t, n) (1 << (2 * (t) + (n) - 2))
byte asked_work[THREADS], asked_want[THREADS], seen_work[THREADS], seen_want[THREADS], posted, ran, finished;
#define SERVED(t) (asked_work[t] == seen_work[t] && asked_want[t] == seen_want[t])
#define ALL_SERVED (finished == 2 && posted == ran && SERVED(1) && SERVED(2))

inline WakeIfSleeping() { /* AioContext::WakeIfSleeping */
  if
  :: !LOAD(t, SLEEPING)
  :: else -> exchange(t, SLEEPING, 0, before);
     if :: before -> store_sc(t, EVENT, 1) /* Poller::Wake */ :: else fi
  fi
}
inline Post(item) { /* AioContext::Post; the end of the loop is in iothread_stop.pml */
  atomic { flush(t); before = mem[QUEUE]; mem[QUEUE] = before | item };
  WakeIfSleeping()
}
active [2] proctype other() {
  byte t = _pid - THREADS + 1, n, before;
  do
  :: n < 3 - t -> n++; before = 0; /* thread 1 does two things, thread 2 one */
     if
     :: posted = posted | ITEM(t, n); Post(ITEM(t, n))
     :: asked_work[t] = n; store(t, WORK + t, n); /* BottomHalf::Schedule */
        VARIANT(BUG_BH_SKIP_IF_QUEUED, before = LOAD(t, BITS), skip);
        if :: !before -> exchange(t, BITS, 1, before) :: else fi;
        if :: !before -> Post(NODE) :: else fi
     :: asked_want[t] = n; store(t, WANT + t, n); /* AioContext::Notify */
        VARIANT(BUG_SKIP_IF_NOTIFIED, before = LOAD(t, NOTIFIED), skip);
        if :: !before -> VARIANT(BUG_NOTIFY_RELEASE, store, store_sc)(t, NOTIFIED, 1); WakeIfSleeping() :: else fi
     fi
  :: else -> break
  od;
  finished++
}
inline Acknowledge() { if :: LOAD(HOME, NOTIFIED) -> exchange(HOME, NOTIFIED, 0, seen) :: else fi }
inline RunReady() { /* AioContext::RunReady */
  VARIANT(BUG_ACK_LATE, skip, Acknowledge());
  seen_want[1] = LOAD(HOME, WANT + 1); seen_want[2] = LOAD(HOME, WANT + 2); /* the work that Notify stands for */
  VARIANT(BUG_ACK_LATE, Acknowledge(), skip);
  if
  :: LOAD(HOME, QUEUE) -> exchange(HOME, QUEUE, 0, taken); /* RunQueue */
     if
     :: taken & NODE -> /* BottomHalf::Node::Invoke */
        VARIANT(BUG_BH_CLEAR_LATE, skip, exchange(HOME, BITS, 0, seen));
        seen_work[1] = LOAD(HOME, WORK + 1); seen_work[2] = LOAD(HOME, WORK + 2); /* the callback */
        VARIANT(BUG_BH_CLEAR_LATE, exchange(HOME, BITS, 0, seen), skip)
     :: else
     fi;
     atomic { assert(!(ran & taken & ~NODE)); ran = ran | (taken & ~NODE); taken = 0 }
  :: else
  fi
}
inline HasWork() { /* AioContext::HasWork */
  seen = LOAD(HOME, QUEUE);
  if :: !seen -> seen = LOAD(HOME, NOTIFIED) :: else fi
}
active proctype loop() { /* AioContext::RunOnce(true), again and again */
  byte taken, seen;
  do
  :: HasWork(); /* TimeToWait */
     if
     :: !seen -> VARIANT(BUG_SLEEP_RELEASE, store, store_sc)(HOME, SLEEPING, 1); /* AnnounceSleep */
        VARIANT(BUG_NO_RECHECK, skip, HasWork());
        if
        :: !seen && ALL_SERVED -> break
        :: atomic { !seen && mem[EVENT] -> flush(HOME); mem[EVENT] = 0 } /* Poller::Wait */
        :: seen
        fi;
        store_sc(HOME, SLEEPING, 0)
     :: else
     fi;
     RunReady(); seen = 0
  od
}
