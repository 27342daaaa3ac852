/* stack_overflow.c - whose guard was it? The answer to a SIGSEGV, by address arithmetic.
 *
 *   fault address --> table of regions --> slot --> does this thread run on it? --> report
 * Contract    holdfast/stack.h, hf_stack_overflow_*.
 * Invariants  an entry of the table is complete while its base is above CLAIMED; entries never move.
 * Threads     the table is claimed, filled and published by atomics; the handler takes no lock,
 *             allocates nothing and calls nothing that does. Two installs at once do the same thing.
 * Fails with  HF_E_SYSTEM, HF_E_NO_MEMORY, HF_E_BUSY; a region that finds no place is not named. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/format.h"
#include "base/report.h"
#include "fiber/fiber_state.h"
#include "fiber/stack_pool.h"

enum { REGIONS_MAX = 1024, CLAIMED = 1 };

struct region_entry {
    _Atomic uintptr_t base; /* 0: free; CLAIMED: being written        */
    uintptr_t size;         /* its upper guard included               */
    hf_stack_pool *_Atomic pool;
    uint32_t first; /* index of its first slot                */
};

static struct region_entry table[REGIONS_MAX];
_Atomic uint32_t hfi_stack_policy;

bool hfi_stack_region_add(hf_stack_pool *pool, const struct hfi_region *region, uint32_t first) {
    for (uint32_t i = 0; i < REGIONS_MAX; i++) {
        uintptr_t free_entry = 0;
        /* SYNC(table.base): whoever had the entry before is done; pairs with the release in forget. */
        if (!atomic_compare_exchange_strong_explicit(&table[i].base, &free_entry, CLAIMED,
                                                     memory_order_acquire, memory_order_relaxed))
            continue;
        table[i].size = region->size + region->guard;
        table[i].first = first;
        atomic_store_explicit(&table[i].pool, pool, memory_order_relaxed);
        /* SYNC(table.base): the rest of the entry is there; pairs with the acquire in find_entry. */
        atomic_store_explicit(&table[i].base, (uintptr_t)region->base, memory_order_release);
        return true;
    }
    return false;
}

void hfi_stack_regions_forget(const hf_stack_pool *pool) {
    for (uint32_t i = 0; i < REGIONS_MAX; i++) {
        uintptr_t base = atomic_load_explicit(&table[i].base, memory_order_acquire);
        if (base > CLAIMED && atomic_load_explicit(&table[i].pool, memory_order_relaxed) == pool)
            atomic_store_explicit(&table[i].base, 0, memory_order_release);
    }
}

static const struct region_entry *find_entry(uintptr_t address, uintptr_t *base_out) {
    for (uint32_t i = 0; i < REGIONS_MAX; i++) {
        /* SYNC(table.base): pairs with the release in hfi_stack_region_add. */
        uintptr_t base = atomic_load_explicit(&table[i].base, memory_order_acquire);
        if (base <= CLAIMED || address - base >= table[i].size) continue;
        *base_out = base;
        return &table[i];
    }
    return NULL;
}

void hfi_stack_describe(const hf_stack_pool *pool, const struct hfi_stack_slot *slot, char *text) {
    uint32_t index = slot->index;
    uint32_t flags = atomic_load_explicit(&slot->flags, memory_order_relaxed);
    hfi_writer writer = hfi_writer_make(text, HF_REPORT_NAME);
    const struct hf_fiber *fiber = hfi_fiber_runs_on(slot->top) ? hfi_fiber_current : NULL;
    bool named = (flags & HFI_STACK_NAMED) != 0;
    hfi_write_text(&writer, fiber != NULL || named ? "fiber " : "stack ");
    if (fiber != NULL && fiber->name[0] != '\0') {
        hfi_write_char(&writer, '\'');
        hfi_write_bytes(&writer, fiber->name, strnlen(fiber->name, HF_STACK_NAME_MAX));
        hfi_write_char(&writer, '\'');
    } else if (named) {
        hfi_write_char(&writer, '\'');
        hfi_write_bytes(&writer, pool->names[index],
                        strnlen(pool->names[index], HF_STACK_NAME_MAX));
        hfi_write_char(&writer, '\'');
    } else {
        hfi_write_u64(&writer, index);
    }
    (void)hfi_writer_finish(&writer);
}

