/* table.c - the rows of the table: what is published, who uses it, when its bytes are free.
 *
 *   EMPTY -> RESERVED(owner) -> PUBLISHED -> DYING -> FREEING(owner) -> EMPTY, next generation
 *                                              ^----------- somebody uses it
 * Invariants  only the holder of the table's lock makes RESERVED; every other step is one
 *             compare-and-swap by anybody. A user's bit is set before it looks again whether the row
 *             is still what it saw; FREEING is set before the bits are looked at: one of the two sees
 *             the other. Bits of one participant are changed under its process's lock alone.
 * Killed in   RESERVED: its owner's recovery, or the next holder of the lock, empties it. FREEING:
 *             back to DYING. PUBLISHED without a bit: a structure nobody has open, as after close.
 * Threads     looking is lock-free.
 * Fails with  HF_E_NOT_FOUND, HF_E_CORRUPT (facts that cannot be).
 * Talks to    participants, space.   Called by attach.c, check.c, info.c. */
#include <string.h>

#include "base/rng.h"
#include "segment_state.h"

enum { TRIES = 100 };

uint64_t hfi_shm_hash(const char *name) {
    uint64_t hash = 0;
    for (; *name != '\0'; name++)
        hash = hfi_rng_mix(hash ^ (uint8_t)*name);
    return hash;
}

bool hfi_shm_name_is_sound(const hf_shm *shm, const char *name) {
    return name != NULL && name[0] != '\0' &&
           strnlen(name, shm->geometry.c.name_size) < shm->geometry.c.name_size;
}

uint32_t hfi_shm_rows(const hf_shm *shm) {
    uint32_t high = hfi_shm_load32(&hfi_shm_header_of(shm)->entries_high);
    return high < shm->geometry.c.entries_max ? high : shm->geometry.c.entries_max;
}

_Atomic uint64_t *hfi_shm_users(const hf_shm *shm, struct hfi_shm_row *row) {
    (void)shm;
    return row->tail;
}

bool hfi_shm_unused(const hf_shm *shm, struct hfi_shm_row *row) {
    for (uint32_t i = 0; i < shm->geometry.user_words; i++)
        if (hfi_shm_load64(&row->tail[i]) != 0) return false;
    return true;
}

/* --- words in and out ------------------------------------------------------------------------- */

/* relaxed: the control word is looked at before and after, with fences. */
static void words_read(const _Atomic uint64_t *from, void *to, size_t size) {
    for (size_t i = 0; i < size / 8; i++) {
        uint64_t word = atomic_load_explicit(&from[i], memory_order_relaxed);
        memcpy((char *)to + 8 * i, &word, 8);
    }
}

/* relaxed: published by the control word. */
static void words_write(_Atomic uint64_t *to, const void *from, size_t size) {
    for (size_t i = 0; i < size / 8; i++) {
        uint64_t word;
        memcpy(&word, (const char *)from + 8 * i, 8);
        if (i % 8 == 0) hfi_shm_step();
        atomic_store_explicit(&to[i], word, memory_order_relaxed);
    }
}

void hfi_shm_facts_write(struct hfi_shm_row *row, const struct hfi_shm_facts *facts) {
    words_write(row->facts, facts, sizeof *facts);
}

static void text_write(_Atomic uint64_t *to, const char *text, size_t size) {
    size_t length = strlen(text) + 1;
    for (size_t at = 0; at < size && at < length; at += 8) {
        char word[8] = {0};
        memcpy(word, text + at, length - at < 8 ? length - at : 8);
        words_write(to + at / 8, word, 8);
    }
}

static _Atomic uint64_t *name_of(const hf_shm *shm, struct hfi_shm_row *row) {
    return row->tail + shm->geometry.user_words;
}
static _Atomic uint64_t *format_of(const hf_shm *shm, struct hfi_shm_row *row) {
    return name_of(shm, row) + shm->geometry.c.name_size / 8;
}

