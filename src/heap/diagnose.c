/* diagnose.c - a pointer or a block that is not as it should be: find out why, say it once.
 *
 *   address --> whose? --> which block? --> trailer: live, freed, damaged? --> kind, damage, sites
 *
 * Runs only after a hot path has seen something wrong, so it takes its time. It reads memory that it
 * proved to be ours, and never trusts a length it read there.
 * Talks to    slab, middle, large, sites, base/report.   Called by malloc, tcache, pool, walk.
 * Threads     any; no locks held. The slab or pool concerned goes out of service before the report
 *             is emitted, so a handler that allocates cannot meet the damage again. */
#include <string.h>

#include "base/report.h"
#include "heap_state.h"
#include "large.h"
#include "malloc.h"
#include "middle.h"
#include "pool.h"
#include "sites.h"
#include "tcache.h"

static void begin(hf_report *report, hf_heap *heap, hf_report_kind kind, const void *address,
                  const char *found_by) {
    memset(report, 0, sizeof *report);
    report->kind = kind;
    report->address = address;
    report->found_by = hfi_found_by != NULL ? hfi_found_by : found_by;
    struct hfi_owner *owner = hfi_pagemap_owner(address);
    report->owner = heap == NULL ? "none" : heap->name;
    if (heap != NULL && heap->is_default && owner != NULL)
        report->owner = owner->kind == HFI_OWNER_SLAB     ? "small"
                        : owner->kind == HFI_OWNER_MIDDLE ? "middle"
                                                          : "large";
    report->heap_id = heap != NULL ? heap->id : 0;
}

__thread const char *hfi_found_by __attribute__((tls_model("initial-exec")));

static void emit(hf_heap *heap, hf_report *report) {
    if (heap != NULL) atomic_fetch_add_explicit(&heap->reports, 1, memory_order_relaxed);
    hfi_report_emit(report);
}

static void quarantine(struct hfi_owner *owner) {
    if (owner == NULL) return;
    if (owner->kind == HFI_OWNER_SLAB) {
        struct hfi_slab *slab = (struct hfi_slab *)owner;
        hfi_pool_quarantine(slab);
        struct hfi_thread *thread = hfi_thread_current;
        hf_heap *heap = slab->pool->heap;
        if (thread != NULL && heap->index < HFI_HEAPS_MAX)
            hfi_tcache_drop_slab(thread->caches[heap->index], slab, slab->pool->class_index);
    } else if (owner->kind == HFI_OWNER_MIDDLE) {
        hfi_middle_quarantine((struct hfi_middle_pool *)owner);
    } else {
        hfi_large_quarantine((struct hfi_large *)owner);
    }
}

static void describe_block(hf_report *report, const void *block, size_t extent, uint64_t note) {
    report->block = block;
    report->class_size = extent;
    if (note > HFI_NOTE_MAX) return;
    report->domain = (hf_domain)((note >> HFI_DOMAIN_SHIFT) & 3);
    size_t kept = HFI_TRAILER + ((note & HFI_NOTE_SITE) ? HFI_SITE_WORD : 0);
    if ((note & HFI_SLACK_MAX) + kept > extent) return;
    report->block_size = hfi_block_size(extent, note);
    if ((note & HFI_NOTE_SITE) == 0) return;
    uint64_t word = hfi_load64(hfi_block_limit(block, extent, note));
    hfi_site_text((uint32_t)word, report->site_allocated, sizeof report->site_allocated);
    hfi_site_text((uint32_t)(word >> 32), report->site_freed, sizeof report->site_freed);
}

/* Quotes what differs between memory and what should be there. */
static void describe_damage(hf_report *report, const char *block, size_t offset,
                            const unsigned char *expected, size_t length) {
    const unsigned char *found = (const unsigned char *)block + offset;
    size_t first = 0, last = length;
    while (first < length && found[first] == expected[first])
        first++;
    while (last > first && found[last - 1] == expected[last - 1])
        last--;
    report->damage_offset = (ptrdiff_t)(offset + first);
    report->damage_length = last - first;
    size_t words = length - first < 8 ? length - first : 8;
    memcpy(&report->expected, expected + first, words);
    memcpy(&report->found, found + first, words);
    report->bytes_count =
        (uint32_t)(last - first < HF_REPORT_BYTES ? last - first : HF_REPORT_BYTES);
    memcpy(report->bytes, found + first, report->bytes_count);
}

