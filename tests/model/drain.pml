/* SPDX-License-Identifier: Apache-2.0
   Resources and drained sections: include/job-driver/resource.h, src/job/resource.cc. Two sections, over {A, B} and over
   {B}; a request of A that makes another of B on its own behalf, and two requests of B that come one after the other in one
   context. Checked: while a section is granted no request is in flight in its resources; requests of a context are admitted
   in order; every section is granted, every request served (else: invalid end state); in the end the way in is open.

   BUG_COUNT_LATE: a parked request is counted when it goes on, not when the section ends. R-18
   BUG_COUNT_PARKED: a request counts as in flight while it is parked. R-57
   BUG_OPEN_AT_ONCE: a section is granted without waiting. R-22
   BUG_NOT_COUNTED: the end of one section opens the way in although another is open. R-87
   BUG_TWO_STEPS: TryAdmit tests kClosed and counts in two steps. R-22
   BUG_FINISH_STALE: Finish takes kClosed from before its exchange. R-08
   BUG_NO_KICK: the end of the last request does not kick. R-08
   BUG_CHILD_PARKS: MayEnter does not know on whose behalf a request is. R-62
   BUG_OVERTAKE: the way in opens although requests that were parked have not gone on yet. R-57 */
#include "variant.inc"
#define A 0
#define B 1
#define COVERS(s, r) ((r) == B || (s) == 0)
#define OPEN(r) (open[0] || ((r) == B && open[1])) /* sections_ is not empty */
#define GRANTED(r) (granted[0] || ((r) == B && granted[1]))
#define CHILD 0  /* requests: of B on behalf of PARENT; */
#define PARENT 3 /* of A; 1 and 2, in this order, of B in a context of their own */
#define RESOURCE(q) ((q) == PARENT -> A : B)
byte in_flight[2], next = 1;
bit closed[2], open[2], granted[2], kicked[2], is_parked[4], on_its_way[4], running[4];

/* A child may also enter while all sections wait, and one of them for its parent, too. */
#define MAY_ENTER(q) (!OPEN(RESOURCE(q)) || ((q) == CHILD && VARIANT(BUG_CHILD_PARKS, 0, !GRANTED(B) && open[0])))
inline Kick() { atomic { kicked[0] = 1; kicked[1] = 1 } } /* see wait_kick.pml */
inline Finish(r) { /* Resource::Finish */
  VARIANT(BUG_FINISH_STALE, was_closed = closed[r], skip);
  atomic {
    in_flight[r]--;
    VARIANT(BUG_FINISH_STALE, skip, was_closed = closed[r]);
    was_closed = was_closed && !in_flight[r]
  };
  if :: was_closed -> VARIANT(BUG_NO_KICK, skip, Kick()) :: else fi
}
inline OpenFastPathIfUnused(r) {
  if
  :: VARIANT(BUG_NOT_COUNTED, 1, !OPEN(r)) && VARIANT(BUG_OVERTAKE, 1, (r == A -> !on_its_way[PARENT] :
       !on_its_way[CHILD] && !on_its_way[1] && !on_its_way[2])) -> closed[r] = 0
  :: else
  fi
}
inline ReleaseParked() { /* of all resources: there is nothing to release in others */
  for (k : 0 .. 3) {
    if
    :: is_parked[k] && MAY_ENTER(k) -> is_parked[k] = 0; on_its_way[k] = 1;
       VARIANT(BUG_COUNT_LATE, skip, VARIANT(BUG_COUNT_PARKED, skip, in_flight[RESOURCE(k)]++))
    :: else
    fi
  }
}
inline GoOn(q) { /* the coroutine has its Admission */
  if :: q == 1 || q == 2 -> assert(next == q); next++ :: else fi;
  atomic { assert(!GRANTED(RESOURCE(q))); running[q] = 1 }
}
inline Admit(q) { /* AdmitAwaiter */
  was_closed = closed[RESOURCE(q)];
  atomic { /* TryAdmit */
    if
    :: VARIANT(BUG_TWO_STEPS, !was_closed, !closed[RESOURCE(q)]) -> in_flight[RESOURCE(q)]++; GoOn(q); was_closed = 0
    :: else -> was_closed = 1
    fi
  };
  if
  :: !was_closed
  :: else ->
     atomic { /* ResourceOps::Park */
       if
       :: MAY_ENTER(q) -> in_flight[RESOURCE(q)]++;
          if :: q == 2 && on_its_way[1] -> on_its_way[q] = 1 :: else -> GoOn(q) fi
       :: else -> is_parked[q] = 1; VARIANT(BUG_COUNT_PARKED, in_flight[RESOURCE(q)]++, skip)
       fi
     }
  fi
}
inline ResumeOne(q) { /* ResourceOps::ResumeAll, TakeOut */
  atomic { on_its_way[q]; on_its_way[q] = 0; OpenFastPathIfUnused(RESOURCE(q)) };
  VARIANT(BUG_COUNT_LATE, in_flight[RESOURCE(q)]++, skip);
  GoOn(q)
}
active proctype home() { /* of 1 and 2 */
  byte q = 1;
  bit was_closed;
  do
  :: q < 3 -> Admit(q); q++
  :: on_its_way[1] -> ResumeOne(1)
  :: !on_its_way[1] && on_its_way[2] -> ResumeOne(2)
  :: next == 3 -> break
  od
}
active [2] proctype io() { /* requests 1 and 2 once they have been admitted */
  byte q = _pid;
  bit was_closed;
  running[q]; assert(!GRANTED(B));
  running[q] = 0; Finish(B)
}
active proctype parent() { /* and its child, in another context */
  bit was_closed;
  Admit(PARENT);
  if :: running[PARENT] :: on_its_way[PARENT] -> ResumeOne(PARENT) fi;
  Admit(CHILD);
  if :: running[CHILD] :: on_its_way[CHILD] -> ResumeOne(CHILD) fi;
  assert(!GRANTED(A) && !GRANTED(B));
  running[CHILD] = 0; Finish(B);
  running[PARENT] = 0; Finish(A)
}
active [2] proctype section() { /* ResourceOps::Open */
  byte s = _pid - 4, k;
  atomic { /* Close */
    open[s] = 1; closed[B] = 1;
    if :: COVERS(s, A) -> closed[A] = 1 :: else fi;
    ReleaseParked()
  };
  Kick();
  do
  :: kicked[s] = 0;
     atomic { /* IsStill, TryGrant */
       if
       :: VARIANT(BUG_OPEN_AT_ONCE, 1, !in_flight[B] && (!COVERS(s, A) || !in_flight[A])) -> granted[s] = 1; break
       :: else
       fi
     };
     kicked[s]
  od;
  assert(!running[CHILD] && !running[1] && !running[2] && (!COVERS(s, A) || !running[PARENT]));
  atomic { /* Reopen */
    open[s] = 0; granted[s] = 0;
    ReleaseParked(); OpenFastPathIfUnused(B);
    if :: COVERS(s, A) -> OpenFastPathIfUnused(A) :: else fi
  };
  Kick()
}
active proctype end() {
  next == 3 && !in_flight[A] && !in_flight[B] && !open[0] && !open[1] && !closed[A] && !closed[B]
}