bool hfi_shm_see(const hf_shm *shm, uint32_t index, struct hfi_shm_sight *sight, char *name,
                 char *format) {
    struct hfi_shm_row *row = hfi_shm_row_of(shm, index);
    for (unsigned tries = 0; tries < TRIES; tries++) {
        uint64_t control = hfi_shm_load64(&row->control);
        unsigned state = hfi_shm_control_state(control);
        if (state != HFI_SHM_ROW_PUBLISHED && state != HFI_SHM_ROW_DYING &&
            state != HFI_SHM_ROW_FREEING)
            return false;
        words_read(row->facts, &sight->facts, sizeof sight->facts);
        if (name != NULL) {
            words_read(name_of(shm, row), name, shm->geometry.c.name_size);
            name[shm->geometry.c.name_size - 1] = '\0';
        }
        if (format != NULL) {
            words_read(format_of(shm, row), format, shm->geometry.c.format_size);
            format[shm->geometry.c.format_size - 1] = '\0';
        }
        atomic_thread_fence(memory_order_acquire);
        sight->control = control;
        sight->index = index;
        if (hfi_shm_load64(&row->control) == control) return true;
    }
    return false;
}

bool hfi_shm_sound(hf_shm *shm, const struct hfi_shm_facts *facts) {
    if (facts->offset < shm->geometry.c.data_at || facts->offset % HFI_SHM_GRAIN != 0 ||
        facts->size == 0 || facts->size > shm->reserved || facts->offset > shm->reserved ||
        facts->size > shm->reserved - facts->offset)
        return false;
    return facts->kind < HF_SHM_KIND_COUNT && facts->dimensions <= HF_SHM_DIMENSIONS_MAX &&
           facts->checksum == hfi_shm_facts_checksum(facts) &&
           hfi_shm_cover(shm, facts->offset + facts->size);
}

hf_status hfi_shm_lookup(hf_shm *shm, const char *name, struct hfi_shm_sight *sight, char *format) {
    uint64_t hash = hfi_shm_hash(name);
    char found[HFI_SHM_NAME_SIZE];
    for (uint32_t i = 0, rows = hfi_shm_rows(shm); i < rows; i++) {
        struct hfi_shm_row *row = hfi_shm_row_of(shm, i);
        if (hfi_shm_control_state(hfi_shm_load64(&row->control)) != HFI_SHM_ROW_PUBLISHED) continue;
        /* relaxed: only saves the copy. */
        if (atomic_load_explicit(&row->facts[0], memory_order_relaxed) != hash) continue;
        if (!hfi_shm_see(shm, i, sight, found, format) ||
            hfi_shm_control_state(sight->control) != HFI_SHM_ROW_PUBLISHED ||
            strcmp(found, name) != 0)
            continue;
        if (!hfi_shm_sound(shm, &sight->facts))
            return hfi_shm_say(HF_E_CORRUPT,
                               "segment \"%s\": the entry of \"%s\" was overwritten (offset %llu, "
                               "size %llu, kind %u); hf_shm_repair drops it",
                               shm->name, name, (unsigned long long)sight->facts.offset,
                               (unsigned long long)sight->facts.size, sight->facts.kind);
        return HF_OK;
    }
    return hfi_shm_say(HF_E_NOT_FOUND, "segment \"%s\" has no structure \"%s\"", shm->name, name);
}

/* --- users ------------------------------------------------------------------------------------ */

bool hfi_shm_hold(hf_shm *shm, const struct hfi_shm_sight *sight) {
    struct hfi_shm_row *row = hfi_shm_row_of(shm, sight->index);
    uint32_t self = hfi_shm_self(shm) - 1;
    hfi_shm_enter(shm);
    bool first = shm->opens[sight->index] == 0;
    if (first) (void)hfi_shm_or64(&row->tail[self / 64], UINT64_C(1) << (self % 64));
    hfi_shm_fence();
    bool same = hfi_shm_load64(&row->control) == sight->control;
    if (same)
        shm->opens[sight->index]++;
    else if (first)
        (void)hfi_shm_and64(&row->tail[self / 64], ~(UINT64_C(1) << (self % 64)));
    hfi_shm_exit(shm);
    return same;
}