/* What a whole live block of this size would have from its end on: pattern and trailer. */
static size_t expected_tail(const char *block, size_t extent, size_t size, uint64_t note,
                            unsigned char *tail) {
    size_t length = extent - size;
    uint64_t trailer = hfi_block_word(block, extent, note);
    memcpy(tail, block + size, length); /* what lies between is not known: it counts as right */
    memcpy(tail, &hfi_block_pattern, length < 8 ? length : 8);
    memcpy(tail + length - HFI_TRAILER, &trailer, HFI_TRAILER);
    return length;
}

/* Bytes of the block's trailer that are as this note would have them. */
static unsigned trailer_bytes(const char *block, size_t extent, uint64_t note) {
    uint64_t differs =
        hfi_block_word(block, extent, note) ^ hfi_load64(hfi_block_trailer(block, extent));
    unsigned same = 0;
    for (unsigned byte = 0; byte < 8; byte++)
        same += ((differs >> (8 * byte)) & 0xff) == 0;
    return same;
}

/* The trailer is damaged: which size was it of? Half of a trailer is proof enough among the hundred
 * sizes that the class is usually asked for; among the thirty thousand that it can be asked for it
 * would be there by chance once in two thousand, so one byte more. Without it a whole pattern says
 * where the payload ended, if it stands where the class leaves room for it; size 0 is left out, for
 * there a block that was never written to has the pattern of its last free. */
static bool guess_size(const char *block, size_t extent, size_t *size_out, uint64_t *note_out) {
    size_t most = extent - HFI_TRAILER < HFI_SLACK_MAX ? extent - HFI_TRAILER : HFI_SLACK_MAX;
    size_t usual = extent <= HFI_LINEAR_MAX ? 15 : extent / 8 + 16;
    bool found = false;
    for (size_t pass = 0; pass < 2 && !found; pass++) {
        unsigned best = pass == 0 ? 3 : 4;
        for (unsigned flags = 0; flags < 8; flags++) {
            for (size_t slack = 0; slack <= most && (pass == 1 || slack <= usual); slack++) {
                uint64_t note = slack | (uint64_t)flags << HFI_DOMAIN_SHIFT;
                unsigned same = trailer_bytes(block, extent, note);
                if (same <= best ||
                    slack + HFI_TRAILER + HFI_SITE_WORD > extent + (flags < 4 ? 8 : 0))
                    continue;
                best = same;
                found = true;
                *size_out = hfi_block_size(extent, note);
                *note_out = note;
            }
        }
    }
    if (found) return true;
    /* Behind the pattern there may be a site word; with less than eight bytes of slack only the
     * start of the pattern is left, and four bytes of it are taken for proof. */
    for (size_t kept = HFI_TRAILER; kept <= HFI_TRAILER + HFI_SITE_WORD; kept += HFI_SITE_WORD) {
        for (size_t slack = usual; slack >= 4; slack--) {
            if (slack > most || extent <= kept + slack) continue;
            size_t size = extent - kept - slack;
            if (memcmp(block + size, &hfi_block_pattern, slack < 8 ? slack : 8) != 0) continue;
            *size_out = size;
            *note_out = slack | (kept > HFI_TRAILER ? HFI_NOTE_SITE : 0);
            return true;
        }
    }
    return false;
}

/* Damage is met by a walk, by the free of its block and by that of the one behind it: the first to
 * see it reports. Few are remembered; a report more is the worst that can happen. Memory of a
 * damaged slab is used again only after its heap died, hence the number. */
static bool first_to_report(const hf_heap *heap, const char *damaged) {
    static _Atomic uint64_t met[64];
    uint64_t key = (uint64_t)(uintptr_t)damaged ^ heap->id << 48;
    _Atomic uint64_t *slot = &met[((uintptr_t)damaged >> 3) % 64];
    /* relaxed: two threads that meet here at once both report. */
    if (atomic_load_explicit(slot, memory_order_relaxed) == key) return false;
    atomic_store_explicit(slot, key, memory_order_relaxed);
    return true;
}

