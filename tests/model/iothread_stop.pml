/* SPDX-License-Identifier: Apache-2.0
   The end of an I/O thread: src/aio/iothread.cc, AioContext::Post, Close, DropQueue, TryAddUser. Two threads post, one of
   them as a user of the loop (as a job is), while a third stops it. Checked: every item is run or dropped, once; what a
   user posts, and what was posted before Stop, is run; nothing runs once the loop has closed; Stop and all else ends.

   BUG_NO_LOOK: Post pushes without looking for the mark. R-75
   BUG_LOOK_FIRST: Post looks for the mark, and then pushes, in two steps. R-75
   BUG_CLOSE_LATE: CloseQueue takes what is queued, and then sets the mark, in two steps. R-75
   BUG_DROP_TWICE: CloseQueue reads the queue, and then sets the mark, in two steps. R-75
   BUG_STOP_FLAG: Stop clears running_ itself and posts nothing. R-40
   BUG_USERS_RACE: Stop tests for users and closes the door to them in two steps. R-75 */
#define THREADS 4 /* 0: home, 1: stops, 2: posts, 3: posts as a user */
#define CELLS 2
#include "store_buffer.inc"
#include "variant.inc"
#define HOME 0
#define QUEUE 0 /* a bit for each item, 1 << thread; or the mark */
#define CLOSED 1 /* the mark, AioContext::kClosed: no thread's bit */
#define RUNNING 1 /* IOThread::running_; with BUG_STOP_FLAG another thread writes it, too */
#define STOP (1 << 1)
#define NO_MORE_USERS 9
byte users, ran, dropped, early; /* early: posted before Stop */
bit joined;

inline CloseQueue() { /* AioContext::CloseQueue */
  VARIANT(BUG_DROP_TWICE, items = LOAD(t, QUEUE); store_sc(t, QUEUE, CLOSED),
          VARIANT(BUG_CLOSE_LATE, exchange(t, QUEUE, 0, items); store_sc(t, QUEUE, CLOSED),
                  exchange(t, QUEUE, CLOSED, items)));
  atomic { assert(!(items & (ran | dropped | STOP | early))); dropped = dropped | items }
}
inline Push(item) { flush(t); mem[QUEUE] = mem[QUEUE] | item }
inline Post(item) { /* AioContext::Post: the compare-exchange and the look are one step */
  VARIANT(BUG_NO_LOOK, atomic { Push(item) },
  VARIANT(BUG_LOOK_FIRST,
    if :: LOAD(t, QUEUE) == CLOSED -> dropped = dropped | item :: else -> atomic { Push(item) } fi,
    atomic { if :: mem[QUEUE] == CLOSED -> assert(!(item & (STOP | early))); dropped = dropped | item
                :: else -> Push(item) fi }))
  /* then WakeIfSleeping: see notify.pml */
}
inline RunQueue() { /* AioContext::RunQueue */
  if
  :: LOAD(t, QUEUE) -> exchange(t, QUEUE, 0, items);
     atomic { assert(!(items & (ran | dropped | CLOSED))); ran = ran | items;
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
  CloseQueue();
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
