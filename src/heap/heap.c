/* heap.c - heaps come and go; the library starts; limits; fork.
 * Contract    see heap_state.h and holdfast/heap.h.
 * Invariants  the default heap exists from start to the end of the process.
 * Talks to    every file of this folder.   Called by api.c, hot.c, preload.
 * Threads     start runs once, others wait for it; the registry lock guards the lists.
 * Fails with  false from start: the machine has no address space left; then malloc says ENOMEM. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/options.h"
#include "base/owners.h"
#include "base/report.h"
#include "fault.h"
#include "heap_state.h"
#include "hot.h"
#include "large.h"
#include "middle.h"
#include "pool.h"
#include "reclaim.h"
#include "sites.h"
#include "tcache.h"

struct hf_heap hfi_default_heap = {.name = "default", .is_default = true, .node = -1};
hfi_lock hfi_registry_lock = HFI_LOCK_INIT(HFI_RANK_REGISTRY);
hf_heap *hfi_heaps;
struct hfi_thread *hfi_threads;

static _Atomic uint32_t
    start_state; /* 0 not begun, or refused: the next call tries again; 1 under way, 2 done */
static _Atomic uint32_t libc_ready;
static uint64_t heaps_made = 1;                 /* guarded by: registry lock */
static uint64_t index_used[HFI_HEAPS_MAX / 64]; /* guarded by: registry lock */

/* --- start ---------------------------------------------------------------------------------- */

static bool heap_init(hf_heap *heap) {
    unsigned nodes = heap->node >= 0 ? 1 : hfi_os_node_count();
    heap->node_count = nodes < HFI_NODES_MAX ? nodes : HFI_NODES_MAX;
    heap->trailer = heap->options.profile != HF_PROFILE_FAST;
    heap->fill = heap->options.profile >= HF_PROFILE_HARDENED;
    if (heap->options.profile == HF_PROFILE_DEBUG && heap->options.sites == HF_SITES_SAMPLED)
        heap->options.sites = HF_SITES_ALL;
    heap->all_sites = heap->options.sites == HF_SITES_ALL;
    if (heap->options.profile == HF_PROFILE_DEBUG && heap->options.guard_every == 0)
        heap->options.guard_every = 1000;
    heap->keeps = heap->is_default && !heap->all_sites && !heap->options.zero_on_free &&
                  heap->options.guard_every == 0 && heap->options.limit_block == 0;
    atomic_store(&heap->limit_hard, heap->options.limit);
    atomic_store(&heap->limit_soft, heap->options.limit_soft);
    atomic_store(&heap->trim_at, HFI_TRIM_FIRST);
    hfi_lock_init(&heap->caches_lock, HFI_RANK_CACHES);
    /* What an earlier try of the default heap got is still there. */
    if (heap->middle == NULL) heap->middle = hfi_middle_make(heap);
    if (heap->large == NULL) heap->large = hfi_large_make(heap);
    if (heap->pools == NULL) heap->pools = hfi_pools_make(heap, heap->node_count);
    return heap->middle != NULL && heap->large != NULL && heap->pools != NULL;
}

/* The environment when libc has not set environ yet: the kernel's copy. */
static char **environment_early(char *text, size_t size, char **list, size_t count) {
    int file = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/environ", O_RDONLY | O_CLOEXEC, 0);
    size_t length = 0, found = 0;
    if (file < 0) return NULL;
    while (length + 1 < size) {
        long got = syscall(SYS_read, file, text + length, size - 1 - length);
        if (got <= 0) break;
        length += (size_t)got;
    }
    syscall(SYS_close, file);
    text[length] = '\0';
    for (char *at = text; at < text + length && found + 1 < count; at += strlen(at) + 1)
        if (strncmp(at, "HOLDFAST_", 9) == 0) list[found++] = at;
    list[found] = NULL;
    return list;
}

/* A function of its own: the buffer's pages are touched when the frame is made. */
static __attribute__((noinline)) void options_read_early(hf_options *options) {
    char text[32768], *list[64];
    hfi_options_from_environment(options, environment_early(text, sizeof text, list, 64));
}