/* A block that should be live is damaged. */
static void report_damaged(hf_heap *heap, const char *block, size_t extent, struct hfi_owner *owner,
                           const char *found_by) {
    hf_report report;
    unsigned char tail[HFI_SLACK_MAX + 3 * HFI_TRAILER];
    begin(&report, heap, HF_REPORT_OVERFLOW, block, found_by);
    uint64_t note = hfi_block_note(block, extent);
    size_t size = 0;
    bool trailer_whole = note <= HFI_NOTE_MAX;
    bool known = trailer_whole || guess_size(block, extent, &size, &note);
    if (trailer_whole) size = hfi_block_size(extent, note);
    if (known) {
        describe_block(&report, block, extent, note);
        report.block_size = size;
        size_t length = expected_tail(block, extent, size, note, tail);
        if (length > sizeof tail) length = sizeof tail;
        describe_damage(&report, block, size, tail, length);
        /* Damage that skips the pattern, or the trailer's beginning, and reaches its end came from
         * behind, going down. */
        ptrdiff_t trailer_at = (ptrdiff_t)(extent - HFI_TRAILER);
        bool skips = (ptrdiff_t)size < trailer_at ? report.damage_offset >= trailer_at
                                                  : report.damage_offset > trailer_at;
        if (!trailer_whole && skips &&
            report.damage_offset + (ptrdiff_t)report.damage_length == (ptrdiff_t)extent)
            report.kind = HF_REPORT_UNDERFLOW;
        if (report.kind == HF_REPORT_UNDERFLOW && owner != NULL && owner->kind == HFI_OWNER_SLAB)
            report.address = block + extent;
    } else {
        report.block = block;
        report.class_size = extent;
        report.damage_offset = (ptrdiff_t)(extent - HFI_TRAILER);
        report.damage_length = HFI_TRAILER;
        report.found = hfi_load64(hfi_block_trailer(block, extent));
        report.bytes_count = HFI_TRAILER;
        memcpy(report.bytes, hfi_block_trailer(block, extent), HFI_TRAILER);
        /* A site word that makes sense stands between payload and trailer: who came from the
         * payload's side would have run over it. */
        uint64_t sites =
            extent > 2 * HFI_TRAILER ? hfi_load64(block + extent - 2 * HFI_TRAILER) : 0;
        if (heap->all_sites && (uint32_t)sites != 0 && (uint32_t)sites <= hfi_sites_count() &&
            sites >> 32 == 0) {
            report.kind = HF_REPORT_UNDERFLOW;
            if (owner != NULL && owner->kind == HFI_OWNER_SLAB) report.address = block + extent;
            hfi_site_text((uint32_t)sites, report.site_allocated, sizeof report.site_allocated);
        }
    }
    quarantine(owner);
    if (first_to_report(heap, hfi_block_trailer(block, extent))) emit(heap, &report);
}

static void report_plain(hf_heap *heap, hf_report_kind kind, const void *address, const void *block,
                         size_t extent, uint64_t note, const char *found_by) {
    hf_report report;
    begin(&report, heap, kind, address, found_by);
    if (block != NULL) describe_block(&report, block, extent, note);
    emit(heap, &report);
}

/* --- by owner ------------------------------------------------------------------------------- */

/* Nobody's now. Of what was given back already only large blocks are remembered. */
static void report_nobodys(hf_heap *heap, const void *address, const char *found_by) {
    hf_report report;
    bool was = hfi_large_was(heap, address);
    begin(&report, heap, was ? HF_REPORT_DOUBLE_FREE : HF_REPORT_INVALID_FREE, address, found_by);
    if (was) report.block = address;
    if (was && heap->is_default) report.owner = "large";
    emit(heap, &report);
}

static void diagnose_small(struct hfi_slab *slab, const char *address, const char *found_by) {
    hf_heap *heap = slab->pool->heap;
    uint32_t index = hfi_slab_index(slab, address);
    if (index == UINT32_MAX) { /* before the first block: a large one may have begun here */
        report_nobodys(heap, address, found_by);
        return;
    }
    const char *block = hfi_slab_block(slab, index);
    size_t extent = slab->block_size;
    uint64_t live = heap->trailer ? hfi_block_note(block, extent) : HFI_NOTE_MAX + 1;
    uint64_t freed = heap->trailer ? hfi_block_note_freed(block, extent) : HFI_NOTE_MAX + 1;
    bool never = index >= hfi_peek(slab->fresh);
    if (address != block) {
        bool inside = !never && live <= HFI_NOTE_MAX;
        if (!inside && heap->trailer && hfi_large_was(heap, address))
            report_nobodys(heap, address, found_by);
        else
            report_plain(
                heap, inside || !heap->trailer ? HF_REPORT_INTERIOR_FREE : HF_REPORT_INVALID_FREE,
                address, block, extent, inside ? live : HFI_NOTE_MAX + 1, found_by);
    } else if (never) {
        report_plain(heap, HF_REPORT_INVALID_FREE, address, NULL, 0, 0, found_by);
    } else if (!heap->trailer || freed <= HFI_NOTE_MAX || hfi_slab_has(slab, index)) {
        report_plain(heap, HF_REPORT_DOUBLE_FREE, address, block, extent, freed, found_by);
    } else {
        report_damaged(heap, block, extent, &slab->owner, found_by);
    }
}

