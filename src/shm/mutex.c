/* mutex.c - a lock whose word says which thread of which participant has it.
 *
 *   header 128 | word: thread:32 | flags:16 | owner:16   turn, waiters
 *
 *   free --CAS--> (thread, me) --CAS--> free        IN_DOUBT stays through both until `consistent`
 *   (thread, dead) --CAS--> (thread', me, IN_DOUBT) by who waits, or --> (free, IN_DOUBT) by recover
 *
 * Contract    holdfast/shm_mutex.h.   Talks to segment.h, handle.h, os (clock, thread ids).
 * Invariants  taking, owning and taking over are one compare-and-swap of one word each. A dead owner's
 *             number is pinned while its word is taken over: it cannot come back to life in between.
 * Order       who has waited for 1 ms sets HURRY; then a free word is for those who have waited that
 *             long. Who gives up takes the flag down. They may have been killed, and nobody can tell: so
 *             a handle that was refused a free word waits from then on, also between its tries, and
 *             goes before who has not when 1 ms is over; a new handle has waited for ever.
 * Killed      before the release: recover or the next taker does it. After it, before the wake-up:
 *             sleepers look again within 50 ms.
 * Threads     every function from any thread of any process.
 * Fails with  HF_E_OWNER_DIED (and has the lock), HF_E_BUSY, HF_E_TIMEOUT, HF_E_INVALID. */
#include "os/os.h"

#include "handle.h"

#include <holdfast/shm_mutex.h>

#define MUTEX_SIZE     256u
#define MUTEX_OWNER    ((uint64_t)0xffff)
#define MUTEX_IN_DOUBT ((uint64_t)1 << 16)
#define MUTEX_HURRY    ((uint64_t)1 << 17)
#define MUTEX_FLAGS    (MUTEX_IN_DOUBT | MUTEX_HURRY)
#define HURRY_NS       ((uint64_t)1000000)
#define TRIES          (1 << 16)

struct mutex_state {
    _Atomic uint64_t word;
    struct hfi_shm_event waiters;
};
struct hf_shm_mutex {
    struct hfi_shm_part part;
    struct mutex_state *state;
    _Atomic uint64_t refused_ns; /* clock at which a free word was refused first; 0: was not */
};

extern const struct hfi_shm_kind hfi_shm_mutex_kind;

static struct mutex_state *mutex_state(const struct hfi_shm_part *part) {
    return (struct mutex_state *)(void *)(part->base + HFI_SHM_LINE);
}
static uint32_t word_owner(uint64_t word) {
    return (uint32_t)(word & MUTEX_OWNER);
}

/* --- which thread ----------------------------------------------------------------------------- */

static _Atomic uint32_t mutex_forks = 1;

static void mutex_forked(void) {
    /* relaxed: the child has one thread. */
    atomic_fetch_add_explicit(&mutex_forks, 1, memory_order_relaxed);
}

static void mutex_watch_forks(void) {
    static _Atomic uint32_t watched;
    if (atomic_exchange_explicit(&watched, 1, memory_order_acq_rel) == 0)
        hfi_os_at_fork(NULL, NULL, mutex_forked);
}

/* The kernel's number of this thread, asked for once; the child of a fork asks again. */
static uint32_t mutex_thread(void) {
    static __thread uint32_t thread, forks;
    /* relaxed: changes in a fork only, before any thread of the child runs this. */
    uint32_t now = atomic_load_explicit(&mutex_forks, memory_order_relaxed);
    if (forks != now) {
        thread = hfi_os_thread_id();
        forks = now;
    }
    return thread;
}

/* --- open and close --------------------------------------------------------------------------- */

static hf_status mutex_accept(struct hfi_shm_part *part, const void *options) {
    (void)options;
    return part->size >= MUTEX_SIZE
               ? HF_OK
               : hfi_shm_say(HF_E_CORRUPT, "a mutex of %" PRIu64 " bytes", part->size);
}

