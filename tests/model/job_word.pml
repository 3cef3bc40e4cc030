/* SPDX-License-Identifier: Apache-2.0
   A job's word of requests and activity: include/job-common/job_word.h, src/job/{gate,verbs,run,move}.cc. A driver sleeps
   until it has seen two pieces of work, while others pause, resume, move and force-cancel it. Checked: a parked job runs
   no driver code; one resumption per suspension, in the job's context; no wake-up, pause, resume, move or force is lost.

   BUG_ENTER_UNPARKS: TakeByEnter takes a parked job, too. R-94
   BUG_TIMER_BLIND: the timer resumes the job without asking whether it has taken the word. R-36
   BUG_PARK_BLIND: Park does not look again, under the mutex, whether the job must park. R-08
   BUG_PARK_WITH_MOVE: Park does not look at the move bit. R-43
   BUG_PAUSE_NO_WAKE: a request does not take an idle job. R-45
   BUG_TAKE_LATE: Request sets its bit and takes the job in two steps. R-36
   BUG_IDLE_BLIND: TryIdle does not look for an early wake-up. R-05
   BUG_WAKE_TO_CODE: a sleeper that has slept goes on without a look at the pause bit. R-47
   BUG_FORCE_LEAVES_PARKED: ForceCancelRunning does not unpark. R-46 */
#include "variant.inc"
mtype:activity = { NOT_STARTED, RUNNING, IDLE, PARKED, DONE };
mtype:how = { NONE, START, YIELD, IN_SLEEP, IN_GATE, BEFORE_PARK, MOVE }; /* Job::Suspension; kPlain is three of them */
mtype:activity act = NOT_STARTED;
mtype:how suspension = START;
bit pause, force, move, woken, locked;                        /* with act: the word; job_mutex */
bit paused, held, ctx, move_to, posted, verbs[2], resumes[2]; /* held: it was suspended when it was paused */
bit timer, deadline, slept, entered, waiting;                 /* of the present sleep; Run has been entered */
byte work, seen;
#define WORK 2   /* pieces */
#define ROUNDS 2 /* of pause and resume */
#define MUST_HALT (!force && (pause || move))
/* What follows it is one step: it touches the word once, or what only the mutex guards. */
#define LOCKED !locked -> to = ctx; take = 0; tell = 0