/* The header before a payload of the middle or large tier was overwritten. */
static void report_header(hf_heap *heap, const char *payload, size_t extent,
                          struct hfi_owner *owner, const char *found_by) {
    hf_report report;
    begin(&report, heap, HF_REPORT_UNDERFLOW, payload, found_by);
    describe_block(&report, payload, extent, hfi_block_note(payload, extent));
    hfi_middle_header_damage(payload, &report.damage_offset, &report.damage_length,
                             &report.expected, &report.found);
    report.bytes_count = (uint32_t)(report.damage_length < 16 ? report.damage_length : 16);
    memcpy(report.bytes, payload + report.damage_offset, report.bytes_count);
    quarantine(owner);
    if (first_to_report(heap, payload)) emit(heap, &report);
}

static void diagnose_middle(struct hfi_middle_pool *pool, const char *address,
                            const char *found_by) {
    hf_heap *heap = pool->heap;
    void *payload = NULL;
    size_t extent = 0;
    enum hfi_middle_where where = hfi_middle_find(pool, address, &payload, &extent);
    uint64_t live = payload != NULL && heap->trailer ? hfi_block_note(payload, extent) : 0;
    switch (where) {
    case HFI_MIDDLE_FREE: {
        /* Stamp, or header, outlive the block until its page is reused or given back. */
        bool stamped = hfi_middle_was(pool, address, &extent);
        bool was_block = stamped || hfi_middle_header_whole(address);
        uint64_t freed = extent != 0 ? hfi_block_note_freed(address, extent) : HFI_NOTE_MAX + 1;
        report_plain(heap, was_block ? HF_REPORT_DOUBLE_FREE : HF_REPORT_INVALID_FREE, address,
                     was_block ? address : NULL, extent, freed, found_by);
        break;
    }
    case HFI_MIDDLE_INSIDE:
        report_plain(heap, HF_REPORT_INTERIOR_FREE, address, payload, extent, live, found_by);
        break;
    case HFI_MIDDLE_DAMAGED: report_header(heap, payload, extent, &pool->owner, found_by); break;
    case HFI_MIDDLE_START: report_damaged(heap, payload, extent, &pool->owner, found_by); break;
    }
}

static void diagnose_large(struct hfi_large *large, const char *address, const char *found_by) {
    hf_heap *heap = large->heap;
    /* Freed and resting, or out of service: its memory may fault. */
    if (!large->live) {
        bool start = address == large->payload;
        if (start && large->held) { /* told by the walk; this is its first free */
            large->held = strcmp(found_by, "free") != 0;
            return;
        }
        report_plain(heap, start ? HF_REPORT_DOUBLE_FREE : HF_REPORT_INVALID_FREE, address,
                     start ? address : NULL, 0, HFI_NOTE_MAX + 1, found_by);
        return;
    }
    uint64_t note =
        heap->trailer ? hfi_block_note(large->payload, large->extent) : HFI_NOTE_MAX + 1;
    large->held = hfi_found_by != NULL;
    if (address != large->payload)
        report_plain(heap, HF_REPORT_INTERIOR_FREE, address, large->payload, large->extent, note,
                     found_by);
    else if (!hfi_large_header_whole(large))
        report_header(heap, large->payload, large->extent, &large->owner, found_by);
    else
        report_damaged(heap, large->payload, large->extent, &large->owner, found_by);
}

void hfi_diagnose(hf_heap *heap, const void *address, const char *found_by) {
    struct hfi_owner *owner = hfi_pagemap_owner(address);
    if (heap == NULL) heap = &hfi_default_heap;
    if (owner == NULL)
        report_nobodys(heap, address, found_by);
    else if (owner->kind == HFI_OWNER_SLAB)
        diagnose_small((struct hfi_slab *)owner, address, found_by);
    else if (owner->kind == HFI_OWNER_MIDDLE)
        diagnose_middle((struct hfi_middle_pool *)owner, address, found_by);
    else
        diagnose_large((struct hfi_large *)owner, address, found_by);
}

/* --- single findings ------------------------------------------------------------------------- */

