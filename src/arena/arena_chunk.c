/* arena_chunk.c - chunks: address space that becomes usable step by step, between two edges.
 *
 *   | header | space ............ | footer | reserved ...      the footer moves up with every step
 *
 * Invariants  usable is whole pages (not in a buffer of the caller) and charged to the process; the
 *             edges say which end, arena, chunk and address they are, and the complement of each.
 * Talks to    pages/region, pages/meta, base/hooks (limits).   Called by the other files here.
 * Threads     under the arena's lock, but for creation.
 * Fails with  NULL, false; everything is as it was then. */
#include <string.h>

#include "arena_state.h"
#include "base/hooks.h"
#include "pages/meta.h"
#include "poison.h"

#define HEADER_MAGIC UINT64_C(0x6864722d616e6572)
#define FOOTER_MAGIC UINT64_C(0x6674722d616e6572)
#define STEP_MAX     ((size_t)16 << 20) /* committed ahead of the need, at most */
#define RESERVE_LEAN ((size_t)64 << 20) /* where the system refuses more        */

/* --- edges ----------------------------------------------------------------------------------- */

static struct hfi_edge edge_of(const struct hfi_arena *a, const struct hfi_chunk *chunk,
                               uint64_t magic, const void *place) {
    uint64_t self = (uintptr_t)a, at = (uintptr_t)place;
    return (struct hfi_edge){.magic = magic,
                             .magic_not = ~magic,
                             .arena = self,
                             .arena_not = ~self,
                             .chunk = chunk->number,
                             .chunk_not = ~chunk->number,
                             .place = at,
                             .place_not = ~at};
}

static void edge_write(const struct hfi_arena *a, const struct hfi_chunk *chunk, uint64_t magic,
                       char *place) {
    struct hfi_edge edge = edge_of(a, chunk, magic, place);
    if (a->mode & HFI_MODE_POISON) hfi_poison_clear(place, sizeof edge);
    memcpy(place, &edge, sizeof edge);
    /* Nothing of ours may be read or written there, either: an overrun of one byte shows. */
    if (a->mode & HFI_MODE_POISON) hfi_poison_hide(place, sizeof edge);
}

/* The footer becomes ordinary, fresh memory. */
static void footer_wipe(const struct hfi_arena *a, struct hfi_chunk *chunk) {
    char *footer = (char *)hfi_chunk_end(chunk);
    if (a->mode & HFI_MODE_POISON) hfi_poison_clear(footer, HFI_ARENA_EDGE);
    memset(footer, 0, HFI_ARENA_EDGE);
    if (a->mode & HFI_MODE_POISON) hfi_poison_hide(footer, HFI_ARENA_EDGE);
}

/* What the edge should be and what it is; true if that is the same. */
static bool edge_whole(const struct hfi_arena *a, const struct hfi_chunk *chunk, uint64_t magic,
                       char *place, struct hfi_edge *wanted, struct hfi_edge *found) {
    *wanted = edge_of(a, chunk, magic, place);
    if (a->mode & HFI_MODE_POISON) hfi_poison_clear(place, sizeof *found);
    memcpy(found, place, sizeof *found);
    if (a->mode & HFI_MODE_POISON) hfi_poison_hide(place, sizeof *found);
    return memcmp(wanted, found, sizeof *wanted) == 0;
}

static void damage_describe(const struct hfi_chunk *chunk, const char *place, const void *wanted,
                            const void *found, hf_report *report) {
    const unsigned char *left = wanted, *right = found;
    size_t first = 0, last = HFI_ARENA_EDGE - 1;
    while (left[first] == right[first])
        first++;
    while (left[last] == right[last])
        last--;
    report->block = chunk->space;
    report->block_size = hfi_chunk_end(chunk) - (uintptr_t)chunk->space;
    report->class_size = chunk->usable;
    report->damage_offset = place + first - chunk->space;
    report->damage_length = last - first + 1;
    report->bytes_count = (uint32_t)(report->damage_length < HF_REPORT_BYTES ? report->damage_length
                                                                             : HF_REPORT_BYTES);
    memcpy(report->bytes, right + first, report->bytes_count);
    size_t word = first & ~(size_t)7;
    memcpy(&report->expected, left + word, sizeof report->expected);
    memcpy(&report->found, right + word, sizeof report->found);
}

/* 1 if the edge is damaged; a report is queued unless that is known. */
static unsigned edge_check(struct hfi_arena *a, const struct hfi_chunk *chunk, uint64_t magic,
                           char *place, hf_report_kind kind, bool *known) {
    struct hfi_edge wanted, found;
    if (edge_whole(a, chunk, magic, place, &wanted, &found)) return 0;
    struct hfi_damage *damage = *known ? NULL : hfi_meta_alloc(sizeof *damage), **end = &a->damage;
    if (damage == NULL) return 1; /* without memory to say it: who looks next tries again */
    *known = true;
    hfi_debug_report(a, &damage->report, kind, chunk->space, "check", NULL);
    damage_describe(chunk, place, &wanted, &found, &damage->report);
    while (*end != NULL)
        end = &(*end)->next;
    *end = damage;
    return 1;
}