inline post() { atomic { assert(!resumes[0] && !resumes[1]); resumes[to] = 1; take = 0 } } /* PostResume */
inline publish() { if :: tell -> verbs[to] = 1 :: else fi; if :: take -> post() :: else fi } /* UnlockAndPublish */
inline DeferVerbs() { if :: !posted -> posted = 1; tell = 1 :: else fi }
inline Request(bits) { /* JobWord::Request */
  VARIANT(BUG_TAKE_LATE, take = (act == IDLE), skip);
  atomic {
    take = VARIANT(BUG_TAKE_LATE, take, VARIANT(BUG_PAUSE_NO_WAKE, 0, (act == IDLE)));
    if :: take -> act = RUNNING :: else fi;
    bits = 1
  }
}
inline Unpark() { if :: paused -> paused = 0; act = RUNNING; take = 1 :: else fi }
inline CarryOutMove() { move = 0; if :: move_to -> move_to = 0; timer = 0; ctx = 1 - ctx; to = ctx :: else fi }
inline SleepIsOver() { /* the time may be up without the timer */
  atomic { slept = woken || fired || force; woken = 0; fired = 0; if :: deadline -> slept = 1 :: true fi }
}
inline TrySuspend(kind) { /* and JobWord::TryIdle; the timer is of this thread */
  atomic {
    if
    :: !pause && !force && !move VARIANT(BUG_IDLE_BLIND, , && !woken) ->
       suspension = kind; timer = deadline; act = IDLE; goto turn
    :: else
    fi
  }
}
active [2] proctype home() {
  bit fired, take, tell, to;
  mtype:how how;
turn:
  if
  :: atomic { resumes[_pid] -> resumes[_pid] = 0; fired = 0 } /* ResumeJob */
  :: atomic { timer && ctx == _pid -> timer = 0; fired = 1;   /* JobWord::TakeByTimer */
       if :: act == IDLE VARIANT(BUG_TIMER_BLIND, || true, ) -> act = RUNNING :: else -> goto turn fi }
  :: verbs[_pid] -> verbs[_pid] = 0; /* CarryOutVerbs */
     atomic { LOCKED; posted = 0;
       if
       :: act != DONE && act != NOT_STARTED ->
          if :: ctx == _pid && paused -> CarryOutMove() :: else fi; /* HopParked */
          if :: ctx != _pid -> DeferVerbs() :: else fi
       :: else
       fi };
     publish(); goto turn
  :: act == DONE && !resumes[_pid] && !verbs[_pid] && !posted -> goto end
  fi;
  atomic { assert(suspension != NONE && act == RUNNING && ctx == _pid); /* Dispatch */
    timer = 0; how = suspension; suspension = NONE };
  if
  :: how == START -> if :: force -> goto finish :: !force && MUST_HALT -> goto gate :: !MUST_HALT -> goto code fi
  :: how == YIELD -> SleepIsOver(); /* ResumeSleeper */
     if :: slept VARIANT(BUG_WAKE_TO_CODE, , && !MUST_HALT) -> goto code :: else -> goto sleep_on fi
  :: how == IN_SLEEP -> SleepIsOver(); goto sleep_on
  :: how == IN_GATE -> goto gate
  :: how == BEFORE_PARK -> goto park
  :: how == MOVE -> atomic { LOCKED; suspension = BEFORE_PARK; CarryOutMove(); take = 1 }; publish(); goto turn /* Hop */
  fi;
code: /* the driver's Run */
  entered = 1; assert(!held); seen = work; assert(!held);
  if :: force || seen == WORK -> goto finish :: else -> if :: deadline = 0 :: deadline = 1 fi fi;
suspend: /* SuspendForSleep */
  atomic { if :: force -> goto code :: else -> slept = woken; woken = 0 fi };
  if :: MUST_HALT -> goto sleep_on :: !MUST_HALT && slept -> goto code :: else fi;
  TrySuspend(YIELD); goto suspend;
sleep_on: /* Gate, of a sleep that goes on */
  if :: MUST_HALT -> goto gate :: !MUST_HALT && (slept || force) -> goto code :: else fi;
  TrySuspend(IN_SLEEP); SleepIsOver(); goto sleep_on;
gate: /* Gate */
  if :: !MUST_HALT -> if :: entered -> goto sleep_on :: else -> goto code fi :: else fi; /* else: ParkThenRun */
  atomic { if :: move -> suspension = MOVE; to = _pid; post(); goto turn :: else fi }; /* MoveAwaiter */
park: /* ParkAwaiter::Park */
  atomic { LOCKED;
    if
    :: VARIANT(BUG_PARK_BLIND, true, pause && !force) && VARIANT(BUG_PARK_WITH_MOVE, true, !move) ->
       suspension = IN_GATE; paused = 1; act = PARKED; goto turn
    :: else -> goto gate
    fi };
finish: /* FinishRun */
  atomic { LOCKED; timer = 0; move_to = 0; pause = 0; act = DONE; goto turn };
end: skip
}
active proctype pauser() {
  bit take, tell, to;
  byte n = 1;
again:
  atomic { LOCKED; locked = 1 };
  if :: act != DONE && !force -> Request(pause); held = take :: else fi; /* Pause */
  locked = 0; publish();
  if /* it parks some day, and if it has to move, it does so while it is parked */
  :: true -> waiting = 1; /* as do those from whom the work comes: a drain */
     atomic { !locked && (paused || act == NOT_STARTED || act == DONE || force) -> held = paused };
     waiting = 0;
     if :: true -> !move_to || !held :: true fi
  :: true
  fi;
  atomic { LOCKED; held = 0; if :: act != DONE && pause -> pause = 0; Unpark() :: else fi }; publish(); /* Resume */
  if :: n < ROUNDS -> n++; goto again :: else fi
}
active proctype user() { /* starts it; then moves it, or force-cancels it, or does not */
  bit take, tell, to;
  atomic { LOCKED; act = RUNNING; take = 1 }; publish(); /* Start */
  if
  :: true -> atomic { LOCKED; locked = 1 }; /* Move */
     if
     :: act != DONE -> move_to = 1; Request(move); if :: paused -> DeferVerbs() :: else fi /* RetryMove */
     :: else
     fi;
     locked = 0; publish();
     !move_to
  :: true -> atomic { LOCKED; locked = 1; held = 0 }; /* ForceCancelRunning */
     if
     :: act != DONE -> pause = 0; Request(force);
        if
        :: take
        :: !take && paused -> VARIANT(BUG_FORCE_LEAVES_PARKED, skip, Unpark())
        :: !take && !paused -> DeferVerbs()
        fi
     :: else
     fi;
     locked = 0; publish()
  :: true
  fi
}
active proctype enterer() { /* TakeByEnter, after each piece of work */
  bit take, tell, to;
again:
  atomic { !waiting -> work++ };
  atomic {
    to = ctx;
    if
    :: act == IDLE VARIANT(BUG_ENTER_UNPARKS, || act == PARKED, ) -> act = RUNNING; woken = 1; take = 1
    :: act == RUNNING VARIANT(BUG_ENTER_UNPARKS, , || act == PARKED) -> woken = 1
    :: else
    fi
  };
  publish();
  if :: work < WORK -> goto again :: else fi
}