static void options_read(hf_options *options) {
    /* A program that runs with rights its caller lacks takes no orders from its caller. */
    if (getauxval(AT_SECURE) != 0)
        hf_options_init(options);
    else if (environ != NULL)
        hfi_options_from_environment(options, environ);
    else
        options_read_early(options);
}

static void lock_any(hfi_lock *lock) HF_NO_THREAD_SAFETY {
    hfi_lock_acquire_peer(lock);
}

static void unlock_any(hfi_lock *lock) HF_NO_THREAD_SAFETY {
    hfi_lock_release(lock);
}

static void reinit_any(hfi_lock *lock) {
    hfi_lock_reinit(lock);
}

/* The locks of the heaps, in rank order: those of lists first, those of what is in them behind. Who
 * unlocks goes the other way: once a list is free, there may be more in it than was locked. */
static void fork_lists(void (*act)(hfi_lock *)) {
    for (hf_heap *heap = hfi_heaps; heap != NULL; heap = heap->next) {
        act(&heap->caches_lock);
        hfi_middle_fork(heap, act, true);
    }
}

static void fork_pools(void (*act)(hfi_lock *)) {
    for (hf_heap *heap = hfi_heaps; heap != NULL; heap = heap->next) {
        for (unsigned i = 0; i < heap->node_count * HFI_CLASS_COUNT; i++)
            if (i % HFI_CLASS_COUNT != 0) act(&heap->pools[i].lock);
        hfi_middle_fork(heap, act, false);
        hfi_large_fork(heap, act);
    }
}

static void fork_prepare(void) {
    hfi_reclaim_fork_prepare();
    hfi_lock_acquire(&hfi_registry_lock);
    hfi_owners_fork_list(HFI_FORK_PREPARE);
    hfi_owners_fork_each(HFI_FORK_PREPARE);
    fork_lists(lock_any);
    fork_pools(lock_any);
    hfi_segment_fork_prepare();
    hfi_sites_fork_prepare();
    hfi_meta_fork_prepare();
}

static void fork_parent(void) {
    hfi_meta_fork_parent();
    hfi_sites_fork_parent();
    hfi_segment_fork_parent();
    fork_pools(unlock_any);
    fork_lists(unlock_any);
    hfi_owners_fork_each(HFI_FORK_PARENT);
    hfi_owners_fork_list(HFI_FORK_PARENT);
    hfi_lock_release(&hfi_registry_lock);
    hfi_reclaim_fork_parent();
}

static void fork_child(void) {
    hfi_locks_forget();
    hfi_meta_fork_child();
    hfi_sites_fork_child();
    hfi_segment_fork_child();
    fork_lists(reinit_any);
    fork_pools(reinit_any);
    hfi_owners_fork_each(HFI_FORK_CHILD);
    hfi_owners_fork_list(HFI_FORK_CHILD);
    hfi_lock_reinit(&hfi_registry_lock);
    hfi_reclaim_fork_child();
    hfi_report_fork_child();
    hfi_thread_fork_child();
}

static hf_status entry_stats(void *self, hf_stats *out) {
    return hf_heap_stats(self, out);
}

/* The heap joins the list of owners. Its locks are taken around a fork by fork_lists and
 * fork_pools. */
static void heap_show(hf_heap *heap) {
    heap->entry = (struct hfi_owner_entry){
        .kind = HF_OWNER_HEAP, .name = heap->name, .stats = entry_stats, .self = heap};
    hfi_owners_add(&heap->entry);
}

/* What other owners of memory ask of the heap. */
static const struct hfi_hook_services hook_services;

static bool start_once(void) {
    hf_heap *heap = &hfi_default_heap;
    int saved = errno;
    options_read(&heap->options);
    hfi_options_freeze(&heap->options);
    /* Once: a start that is tried again must not be refused again. */
    static bool armed;
    if (!armed) hfi_os_fail_after(heap->options.fail_os_call);
    armed = true;
    hfi_os_numa_start((unsigned)heap->options.nodes);
    hfi_block_secret_start();
    hfi_meta_start(heap->options.profile >= HF_PROFILE_HARDENED);
    hfi_sites_start();
    unsigned shards = hfi_os_cpu_count(), nodes = hfi_os_node_count();
    if (shards < nodes) shards = nodes;
    bool whole = hfi_segment_start(shards, heap->options.huge_pages != HF_HUGE_NEVER) == 0 &&
                 hfi_pagemap_start() == 0 && heap_init(heap);
    if (whole) {
        heap->id = 1;
        index_used[0] = 1;
        hfi_heaps = heap;
        hfi_hot_start(heap);
        hfi_hooks_serve(&hook_services);
        heap_show(heap);
    }
    errno = saved;
    return whole;
}