static unsigned footer_check(struct hfi_arena *a, struct hfi_chunk *chunk) {
    return edge_check(a, chunk, FOOTER_MAGIC, (char *)hfi_chunk_end(chunk), HF_REPORT_OVERFLOW,
                      &chunk->footer_damaged);
}

unsigned hfi_chunk_check(struct hfi_arena *a, struct hfi_chunk *chunk) {
    return edge_check(a, chunk, HEADER_MAGIC, chunk->base, HF_REPORT_UNDERFLOW,
                      &chunk->header_damaged) +
           footer_check(a, chunk);
}

/* --- growth ---------------------------------------------------------------------------------- */

uintptr_t hfi_chunk_end_max(const struct hfi_chunk *chunk) {
    if (chunk->region.base == NULL) return hfi_chunk_end(chunk);
    return (uintptr_t)chunk->base + chunk->region.size - HFI_ARENA_EDGE;
}

static void mapped_grow(struct hfi_arena *a, size_t bytes) {
    a->mapped += bytes;
    if (a->mapped > a->mapped_peak) a->mapped_peak = a->mapped;
}

/* Makes the first `usable` bytes from base usable: memory, account, no edges. */
static bool chunk_commit(struct hfi_arena *a, struct hfi_chunk *chunk, size_t usable) {
    size_t more = usable - chunk->usable;
    if (!hfi_external_charge(more)) {
        a->limit_hits++;
        return false;
    }
    bool huge = a->options.huge_pages == HF_HUGE_ALWAYS ||
                (a->options.huge_pages == HF_HUGE_AUTO && usable > HFI_HUGE_PAGE);
    if (usable > chunk->region.committed) {
        a->os_maps++;
        if (hfi_region_commit(&chunk->region, usable, huge, a->options.node) != 0) {
            a->os_failures++;
            hfi_external_discharge(more);
            return false;
        }
    }
    chunk->usable = usable;
    mapped_grow(a, more);
    return true;
}

bool hfi_chunk_extend(struct hfi_arena *a, struct hfi_chunk *chunk, uintptr_t end) {
    if (end <= hfi_chunk_end(chunk)) return true;
    if (end > hfi_chunk_end_max(chunk)) return false;
    size_t need = hfi_page_up(end - (uintptr_t)chunk->base + HFI_ARENA_EDGE);
    size_t step = chunk->usable < STEP_MAX ? chunk->usable : STEP_MAX;
    size_t wanted = chunk->usable + step > need ? hfi_page_up(chunk->usable + step) : need;
    if (a->options.limit != 0) {
        uint64_t room = a->options.limit > chunk->before ? a->options.limit - chunk->before : 0;
        uint64_t most = room < HFI_BUMP_MAX ? hfi_page_up(room + 2 * HFI_ARENA_EDGE) : wanted;
        if (wanted > most) wanted = most > need ? most : need;
    }
    if (wanted > chunk->region.size) wanted = chunk->region.size;
    uintptr_t old_end = hfi_chunk_end(chunk);
    size_t before = chunk->usable;
    (void)footer_check(a, chunk); /* what was written over it shows here or never */
    /* Less is better than nothing. */
    if (!chunk_commit(a, chunk, wanted) && (wanted == need || !chunk_commit(a, chunk, need)))
        return false;
    size_t now = chunk->usable;
    chunk->usable = before;
    footer_wipe(a, chunk);
    chunk->usable = now;
    if (a->mode & HFI_MODE_POISON) hfi_poison_hide((void *)old_end, hfi_chunk_end(chunk) - old_end);
    edge_write(a, chunk, FOOTER_MAGIC, (char *)hfi_chunk_end(chunk));
    chunk->footer_damaged = false;
    if (a->mode & HFI_MODE_LOG)
        hfi_debug_log(a, HF_ARENA_OP_GROW, (uintptr_t)chunk->base, now - before, 0);
    return true;
}

size_t hfi_chunk_purge(struct hfi_arena *a, struct hfi_chunk *chunk, size_t keep) {
    if (chunk->region.base == NULL) return 0;
    size_t usable = hfi_page_up(keep + 2 * HFI_ARENA_EDGE);
    if (usable >= chunk->usable) return 0;
    (void)footer_check(a, chunk); /* before it disappears */
    size_t gone = chunk->usable - usable;
    if (a->mode & HFI_MODE_POISON) hfi_poison_clear(chunk->base + usable, gone);
    (void)hfi_region_purge(&chunk->region, usable, chunk->usable);
    chunk->usable = usable;
    edge_write(a, chunk, FOOTER_MAGIC, (char *)hfi_chunk_end(chunk));
    chunk->footer_damaged = false;
    if (chunk->purged > hfi_chunk_end(chunk)) chunk->purged = hfi_chunk_end(chunk);
    hfi_external_discharge(gone);
    a->mapped -= gone;
    a->returned += gone;
    a->purges++;
    return gone;
}