hf_status hf_shm_mutex_open(hf_shm *shm, const char *name, hf_shm_mode mode,
                            hf_shm_mutex **mutex_out) {
    if (!shm || !name || !mutex_out)
        return hfi_shm_say(HF_E_INVALID,
                           "hf_shm_mutex_open: segment, name and mutex_out must not be NULL");
    const struct hfi_shm_request request = {.name = name,
                                            .kind = HF_SHM_KIND_MUTEX,
                                            .layout = hfi_shm_mutex_kind.layout,
                                            .size = MUTEX_SIZE,
                                            .element_size = 8,
                                            .element_count = 1,
                                            .accept = mutex_accept};
    hf_status status = HF_OK;
    hf_shm_mutex *mutex = hfi_shm_handle_open(shm, mode, &request, sizeof *mutex, &status);
    if (!mutex) return status;
    mutex->state = mutex_state(&mutex->part);
    atomic_init(&mutex->refused_ns, 1);
    mutex_watch_forks();
    *mutex_out = mutex;
    return HF_OK;
}

void hf_shm_mutex_close(hf_shm_mutex *mutex) {
    hfi_shm_handle_close(mutex, sizeof *mutex);
}

/* --- lock ------------------------------------------------------------------------------------- */

struct mutex_wait {
    uint64_t mine;     /* the word of this thread                      */
    uint64_t hurry_at; /* from then on it goes before who came later   */
    struct hfi_shm_patience patience;
};

/* Takes a free word, or that of a dead owner. False: somebody has it. */
static bool mutex_take(hf_shm_mutex *mutex, struct mutex_wait *wait, uint64_t *word) {
    for (int tries = 0; tries < TRIES && word_owner(*word) == 0; tries++) {
        if ((*word & MUTEX_HURRY) && hfi_os_clock_ns() < wait->hurry_at) return false;
        if (hfi_shm_swap64(&mutex->state->word, word, wait->mine | (*word & MUTEX_IN_DOUBT)))
            return true;
    }
    return false;
}

/* The word has been the same for a while: is its owner dead? Then it is taken over. */
static bool mutex_take_over(hf_shm_mutex *mutex, struct mutex_wait *wait, uint64_t word) {
    const uint64_t mine = wait->mine | MUTEX_IN_DOUBT;
    const uint32_t owner = word_owner(word), self = word_owner(wait->mine);
    hf_shm *shm = mutex->part.shm;
    if (owner == self) {
        if (hfi_os_thread_exists(hfi_os_process_id(), (uint32_t)(word >> 32))) return false;
        return hfi_shm_swap64(&mutex->state->word, &word, mine);
    }
    if (!hfi_shm_dead(shm, owner) || !hfi_shm_pin_dead(shm, owner)) return false;
    bool taken = false;
    if (HFI_SHM_MUTANT(531)) {
        hfi_shm_store64(&mutex->state->word, mine);
        taken = true;
    }
    for (int tries = 0; tries < TRIES && !taken; tries++) {
        word = hfi_shm_load64(&mutex->state->word);
        if (word_owner(word) != owner) break;
        taken = hfi_shm_swap64(&mutex->state->word, &word, mine);
    }
    hfi_shm_unpin_dead(shm, owner);
    return taken;
}

/* One look; sleeps if that was no good. HF_E_EMPTY: look again. */
static hf_status mutex_wait_once(hf_shm_mutex *mutex, struct mutex_wait *wait, uint64_t deadline) {
    struct mutex_state *state = mutex->state;
    const uint32_t turn = hfi_shm_event_turn(&state->waiters);
    uint64_t word = hfi_shm_load64(&state->word);
    if (mutex_take(mutex, wait, &word)) return HF_OK;
    const uint64_t now = hfi_os_clock_ns();
    if (word_owner(word) != 0) {
        if (hfi_shm_patience(&wait->patience, word & ~MUTEX_FLAGS) &&
            mutex_take_over(mutex, wait, word))
            return HF_OK;
        if (now >= wait->hurry_at && !(word & MUTEX_HURRY))
            (void)hfi_shm_swap64(&state->word, &word, word | MUTEX_HURRY);
    }
    /* Sleeps are short until it may hurry and may suspect; each ends at the deadline. */
    uint64_t until = deadline;
    if (now < wait->hurry_at && wait->hurry_at < until) until = wait->hurry_at;
    if (hfi_shm_wait(&state->waiters, turn, until) == HF_E_TIMEOUT && hfi_os_clock_ns() >= deadline)
        return HF_E_TIMEOUT;
    return HF_E_EMPTY;
}