bool hfi_start(void) {
    uint32_t state = atomic_load_explicit(&start_state, memory_order_acquire);
    if (hfi_likely(state == 2)) return true;
    uint32_t none = 0;
    if (atomic_compare_exchange_strong(&start_state, &none, 1)) {
        bool whole = start_once();
        atomic_store_explicit(&start_state, whole ? 2 : 0, memory_order_release);
        hfi_os_futex_wake(&start_state, INT32_MAX);
        return whole;
    }
    while (atomic_load_explicit(&start_state, memory_order_acquire) == 1)
        hfi_os_futex_wait(&start_state, 1, 0);
    return atomic_load_explicit(&start_state, memory_order_acquire) == 2;
}

/* libholdfast.so in a process with libholdfast_malloc.so preloaded: everybody's calls go there, and
 * this copy must not begin a second heap. A copy that exports nothing serves its own program. */
static bool another_copy_serves(void) {
    Dl_info here;
    void *own = (void *)(uintptr_t)hfi_version_here;
    if (dladdr(own, &here) == 0 || here.dli_sname == NULL) return false;
    if (strcmp(here.dli_sname, "hf_version") != 0) return false;
    void *served = dlsym(RTLD_DEFAULT, "hf_version");
    return served != NULL && served != own;
}

/* Runs when libc is up: before this point nobody forks and no thread ends. Before every constructor
 * without a priority, ours of src/preload among them: those ask for options. Behind the first one
 * (up to 100 is the C library's), which finds pthread_create: from here on a free may call it. */
__attribute__((constructor(102))) static void libc_is_ready(void) {
    if (another_copy_serves()) return;
    (void)hfi_start();
    hfi_tcache_start();
    if (hfi_default_heap.fill) hfi_fault_start();
    hfi_os_at_fork(fork_prepare, fork_parent, fork_child);
    atomic_store(&libc_ready, 1);
}

bool hfi_start_threads_allowed(void) {
    return atomic_load_explicit(&libc_ready, memory_order_relaxed) != 0;
}

hf_heap *hfi_heap_first(void) {
    hfi_lock_acquire(&hfi_registry_lock);
    hf_heap *heap = hfi_heaps;
    hfi_lock_release(&hfi_registry_lock);
    return heap;
}

/* --- limits --------------------------------------------------------------------------------- */

static uint64_t warm_bytes(void) {
    return hfi_segment_dirty(HFI_ZONE_SMALL) + hfi_segment_dirty(HFI_ZONE_HUGE);
}

__thread bool hfi_limit_met __attribute__((tls_model("initial-exec")));

/* Would `total` break the hard limit? Notes it if it crosses the soft one with these bytes. */
static bool limits_allow(hf_heap *heap, uint64_t total, size_t bytes) {
    uint64_t hard = atomic_load_explicit(&heap->limit_hard, memory_order_relaxed);
    /* What is free but still warm is mapped, too: it goes before anything is refused. */
    uint64_t warm = hard != 0 && heap->is_default ? warm_bytes() : 0;
    if (hfi_unlikely(warm != 0 && total + warm > hard)) {
        (void)hfi_segment_decay(true, NULL);
        warm = warm_bytes();
    }
    if (hfi_unlikely(hard != 0 && total + warm > hard)) {
        hfi_limit_met = true;
        return false;
    }
    uint64_t soft = atomic_load_explicit(&heap->limit_soft, memory_order_relaxed);
    if (hfi_unlikely(soft != 0 && total > soft && total - bytes <= soft))
        atomic_fetch_or_explicit(&heap->crossed, HFI_CROSSED_SOFT, memory_order_relaxed);
    return true;
}

