/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The hand-over of migration/PROTOCOL.md for Spin: both state machines, the
 * storage, the records that they keep, and everything that may go wrong.
 *
 * Network: a message that was sent may be read never, late, often, and in any
 * order, by a set of messages that were ever sent. Only HELLO is read once:
 * a connection is a handshake and can't be replayed. Corruption is loss, or
 * the event "failed".
 * Storage: without locks (NBD); locks that end with their holder (files); or
 * locks that outlast him and are broken, which shuts the old holder out
 * (RBD). Its answer may be lost, whether or not it did what was asked.
 * Either side may end at any step. A source that ended may be booted anew
 * from its disk, unless its record says that GO may have been sent.
 *
 * Each SEDGE, SWHEN, DEDGE and DWHEN is an edge of the tables in migration/;
 * the script edges compares them, event by event.
 *
 * -DBROKEN=1: a source whose link is lost at GO resumes.
 * -DBROKEN=2: no record: who boots a source anew doesn't know of GO.
 * -DBROKEN=3: a source that gets the locks after GO resumes. They prove that
 *    the destination does not run now, not that it never ran: the disk may
 *    have moved on, and this memory is of before.
 */
#ifndef BROKEN
#define BROKEN 0
#endif

mtype = { S_CONNECTING, S_OFFERING, S_COPYING, S_STOPPING, S_PREPARING,
	  S_COMMITTING, S_ASKING, S_SERVING, S_SEVERED, S_RETURNING,
	  S_COMPLETED, S_FAILED, S_CANCELLED, S_STRANDED, S_UNKNOWN,
	  S_BROKEN };
mtype = { D_LISTENING, D_NEGOTIATING, D_RECEIVING, D_LOADING, D_PREPARED,
	  D_ORPHANED, D_STARTING, D_FETCHING, D_SEVERED, D_LINGERING,
	  D_DISCARDING, D_MOURNING, D_RUNS, D_ENDED, D_BROKEN };
mtype = { NOBODY, SOURCE, DESTINATION };	/* who holds the locks */
mtype = { WITHOUT, ENDING, LASTING };		/* kinds of lock */

mtype S = S_CONNECTING;
mtype D = D_LISTENING;
bool S_crashed, D_crashed;
bool S_runs = true;		/* executes the guest */
bool D_runs;
bool D_ran;			/* did, at some time: the disk moved on */
bool S_gave_up;			/* deactivated: locks must be taken to run */
bool S_told;			/* somebody was told that it is not clear */
bool D_has;			/* believes that it holds the locks */
bool D_copy;			/* has a copy of the VM */
bool D_lacks;			/* runs before all of its memory is there */
bool D_told;			/* ended before it was, and somebody was told */
bool S_record, D_record;	/* on disk: GO may have been sent; acted on */
bool booted;			/* anew, from the disk */
mtype locks = WITHOUT;
mtype holder = SOURCE;
bool S_shut, D_shut;		/* blocklisted by the storage */

/* Messages that were ever sent. */
bool hello, accept, state, prepared, go, running, dead, cancel, query;
bool incomplete, fetched, broke, recover;	/* post-copy */

/* Only one of them may write the disk. */
#define EXACTLY_ONE assert(!(S_runs && D_runs && !S_shut && !D_shut))

/* Ask the storage for all locks; @ok is what the asker learns. */
inline take(me, other, me_shut, other_shut, ok)
{
	if
	:: locks == WITHOUT -> ok = true
	:: locks != WITHOUT && !me_shut && holder != other ->
		if
		:: holder = me; ok = true
		:: holder = me; ok = false	/* the answer was lost */
		:: ok = false
		fi
	:: locks == LASTING && !me_shut && holder == other ->
		if
		:: other_shut = true; holder = me; ok = true
		:: ok = false
		fi
	:: else -> ok = false
	fi
}

inline release(me)
{
	if
	:: holder == me -> holder = NOBODY
	:: true				/* refused, or its answer was lost */
	fi
}

inline end_of(me)
{
	if
	:: locks == ENDING && holder == me -> holder = NOBODY
	:: else
	fi
}

