/* participants.c - who lives in a segment: places, each with a byte that the kernel unlocks at death.
 *
 *   join   alone? (all bytes at once) recover everybody : else the first byte that nobody locks
 *   leave  give back what is held, drop the byte; then alone? (all bytes at once) remove the segment
 *   exit   the same without giving back, since threads may still run: a second byte keeps the place
 *          from being followed until the process is gone; the next one to look gives back
 * Invariants  who locks a place's byte is the only one who changes its state and identity.
 *             Taking all bytes succeeds only where nobody lives, and keeps others out meanwhile; the
 *             last one out tries it after its own byte is gone, so one of several last ones succeeds.
 *             No other lock is needed, and leaving never waits.
 * Threads     pins: one thread at a time per owner; it may nest.
 * Fails with  HF_E_LIMIT, HF_E_TIMEOUT, HF_E_OWNER_DIED; HFI_SHM_AGAIN when the segment was removed.
 * Talks to    os (locks), table (what the dead held).
 *             Called by create.c, segment.c, lock.c, structures.
 * Source      LMDB's reader table, with locks of file descriptions instead of processes. */
#include <string.h>

#include "os/os.h"
#include "segment_state.h"

#define RETRY_NS UINT64_C(1000000)

static uint32_t byte_of(uint32_t owner) {
    return HFI_SHM_PLACE_BYTE + owner - 1;
}

/* Its process lives no more in it, and runs still. Our own locks are not seen. */
static bool is_ending(hf_shm *shm, uint32_t owner) {
    return hfi_os_shm_locked(shm->file, HFI_SHM_ENDING_BYTE + owner - 1, 1, NULL, NULL);
}

hf_status hfi_shm_closed(const hf_shm *shm) {
    return hfi_shm_say(
        HF_E_CLOSED,
        "segment \"%s\": this child of a fork is no participant of it (no place or no "
        "descriptor was free); open it again",
        shm->name);
}

void hfi_shm_identify(hf_shm *shm, uint32_t index) {
    struct hfi_shm_place *place = hfi_shm_place_of(shm, index);
    uint64_t role[(HF_SHM_ROLE_MAX + 1) / 8];
    memcpy(role, shm->role, sizeof role);
    hfi_shm_store32(&place->pid, hfi_os_process_id());
    hfi_shm_store64(&place->started, hfi_os_process_started());
    hfi_shm_store64(&place->pid_namespace, hfi_os_pid_namespace());
    hfi_shm_store64(&place->joined_ns, hfi_os_realtime_ns());
    for (size_t i = 0; i < sizeof role / 8; i++)
        hfi_shm_store64(&place->role[i], role[i]);
    hfi_shm_store32(&place->guest, shm->presence == HF_SHM_GUEST);
    (void)hfi_shm_add32(&place->generation, 1);
    hfi_shm_store32(&place->state, HFI_SHM_JOINED);
}

/* --- who is dead ------------------------------------------------------------------------------ */

bool hfi_shm_dead(hf_shm *shm, uint32_t owner) {
    if (owner == hfi_shm_self(shm)) return false;
    if (owner == 0 || owner > hfi_shm_places(shm)) return true;
    /* Its place is being recovered, perhaps by one who was stopped in it: what it held is nobody's. */
    if (hfi_shm_load32(&hfi_shm_place_of(shm, owner - 1)->state) == HFI_SHM_BURIED) return true;
    hfi_shm_step();
    return !hfi_os_shm_locked(shm->file, byte_of(owner), 1, NULL, NULL) && !is_ending(shm, owner);
}

bool hfi_shm_pin_dead(hf_shm *shm, uint32_t owner) {
    if (owner == 0 || owner > hfi_shm_places(shm)) return true; /* nobody ever has this number */
    if (owner == hfi_shm_self(shm)) return false;
    if (shm->alone) return !is_ending(shm, owner); /* its byte is ours already */
    uint32_t thread = hfi_os_thread_id();
    struct hfi_shm_pin *free_one = NULL;
    bool pinned = false;
    hfi_lock_acquire_peer(&shm->pin_lock);
    for (unsigned i = 0; i < HFI_SHM_PINS; i++) {
        struct hfi_shm_pin *pin = &shm->pins[i];
        if (pin->depth > 0 && pin->owner == owner) {
            pinned = pin->thread == thread;
            if (pinned) pin->depth++;
            free_one = NULL;
            break;
        }
        if (pin->depth == 0 && free_one == NULL) free_one = pin;
    }
    if (free_one != NULL && hfi_os_shm_lock(shm->file, byte_of(owner), 1)) {
        pinned = !is_ending(shm, owner);
        if (pinned)
            *free_one = (struct hfi_shm_pin){owner, thread, 1};
        else
            hfi_os_shm_unlock(shm->file, byte_of(owner), 1);
    }
    hfi_lock_release(&shm->pin_lock);
    return pinned;
}