void hfi_shm_unhold(hf_shm *shm, uint32_t index, uint32_t generation) {
    struct hfi_shm_row *row = hfi_shm_row_of(shm, index);
    uint32_t self = hfi_shm_self(shm) - 1;
    hfi_shm_enter(shm);
    bool last = shm->opens[index] > 0 && --shm->opens[index] == 0;
    if (last && self != UINT32_MAX)
        (void)hfi_shm_and64(&row->tail[self / 64], ~(UINT64_C(1) << (self % 64)));
    hfi_shm_exit(shm);
    uint64_t control = hfi_shm_load64(&row->control);
    if (last && self != UINT32_MAX && hfi_shm_control_generation(control) == generation &&
        hfi_shm_control_state(control) == HFI_SHM_ROW_DYING)
        hfi_shm_reclaim(shm, index);
}

void hfi_shm_reclaim(hf_shm *shm, uint32_t index) {
    struct hfi_shm_row *row = hfi_shm_row_of(shm, index);
    /* More than once: who saw our FREEING let go of it and left the rest to us. */
    for (unsigned tries = 0; tries < TRIES; tries++) {
        uint64_t dying = hfi_shm_load64(&row->control);
        if (hfi_shm_control_state(dying) != HFI_SHM_ROW_DYING || !hfi_shm_unused(shm, row)) return;
        uint32_t generation = hfi_shm_control_generation(dying);
        uint64_t freeing = hfi_shm_control(generation, hfi_shm_self(shm), HFI_SHM_ROW_FREEING);
        if (!hfi_shm_swap64(&row->control, &dying, freeing)) return;
        hfi_shm_fence();
        uint64_t next = hfi_shm_unused(shm, row) || HFI_SHM_MUTANT(TABLE_MUTANT_FREE_USED)
                            ? hfi_shm_control(generation + 1, 0, HFI_SHM_ROW_EMPTY)
                            : hfi_shm_control(generation, 0, HFI_SHM_ROW_DYING);
        if (!hfi_shm_swap64(&row->control, &freeing, next) ||
            hfi_shm_control_state(next) == HFI_SHM_ROW_EMPTY)
            return;
        hfi_shm_fence();
    }
}

/* --- recovery --------------------------------------------------------------------------------- */

void hfi_shm_part_fill(hf_shm *shm, const struct hfi_shm_sight *sight, struct hfi_shm_part *out) {
    const struct hfi_shm_facts *f = &sight->facts;
    *out = (struct hfi_shm_part){.shm = shm,
                                 .base = shm->base + f->offset,
                                 .size = f->size,
                                 .index = sight->index,
                                 .generation = hfi_shm_control_generation(sight->control),
                                 .kind = f->kind,
                                 .element_size = f->element_size,
                                 .element_count = f->element_count};
}

const struct hfi_shm_kind *hfi_shm_kind_of(hf_shm *shm, const struct hfi_shm_sight *sight,
                                           struct hfi_shm_part *part_out) {
    const struct hfi_shm_facts *f = &sight->facts;
    if (!hfi_shm_sound(shm, f) || hfi_shm_kinds[f->kind] == NULL ||
        hfi_shm_kinds[f->kind]->layout != f->layout)
        return NULL;
    hfi_shm_part_fill(shm, sight, part_out);
    return hfi_shm_kinds[f->kind];
}

