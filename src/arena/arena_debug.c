/* arena_debug.c - the debug switches: records of blocks, canaries, the log of operations.
 *
 *   records   one per block, in order of allocation, in a range of their own: an overrun of a block
 *             cannot reach them. Their addresses grow within each chunk.
 *   canary    | block | secret bytes to the end of what is held |
 *
 * Contract    holdfast/arena.h: track_allocations, validate_access, check_corruption, log_operations.
 * Talks to    pages/region, base/report (sites, reports), poison.
 * Threads     records and log change under the lock in locked arenas, by the owner in others; looking takes
 *             the lock.
 * Fails with  HF_E_NO_MEMORY; OVERFLOW reports, once per block. */
#include <string.h>

#include "arena_state.h"
#include "pages/meta.h"
#include "poison.h"

#define RECORDS_RESERVE ((size_t)1 << 30)
#define RECORDS_LEAN    ((size_t)32 << 20) /* where the system refuses more */
#define RECORDS_STEP    ((size_t)64 << 10)

hf_status hfi_debug_start(struct hfi_arena *a) {
    if (a->mode & HFI_MODE_RECORD) {
        if (hfi_region_reserve(&a->record_region, RECORDS_RESERVE, HFI_PAGE, HFI_PAGE) != 0 &&
            hfi_region_reserve(&a->record_region, RECORDS_LEAN, HFI_PAGE, HFI_PAGE) != 0)
            return HF_E_NO_MEMORY;
    }
    if (a->mode & HFI_MODE_LOG) {
        a->log = hfi_meta_alloc(HF_ARENA_LOG_MAX * sizeof *a->log);
        if (a->log == NULL) return HF_E_NO_MEMORY;
    }
    return HF_OK;
}

void hfi_debug_end(struct hfi_arena *a) {
    hfi_region_release(&a->record_region);
    if (a->log != NULL) hfi_meta_free(a->log, HF_ARENA_LOG_MAX * sizeof *a->log);
    a->log = NULL;
}

/* --- records --------------------------------------------------------------------------------- */

bool hfi_debug_reserve(struct hfi_arena *a) {
    size_t need = (a->record_count + 1) * sizeof(struct hfi_record);
    if (need <= a->record_region.committed) return true;
    size_t wanted = a->record_region.committed + RECORDS_STEP;
    if (wanted > a->record_region.size) return false;
    return hfi_region_commit(&a->record_region, wanted, false, -1) == 0;
}

void hfi_debug_record(struct hfi_arena *a, uintptr_t address, size_t size, size_t held) {
    struct hfi_record *record = hfi_record_at(a, a->record_count);
    *record =
        (struct hfi_record){.address = address,
                            .size = size,
                            .held = held,
                            .serial = atomic_load_explicit(&a->blocks_total, memory_order_relaxed)};
    if (a->options.track_allocations)
        record->frame_count = (uint32_t)hfi_site_capture_now(
            record->frames, sizeof record->frames / sizeof record->frames[0]);
    a->record_count++;
    hfi_debug_paint(a, record);
}

/* First record in [from, to) that lies above the address, by halving. */
static size_t first_above(const struct hfi_arena *a, size_t from, size_t to, uintptr_t address) {
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (hfi_record_at(a, middle)->address > address)
            to = middle;
        else
            from = middle + 1;
    }
    return from;
}

/* Behind its last address, which does not change; what is usable of it does, when it decays. */
static uintptr_t chunk_limit(const struct hfi_chunk *chunk) {
    const struct hfi_region *region = &chunk->region;
    return region->base ? (uintptr_t)region->base + region->size : hfi_chunk_end(chunk);
}

size_t hfi_debug_find(const struct hfi_arena *a, uintptr_t address) {
    size_t end = a->record_count;
    for (const struct hfi_chunk *chunk = hfi_arena_current(a); chunk != NULL; chunk = chunk->prev) {
        if (address >= (uintptr_t)chunk->space && address < chunk_limit(chunk)) {
            size_t above = first_above(a, chunk->records, end, address);
            if (above == chunk->records) return SIZE_MAX;
            const struct hfi_record *record = hfi_record_at(a, above - 1);
            return address < record->address + record->held ? above - 1 : SIZE_MAX;
        }
        end = chunk->records;
    }
    return SIZE_MAX;
}