void hfi_shm_unpin_dead(hf_shm *shm, uint32_t owner) {
    hfi_lock_acquire_peer(&shm->pin_lock);
    for (unsigned i = 0; i < HFI_SHM_PINS; i++) {
        struct hfi_shm_pin *pin = &shm->pins[i];
        if (pin->depth > 0 && pin->owner == owner) {
            if (--pin->depth == 0) hfi_os_shm_unlock(shm->file, byte_of(owner), 1);
            break;
        }
    }
    hfi_lock_release(&shm->pin_lock);
}

void hfi_shm_bury(hf_shm *shm, uint32_t owner, bool killed) {
    struct hfi_shm_place *place = hfi_shm_place_of(shm, owner - 1);
    /* Who is killed in here leaves the same word, and the next one goes on. */
    hfi_shm_store32(&place->state, killed ? HFI_SHM_BURIED : HFI_SHM_LEFT);
    hfi_shm_table_recover(shm, owner);
    if (killed) (void)hfi_shm_add64(&hfi_shm_header_of(shm)->recoveries, 1);
    hfi_shm_store32(&place->state, HFI_SHM_FREE);
}

/* True if it had been killed. */
static bool recover(hf_shm *shm, uint32_t owner) {
    if (owner == 0 || owner > hfi_shm_places(shm) || hfi_shm_self(shm) == 0) return false;
    struct hfi_shm_place *place = hfi_shm_place_of(shm, owner - 1);
    if (hfi_shm_load32(&place->state) == HFI_SHM_FREE || !hfi_shm_pin_dead(shm, owner))
        return false;
    uint32_t state = hfi_shm_load32(&place->state);
    bool killed = state != HFI_SHM_FREE && state != HFI_SHM_LEFT;
    if (state != HFI_SHM_FREE) hfi_shm_bury(shm, owner, killed);
    hfi_shm_unpin_dead(shm, owner);
    return killed;
}

bool hfi_shm_has_left(hf_shm *shm, uint32_t owner) {
    return owner != 0 && owner <= hfi_shm_places(shm) &&
           hfi_shm_load32(&hfi_shm_place_of(shm, owner - 1)->state) == HFI_SHM_LEFT;
}

void hfi_shm_recover(hf_shm *shm, uint32_t owner) {
    (void)recover(shm, owner);
}

size_t hfi_shm_sweep_all(hf_shm *shm) {
    size_t recovered = 0;
    for (uint32_t owner = 1; owner <= hfi_shm_places(shm); owner++)
        recovered += recover(shm, owner);
    return recovered;
}

/* --- coming and going ------------------------------------------------------------------------- */

static bool is_gone(hf_shm *shm) {
    struct hfi_os_file file;
    if (hfi_shm_load32(&hfi_shm_header_of(shm)->state) == HFI_SHM_REMOVED) return true;
    return shm->path[0] != '\0' && hfi_os_shm_stat(shm->file, &file) == 0 && file.links == 0;
}

static void settle(hf_shm *shm, uint32_t index) {
    uint32_t state = hfi_shm_load32(&hfi_shm_place_of(shm, index)->state);
    shm->front.self = index + 1;
    if (state != HFI_SHM_FREE) hfi_shm_bury(shm, index + 1, state != HFI_SHM_LEFT);
    hfi_shm_identify(shm, index);
}