static void row_recover(hf_shm *shm, uint32_t index, uint32_t owner) {
    struct hfi_shm_row *row = hfi_shm_row_of(shm, index);
    uint64_t control = hfi_shm_load64(&row->control);
    uint32_t generation = hfi_shm_control_generation(control);
    bool its = hfi_shm_control_owner(control) == owner;
    if (hfi_shm_control_state(control) == HFI_SHM_ROW_RESERVED && its)
        (void)hfi_shm_swap64(&row->control, &control,
                             hfi_shm_control(generation + 1, 0, HFI_SHM_ROW_EMPTY));
    if (hfi_shm_control_state(control) == HFI_SHM_ROW_FREEING && its)
        (void)hfi_shm_swap64(&row->control, &control,
                             hfi_shm_control(generation, 0, HFI_SHM_ROW_DYING));
    struct hfi_shm_sight sight;
    struct hfi_shm_part part;
    if (hfi_shm_see(shm, index, &sight, NULL, NULL)) {
        const struct hfi_shm_kind *kind = hfi_shm_kind_of(shm, &sight, &part);
        if (kind != NULL && kind->recover != NULL && hfi_shm_hold(shm, &sight)) {
            kind->recover(&part, owner);
            hfi_shm_unhold(shm, index, part.generation);
        }
    }
    uint64_t bit = UINT64_C(1) << ((owner - 1) % 64);
    _Atomic uint64_t *users = &row->tail[(owner - 1) / 64];
    if ((hfi_shm_load64(users) & bit) != 0 && !HFI_SHM_MUTANT(TABLE_MUTANT_KEEP_BITS))
        (void)hfi_shm_and64(users, ~bit);
    if (hfi_shm_control_state(hfi_shm_load64(&row->control)) == HFI_SHM_ROW_DYING)
        hfi_shm_reclaim(shm, index);
}

void hfi_shm_table_recover(hf_shm *shm, uint32_t owner) {
    for (uint32_t i = 0, rows = hfi_shm_rows(shm); i < rows; i++)
        row_recover(shm, i, owner);
    struct hfi_shm_lock *lock = &hfi_shm_header_of(shm)->lock;
    if (hfi_shm_lock_seize(shm, lock, owner)) hfi_shm_lock_release(shm, lock);
}

/* --- changes, under the table's lock ---------------------------------------------------------- */

/* Its process, for a sentence. */
static uint32_t table_holder(hf_shm *shm) {
    uint32_t owner = hfi_shm_load32(&hfi_shm_header_of(shm)->lock.word) & 0xffff;
    return owner == 0 || owner > hfi_shm_places(shm)
               ? 0
               : hfi_shm_load32(&hfi_shm_place_of(shm, owner - 1)->pid);
}

hf_status hfi_shm_table_lock(hf_shm *shm) {
    uint32_t died = 0;
    hf_status status = hfi_shm_lock_acquire(shm, &hfi_shm_header_of(shm)->lock,
                                            hfi_shm_deadline(shm->lock_wait_ns), &died);
    if (status != HF_OK)
        return hfi_shm_say(
            status,
            "segment \"%s\": process %u has held the table's lock for longer than lock_wait_ns "
            "and lives; is it stopped?",
            shm->name, table_holder(shm));
    /* Whoever reserved without publishing is dead: reserving is done under this lock. */
    for (uint32_t i = 0, rows = hfi_shm_rows(shm); i < rows; i++) {
        struct hfi_shm_row *row = hfi_shm_row_of(shm, i);
        uint64_t control = hfi_shm_load64(&row->control);
        uint32_t next = hfi_shm_control_generation(control) + 1;
        if (hfi_shm_control_state(control) == HFI_SHM_ROW_RESERVED)
            (void)hfi_shm_swap64(&row->control, &control,
                                 hfi_shm_control(next, 0, HFI_SHM_ROW_EMPTY));
        else if (hfi_shm_control_state(control) == HFI_SHM_ROW_DYING)
            hfi_shm_reclaim(shm, i);
    }
    return HF_OK;
}

void hfi_shm_table_unlock(hf_shm *shm) {
    hfi_shm_lock_release(shm, &hfi_shm_header_of(shm)->lock);
}