static void report_live(hf_heap *heap, hf_report_kind kind, const void *block, const char *found_by,
                        hf_report *report) {
    struct hfi_live live;
    begin(report, heap, kind, block, found_by);
    if (hfi_resolve(block, &live)) {
        describe_block(report, block, live.extent, live.note);
        report->block_size = live.size;
    }
}

void hfi_report_domain(hf_heap *heap, const void *block, int domain, int freed_as,
                       const char *found_by) {
    hf_report report;
    report_live(heap, HF_REPORT_DOMAIN_MISMATCH, block, found_by, &report);
    report.domain = (hf_domain)domain;
    report.freed_as = (hf_domain)freed_as;
    emit(heap, &report);
}

void hfi_report_size(hf_heap *heap, const void *block, size_t given, const char *found_by) {
    hf_report report;
    report_live(heap, HF_REPORT_SIZE_MISMATCH, block, found_by, &report);
    report.given_size = given;
    emit(heap, &report);
}

void hfi_report_foreign(hf_heap *heap, const void *block, const char *found_by) {
    hf_report report;
    report_live(heap, HF_REPORT_FOREIGN_FREE, block, found_by, &report);
    emit(heap, &report);
}

void hfi_report_double_free(hf_heap *heap, const void *block, size_t extent, const char *found_by) {
    report_plain(heap, HF_REPORT_DOUBLE_FREE, block, block, extent,
                 heap->trailer ? hfi_block_note_freed(block, extent) : HFI_NOTE_MAX + 1, found_by);
}

void hfi_report_written(hf_heap *heap, const void *block, size_t extent, const char *found_by) {
    struct hfi_owner *owner = hfi_pagemap_owner(block);
    /* Its slab went out of service for damage that was reported; this is part of it. */
    if (owner != NULL && owner->kind == HFI_OWNER_SLAB &&
        hfi_slab_quarantined((struct hfi_slab *)owner))
        return;
    hf_report report;
    begin(&report, heap, HF_REPORT_USE_AFTER_FREE, block, found_by);
    uint64_t note = hfi_block_note_freed(block, extent);
    describe_block(&report, block, extent, note);
    size_t words = heap->fill ? hfi_block_fill_words(extent, note <= HFI_NOTE_MAX ? note : 0) : 1;
    const char *at = block;
    size_t first = 0;
    while (first < words && hfi_load64(at + 8 * first) == hfi_block_pattern)
        first++;
    if (first < words) {
        describe_damage(&report, block, first * 8, (const unsigned char *)&hfi_block_pattern, 8);
    } else { /* the payload is whole, so it was the trailer */
        report.damage_offset = (ptrdiff_t)(extent - HFI_TRAILER);
        report.damage_length = HFI_TRAILER;
        report.found = hfi_load64(hfi_block_trailer(block, extent));
    }
    quarantine(hfi_pagemap_owner(block));
    emit(heap, &report);
}

static bool is_whole(const char *block, size_t extent) {
    return hfi_block_peek_note(block, extent) <= HFI_NOTE_MAX ||
           hfi_block_peek_note_freed(block, extent) <= HFI_NOTE_MAX;
}

/* hfi_block_seal writes the pattern first; with less than eight bytes of slack its end covers the
 * start of the trailer until that follows. */
bool hfi_is_being_sealed(const char *block, size_t extent) {
    uint64_t word = hfi_peek64(hfi_block_trailer(block, extent));
    for (unsigned slack = 0; slack < 8; slack++) {
        uint64_t covered = UINT64_MAX >> (8 * slack);
        if (((word ^ (hfi_block_pattern >> (8 * slack))) & covered) == 0) return true;
    }
    return false;
}

/* True if the damage was another thread between two of its stores. In the child of a fork that
 * thread may be gone for ever: then looks decide. */
static bool settles(const char *block, size_t extent) {
    /* Two seconds: a thread of the lowest priority can be off its processor for long. */
    enum { SPINS = 64, SLEEPS = 4000, SLEEP_NS = 500000 };
    _Atomic uint32_t never = 0;
    for (unsigned round = 0; round < SPINS + SLEEPS && hfi_is_being_sealed(block, extent);
         round++) {
        if (hfi_threads_lost) return true;
        if (round >= SPINS) (void)hfi_os_futex_wait(&never, 0, SLEEP_NS);
    }
    return is_whole(block, extent);
}