uint64_t hfi_heap_resident(hf_heap *heap) {
    int64_t mapped = (int64_t)atomic_load_explicit(&heap->mapped, memory_order_relaxed);
    int64_t absent = atomic_load_explicit(&heap->absent, memory_order_relaxed);
    return (mapped > absent ? (uint64_t)(mapped - absent) : 0) + hfi_segment_dirty(HFI_ZONE_SMALL);
}

void hfi_heap_touched(hf_heap *heap) {
    if (hfi_unlikely(hfi_heap_resident(heap) >
                     atomic_load_explicit(&heap->trim_at, memory_order_relaxed)))
        atomic_fetch_or_explicit(&heap->crossed, HFI_CROSSED_TRIM, memory_order_relaxed);
}

bool hfi_heap_charge(hf_heap *heap, size_t bytes) {
    uint64_t mapped = atomic_fetch_add_explicit(&heap->mapped, bytes, memory_order_relaxed) + bytes;
    uint64_t external = atomic_load_explicit(&heap->external, memory_order_relaxed);
    if (!limits_allow(heap, mapped + external, bytes)) {
        hfi_heap_discharge(heap, bytes);
        return false;
    }
    uint64_t peak = atomic_load_explicit(&heap->mapped_peak, memory_order_relaxed);
    while (mapped > peak &&
           !atomic_compare_exchange_weak_explicit(&heap->mapped_peak, &peak, mapped,
                                                  memory_order_relaxed, memory_order_relaxed)) {
    }
    hfi_heap_touched(heap);
    return true;
}

void hfi_heap_discharge(hf_heap *heap, size_t bytes) {
    atomic_fetch_sub_explicit(&heap->mapped, bytes, memory_order_relaxed);
}

static void external_discharge(size_t bytes) {
    atomic_fetch_sub_explicit(&hfi_default_heap.external, bytes, memory_order_relaxed);
}

static bool external_charge(size_t bytes) {
    hf_heap *heap = &hfi_default_heap;
    uint64_t external =
        atomic_fetch_add_explicit(&heap->external, bytes, memory_order_relaxed) + bytes;
    uint64_t mapped = atomic_load_explicit(&heap->mapped, memory_order_relaxed);
    if (limits_allow(heap, mapped + external, bytes)) return true;
    external_discharge(bytes);
    hfi_heap_limited(heap);
    return false;
}

static const struct hfi_hook_services hook_services = {
    .wake = hfi_reclaim_wake_driver,
    .charge = external_charge,
    .discharge = external_discharge,
};

void hfi_hooks_need_server(void) {
    (void)hfi_start();
}

void hfi_heap_grown(hf_heap *heap) {
    uint32_t crossed = atomic_exchange(&heap->crossed, 0);
    if (crossed & HFI_CROSSED_TRIM) hfi_reclaim_growth(heap);
    if (!(crossed & HFI_CROSSED_SOFT)) return;
    bool more = false;
    (void)hfi_reclaim_pass(true, heap, &more);
    hfi_lock_acquire(&hfi_registry_lock);
    hf_limit_callback callback = heap->soft_callback;
    void *context = heap->soft_context;
    hfi_lock_release(&hfi_registry_lock);
    uint64_t held = atomic_load(&heap->mapped) + atomic_load(&heap->external);
    if (callback != NULL) callback(heap, held, context);
}

void hfi_heap_limited(hf_heap *heap) {
    atomic_fetch_add_explicit(&heap->limit_hits, 1, memory_order_relaxed);
}

void *hfi_heap_failed(hf_heap *heap) {
    atomic_fetch_add_explicit(&heap->failures, 1, memory_order_relaxed);
    errno = ENOMEM;
    return NULL;
}

hf_status hf_heap_limit(hf_heap *heap, uint64_t hard, uint64_t soft, hf_limit_callback callback,
                        void *context) {
    if (heap == NULL || (hard != 0 && soft > hard)) return HF_E_INVALID;
    if (!hfi_start()) return HF_E_NO_MEMORY;
    hfi_lock_acquire(&hfi_registry_lock);
    heap->soft_callback = callback;
    heap->soft_context = context;
    hfi_lock_release(&hfi_registry_lock);
    atomic_store(&heap->limit_hard, hard);
    atomic_store(&heap->limit_soft, soft);
    uint64_t mapped = atomic_load(&heap->mapped) + atomic_load(&heap->external);
    if (soft != 0 && mapped > soft) {
        atomic_fetch_or(&heap->crossed, HFI_CROSSED_SOFT);
        hfi_heap_grown(heap);
    }
    return HF_OK;
}