static hf_status mutex_refuse(hf_shm_mutex *mutex, hf_status status, const char *what) {
    const uint64_t word = hfi_shm_load64(&mutex->state->word);
    const uint32_t owner = word_owner(word);
    if (owner == 0 && status == HF_E_TIMEOUT)
        return hfi_shm_say(status, "%s: others have waited longer for the mutex", what);
    if (owner == 0) return hfi_shm_say(status, "%s: nobody has the mutex", what);
    return hfi_shm_say(status,
                       "%s: thread %" PRIu32 " of participant %" PRIu32 " has the mutex; this is "
                       "thread %" PRIu32 " of participant %" PRIu32,
                       what, (uint32_t)(word >> 32), owner - 1, mutex_thread(),
                       hfi_shm_self(mutex->part.shm) - 1);
}

/* Gives up: the last look. HF_E_TIMEOUT: somebody has it, or goes first. */
static hf_status mutex_give_up(hf_shm_mutex *mutex, struct mutex_wait *wait) {
    uint64_t word = hfi_shm_load64(&mutex->state->word);
    /* A dead owner is to be found also by who waits little or not at all. */
    if (mutex_take(mutex, wait, &word) ||
        (word_owner(word) != 0 && mutex_take_over(mutex, wait, word)))
        return HF_OK;
    const uint64_t now = hfi_os_clock_ns();
    /* relaxed: private to this process, and any of several moments will do. */
    const uint64_t since = atomic_load_explicit(&mutex->refused_ns, memory_order_relaxed);
    if ((word & MUTEX_HURRY) && now >= wait->hurry_at) /* perhaps ours; others set it again */
        (void)hfi_shm_swap64(&mutex->state->word, &word, word & ~MUTEX_HURRY);
    else if (word_owner(word) == 0 && since == 0)
        atomic_store_explicit(&mutex->refused_ns, now, memory_order_relaxed);
    return HF_E_TIMEOUT;
}

/* Having the lock: whether in doubt. */
static hf_status mutex_taken(hf_shm_mutex *mutex) {
    /* relaxed: as above. */
    atomic_store_explicit(&mutex->refused_ns, 0, memory_order_relaxed);
    if ((hfi_shm_load64(&mutex->state->word) & MUTEX_IN_DOUBT) == 0) return HF_OK;
    return hfi_shm_say(HF_E_OWNER_DIED,
                       "the mutex is locked now; who had it before was killed: look at what it "
                       "protects, then hf_shm_mutex_consistent");
}