bool hfi_verify_before(hf_heap *heap, const void *block, size_t extent, const char *found_by) {
    struct hfi_slab *slab = (struct hfi_slab *)hfi_pagemap_owner(block);
    uint32_t index = hfi_slab_index(slab, block);
    /* What is out of service was reported when it went. */
    if ((slab->lead == 0 && index == 0) || hfi_slab_quarantined(slab)) return true;
    const char *before = (const char *)block - extent;
    if (is_whole(before, extent) || settles(before, extent)) return true;
    /* Or the block is being made for the first time, which happens under the pool's lock. */
    hfi_lock_acquire(&slab->pool->lock);
    bool whole_now = is_whole(before, extent);
    hfi_lock_release(&slab->pool->lock);
    if (whole_now) return true;
    uint64_t word = hfi_peek64(hfi_block_trailer(before, extent));
    /* Never handed out, or its page was given back. */
    if (index > 0 && (index - 1 >= hfi_peek(slab->fresh) || (hfi_peek(slab->purged) && word == 0)))
        return true;
    /* Overwritten all the way from its own end: that block's overflow, found when it is freed. */
    size_t size;
    uint64_t note;
    bool known = index > 0 && guess_size(before, extent, &size, &note);
    if (known && extent - HFI_TRAILER - size > 0 &&
        !hfi_block_pattern_whole(hfi_block_trailer(before, extent), extent - HFI_TRAILER - size))
        return true;
    /* The same of a block that fills its extent: hit from the trailer's beginning, not to its end. */
    uint64_t differs = known ? word ^ hfi_block_word(before, extent, note) : 0;
    if (known && extent - HFI_TRAILER == size && (differs & 0xff) != 0 && differs >> 56 == 0)
        return true;
    hf_report report;
    begin(&report, heap, HF_REPORT_UNDERFLOW, block, found_by);
    uint64_t own = hfi_block_note(block, extent);
    describe_block(&report, block, extent,
                   own <= HFI_NOTE_MAX ? own : hfi_block_note_freed(block, extent));
    report.damage_offset = -(ptrdiff_t)HFI_TRAILER;
    report.damage_length = HFI_TRAILER;
    report.found = word;
    if (known || index == 0) {
        uint64_t whole = hfi_block_word(before, extent, index == 0 ? 0 : note);
        describe_damage(&report, before, extent - HFI_TRAILER, (const unsigned char *)&whole, 8);
        report.damage_offset -= (ptrdiff_t)extent;
    } else {
        report.bytes_count = HFI_TRAILER;
        memcpy(report.bytes, hfi_block_trailer(before, extent), HFI_TRAILER);
    }
    quarantine(&slab->owner);
    if (first_to_report(heap, hfi_block_trailer(before, extent))) emit(heap, &report);
    return false;
}

bool hfi_report_middle_written(struct hfi_middle_pool *pool, const char *found_by) {
    hf_report report;
    struct hfi_middle_written found;
    if (!hfi_middle_written(pool, &found)) return false;
    begin(&report, pool->heap, HF_REPORT_USE_AFTER_FREE, found.payload, found_by);
    report.block = found.payload;
    if (found.extent !=
        0) /* its trailer may be another block's memory by now: then the note is none */
        describe_block(&report, found.payload, found.extent,
                       hfi_block_note_freed(found.payload, found.extent));
    report.damage_offset = found.offset;
    report.damage_length = found.length;
    const char *at = found.payload + found.offset;
    report.expected = found.expected;
    memcpy(&report.found, at, sizeof report.found);
    report.bytes_count =
        (uint32_t)(found.length < HF_REPORT_BYTES ? found.length : HF_REPORT_BYTES);
    memcpy(report.bytes, at, report.bytes_count);
    emit(pool->heap, &report);
    return true;
}

void hfi_report_metadata(hf_heap *heap, struct hfi_owner *owner, const void *address,
                         const char *found_by) {
    hf_report report;
    begin(&report, heap, HF_REPORT_METADATA, address, found_by);
    quarantine(owner);
    emit(heap, &report);
}

bool hfi_verify_freed(hf_heap *heap, const void *block, size_t extent, const char *found_by) {
    struct hfi_slab *slab = (struct hfi_slab *)hfi_pagemap_owner(block);
    if (hfi_slab_quarantined(slab)) return true; /* the pool keeps it out */
    if (!hfi_freed_whole(heap, block, extent)) {
        hfi_report_written(heap, block, extent, found_by);
        return false;
    }
    return hfi_verify_before(heap, block, extent, found_by);
}
