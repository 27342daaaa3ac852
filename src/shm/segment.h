/* segment.h - what a structure in shared memory sees of its segment: its bytes, who lives, how to wait.
 *
 *   hf_shm_queue_open -> hfi_shm_attach (finds or makes the entry; init under the table's lock)
 *                     -> hfi_shm_part: base, size, self     every truth word names an owner: 16 bits
 *   somebody is stuck -> hfi_shm_dead(owner)? -> hfi_shm_recover(owner): kind->recover for every entry
 *
 * Rules       1. Claim and ownership are one atomic write: no resource is taken and nameless.
 *             2. Death is decided by the kernel (hfi_shm_dead), never by a timer.
 *             3. Truth is small (owner words, slot states, published entries); the rest is a hint.
 * Trust       nothing read from the segment is used as an index, size or count unless it was checked
 *             against the private copy in hfi_shm_part; loops are bounded by private numbers.
 * Owners      an owner is a participant's index + 1, so 0 is nobody. An index is used again only after
 *             hfi_shm_recover of its last user, so a word never names the wrong participant.
 * Talks to    os (files, locks, futex), base.   Called by every structure in this folder.
 * Source      OFD locks: fcntl(2); ownership by kernel-released locks: LMDB's reader table. */
#ifndef HFI_SHM_SEGMENT_H
#define HFI_SHM_SEGMENT_H

#include <holdfast/shm.h>
#include <holdfast/shm_view.h>

#include "access.h"
#include "base/visibility.h"

#define HFI_SHM_LINE                                                                               \
    128 /* words of different writers are this far apart: two lines, for the prefetcher */
#define HFI_SHM_OWNER_MAX (HF_SHM_PARTICIPANTS_MAX + 1)

/* An open structure: private to this process, first member of every hf_shm_<structure>. The numbers
 * are copies taken and checked when it was opened. */
struct hfi_shm_part {
    hf_shm *shm;
    char *base;          /* of the structure's bytes; never moves           */
    uint64_t size;       /* of them                                         */
    uint32_t index;      /* of its entry                                    */
    uint32_t generation; /* of its entry                                    */
    uint32_t kind;       /* hf_shm_kind                                     */
    uint32_t spare;
    uint64_t element_size;
    uint64_t element_count;
};

/* What one structure asks of the table. For HF_SHM_OPEN zeroes and NULL mean "any". */
struct hfi_shm_request {
    const char *name;
    uint32_t kind;   /* hf_shm_kind                                                */
    uint32_t layout; /* version of the structure's layout                          */
    uint64_t size;   /* bytes to reserve                                           */
    uint64_t element_size;
    uint64_t element_count;
    uint32_t dimensions; /* 0: shape is not compared                                   */
    uint64_t shape[HF_SHM_DIMENSIONS_MAX];
    const char *format;  /* of one element; NULL: "" when made, any when opened        */
    const void *options; /* for init                                                   */
    /* Fills zeroed bytes of a new structure; must not fail. */
    void (*init)(struct hfi_shm_part *part, const void *options);
    /* Whether an opened one's own header agrees with the options and with the size of the part; says
     * so with hfi_shm_say. NULL: always. */
    hf_status (*accept)(struct hfi_shm_part *part, const void *options);
};

/* Finds or makes the structure, marks it used by this participant and holds the segment open. */
hf_status hfi_shm_attach(hf_shm *shm, hf_shm_mode mode, const struct hfi_shm_request *request,
                         struct hfi_shm_part *part_out);
void hfi_shm_detach(struct hfi_shm_part *part);

/* What the segment calls for each kind, on any participant's bytes; kinds.c lists them. `part` was
 * checked for kind, layout and size; its other words may be garbage. All may be NULL. */