/* All bytes are ours: nobody lives in it, and nobody comes in before we let them. */
static hf_status join_alone(hf_shm *shm, hf_shm_stale stale, bool fresh) {
    struct hfi_shm_header *header = hfi_shm_header_of(shm);
    uint32_t places = hfi_shm_places(shm), dead = 0, self = 1;
    if (!fresh && is_gone(shm)) {
        hfi_shm_unname(shm); /* who removed it was killed before it took the name away */
        return (hf_status)HFI_SHM_AGAIN;
    }
    /* Before a look at anything but the header: on tmpfs that takes memory, too. */
    if (!fresh && shm->on_file && hfi_os_shm_fill_holes(shm->view, hfi_shm_size(shm)) != 0)
        return hfi_shm_say_errno("allocating the holes of", shm->path);
    hfi_shm_store32(&header->alone_pid, hfi_os_process_id());
    for (uint32_t i = 0; i < places; i++) {
        uint32_t state = hfi_shm_load32(&hfi_shm_place_of(shm, i)->state);
        dead += state != HFI_SHM_FREE && state != HFI_SHM_LEFT;
    }
    bool cut = !fresh && hfi_shm_was_cut(shm) && !HFI_SHM_MUTANT(POWER_MUTANT_NO_RECOVERY);
    if (cut && stale == HF_SHM_REFUSE)
        return hfi_shm_say(HF_E_OWNER_DIED,
                           "%.200s: the machine went down while it was open; open it with stale "
                           "RECOVER, which repairs it",
                           shm->path[0] != '\0' ? shm->path : "the file");
    if (dead > 0 && stale == HF_SHM_REFUSE)
        return hfi_shm_say(HF_E_OWNER_DIED,
                           "segment \"%s\": nobody lives in it and %u of its participants were "
                           "killed; open it with stale RECOVER or RESET",
                           shm->name, dead);
    if (!fresh && stale == HF_SHM_RESET && (dead > 0 || hfi_shm_load32(&header->persist) == 0)) {
        hfi_shm_store32(&header->state, HFI_SHM_REMOVED);
        hfi_shm_unname(shm);
        return (hf_status)HFI_SHM_AGAIN;
    }
    while (self <= places && is_ending(shm, self))
        self++;
    if (self > places) return HF_E_LIMIT;
    /* What was written behind it before a power cut is not known. */
    if (!fresh && shm->on_file) hfi_shm_store64(&header->dirty_end, shm->reserved);
    hfi_shm_mark_open(shm);
    shm->alone = 1;
    /* Pages are of different moments: any owner's number may stand anywhere. */
    for (uint32_t i = 0; cut && i < places; i++) {
        _Atomic uint32_t *state = &hfi_shm_place_of(shm, i)->state;
        if (hfi_shm_load32(state) != HFI_SHM_JOINED) hfi_shm_store32(state, HFI_SHM_LEFT);
    }
    if (cut) hfi_shm_store32(&header->lock.word, 0);
    settle(shm, self - 1);
    for (uint32_t owner = 1; owner <= places; owner++) {
        uint32_t state = hfi_shm_load32(&hfi_shm_place_of(shm, owner - 1)->state);
        if (owner != self && state != HFI_SHM_FREE && !is_ending(shm, owner))
            hfi_shm_bury(shm, owner, state != HFI_SHM_LEFT);
    }
    if (cut) (void)hf_shm_repair(shm, NULL, NULL);
    shm->alone = 0;
    shm->keeps = shm->presence == HF_SHM_GUEST;
    if (self > 1) hfi_os_shm_unlock(shm->file, byte_of(1), self - 1);
    if (self < places) hfi_os_shm_unlock(shm->file, byte_of(self + 1), places - self);
    return HF_OK;
}

static bool members_live(hf_shm *shm) {
    for (uint32_t owner = 1; owner <= hfi_shm_places(shm); owner++) {
        const struct hfi_shm_place *place = hfi_shm_place_of(shm, owner - 1);
        if (owner != hfi_shm_self(shm) && hfi_shm_load32(&place->state) == HFI_SHM_JOINED &&
            hfi_shm_load32(&place->guest) == 0 && !hfi_shm_dead(shm, owner))
            return true;
    }
    return false;
}

static hf_status join_one(hf_shm *shm) {
    for (uint32_t i = 0; i < hfi_shm_places(shm); i++) {
        if (!hfi_os_shm_lock(shm->file, HFI_SHM_PLACE_BYTE + i, 1)) continue;
        if (is_ending(shm, i + 1)) {
            hfi_os_shm_unlock(shm->file, HFI_SHM_PLACE_BYTE + i, 1);
            continue;
        }
        if (is_gone(shm)) return (hf_status)HFI_SHM_AGAIN;
        settle(shm, i);
        shm->keeps = shm->presence == HF_SHM_GUEST && !members_live(shm);
        return HF_OK;
    }
    return HF_E_LIMIT;
}

hf_status hfi_shm_join(hf_shm *shm, hf_shm_stale stale, bool fresh, uint64_t deadline) {
    uint32_t places = hfi_shm_places(shm);
    for (unsigned full = 0;;) {
        hfi_shm_step();
        bool alone = hfi_os_shm_lock(shm->file, HFI_SHM_PLACE_BYTE, places);
        hf_status status = alone ? join_alone(shm, stale, fresh) : join_one(shm);
        if (status != HF_OK) {
            hfi_os_shm_unlock(shm->file, HFI_SHM_PLACE_BYTE, places);
            shm->front.self = 0;
        }
        if (status != HF_E_LIMIT) return status;
        /* Every byte is locked: by as many participants, or by one who opens or removes it alone. */
        uint32_t first = 0, count = 0;
        bool locked = hfi_os_shm_locked(shm->file, HFI_SHM_PLACE_BYTE, places, &first, &count);
        bool one_holds_all = locked && count > 1;
        if (!one_holds_all && ++full > 3)
            return hfi_shm_say(HF_E_LIMIT,
                               "segment \"%s\": all its %u participants live (the first is process "
                               "%u); make it with a larger participants_max",
                               shm->name, places, hfi_shm_load32(&hfi_shm_place_of(shm, 0)->pid));
        if (hfi_os_clock_ns() >= deadline)
            return hfi_shm_say(
                HF_E_TIMEOUT,
                "segment \"%s\": process %u has been opening or removing it for longer "
                "than lock_wait_ns; is it stopped?",
                shm->name, hfi_shm_load32(&hfi_shm_header_of(shm)->alone_pid));
        hfi_os_pause_ns(RETRY_NS);
    }
}