/* --- canaries -------------------------------------------------------------------------------- */

static uint8_t canary_byte(const struct hfi_arena *a, uintptr_t at) {
    return (uint8_t)(a->secret >> (at % 8 * 8));
}

void hfi_debug_paint(struct hfi_arena *a, const struct hfi_record *record) {
    if (!(a->mode & HFI_MODE_CANARY)) return;
    uintptr_t from = record->address + record->size, to = record->address + record->held;
    if (a->mode & HFI_MODE_POISON) hfi_poison_clear((void *)from, to - from);
    for (uintptr_t at = from; at < to; at++)
        *(uint8_t *)at = canary_byte(a, at);
    if (a->mode & HFI_MODE_POISON) hfi_poison_hide((void *)from, to - from);
}

/* Fills the damage into a report; false if the canary is whole. */
static bool canary_broken(struct hfi_arena *a, const struct hfi_record *record, hf_report *report,
                          const char *found_by) {
    uintptr_t from = record->address + record->size, to = record->address + record->held;
    uintptr_t first = 0, last = 0;
    if (a->mode & HFI_MODE_POISON) hfi_poison_clear((void *)from, to - from);
    for (uintptr_t at = from; at < to; at++)
        if (*(const uint8_t *)at != canary_byte(a, at)) {
            if (first == 0) first = at;
            last = at;
        }
    if (first != 0) {
        hfi_debug_report(a, report, HF_REPORT_OVERFLOW, (const void *)record->address, found_by,
                         record);
        report->damage_offset = (ptrdiff_t)(first - record->address);
        report->damage_length = last - first + 1;
        report->bytes_count =
            (uint32_t)(report->damage_length < HF_REPORT_BYTES ? report->damage_length
                                                               : HF_REPORT_BYTES);
        memcpy(report->bytes, (const void *)first, report->bytes_count);
        for (unsigned i = 0; i < 8 && first + i < to; i++) {
            report->expected |= (uint64_t)canary_byte(a, first + i) << (i * 8);
            report->found |= (uint64_t) * (const uint8_t *)(first + i) << (i * 8);
        }
    }
    if (a->mode & HFI_MODE_POISON) hfi_poison_hide((void *)from, to - from);
    return first != 0;
}

size_t hfi_debug_verify(struct hfi_arena *a, size_t from, const char *found_by) {
    hf_report report;
    size_t damaged = 0;
    if (!(a->mode & HFI_MODE_CANARY)) return 0;
    for (size_t i = from;; i++) {
        bool fresh = false;
        hfi_arena_enter(a);
        if (i >= a->record_count) {
            hfi_arena_exit(a);
            return damaged;
        }
        struct hfi_record *record = hfi_record_at(a, i);
        if (record->damaged || canary_broken(a, record, &report, found_by)) {
            damaged++;
            fresh = !record->damaged;
            record->damaged = 1;
        }
        hfi_arena_exit(a);
        if (fresh) hfi_debug_emit(a, &report);
    }
}

/* --- reports --------------------------------------------------------------------------------- */

void hfi_debug_report(const struct hfi_arena *a, hf_report *report, hf_report_kind kind,
                      const void *address, const char *found_by, const struct hfi_record *record) {
    memset(report, 0, sizeof *report);
    report->kind = kind;
    report->address = address;
    report->found_by = found_by;
    report->owner = a->name[0] != '\0' ? a->name : "arena";
    if (record != NULL) {
        report->block = (const void *)record->address;
        report->block_size = record->size;
        report->class_size = record->held;
        (void)hfi_site_render_to(record->frames, record->frame_count, report->site_allocated,
                                 sizeof report->site_allocated);
    }
}

void hfi_debug_emit(struct hfi_arena *a, hf_report *report) {
    /* relaxed: a figure. */
    atomic_fetch_add_explicit(&a->reports, 1, memory_order_relaxed);
    hfi_report_emit(report);
}

/* --- questions ------------------------------------------------------------------------------- */

/* Is it inside what is handed out of one chunk? */
static bool in_used_space(const struct hfi_arena *a, uintptr_t at, size_t size) {
    uintptr_t end = hfi_arena_cursor(a);
    for (const struct hfi_chunk *chunk = hfi_arena_current(a); chunk != NULL; chunk = chunk->prev) {
        if (at >= (uintptr_t)chunk->space && at < end) return size <= end - at;
        if (chunk->prev != NULL) end = chunk->prev->stopped;
    }
    return false;
}