hf_status hf_shm_mutex_lock(hf_shm_mutex *mutex, uint64_t timeout_ns) {
    if (!mutex) return hfi_shm_say(HF_E_INVALID, "hf_shm_mutex_lock: mutex is NULL");
    const uint32_t self = hfi_shm_self(mutex->part.shm);
    if (self == 0) return hfi_shm_closed(mutex->part.shm);
    struct mutex_wait wait = {.mine = (uint64_t)mutex_thread() << 32 | self};
    uint64_t word = 0;
    if (hfi_shm_swap64(&mutex->state->word, &word, wait.mine)) return HF_OK;
    if ((word & ~MUTEX_FLAGS) == wait.mine)
        return hfi_shm_say(HF_E_BUSY, "this thread has the mutex already: it is not recursive");
    /* relaxed: as above. */
    const uint64_t since = atomic_load_explicit(&mutex->refused_ns, memory_order_relaxed);
    wait.hurry_at = since != 0 ? since + HURRY_NS : UINT64_MAX;
    if (mutex_take(mutex, &wait, &word)) return mutex_taken(mutex);
    const uint64_t deadline = hfi_shm_deadline(timeout_ns);
    struct hfi_shm_spin spin = {0};
    while (timeout_ns != 0 && hfi_shm_spin(&spin)) {
        word = hfi_shm_load64(&mutex->state->word);
        if (mutex_take(mutex, &wait, &word)) return mutex_taken(mutex);
    }
    if (hfi_shm_is_woven())
        wait.hurry_at = 0;
    else if (since == 0)
        wait.hurry_at = hfi_os_clock_ns() + HURRY_NS;
    hf_status status = timeout_ns == 0 ? HF_E_TIMEOUT : HF_E_EMPTY;
    while (status == HF_E_EMPTY)
        status = mutex_wait_once(mutex, &wait, deadline);
    if (status == HF_E_TIMEOUT) status = mutex_give_up(mutex, &wait);
    if (status == HF_OK) return mutex_taken(mutex);
    return mutex_refuse(mutex, HF_E_TIMEOUT, "hf_shm_mutex_lock");
}

/* --- unlock ----------------------------------------------------------------------------------- */

hf_status hf_shm_mutex_unlock(hf_shm_mutex *mutex) {
    if (!mutex) return hfi_shm_say(HF_E_INVALID, "hf_shm_mutex_unlock: mutex is NULL");
    const uint32_t self = hfi_shm_self(mutex->part.shm);
    if (self == 0) return hfi_shm_closed(mutex->part.shm);
    const uint64_t mine = (uint64_t)mutex_thread() << 32 | self;
    uint64_t word = mine;
    /* Fails only where somebody sets a flag meanwhile. */
    for (int tries = 0; tries < TRIES; tries++) {
        if (hfi_shm_swap64(&mutex->state->word, &word, word & MUTEX_FLAGS)) {
            hfi_shm_signal(&mutex->state->waiters, word & MUTEX_HURRY ? INT32_MAX : 1);
            return HF_OK;
        }
        if ((word & ~MUTEX_FLAGS) != mine) break;
    }
    return mutex_refuse(mutex, HF_E_INVALID, "hf_shm_mutex_unlock");
}

hf_status hf_shm_mutex_consistent(hf_shm_mutex *mutex) {
    if (!mutex) return hfi_shm_say(HF_E_INVALID, "hf_shm_mutex_consistent: mutex is NULL");
    const uint64_t mine = (uint64_t)mutex_thread() << 32 | hfi_shm_self(mutex->part.shm);
    if ((hfi_shm_load64(&mutex->state->word) & ~MUTEX_FLAGS) != mine)
        return mutex_refuse(mutex, HF_E_INVALID, "hf_shm_mutex_consistent");
    (void)hfi_shm_and64(&mutex->state->word, ~MUTEX_IN_DOUBT);
    return HF_OK;
}

hf_status hf_shm_mutex_owner(hf_shm_mutex *mutex, uint32_t *participant_out, uint32_t *thread_out) {
    if (!mutex) return hfi_shm_say(HF_E_INVALID, "hf_shm_mutex_owner: mutex is NULL");
    const uint64_t word = hfi_shm_load64(&mutex->state->word);
    if (word_owner(word) == 0) return hfi_shm_say(HF_E_EMPTY, "nobody has the mutex");
    if (participant_out) *participant_out = word_owner(word) - 1;
    if (thread_out) *thread_out = (uint32_t)(word >> 32);
    return HF_OK;
}

int hf_shm_mutex_is_inconsistent(const hf_shm_mutex *mutex) {
    return mutex && (hfi_shm_load64(&mutex->state->word) & MUTEX_IN_DOUBT) != 0;
}

