/* SPDX-License-Identifier: Apache-2.0
   The end of an I/O thread: src/aio/iothread.cc, AioContext::Post, Close, DropQueue, TryAddUser. Two threads post, one of
   them as a user of the loop (as a job is), while a third stops it. Checked: every item is run or dropped, once; what a
   user posts, and what was posted before Stop, is run; nothing runs once the loop has closed; Stop and all else ends.

   BUG_CLOSED_RELEASE: Close stores closed_ with release, and DropQueue looks before it exchanges. R-05
   BUG_NO_SECOND_DROP: Post does not look at closed_. R-75
   BUG_CLOSE_LATE: Close empties the queue before it says that it is closed. R-75
   BUG_LOOK_FIRST: Post looks at closed_ before it pushes, not after. R-75
   BUG_STOP_FLAG: Stop clears running_ itself and posts nothing. R-40
   BUG_USERS_RACE: Stop tests for users and closes the door to them in two steps. R-75
   BUG_DROP_TWICE: DropQueue reads the queue and empties it in two steps. R-75 */
#define THREADS 4 /* 0: home, 1: stops, 2: posts, 3: posts as a user */
#define CELLS 3
#include "store_buffer.inc"
#include "variant.inc"
#define HOME 0
#define QUEUE 0 /* a bit for each item, 1 << thread */
#define CLOSED 1
#define RUNNING 2 /* IOThread::running_; with BUG_STOP_FLAG another thread writes it, too */
#define STOP (1 << 1)
#define NO_MORE_USERS 9
byte users, ran, dropped, early; /* early: posted before Stop */
bit joined;

inline DropQueue() { /* AioContext::DropQueue */
  VARIANT(BUG_CLOSED_RELEASE, items = LOAD(t, QUEUE), items = 1);
  do
  :: items ->
     VARIANT(BUG_DROP_TWICE, items = LOAD(t, QUEUE); store_sc(t, QUEUE, 0), exchange(t, QUEUE, 0, items));
     atomic { assert(!(items & (ran | dropped | STOP | early))); dropped = dropped | items }
  :: else -> break
  od
}
inline Post(item) { /* AioContext::Post */
  VARIANT(BUG_LOOK_FIRST, items = LOAD(t, CLOSED), skip);
  atomic { flush(t); mem[QUEUE] = mem[QUEUE] | item };
  VARIANT(BUG_LOOK_FIRST, skip, items = VARIANT(BUG_NO_SECOND_DROP, 0, LOAD(t, CLOSED)));
  if :: items -> DropQueue() :: else fi /* else WakeIfSleeping: see notify.pml */
}
inline RunQueue() { /* AioContext::RunQueue */
  if
  :: LOAD(t, QUEUE) -> exchange(t, QUEUE, 0, items);
     atomic { assert(!(items & (ran | dropped)) && !LOAD(t, CLOSED)); ran = ran | items;
       if :: items & STOP -> store(t, RUNNING, 0) :: else fi; items = 0 }
  :: else
  fi
}
active proctype home() { /* IOThread::Run */
  byte t = HOME, items;
  store_sc(t, RUNNING, 1);
  do
  :: LOAD(t, RUNNING) -> mem[QUEUE]; RunQueue() /* RunOnce(true): it sleeps until something has been posted */
  :: else -> break
  od;
  RunQueue(); /* AioContext::Close: RunOnce(false), then: */
  VARIANT(BUG_CLOSE_LATE, DropQueue(); store_sc(t, CLOSED, 1),
          VARIANT(BUG_CLOSED_RELEASE, store, store_sc)(t, CLOSED, 1); DropQueue());
  joined = 1
}
active proctype stopper() { /* IOThread::Stop, tried again as long as there are users */
  byte t = 1, items, before;
  mem[RUNNING]; /* the constructor waits for that */
again:
  VARIANT(BUG_USERS_RACE, before = users; if :: !before -> users = NO_MORE_USERS :: else fi,
          atomic { before = users; if :: !before -> users = NO_MORE_USERS :: else fi });
  if :: before -> users == 0; goto again :: else fi;
  VARIANT(BUG_STOP_FLAG, ran = ran | STOP; store_sc(t, RUNNING, 0), Post(STOP));
  joined
}
active proctype poster() {
  byte t = 2, items;
  Post(1 << t);
  if :: users != NO_MORE_USERS -> early = early | 1 << t :: else fi
}
active proctype user() {
  byte t = 3, items, before;
  atomic { before = users; if :: before != NO_MORE_USERS -> users = before + 1 :: else fi }; /* TryAddUser */
  if
  :: before != NO_MORE_USERS -> early = early | 1 << t; Post(1 << t);
     ran & 1 << t;
     atomic { users-- } /* RemoveUser, when the job has ended */
  :: else -> ran = ran | 1 << t /* refused */
  fi
}
active proctype end() {
  joined && (ran | dropped) == (STOP | 1 << 2 | 1 << 3) 
}