/* An edge that needs @guard, and does @action. */
#define SWHEN(state, to, event, guard, action) \
	:: atomic { !S_crashed && S == S_##state && (guard) -> action; \
		    S = S_##to }
#define DWHEN(state, to, event, guard, action) \
	:: atomic { !D_crashed && D == D_##state && (guard) -> action; \
		    D = D_##to }
/* One that may be taken at any time, and does nothing else. */
#define SEDGE(state, to, event) SWHEN(state, to, event, true, skip)
#define DEDGE(state, to, event) DWHEN(state, to, event, true, skip)

proctype source()
{
	bool ok;

	do
	SWHEN(CONNECTING, OFFERING, "connected", true, hello = true)
	SEDGE(CONNECTING, FAILED, "failed or refused")
	SEDGE(CONNECTING, CANCELLED, "cancelled")
	SWHEN(OFFERING, COPYING, "ACCEPT", accept, skip)
	SWHEN(OFFERING, FAILED, "failed or refused", true, cancel = true)
	SWHEN(OFFERING, CANCELLED, "cancelled", true, cancel = true)
	:: atomic { !S_crashed && S == S_COPYING -> S_record = true }
	SWHEN(COPYING, STOPPING, "short pause predicted", S_record, skip)
	SWHEN(COPYING, FAILED, "failed or refused", true, cancel = true;
	      S_record = false)
	SWHEN(COPYING, CANCELLED, "cancelled", true, cancel = true;
	      S_record = false)

	/* stop, give up locks, send the state; it may fail at each step */
	:: atomic { !S_crashed && S == S_STOPPING && S_runs ->
		    S_runs = false }
	:: atomic { !S_crashed && S == S_STOPPING && !S_runs && !S_gave_up ->
		    S_gave_up = true; release(SOURCE) }
	:: atomic { !S_crashed && S == S_STOPPING && S_gave_up ->
		    state = true }
	SWHEN(STOPPING, PREPARING, "STATE sent", state, skip)
	SWHEN(STOPPING, RETURNING, "failed or refused", true, cancel = true)
	SWHEN(STOPPING, RETURNING, "cap exceeded", true, cancel = true)
	SWHEN(STOPPING, RETURNING, "cancelled", true, cancel = true)

	SWHEN(PREPARING, COMMITTING, "PREPARED", prepared, skip)
	SWHEN(PREPARING, RETURNING, "failed or refused", true, cancel = true)
	SWHEN(PREPARING, RETURNING, "cap exceeded", true, cancel = true)
	SWHEN(PREPARING, RETURNING, "cancelled", true, cancel = true)

	:: atomic { !S_crashed && S == S_COMMITTING -> go = true }
	SWHEN(COMMITTING, COMPLETED, "RUNNING", go && running, S_record = false)
	SWHEN(COMMITTING, SERVING, "RUNNING, pages are missing",
	      go && incomplete, skip)
	SWHEN(COMMITTING, RETURNING, "DEAD", go && dead, skip)
	SEDGE(COMMITTING, ASKING, "link lost")

	:: atomic { !S_crashed && S == S_ASKING -> query = true }
	SWHEN(ASKING, COMPLETED, "RUNNING", query && running, S_record = false)
	SWHEN(ASKING, SEVERED, "RUNNING, pages are missing",
	      query && incomplete, skip)
	SWHEN(ASKING, RETURNING, "DEAD", query && dead, skip)
	SWHEN(ASKING, COMMITTING, "PREPARED", query && prepared, skip)
	SWHEN(ASKING, UNKNOWN, "nobody answers", true, S_told = true)
#if BROKEN == 1
	:: atomic { !S_crashed && S == S_ASKING -> S = S_RETURNING }
#endif
#if BROKEN == 3
	:: atomic { !S_crashed && S == S_ASKING && locks != WITHOUT ->
		    take(SOURCE, DESTINATION, S_shut, D_shut, ok);
		    if
		    :: ok -> S_gave_up = false; S = S_RETURNING
		    :: else
		    fi }
#endif

	/* it ran there: nothing but its own word ends this, or a person's */
	SWHEN(SERVING, COMPLETED, "all pages are there", fetched,
	      S_record = false)
	SEDGE(SERVING, SEVERED, "link lost")
	SWHEN(SERVING, BROKEN, "DEAD", broke, S_told = true)
	SWHEN(SERVING, BROKEN, "told to give up", true, S_told = true)
	SWHEN(SEVERED, SERVING, "link is back", D == D_SEVERED && !D_crashed,
	      recover = true)
	SWHEN(SEVERED, COMPLETED, "all pages are there", fetched,
	      S_record = false)
	SWHEN(SEVERED, BROKEN, "DEAD", broke, S_told = true)
	SWHEN(SEVERED, BROKEN, "told to give up", true, S_told = true)

	/* locks first, then the VM; each may fail for good */
	:: atomic { !S_crashed && S == S_RETURNING && S_gave_up ->
		    take(SOURCE, DESTINATION, S_shut, D_shut, ok);
		    S_gave_up = !ok }
	:: atomic { !S_crashed && S == S_RETURNING && !S_gave_up && !S_runs ->
		    S_runs = true;
		    assert(locks == WITHOUT || holder == SOURCE || S_shut);
		    EXACTLY_ONE;
		    /* its memory is of before */
		    assert(!D_ran) }
	SWHEN(RETURNING, FAILED, "runs again", S_runs, S_record = false)
	SWHEN(RETURNING, CANCELLED, "cancelled", S_runs, S_record = false)
	SWHEN(RETURNING, STRANDED, "locks are held elsewhere", !S_runs,
	      S_told = true)

	:: !S_crashed && (S == S_COMPLETED || S == S_FAILED ||
			  S == S_CANCELLED || S == S_STRANDED ||
			  S == S_UNKNOWN || S == S_BROKEN) -> break
	:: S_crashed -> break
	od
}

proctype destination()
{
	bool ok;

	do
	DWHEN(LISTENING, NEGOTIATING, "HELLO", hello, hello = false)
	DEDGE(LISTENING, ENDED, "told to end")

	:: atomic { !D_crashed && D == D_NEGOTIATING ->
		    D_copy = true; accept = true }
	DWHEN(NEGOTIATING, RECEIVING, "all channels there", accept, skip)
	DEDGE(NEGOTIATING, DISCARDING, "failed or refused")
	DWHEN(NEGOTIATING, DISCARDING, "CANCEL", cancel, skip)
	DEDGE(NEGOTIATING, DISCARDING, "told to end")
	:: atomic { !D_crashed && D == D_RECEIVING -> D_record = true }
	DWHEN(RECEIVING, LOADING, "STATE and all pages", state && D_record,
	      skip)
	DEDGE(RECEIVING, DISCARDING, "failed or refused")
	DWHEN(RECEIVING, DISCARDING, "CANCEL", cancel, skip)
	DEDGE(RECEIVING, DISCARDING, "told to end")

	:: atomic { !D_crashed && D == D_LOADING && !D_has ->
		    take(DESTINATION, SOURCE, D_shut, S_shut, ok);
		    D_has = ok }
	:: atomic { !D_crashed && D == D_LOADING && D_has -> prepared = true }
	DWHEN(LOADING, PREPARED, "locks held", prepared, skip)
	DEDGE(LOADING, DISCARDING, "failed or refused")
	DWHEN(LOADING, DISCARDING, "CANCEL", cancel, skip)
	DEDGE(LOADING, DISCARDING, "told to end")

	DWHEN(PREPARED, STARTING, "GO", go, skip)
	DEDGE(PREPARED, ORPHANED, "link lost")
	DWHEN(PREPARED, DISCARDING, "CANCEL", cancel, skip)
	DEDGE(PREPARED, DISCARDING, "failed or refused")
	DEDGE(PREPARED, DISCARDING, "no GO in time")
	DEDGE(PREPARED, DISCARDING, "told to end")
	DWHEN(ORPHANED, PREPARED, "QUERY", query, skip)
	DWHEN(ORPHANED, DISCARDING, "CANCEL", cancel, skip)
	DEDGE(ORPHANED, DISCARDING, "no GO in time")
	DEDGE(ORPHANED, DISCARDING, "told to end")

	:: atomic { !D_crashed && D == D_STARTING && !D_runs ->
		    D_runs = true;
		    D_ran = true;
		    assert(locks == WITHOUT || holder == DESTINATION ||
			   D_shut);
		    EXACTLY_ONE }
	DWHEN(STARTING, LINGERING, "runs", D_runs, running = true)
	DWHEN(STARTING, FETCHING, "runs, pages are missing", D_runs,
	      incomplete = true; D_lacks = true)
	DWHEN(STARTING, DISCARDING, "failed or refused", !D_runs, skip)
	/* only while the source has its memory can it all come; it may not
	 * have been told so when the link is lost */
	:: atomic { !D_crashed && D == D_FETCHING && S == S_SERVING &&
		    D_lacks -> D_lacks = false }
	DWHEN(FETCHING, LINGERING, "all pages are there", !D_lacks,
	      fetched = true; running = true)
	DEDGE(FETCHING, SEVERED, "link lost")
	DWHEN(FETCHING, BROKEN, "told to end", true,
	      broke = true; D_runs = false; D_told = true)
	DWHEN(SEVERED, FETCHING, "link is back", recover, recover = false)
	DWHEN(SEVERED, LINGERING, "all pages are there", !D_lacks,
	      fetched = true; running = true)
	DWHEN(SEVERED, BROKEN, "told to end", true,
	      broke = true; D_runs = false; D_told = true)
	DWHEN(LINGERING, RUNS, "over", true, skip)
	DWHEN(LINGERING, RUNS, "told to end", true, skip)

	/* the copy, its locks, and only then the word */
	:: atomic { !D_crashed && D == D_DISCARDING && D_copy ->
		    D_copy = false; release(DESTINATION) }
	:: atomic { !D_crashed && D == D_DISCARDING && !D_copy ->
		    dead = true; D_record = false }
	DWHEN(DISCARDING, LISTENING, "listen again", dead, skip)
	DWHEN(DISCARDING, MOURNING, "once, source may ask", dead, skip)
	DWHEN(DISCARDING, ENDED, "over", dead, skip)
	DWHEN(DISCARDING, ENDED, "told to end", dead, skip)
	DEDGE(MOURNING, ENDED, "over")
	DEDGE(MOURNING, ENDED, "told to end")

	:: !D_crashed && (D == D_RUNS || D == D_ENDED || D == D_BROKEN) ->
		break
	:: D_crashed -> break
	od
}

/* Power cuts, kill -9, and the administrator who boots the VM anew. */
proctype trouble()
{
	do
	:: atomic { !S_crashed ->
		    S_crashed = true; S_runs = false; end_of(SOURCE) }
	:: atomic { !D_crashed ->
		    D_crashed = true; D_runs = false; end_of(DESTINATION) }
#if BROKEN == 2
	:: atomic { S_crashed && !booted && S != S_COMPLETED ->
#else
	:: atomic { S_crashed && !booted && S != S_COMPLETED && !S_record ->
#endif
		    /* a new process is a new client of the storage */
		    if
		    :: locks == WITHOUT || holder != DESTINATION ->
			    S_shut = false;
			    holder = SOURCE;
			    booted = true;
			    S_runs = true;
			    EXACTLY_ONE
		    :: locks == LASTING && holder == DESTINATION ->
			    S_shut = false;
			    D_shut = true;
			    holder = SOURCE;
			    booted = true;
			    S_runs = true;
			    EXACTLY_ONE
		    :: else
		    fi }
	:: break
	od
}

/*
 * What the tables in migration/ say of each state's disks, in disks.pml, is
 * true in every state of the model.
 */
#include "disks.pml"

#define HOLDS(me, me_shut) (locks == WITHOUT || holder == me || me_shut)

never {
	do
	:: assert((S_crashed || !S_SAYS_held || HOLDS(SOURCE, S_shut)) &&
		  (D_crashed || !D_SAYS_held || HOLDS(DESTINATION, D_shut)) &&
		  (S_crashed || !S_SAYS_free || !S_runs || S_told) &&
		  (D_crashed || !D_SAYS_free || !D_runs))
	od
}

#define UNCLEAR (!S_crashed && (S == S_UNKNOWN || S == S_STRANDED))

/* What holds when nothing moves any more. */
proctype end()
{
	timeout ->
	atomic {
		/* one runs, or a process has visibly ended, or it was told */
		assert(S_runs || D_runs || S_told || D_told || S_crashed ||
		       D_crashed);
		assert(!UNCLEAR || S_told);
		/* a source that may forget its memory is not needed */
		assert(S != S_COMPLETED || !D_lacks);
		/* whoever may have given the VM away has it on record */
		assert(!S_crashed || booted || !go || running || dead ||
		       S_record || S == S_FAILED || S == S_CANCELLED);
		/* who ran it has it on record */
		assert(!D_ran || D_record);
		/*
		 * `godwit resolve VM --here`, with locks that tell: where the
		 * destination's record has no GO the VM goes on, elsewhere
		 * it is booted from its disk.
		 */
		if
		:: UNCLEAR && locks != WITHOUT && !D_runs ->
			assert(D_record || !D_ran);
			S_runs = true
		:: else
		fi;
		/* nobody can, if it ended between two halves of its memory, or
		 * a person ended it there */
		assert(locks == WITHOUT || S_runs || D_runs || S_crashed ||
		       (D_crashed && (S == S_COMPLETED || S == S_BROKEN)) ||
		       D_lacks || D == D_BROKEN)
	}
}

init {
	atomic {
		if
		:: locks = WITHOUT
		:: locks = ENDING
		:: locks = LASTING
		fi;
		run source();
		run destination();
		run trouble();
		run end()
	}
}