/* --- as its segment sees it ------------------------------------------------------------------- */

static void mutex_recover(const struct hfi_shm_part *part, uint32_t owner) {
    if (part->size < MUTEX_SIZE) return;
    struct mutex_state *state = mutex_state(part);
    uint64_t word = hfi_shm_load64(&state->word);
    for (int tries = 0; tries < TRIES && owner != 0 && word_owner(word) == owner; tries++) {
        uint64_t freed = (word & MUTEX_HURRY) | (HFI_SHM_MUTANT(532) ? 0 : MUTEX_IN_DOUBT);
        if (!hfi_shm_swap64(&state->word, &word, freed)) continue;
        hfi_shm_signal(&state->waiters, INT32_MAX);
        return;
    }
}

static bool word_wrong(uint64_t word) {
    return word_owner(word) >= HFI_SHM_OWNER_MAX ||
           (word & ~(MUTEX_FLAGS | MUTEX_OWNER | (uint64_t)UINT32_MAX << 32)) != 0 ||
           (word_owner(word) == 0) != (word >> 32 == 0);
}

static void mutex_check(const struct hfi_shm_part *part, struct hfi_shm_finding *finding) {
    if (part->size < MUTEX_SIZE) {
        hfi_shm_fault(finding, "a mutex of %" PRIu64 " bytes", part->size);
        return;
    }
    const uint64_t word = hfi_shm_load64(&mutex_state(part)->word);
    if (word_wrong(word)) hfi_shm_fault(finding, "its word 0x%" PRIx64 " is none", word);
}

static size_t mutex_repair(const struct hfi_shm_part *part) {
    if (part->size < MUTEX_SIZE) return 0;
    struct mutex_state *state = mutex_state(part);
    uint64_t word = hfi_shm_load64(&state->word);
    if (!word_wrong(word) || !hfi_shm_swap64(&state->word, &word, MUTEX_IN_DOUBT)) return 0;
    hfi_shm_signal(&state->waiters, INT32_MAX);
    return 1;
}

static void mutex_figures(const struct hfi_shm_part *part, hf_shm_figures *figures_out) {
    if (part->size < MUTEX_SIZE) return;
    figures_out->capacity = 1;
    figures_out->count = word_owner(hfi_shm_load64(&mutex_state(part)->word)) != 0;
    figures_out->writers = (uint32_t)figures_out->count;
}

static hf_status mutex_show(const struct hfi_shm_part *part, struct hfi_shm_showing *showing) {
    if (part->size < MUTEX_SIZE)
        return hfi_shm_say(HF_E_CORRUPT, "a mutex of %" PRIu64 " bytes", part->size);
    const struct mutex_state *state = mutex_state(part);
    hf_shm_view_item item = {.piece = HF_SHM_PIECE_LOCK};
    for (unsigned looks = 0; looks < HFI_SHM_LOOKS; looks++) {
        const uint64_t word = hfi_shm_load64(&state->word);
        const bool wrong = word_wrong(word);
        item.value = word >> 32;
        item.state = wrong                          ? HF_SHM_STATE_DAMAGED
                     : (word & MUTEX_IN_DOUBT) != 0 ? HF_SHM_STATE_IN_DOUBT
                     : word_owner(word) != 0        ? HF_SHM_STATE_HELD
                                                    : HF_SHM_STATE_FREE;
        hfi_shm_show_owner(part->shm, &item, wrong ? 0 : word_owner(word));
        if (hfi_shm_load64(&state->word) == word) break;
    }
    (void)hfi_shm_show(showing, &item, &state->word, sizeof state->word);
    return HF_OK;
}

const struct hfi_shm_kind hfi_shm_mutex_kind = {.layout = 1,
                                                .recover = mutex_recover,
                                                .check = mutex_check,
                                                .repair = mutex_repair,
                                                .figures = mutex_figures,
                                                .show = mutex_show};