/* --- birth and death ------------------------------------------------------------------------- */

static struct hfi_chunk *chunk_new(struct hfi_arena *a) {
    struct hfi_chunk *chunk = hfi_meta_alloc(sizeof *chunk);
    if (chunk == NULL) {
        a->os_failures++;
        return NULL;
    }
    chunk->number = ++a->next_chunk;
    chunk->purged = UINTPTR_MAX;
    return chunk;
}

/* Base and usable are set: edges, space, nothing handed out. */
static void chunk_open(struct hfi_arena *a, struct hfi_chunk *chunk) {
    chunk->space = chunk->base + HFI_ARENA_EDGE;
    atomic_store_explicit(&chunk->cursor, (uintptr_t)chunk->space, memory_order_relaxed);
    atomic_store_explicit(&chunk->window, (uintptr_t)chunk->space, memory_order_relaxed);
    atomic_store_explicit(&chunk->dirty, (uintptr_t)chunk->space, memory_order_relaxed);
    if (a->mode & HFI_MODE_POISON)
        hfi_poison_hide(chunk->space, hfi_chunk_end(chunk) - (uintptr_t)chunk->space);
    edge_write(a, chunk, HEADER_MAGIC, chunk->base);
    edge_write(a, chunk, FOOTER_MAGIC, (char *)hfi_chunk_end(chunk));
}

/* As much address space as asked; less where the system refuses that, but room for `least`. */
static bool chunk_reserve(struct hfi_arena *a, struct hfi_chunk *chunk, size_t least) {
    size_t wanted = a->options.reserve > least ? a->options.reserve : least;
    /* What is usable at once is one range. */
    if (a->options.capacity > wanted)
        wanted = hfi_page_up(a->options.capacity + 2 * HFI_ARENA_EDGE);
    size_t guard = hfi_page_up(a->options.guard);
    size_t alignment = wanted > HFI_HUGE_PAGE ? HFI_HUGE_PAGE : HFI_PAGE;
    a->os_maps++;
    if (hfi_region_reserve(&chunk->region, wanted, guard, alignment) == 0) return true;
    a->os_failures++;
    if (wanted > RESERVE_LEAN && RESERVE_LEAN > least &&
        hfi_region_reserve(&chunk->region, RESERVE_LEAN, guard, alignment) == 0)
        return true;
    return wanted > least && hfi_region_reserve(&chunk->region, least, guard, HFI_PAGE) == 0;
}

struct hfi_chunk *hfi_chunk_create(struct hfi_arena *a, size_t need) {
    struct hfi_chunk *chunk = chunk_new(a);
    if (chunk == NULL) return NULL;
    size_t least = hfi_page_up(need + 2 * HFI_ARENA_EDGE);
    if (!chunk_reserve(a, chunk, least)) {
        hfi_meta_free(chunk, sizeof *chunk);
        return NULL;
    }
    chunk->base = chunk->region.base;
    size_t first = hfi_page_up(a->options.capacity + 2 * HFI_ARENA_EDGE);
    if (first > chunk->region.size) first = chunk->region.size;
    if (first < least) first = least;
    if (!chunk_commit(a, chunk, first) && (first == least || !chunk_commit(a, chunk, least))) {
        hfi_region_release(&chunk->region);
        hfi_meta_free(chunk, sizeof *chunk);
        return NULL;
    }
    a->reserved += chunk->region.size;
    chunk_open(a, chunk);
    return chunk;
}

struct hfi_chunk *hfi_chunk_on_buffer(struct hfi_arena *a, char *buffer, size_t size) {
    struct hfi_chunk *chunk = chunk_new(a);
    if (chunk == NULL) return NULL;
    chunk->base = buffer;
    chunk->usable = size;
    mapped_grow(a, chunk->usable);
    a->reserved += chunk->usable;
    chunk_open(a, chunk);
    /* The caller's bytes are whatever they are. */
    atomic_store_explicit(&chunk->dirty, hfi_chunk_end(chunk), memory_order_relaxed);
    return chunk;
}

void hfi_chunk_destroy(struct hfi_arena *a, struct hfi_chunk *chunk) {
    if (a->mode & HFI_MODE_POISON) hfi_poison_clear(chunk->base, chunk->usable);
    a->mapped -= chunk->usable;
    if (chunk->region.base != NULL) {
        hfi_external_discharge(chunk->usable);
        a->reserved -= chunk->region.size;
        a->returned += chunk->usable;
        hfi_region_release(&chunk->region);
    } else {
        a->reserved -= chunk->usable;
    }
    hfi_meta_free(chunk, sizeof *chunk);
}
