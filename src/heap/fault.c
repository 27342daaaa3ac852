/* fault.c - an access that ran into a guard of the heap: whose block was it? One report, then the
 * program dies as it would have, by the handler it has or by SIGSEGV.
 *
 *   fault address --> page map --> large block --> behind its end: OVERFLOW; freed and resting:
 *                                                  USE_AFTER_FREE; anything else: not ours
 *
 * Contract    os.h, "Faults". Installed only where guards are: profiles hardened and debug.
 * Talks to    large, sites, base/report.   Called by the SIGSEGV handler, on the faulting thread.
 * Threads     takes no lock; a thread that faults inside the allocator says nothing.
 * Fails with  nothing: what is not known is left out. */
#include "fault.h"

#include "base/report.h"
#include "heap_state.h"
#include "large.h"
#include "sites.h"

/* The trailer was most likely run over on the way to the guard: what it said is kept aside. */
static void describe(hf_report *report, const struct hfi_large *large) {
    report->domain = (hf_domain)((large->note >> HFI_DOMAIN_SHIFT) & 3);
    report->block_size = hfi_block_size(large->extent, large->note);
    if (large->site != 0)
        hfi_site_text(large->site, report->site_allocated, sizeof report->site_allocated);
}

static void judge(const struct hfi_os_fault *fault) {
    const struct hfi_owner *owner = hfi_pagemap_owner(fault->address);
    if (owner == NULL || owner->kind != HFI_OWNER_LARGE || hfi_locks_taken != 0) return;
    const struct hfi_large *large = (const struct hfi_large *)owner;
    const char *guard = large->base + large->slices * HFI_SLICE - HFI_PAGE;
    bool live = atomic_load_explicit(&large->live, memory_order_relaxed);
    bool behind = live && large->guarded && (const char *)fault->address >= guard;
    if (!behind && !large->resting) return;
    hf_heap *heap = large->heap;
    hf_report report = {.kind = behind ? HF_REPORT_OVERFLOW : HF_REPORT_USE_AFTER_FREE,
                        .found_by = "SIGSEGV",
                        .address = fault->address,
                        .block = large->payload,
                        .class_size = large->extent,
                        .owner = heap->is_default ? "large" : heap->name,
                        .heap_id = heap->id};
    report.damage_offset = (const char *)fault->address - large->payload;
    if (heap->trailer) describe(&report, large);
    atomic_fetch_add_explicit(&heap->reports, 1, memory_order_relaxed);
    hfi_report_emit(&report);
}

void hfi_fault_start(void) {
    /* Refused: the program dies without the report, as it does where a sandbox forbids handlers. */
    (void)hfi_os_fault_install(judge);
}