hf_status hf_arena_validate(const hf_arena *arena, const void *address, size_t size) {
    struct hfi_arena *a = hfi_arena_of(arena);
    uintptr_t at = (uintptr_t)address;
    HF_EXPECT(a->magic == HFI_ARENA_LIVE);
    hfi_lock_acquire(&a->lock);
    bool good;
    if (a->mode & HFI_MODE_RECORD) {
        size_t index = hfi_debug_find(a, at);
        good = index != SIZE_MAX;
        if (good) {
            const struct hfi_record *record = hfi_record_at(a, index);
            size_t offset = at - record->address;
            good = !record->freed && offset <= record->size && size <= record->size - offset;
        }
    } else {
        good = in_used_space(a, at, size);
    }
    hfi_lock_release(&a->lock);
    return good ? HF_OK : HF_E_INVALID;
}

hf_status hf_arena_leaks(hf_arena *arena, const hf_mark *since, hf_arena_block_visitor visitor,
                         void *context, size_t *count_out) {
    struct hfi_arena *a = hfi_arena_of(arena);
    HF_EXPECT(a->magic == HFI_ARENA_LIVE);
    if (!a->options.track_allocations) return HF_E_UNSUPPORTED;
    if (since != NULL &&
        since->generation != atomic_load_explicit(&a->generation, memory_order_relaxed))
        return HF_E_INVALID;
    char site[HF_SITE_TEXT];
    size_t count = 0;
    for (size_t i = since != NULL ? since->records : 0;; i++) {
        hfi_lock_acquire(&a->lock);
        bool more = i < a->record_count;
        struct hfi_record record;
        if (more) record = *hfi_record_at(a, i);
        hfi_lock_release(&a->lock);
        if (!more) break;
        if (record.freed) continue;
        count++;
        if (visitor == NULL) continue;
        (void)hfi_site_render_to(record.frames, record.frame_count, site, sizeof site);
        hf_arena_block block = {
            .address = (const void *)record.address,
            .size = record.size,
            .serial = record.serial,
            .site = site,
        };
        if (visitor(&block, context) != 0) visitor = NULL;
    }
    if (count_out != NULL) *count_out = count;
    return HF_OK;
}

/* --- the log --------------------------------------------------------------------------------- */

/* A system call asks the kernel for it; once per thread is enough. */
static __thread uint32_t thread_id;

void hfi_debug_fork_child(void) {
    thread_id = 0;
}

void hfi_debug_log(struct hfi_arena *a, hf_arena_verb verb, uintptr_t address, size_t size,
                   size_t alignment) {
    if (thread_id == 0) thread_id = hfi_os_thread_id();
    a->log[a->log_count % HF_ARENA_LOG_MAX] = (hf_arena_operation){
        .number = a->log_count + 1,
        .time_ns = hfi_os_clock_ns(),
        .thread_id = thread_id,
        .verb = verb,
        .alignment = (uint32_t)alignment,
        .address = (const void *)address,
        .size = size,
    };
    a->log_count++;
}

size_t hf_arena_log(const hf_arena *arena, hf_arena_operation *operations_out, size_t capacity) {
    struct hfi_arena *a = hfi_arena_of(arena);
    HF_EXPECT(a->magic == HFI_ARENA_LIVE);
    if (a->log == NULL) return 0;
    hfi_lock_acquire(&a->lock);
    size_t count = a->log_count < HF_ARENA_LOG_MAX ? (size_t)a->log_count : HF_ARENA_LOG_MAX;
    if (count > capacity) count = capacity;
    for (size_t i = 0; i < count; i++)
        operations_out[i] = a->log[(a->log_count - count + i) % HF_ARENA_LOG_MAX];
    hfi_lock_release(&a->lock);
    return count;
}

const char *hf_arena_verb_name(hf_arena_verb verb) {
    static const char *const names[] = {"create", "alloc",  "refuse", "free",    "resize",
                                        "mark",   "rewind", "reset",  "release", "grow"};
    return (unsigned)verb < sizeof names / sizeof *names ? names[verb] : "";
}
