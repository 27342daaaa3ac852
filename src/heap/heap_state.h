/* heap_state.h - what the whole process shares: start, the registry of heaps and threads, limits.
 * Threads     registry lock, rank REGISTRY, guards the lists of heaps and threads.
 * Called by   every file of this folder. */
#ifndef HFI_HEAP_STATE_H
#define HFI_HEAP_STATE_H

#include "types.h"

extern struct hf_heap hfi_default_heap;
extern hfi_lock hfi_registry_lock;
extern hf_heap *hfi_heaps;             /* guarded by: registry lock */
extern struct hfi_thread *hfi_threads; /* guarded by: registry lock */

struct hfi_middle_pool;

/* Brings the library up; idempotent, callable from any thread, from malloc itself. False if the
 * machine gives us no address space. */
bool hfi_start(void);

/* False until libc is ready for pthread_create: then serial steps in for the thread. */
bool hfi_start_threads_allowed(void);
/* Newest heap; follow ->next. */
hf_heap *hfi_heap_first(void);

/* Counts bytes about to be mapped against the limits. False: refused. */
bool hfi_heap_charge(hf_heap *heap, size_t bytes);
void hfi_heap_discharge(hf_heap *heap, size_t bytes);
/* Bytes with memory behind them, as far as we know: mapped or warm, and touched. */
uint64_t hfi_heap_resident(hf_heap *heap);
/* Something of the heap that had no memory has some now: a trim may be due. */
void hfi_heap_touched(hf_heap *heap);
/* The heap outgrew its soft limit or what it was when it was trimmed last: runs the callback, trims.
 * No locks held. */
void hfi_heap_grown(hf_heap *heap);
static inline void hfi_heap_check_growth(hf_heap *heap) {
    /* relaxed: a hint; hfi_heap_grown takes the flags. */
    if (hfi_unlikely(atomic_load_explicit(&heap->crossed, memory_order_relaxed) != 0))
        hfi_heap_grown(heap);
}

/* The calling thread met the hard limit; cleared by who wants to know. An allocation has more than one
 * way to memory, and only one that finds none is refused. */
extern __thread bool hfi_limit_met __attribute__((tls_model("initial-exec")));
/* Counts an allocation that a limit refused. */
void hfi_heap_limited(hf_heap *heap);
/* An allocation failed: counts, sets errno, returns NULL. */
void *hfi_heap_failed(hf_heap *heap);

/* What found_by says while a walk is under way ("check", "exit"); NULL otherwise. */
extern __thread const char *hfi_found_by __attribute__((tls_model("initial-exec")));

/* diagnose.c: something is wrong with `address`, which was given to `found_by`. Finds out what,
 * reports once, quarantines what is damaged. */
void hfi_diagnose(hf_heap *heap, const void *address, const char *found_by);
void hfi_report_domain(hf_heap *heap, const void *block, int domain, int freed_as,
                       const char *found_by);
void hfi_report_double_free(hf_heap *heap, const void *block, size_t extent, const char *found_by);
void hfi_report_size(hf_heap *heap, const void *block, size_t given, const char *found_by);
void hfi_report_foreign(hf_heap *heap, const void *block, const char *found_by);
/* True if the trailer looks as in the middle of hfi_block_seal. */
bool hfi_is_being_sealed(const char *block, size_t extent);
/* The bookkeeping of a slab or pool does not agree with itself. */
void hfi_report_metadata(hf_heap *heap, struct hfi_owner *owner, const void *address,
                         const char *found_by);
/* A freed small block does not hold what it held when it was freed. */
void hfi_report_written(hf_heap *heap, const void *block, size_t extent, const char *found_by);
/* Something in this pool was written to after its free: says so once, the pool goes out of service.
 * False if nothing is found. */
bool hfi_report_middle_written(struct hfi_middle_pool *pool, const char *found_by);
/* The trailer of the block before this one is whole (or there is none). False: reported. */
bool hfi_verify_before(hf_heap *heap, const void *block, size_t extent, const char *found_by);
/* Verifies a freed small block at flush: its first word and the trailer before it, which share a
 * cache line more often than not. False if something was reported. */
bool hfi_verify_freed(hf_heap *heap, const void *block, size_t extent, const char *found_by);

/* hf_version of this very copy of the library, whoever else is in the process (api.c). */
const char *hfi_version_here(void);

#endif