/* With all bytes. Somebody may have come and gone before; then it is removed already. */
static void remove_alone(hf_shm *shm) {
    struct hfi_shm_header *header = hfi_shm_header_of(shm);
    if (hfi_shm_load32(&header->state) == HFI_SHM_REMOVED) return;
    hfi_shm_store32(&header->alone_pid, hfi_os_process_id());
    hfi_shm_store32(&header->state, HFI_SHM_REMOVED);
    hfi_shm_unname(shm);
}

/* Our own byte is gone already. */
static void remove_if_alone(hf_shm *shm) {
    uint32_t places = hfi_shm_places(shm);
    if (shm->keeps != 0 || hfi_shm_load32(&hfi_shm_header_of(shm)->persist) != 0 ||
        !hfi_os_shm_lock(shm->file, HFI_SHM_PLACE_BYTE, places))
        return;
    remove_alone(shm);
    hfi_os_shm_unlock(shm->file, HFI_SHM_PLACE_BYTE, places);
}

void hfi_shm_leave(hf_shm *shm) {
    uint32_t self = hfi_shm_self(shm);
    if (self == 0) return;
    hfi_shm_bury(shm, self, false);
    shm->front.self = 0;
    hfi_shm_step();
    hfi_os_shm_unlock(shm->file, HFI_SHM_ENDING_BYTE + self - 1, 1);
    hfi_os_shm_unlock(shm->file, byte_of(self), 1);
    hfi_shm_step();
    remove_if_alone(shm);
    hfi_shm_mark_closed(shm);
}

void hfi_shm_at_exit(void *raw, void *context) {
    hf_shm *shm = raw;
    uint32_t self = hfi_shm_self(shm);
    (void)context;
    if (self == 0 || shm->file < 0 ||
        !hfi_os_shm_lock(shm->file, HFI_SHM_ENDING_BYTE + self - 1, 1))
        return;
    hfi_shm_store32(&hfi_shm_place_of(shm, self - 1)->state, HFI_SHM_LEFT);
    hfi_os_shm_unlock(shm->file, byte_of(self), 1);
    hfi_shm_step();
    remove_if_alone(shm);
}

void hfi_shm_abandon(hf_shm *shm) HF_NO_THREAD_SAFETY {
    /* A fiber that died with it held: checked builds count what a thread holds. */
    if (hfi_lock_is_held(&shm->lock)) hfi_lock_release(&shm->lock);
    hfi_os_shm_close(shm->file);
    shm->file = -1;
}

hf_status hf_shm_sweep(hf_shm *shm, size_t *recovered_out) {
    hf_status status = hfi_shm_usable(shm);
    if (status != HF_OK) return status;
    size_t recovered = hfi_shm_sweep_all(shm);
    if (recovered_out != NULL) *recovered_out = recovered;
    return HF_OK;
}

static hf_shm_life life_of(hf_shm *shm, uint32_t owner) {
    if (owner == hfi_shm_self(shm)) return HF_SHM_SELF;
    return hfi_shm_dead(shm, owner) ? HF_SHM_DEAD : HF_SHM_LIVE;
}

hf_status hf_shm_participants(hf_shm *shm, hf_shm_participant_visitor visitor, void *context) {
    hf_status status = hfi_shm_readable(shm);
    if (status != HF_OK) return status;
    if (visitor == NULL) return hfi_shm_say(HF_E_INVALID, "hf_shm_participants: visitor is NULL");
    for (uint32_t i = 0; i < hfi_shm_places(shm); i++) {
        struct hfi_shm_place *place = hfi_shm_place_of(shm, i);
        uint32_t state = hfi_shm_load32(&place->state);
        if (state == HFI_SHM_FREE || state == HFI_SHM_LEFT) continue;
        hf_shm_participant one = {.index = i,
                                  .generation = hfi_shm_load32(&place->generation),
                                  .pid = hfi_shm_load32(&place->pid),
                                  .life = life_of(shm, i + 1),
                                  .started = hfi_shm_load64(&place->started),
                                  .joined_ns = hfi_shm_load64(&place->joined_ns)};
        uint64_t role[(HF_SHM_ROLE_MAX + 1) / 8];
        for (size_t w = 0; w < sizeof role / 8; w++)
            role[w] = hfi_shm_load64(&place->role[w]);
        memcpy(one.role, role, HF_SHM_ROLE_MAX);
        if (visitor(&one, context) != 0) break;
    }
    return HF_OK;
}
