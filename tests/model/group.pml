/* SPDX-License-Identifier: Apache-2.0
   A group of up to three jobs: src/job/group.cc, src/job/create.cc, FinishRun in src/job/run.cc, Cancel and Finalize in
   src/job/verbs.cc; each critical section is one step. Checked: all commit or all abort, the latter if any member failed or
   was cancelled; Prepare at most once, Commit or Abort once, Clean once, and not before all others have had theirs; one finaliser, after the seal and the end of all
   Runs; everybody concludes. Members end as they like; two actors ask for Finalize; anybody may cancel at any time.

   BUG_UNGUARDED_FINALIZE: Finalize posts a finaliser whatever the phase. R-83
   BUG_PREPARE_COMMITS_OTHERS: a failed Prepare aborts that member, and the cut does not ask again. R-83
   BUG_NO_CUT: commit or abort is asked for each member, not once. R-30
   BUG_CLEAN_BETWEEN: each member is cleared away before the next one commits or aborts. R-58
   BUG_CANCEL_AFTER_CUT: Cancel does not look whether the group is committing. R-30
   BUG_CONVERGE_OPEN: MaybeConverge does not wait for the seal. R-24
   BUG_CREATED_WAITS: AbortMember leaves a member that was never started to end by itself. R-82
   BUG_WAITING_STAYS: AbortMember leaves members that have finished their Run as they are. R-30
   BUG_ABORT_NO_CONVERGE: AbortGroup does not look whether all have finished already. R-82
   BUG_JOIN_ABORTING: Register lets a job join a group that has failed. R-39 */
#include "variant.inc"
#define N 3
mtype:status = { NONE, CREATED, JOB_RUNNING, WAITING, PENDING, ABORTING, CONCLUDED };
mtype:phase = { OPEN, SEALED, FINALIZING, DECIDED, ENDED };
mtype:status status[N] = NONE;
mtype:phase phase = OPEN;
bit aborting, left[N], failed[N], prepared[N], committed[N], aborted[N], cleaned[N], manual;
byte members, unfinished, posted;

inline PostFinaliser() { /* JobOps::PostFinaliser */
  phase = FINALIZING;
  if :: members == 0 -> phase = ENDED :: else -> posted++ fi
}
inline MaybeConverge() { /* JobOps::MaybeConverge */
  if
  :: unfinished || (phase != OPEN && phase != SEALED)
  :: else ->
     if
     :: aborting -> PostFinaliser()
     :: !aborting && phase == OPEN VARIANT(BUG_CONVERGE_OPEN, && 0, )
     :: !aborting && (phase == SEALED VARIANT(BUG_CONVERGE_OPEN, || 1, )) ->
        for (k : 0 .. N - 1) { if :: k < members -> status[k] = PENDING :: else fi };
        if :: manual && members :: else -> PostFinaliser() fi
     fi
  fi
}
inline LeaveContext(i) { assert(!left[i]); left[i] = 1; unfinished-- }
inline AbortGroup() { /* JobOps::AbortGroup, AbortMember */
  if
  :: aborting
  :: else -> aborting = 1; assert(phase != DECIDED && phase != ENDED);
     for (k : 0 .. N - 1) {
       if
       :: status[k] == CREATED VARIANT(BUG_CREATED_WAITS, && false, ) -> LeaveContext(k); failed[k] = 1; status[k] = ABORTING
       :: (status[k] == WAITING || status[k] == PENDING) VARIANT(BUG_WAITING_STAYS, && false, ) ->
          failed[k] = 1; status[k] = ABORTING
       :: else /* one that runs sees that it is force-cancelled: FinishRun */
       fi
     };
     VARIANT(BUG_ABORT_NO_CONVERGE, skip, MaybeConverge())
  fi
}
active proctype creator() { /* of jobs, and of the group: Register, Seal or ~JobTxnBuilder */
  byte k, n;
  if :: manual = 0 :: manual = 1 fi;
  do
  :: n < N -> n++;
     atomic {
       if
       :: phase == OPEN VARIANT(BUG_JOIN_ABORTING, , && !aborting) -> status[members] = CREATED; members++; unfinished++
       :: else
       fi
     }
  :: break
  od;
  atomic {
    if
    :: aborting
    :: !aborting -> phase = SEALED; MaybeConverge()
    :: !aborting && phase == OPEN -> AbortGroup() /* AbortUnsealed */
    fi
  }
}
active [N] proctype job() { /* StartJob, Run, FinishRun */
  byte i = _pid - 1, k;
  if
  :: atomic { status[i] == CREATED && !aborting -> status[i] = JOB_RUNNING } /* nobody starts one in vain */
  :: status[i] == ABORTING || phase == ENDED -> goto over
  fi;
  atomic {
    LeaveContext(i);
    if
    :: !aborting -> status[i] = WAITING
    :: failed[i] = 1; status[i] = ABORTING; AbortGroup()
    fi;
    MaybeConverge()
  };
over:
  phase == ENDED;
  assert(status[i] == NONE || status[i] == CONCLUDED && left[i] && cleaned[i] && committed[i] != aborted[i]);
  assert(aborted[i] == failed[i]); /* its outcome */
  assert(status[i] == NONE || committed[i] == committed[0])
}
active proctype canceller() { /* JobOps::Cancel */
  byte k;
  if
  :: atomic { members && phase != ENDED VARIANT(BUG_CANCEL_AFTER_CUT, , && phase != DECIDED) -> AbortGroup() }
  :: true
  fi
}
active [2] proctype finalizer() { /* JobOps::Finalize */
  if
  :: atomic { status[0] == PENDING ->
       if :: phase == SEALED VARIANT(BUG_UNGUARDED_FINALIZE, || true, ) -> PostFinaliser() :: else fi }
  :: phase == ENDED
  fi
}
inline Clean(i) { /* the hook, and Conclude */
  for (k : 0 .. members - 1) { assert(committed[k] || aborted[k]) };
  assert(!cleaned[i]); cleaned[i] = 1;
  status[i] = CONCLUDED
}
active [2] proctype finaliser() { /* JobOps::Finalise */
  byte i, k;
  bit commit;
  if
  :: atomic { posted -> posted--; assert(phase == FINALIZING && !unfinished && !prepared[0] && !cleaned[0]) }
  :: phase == ENDED && !posted -> goto over
  fi;
  commit = !aborting;
  for (i : 0 .. members - 1) { /* phase one */
    if
    :: commit -> assert(!prepared[i]); prepared[i] = 1;
       atomic {
         if
         :: true
         :: !aborting -> failed[i] = 1; status[i] = ABORTING; /* FailMember */
            VARIANT(BUG_PREPARE_COMMITS_OTHERS, skip, AbortGroup())
         fi;
         commit = !aborting
       }
    :: else
    fi
  };
  VARIANT(BUG_NO_CUT, skip, atomic { commit = !aborting; phase = DECIDED });
  for (i : 0 .. members - 1) { /* phase two */
    VARIANT(BUG_NO_CUT, commit = !aborting, skip);
    if
    :: commit VARIANT(BUG_PREPARE_COMMITS_OTHERS, && !failed[i], ) -> assert(!committed[i]); committed[i] = 1
    :: else -> assert(!aborted[i]); aborted[i] = 1
    fi;
    VARIANT(BUG_CLEAN_BETWEEN, Clean(i), skip)
  };
  for (i : 0 .. members - 1) { VARIANT(BUG_CLEAN_BETWEEN, skip, Clean(i)) };
  phase = ENDED;
over: skip
}
