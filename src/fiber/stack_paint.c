/* stack_paint.c - how much of a stack was used: by its paint, or by asking the kernel.
 *
 *   low | PPPPPPPPPPPPPPPP | used ........ | top        P: the pattern; the border is the high water
 * Contract    stack_pool.h.
 * Invariants  with `paint`, a free stack that was ever taken since it was cold is all pattern: a byte
 *             that is not was written after the stack was given, and is reported.
 * Threads     whoever holds the stack.
 * Fails with  USE_AFTER_FREE reports. */
#include <string.h>

#include "base/report.h"
#include "fiber/stack_pool.h"

#define PATTERN UINT64_C(0x5AC7F1BE5AC7F1BE)

static void fill(char *low, char *top) {
    for (uint64_t *at = (uint64_t *)low; at < (uint64_t *)top; at++)
        *at = PATTERN;
}

/* First word from `low` on that is not pattern; `top` if all are. */
static char *first_foreign(char *low, char *top) {
    uint64_t *at = (uint64_t *)low;
    while (at < (uint64_t *)top && *at == PATTERN)
        at++;
    return (char *)at;
}

static __attribute__((noinline)) void report_written(hf_stack_pool *pool,
                                                     const struct hfi_stack_slot *slot, char *at) {
    char *low = hfi_stack_low(pool, slot);
    hf_report report = {.kind = HF_REPORT_USE_AFTER_FREE,
                        .found_by = "take",
                        .address = low,
                        .block = low,
                        .block_size = pool->stack_size,
                        .owner = pool->name,
                        .damage_offset = at - low,
                        .expected = PATTERN};
    memcpy(&report.found, at, sizeof report.found);
    uint64_t pattern = PATTERN;
    while (report.damage_length < HF_REPORT_BYTES && at + report.damage_length < slot->top &&
           at[report.damage_length] !=
               ((const char *)&pattern)[(uintptr_t)(at + report.damage_length) % sizeof pattern])
        report.damage_length++;
    if (report.damage_length == 0) report.damage_length = sizeof pattern;
    report.bytes_count = (uint32_t)report.damage_length;
    memcpy(report.bytes, at, report.bytes_count);
    hfi_stack_describe(pool, slot, report.name);
    atomic_fetch_add_explicit(&pool->reports, 1, memory_order_relaxed);
    hfi_report_emit(&report);
}

void hfi_stack_paint_take(hf_stack_pool *pool, struct hfi_stack_slot *slot) {
    char *low = hfi_stack_low(pool, slot);
    uint32_t flags = atomic_load_explicit(&slot->flags, memory_order_relaxed);
    if ((flags & HFI_STACK_PAINTED) != 0) {
        char *at = first_foreign(low, slot->top);
        if (at == slot->top) return;
        report_written(pool, slot, at);
    }
    fill(low, slot->top);
    atomic_store_explicit(&slot->flags, flags | HFI_STACK_PAINTED, memory_order_relaxed);
}

void hfi_stack_paint_give(hf_stack_pool *pool, struct hfi_stack_slot *slot) {
    char *low = hfi_stack_low(pool, slot);
    char *used = first_foreign(low, slot->top);
    hfi_stack_high_water_note(pool, (size_t)(slot->top - used));
    fill(used, slot->top);
}

size_t hfi_stack_used(const hf_stack_pool *pool, const struct hfi_stack_slot *slot) {
    char *low = hfi_stack_low(pool, slot);
    if (pool->paint) return (size_t)(slot->top - first_foreign(low, slot->top));
    return pool->stack_size - hfi_os_first_resident(low, pool->stack_size);
}

void hfi_stack_high_water_note(hf_stack_pool *pool, size_t bytes) {
    /* relaxed: a maximum; nothing depends on it. */
    size_t seen = atomic_load_explicit(&pool->high_water_max, memory_order_relaxed);
    while (bytes > seen &&
           !atomic_compare_exchange_weak_explicit(&pool->high_water_max, &seen, bytes,
                                                  memory_order_relaxed, memory_order_relaxed)) {
    }
}