/* --- the handler ---------------------------------------------------------------------------- */

/* The stack that ran into this guard: the one above it, unless the code that faulted runs on the one
 * below, whose top the guard is. *other_out: it runs on neither. */
static const struct hfi_stack_slot *blame(const hf_stack_pool *pool, uint32_t index,
                                          uint32_t created, uintptr_t stack_pointer,
                                          bool *other_out) {
    const struct hfi_stack_slot *above = index < created ? &pool->slots[index] : NULL;
    *other_out = true;
    if (above == NULL) return NULL;
    uintptr_t top = (uintptr_t)above->top;
    bool on_it = stack_pointer <= top && top - stack_pointer <= pool->stride;
    /* A large frame puts the stack pointer beyond the guard before anything is written: then only
     * the fiber library knows whose it is. */
    if (on_it || hfi_fiber_runs_on(above->top)) *other_out = false;
    return above;
}

static __attribute__((noinline)) void say(hf_report *report) {
    char text[2 * HF_SITE_TEXT];
    size_t length = hf_report_format(report, text, sizeof text);
    hfi_os_write(2, text, length < sizeof text ? length : sizeof text - 1);
}

static void judge(const struct hfi_os_fault *fault) {
    uintptr_t base;
    const struct region_entry *entry = find_entry((uintptr_t)fault->address, &base);
    if (entry == NULL) return;
    const hf_stack_pool *pool = atomic_load_explicit(&entry->pool, memory_order_relaxed);
    uintptr_t offset = (uintptr_t)fault->address - base;
    uint32_t index = entry->first + (uint32_t)(offset / pool->stride);
    uint32_t created = hfi_stack_created(pool);
    if (offset % pool->stride >= pool->guard_size) return; /* not a guard: none of our business */
    bool last = index >= created || offset + pool->guard_size >= entry->size;
    bool other;
    const struct hfi_stack_slot *slot =
        last ? NULL : blame(pool, index, created, fault->stack_pointer, &other);
    if (slot == NULL) {
        /* Above the highest stack of the region. */
        other = true;
        if (index == 0 || index > created) return;
        slot = &pool->slots[index - 1];
    }
    hf_report report = {.kind = other ? HF_REPORT_STACK_GUARD : HF_REPORT_STACK_OVERFLOW,
                        .found_by = "SIGSEGV",
                        .address = fault->address,
                        .block = hfi_stack_low(pool, slot),
                        .block_size = pool->stack_size,
                        .owner = pool->name,
                        .found = fault->stack_pointer,
                        .thread_id = hfi_os_thread_id(),
                        .time_ns = hfi_os_realtime_ns()};
    report.damage_offset = (const char *)fault->address - (const char *)report.block;
    report.high_water = pool->stack_size - hfi_os_first_resident(report.block, pool->stack_size);
    hfi_stack_describe(pool, slot, report.name);
    bool ends = atomic_load_explicit(&hfi_stack_policy, memory_order_relaxed) == 1 + HF_STACK_ABORT;
    if (!hfi_report_has_sink() && hfi_policy() != HF_POLICY_ABORT) say(&report);
    hfi_report_emit(&report);
    if (ends) abort();
}

/* --- install -------------------------------------------------------------------------------- */

hf_status hf_stack_thread_prepare(void) {
    if (hfi_os_altstack_prepare() == 0) return HF_OK;
    return errno == ENOMEM ? HF_E_NO_MEMORY : HF_E_SYSTEM;
}

hf_status hf_stack_overflow_install(hf_stack_policy policy) {
    if (policy != HF_STACK_ABORT && policy != HF_STACK_CHAIN) return HF_E_INVALID;
    hf_status status = hf_stack_thread_prepare();
    if (status != HF_OK) return status;
    if (hfi_os_fault_install(judge) != 0) return HF_E_SYSTEM;
    atomic_store_explicit(&hfi_stack_policy, 1 + (uint32_t)policy, memory_order_relaxed);
    return HF_OK;
}

hf_status hf_stack_overflow_remove(void) {
    if (!hfi_stack_overflow_installed()) return HF_OK;
    if (hfi_os_fault_remove(judge) != 0) return errno == EBUSY ? HF_E_BUSY : HF_E_SYSTEM;
    atomic_store_explicit(&hfi_stack_policy, 0, memory_order_relaxed);
    return HF_OK;
}