struct hfi_shm_finding;
struct hfi_shm_showing;
struct hfi_shm_kind {
    uint32_t layout;
    /* Gives back what a dead owner holds. Idempotent, run by several at once, may be killed in it. */
    void (*recover)(const struct hfi_shm_part *part, uint32_t owner);
    /* Says each thing that is wrong with hfi_shm_fault. */
    void (*check)(const struct hfi_shm_part *part, struct hfi_shm_finding *finding);
    /* Rebuilds hints; returns how many things were put right. */
    size_t (*repair)(const struct hfi_shm_part *part);
    void (*figures)(const struct hfi_shm_part *part, hf_shm_figures *figures_out);
    /* Shows each piece with hfi_shm_show; writes nothing. HF_E_CORRUPT: the header cannot be. */
    hf_status (*show)(const struct hfi_shm_part *part, struct hfi_shm_showing *showing);
};
extern const struct hfi_shm_kind *const hfi_shm_kinds[HF_SHM_KIND_COUNT];
void hfi_shm_fault(struct hfi_shm_finding *finding, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* --- what a view shows ------------------------------------------------------------------------ */

/* A word that changes while its piece is looked at is looked at again, so often at most; then the item
 * is as of the last look. */
#define HFI_SHM_LOOKS 8

/* Gives the piece that lies at `bytes` to the visitor. False: enough. */
bool hfi_shm_show(struct hfi_shm_showing *showing, hf_shm_view_item *item, const void *bytes,
                  uint64_t size);
/* Who has it: fills participant, pid and dead; 0 is nobody. Look at the word that names the owner again
 * afterwards: as long as it stands there, no other participant has this number. */
void hfi_shm_show_owner(hf_shm *shm, hf_shm_view_item *item, uint32_t owner);
/* One who has the right to write or read alone, if anybody has: `word` names the owner in its lower 16
 * bits. False: enough. */
bool hfi_shm_show_holder(struct hfi_shm_showing *showing, hf_shm_piece piece,
                         const _Atomic uint64_t *word, uint64_t number);

/* --- who lives -------------------------------------------------------------------------------- */

/* First member of hf_shm. */
struct hfi_shm_front {
    uint32_t self;
};
/* This participant's owner number. Constant until a fork, whose child has another; 0 in a child that
 * could not join: operations then answer hfi_shm_closed. */
static inline uint32_t hfi_shm_self(const hf_shm *shm) {
    return ((const struct hfi_shm_front *)shm)->self;
}
/* HF_E_CLOSED, with a sentence. */
hf_status hfi_shm_closed(const hf_shm *shm);
/* True if the kernel says that this owner is gone (or the number names nobody who ever joined). One
 * system call: ask only when stuck. A compare-and-swap on a word that was seen before the question
 * may follow if that word never comes back to the same value (it holds a lap or a generation): who
 * gets the number next has settled it by then. Where it may come back, pin first. */
bool hfi_shm_dead(hf_shm *shm, uint32_t owner);
/* True: the owner is dead and its number stays unused until unpin; look at the word again, then
 * change it. False: it lives, or somebody else is recovering it. Nests within a thread. */
bool hfi_shm_pin_dead(hf_shm *shm, uint32_t owner);
void hfi_shm_unpin_dead(hf_shm *shm, uint32_t owner);
/* In kind->recover: the owner was not killed, it left the segment or ended in good order. */
bool hfi_shm_has_left(hf_shm *shm, uint32_t owner);
/* Runs kind->recover for every structure, then frees the participant's place. Does nothing if the
 * owner lives or somebody else is at it. Inside kind->recover `owner` is pinned, and may be this
 * participant itself (it leaves, or follows the dead one in its place): do not ask hfi_shm_dead. */
void hfi_shm_recover(hf_shm *shm, uint32_t owner);
/* Tests: the participant is dead for all others as if killed; the handle is good for nothing but
 * memory. */
void hfi_shm_abandon(hf_shm *shm);

/* --- waiting ---------------------------------------------------------------------------------- */

/* In shared memory: `turn` changes whenever something may have become possible; `waiters` is a flag
 * that a waiter sets and a waker clears (a count would be wrong after a kill). */
struct hfi_shm_event {
    _Atomic uint32_t turn;
    _Atomic uint32_t waiters;
};
/* Deadline of a timeout: 0 none wanted (never wait), UINT64_MAX for ever. */
uint64_t hfi_shm_deadline(uint64_t timeout_ns);
/* Before the last look at the condition, and only by those who will wait; the result is for
 * hfi_shm_wait. Once the flag was up after the turn was read, whoever takes it down changes the turn
 * afterwards: no wake-up between the look and the sleep is missed. */
static inline uint32_t hfi_shm_event_turn(struct hfi_shm_event *event) {
    uint32_t turn = 0;
    for (unsigned tries = 0; tries < 64; tries++) { /* a slice of waiting bounds the rest */
        hfi_shm_store32(&event->waiters, 1);
        hfi_shm_fence();
        turn = hfi_shm_load32(&event->turn);
        if (hfi_shm_load32(&event->waiters) != 0) break;
    }
    hfi_shm_fence();
    return turn;
}
/* Sleeps until the turn has changed, a slice of 50 ms is over (look again: somebody may have died) or
 * the deadline. HF_OK: look again; HF_E_TIMEOUT: it is past the deadline. */
hf_status hfi_shm_wait(struct hfi_shm_event *event, uint32_t turn, uint64_t deadline);
/* Wakes up to `count` waiters. Without any: a fence and one load after the caller's change. */
void hfi_shm_signal(struct hfi_shm_event *event, uint32_t count);
/* Waiting politely: spins some 20 us in all (fewer on one core), then false: sleep now. */
struct hfi_shm_spin {
    uint64_t until;
    uint32_t turns;
};
bool hfi_shm_spin(struct hfi_shm_spin *spin);
/* For one who is blocked by one unchanged word: true once, after 200 us on the same value, and then
 * every 50 ms: time to ask whether its owner is dead. */
struct hfi_shm_patience {
    uint64_t value, since, next;
};
bool hfi_shm_patience(struct hfi_shm_patience *patience, uint64_t value);

/* --- the lock of cold paths ------------------------------------------------------------------- */

/* owner:16 | waiters:1 in one word. If its holder died the taker gets it with *died_out = the dead
 * owner, and puts right what the lock protects before it goes on. HF_E_TIMEOUT: a living one holds it. */
struct hfi_shm_lock {
    _Atomic uint32_t word;
    uint32_t spare;
};
hf_status hfi_shm_lock_acquire(hf_shm *shm, struct hfi_shm_lock *lock, uint64_t deadline,
                               uint32_t *died_out);
void hfi_shm_lock_release(hf_shm *shm, struct hfi_shm_lock *lock);
/* Who holds it; 0: nobody. */
static inline uint32_t hfi_shm_lock_owner(const struct hfi_shm_lock *lock) {
    return hfi_shm_load32(&lock->word) & 0xffff;
}
/* For kind->recover: takes the lock if this dead owner holds it. True: put right what it protects, then
 * release. A lock word must not name a participant after its recovery. */
bool hfi_shm_lock_seize(hf_shm *shm, struct hfi_shm_lock *lock, uint32_t owner);

/* Sets the sentence of hf_shm_detail for this thread and returns the status. */
hf_status hfi_shm_say(hf_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