static bool row_take(hf_shm *shm, struct hfi_shm_sight *out) {
    for (uint32_t i = 0; i < shm->geometry.c.entries_max; i++) {
        struct hfi_shm_row *row = hfi_shm_row_of(shm, i);
        uint64_t control = hfi_shm_load64(&row->control);
        if (hfi_shm_control_state(control) != HFI_SHM_ROW_EMPTY) continue;
        uint64_t reserved = hfi_shm_control(hfi_shm_control_generation(control), hfi_shm_self(shm),
                                            HFI_SHM_ROW_RESERVED);
        _Atomic uint32_t *high = &hfi_shm_header_of(shm)->entries_high;
        if (hfi_shm_load32(high) <= i) hfi_shm_store32(high, i + 1);
        if (!hfi_shm_swap64(&row->control, &control, reserved)) continue;
        out->index = i;
        out->control = reserved;
        return true;
    }
    return false;
}

hf_status hfi_shm_reserve(hf_shm *shm, const char *name, uint64_t size, struct hfi_shm_sight *out) {
    struct hfi_shm_header *header = hfi_shm_header_of(shm);
    struct hfi_shm_space space;
    (void)hfi_shm_size(shm);
    uint64_t offset = hfi_shm_place_bytes(shm, size, &space);
    if (offset == 0)
        return hfi_shm_say(
            HF_E_NO_SPACE,
            "segment \"%s\": no %llu bytes in a row for \"%s\" (%llu are free, at most "
            "%llu in a row); erase structures, or hf_shm_grow",
            shm->name, (unsigned long long)size, name, (unsigned long long)space.free,
            (unsigned long long)space.largest);
    if (!row_take(shm, out))
        return hfi_shm_say(HF_E_LIMIT,
                           "segment \"%s\": all %u entries of the table are taken; make it with a "
                           "larger entries_max",
                           shm->name, shm->geometry.c.entries_max);
    out->facts.offset = offset;
    out->facts.size = size;
    if (!HFI_SHM_MUTANT(POWER_MUTANT_REUSE))
        hfi_shm_harden_table(shm); /* no row of the medium speaks of these bytes any more */
    /* Never used bytes are zero; the others are made so. The mark goes up first. */
    uint64_t end = offset + hfi_shm_footprint(size), dirty = hfi_shm_load64(&header->dirty_end);
    if (dirty < end) hfi_shm_store64(&header->dirty_end, end);
    hfi_shm_step();
    if (dirty > offset)
        memset(shm->base + offset, 0, (size_t)((dirty < end ? dirty : end) - offset));
    return HF_OK;
}

void hfi_shm_publish(hf_shm *shm, struct hfi_shm_sight *sight, const char *name, const char *format,
                     bool used) {
    struct hfi_shm_row *row = hfi_shm_row_of(shm, sight->index);
    uint32_t generation = hfi_shm_control_generation(sight->control), self = hfi_shm_self(shm) - 1;
    uint64_t published = hfi_shm_control(generation, 0, HFI_SHM_ROW_PUBLISHED);
    sight->facts.hash = hfi_shm_hash(name);
    sight->facts.checksum = hfi_shm_facts_checksum(&sight->facts);
    if (HFI_SHM_MUTANT(TABLE_MUTANT_EARLY_PUBLISH)) hfi_shm_store64(&row->control, published);
    atomic_thread_fence(memory_order_release);
    hfi_shm_facts_write(row, &sight->facts);
    text_write(name_of(shm, row), name, shm->geometry.c.name_size);
    text_write(format_of(shm, row), format != NULL ? format : "", shm->geometry.c.format_size);
    if (!HFI_SHM_MUTANT(POWER_MUTANT_ROW_FIRST)) {
        hfi_shm_harden(shm, sight->facts.offset, sight->facts.size);
        hfi_shm_harden_table(shm);
    }
    hfi_shm_enter(shm);
    /* Bits of those who looked at a former row and are about to take them back may still stand. */
    if (used) {
        (void)hfi_shm_or64(&row->tail[self / 64], UINT64_C(1) << (self % 64));
        shm->opens[sight->index]++;
    }
    hfi_shm_store64(&row->control, published);
    hfi_shm_exit(shm);
    hfi_shm_harden_table(shm);
    sight->control = published;
}