/* --- heaps ---------------------------------------------------------------------------------- */

hf_heap *hf_heap_default(void) {
    return hfi_start() ? &hfi_default_heap : NULL;
}

hf_status hf_heap_create(const hf_options *options, const char *name, int node,
                         hf_heap **heap_out) {
    if (heap_out == NULL) return HF_E_INVALID;
    if (!hfi_start()) return HF_E_NO_MEMORY;
    if (node < -1 || node >= (int)hfi_os_node_count()) return HF_E_INVALID;
    if (options != NULL) {
        if (options->struct_size != sizeof *options) return HF_E_INVALID;
        hf_status status = hf_options_check(options, NULL, 0);
        if (status != HF_OK) return status;
    }
    hf_heap *heap = hfi_meta_alloc(sizeof *heap);
    if (heap == NULL) return HF_E_NO_MEMORY;
    heap->options = options != NULL ? *options : hfi_default_heap.options;
    if (options == NULL) heap->options.limit = heap->options.limit_soft = 0;
    heap->node = node;
    strncpy(heap->name, name != NULL ? name : "heap", sizeof heap->name - 1);
    hfi_lock_acquire(&hfi_registry_lock);
    heap->id = ++heaps_made;
    heap->index = HFI_HEAPS_MAX;
    for (unsigned i = 0; i < HFI_HEAPS_MAX; i++) {
        if ((index_used[i / 64] >> (i % 64)) & 1) continue;
        index_used[i / 64] |= UINT64_C(1) << (i % 64);
        heap->index = i;
        break;
    }
    hfi_lock_release(&hfi_registry_lock);
    bool whole = heap_init(heap);
    hfi_lock_acquire(&hfi_registry_lock);
    if (whole) {
        heap->next = hfi_heaps;
        hfi_heaps = heap;
    } else if (heap->index < HFI_HEAPS_MAX) {
        index_used[heap->index / 64] &= ~(UINT64_C(1) << (heap->index % 64));
    }
    hfi_lock_release(&hfi_registry_lock);
    if (!whole) {
        if (heap->pools != NULL) hfi_pools_destroy(heap);
        if (heap->middle != NULL) hfi_middle_destroy(heap);
        if (heap->large != NULL) hfi_large_destroy(heap);
        hfi_meta_free(heap, sizeof *heap);
        return HF_E_NO_MEMORY;
    }
    heap_show(heap);
    if (heap->fill) hfi_fault_start();
    *heap_out = heap;
    return HF_OK;
}

hf_status hf_heap_destroy(hf_heap *heap) {
    if (heap == NULL || heap == &hfi_default_heap) return HF_E_INVALID;
    bool found = false;
    hfi_reclaim_lock_heaps();
    hfi_lock_acquire(&hfi_registry_lock);
    for (hf_heap **at = &hfi_heaps; *at != NULL; at = &(*at)->next) {
        if (*at != heap) continue;
        *at = heap->next;
        found = true;
        break;
    }
    hfi_lock_release(&hfi_registry_lock);
    hfi_reclaim_unlock_heaps();
    if (!found) return HF_E_INVALID;
    hfi_owners_remove(&heap->entry);
    hfi_tcache_forget_heap(heap);
    hfi_large_destroy(heap);
    hfi_middle_destroy(heap);
    hfi_pools_destroy(heap);
    hfi_lock_acquire(&hfi_registry_lock);
    if (heap->index < HFI_HEAPS_MAX)
        index_used[heap->index / 64] &= ~(UINT64_C(1) << (heap->index % 64));
    hfi_lock_release(&hfi_registry_lock);
    hfi_meta_free(heap, sizeof *heap);
    hfi_reclaim_wake_driver();
    return HF_OK;
}

uint64_t hf_heap_id(const hf_heap *heap) {
    return heap != NULL ? heap->id : 0;
}

const char *hf_heap_name(const hf_heap *heap) {
    return heap != NULL ? heap->name : "";
}
