/* stats.c - the account: counters folded, blocks counted, everything in one JSON.
 *
 *   mapped = in_use + slack + cached + free + quarantined + meta
 *
 * Invariants  the sum holds at rest, by figures that come from different places: mapped from the
 *             limits' counter and the segment layer, the parts from pools, walks and caches.
 * Talks to    pool, tcache, middle, large, segment, meta, walk.   Called by the public API.
 * Threads     locks one pool at a time.
 * Why         nothing is counted on the hot path but allocations per class. Exact sizes are read
 *             from the trailers when somebody asks: 2 ns a block. */
#include <string.h>

#include "base/options.h"
#include "base/report.h"
#include "base/stats_json.h"
#include "heap_state.h"
#include "large.h"
#include "middle.h"
#include "pool.h"
#include "tcache.h"
#include "walk.h"

#define CLASSES HFI_CLASS_COUNT

struct class_sum {
    uint64_t allocs, misses, flushes, taken, cached, slabs, blocks, waits, wait_ns;
    uint64_t free_blocks, quarantined_blocks;
};

static void sum_classes(hf_heap *heap, struct class_sum *sums, hf_stats *stats) {
    uint64_t cached[CLASSES] = {0}, allocs[CLASSES] = {0}, misses[CLASSES] = {0};
    hfi_tcache_sum(heap, cached, allocs, misses);
    for (unsigned i = 0; i < heap->node_count * CLASSES; i++) {
        unsigned c = i % CLASSES;
        struct hfi_pool *pool = &heap->pools[i];
        struct class_sum *sum = &sums[c];
        if (c == 0) continue;
        hfi_lock_acquire(&pool->lock);
        sum->taken += pool->taken;
        sum->cached += pool->depot_count;
        sum->slabs += pool->slab_count;
        sum->blocks += (uint64_t)pool->slab_count * pool->blocks;
        sum->quarantined_blocks += (uint64_t)pool->quarantined_count * pool->blocks;
        sum->waits += pool->lock.waits;
        sum->wait_ns += pool->lock.wait_ns;
        stats->slabs_empty += pool->empty_count;
        stats->slabs_full += pool->full_count;
        stats->slabs_quarantined += pool->quarantined_count;
        stats->slabs_partial +=
            pool->slab_count - pool->empty_count - pool->full_count - pool->quarantined_count;
        stats->bytes_mapped += (uint64_t)pool->slab_count * pool->slices * HFI_SLICE;
        /* Lead and tail of a slab are nobody's: they count as free, as its free blocks do. */
        stats->bytes_free += (uint64_t)(pool->slab_count - pool->quarantined_count) *
                             (pool->slices * HFI_SLICE - (size_t)pool->blocks * pool->block_size);
        stats->bytes_quarantined += (uint64_t)pool->quarantined_count * pool->slices * HFI_SLICE;
        stats->bytes_meta += pool->slab_count * hfi_slab_meta_size(pool->blocks) +
                             (pool->depot != NULL ? pool->depot_capacity * sizeof(void *) : 0);
        hfi_lock_release(&pool->lock);
        sum->allocs += atomic_load(&pool->allocs_gone);
        sum->misses += atomic_load(&pool->misses_gone);
        sum->flushes += atomic_load(&pool->flushes_gone);
    }
    for (unsigned c = 1; c < CLASSES; c++) {
        sums[c].allocs += allocs[c];
        sums[c].misses += misses[c];
        sums[c].cached += cached[c];
        uint64_t healthy = sums[c].blocks - sums[c].quarantined_blocks;
        sums[c].free_blocks = healthy > sums[c].taken ? healthy - sums[c].taken : 0;
        if (sums[c].cached > sums[c].taken) sums[c].cached = sums[c].taken;
    }
}

static void sum_caches(hf_heap *heap, hf_stats *stats) {
    hfi_lock_acquire(&heap->caches_lock);
    for (struct hfi_tcache *tc = heap->caches; tc != NULL; tc = tc->next) {
        stats->threads++;
        stats->bytes_meta += sizeof *tc;
        for (unsigned c = 1; c < CLASSES; c++) {
            stats->bytes_meta += hfi_own_load(tc->cold[c].capacity) * sizeof(void *);
            stats->cache_flushes += hfi_own_load(tc->cold[c].flushes);
        }
        stats->middle_allocs += hfi_own_load(tc->middle_allocs);
        stats->large_allocs += hfi_own_load(tc->large_allocs);
        stats->large_cache_hits += hfi_own_load(tc->large_hits);
        stats->reallocs_in_place += hfi_own_load(tc->in_place);
        stats->reallocs_moved += hfi_own_load(tc->moved);
    }
    hfi_lock_release(&heap->caches_lock);
    stats->middle_allocs += atomic_load(&heap->gone_middle_allocs);
    stats->large_allocs += atomic_load(&heap->gone_large_allocs);
    stats->large_cache_hits += atomic_load(&heap->gone_large_hits);
    stats->reallocs_in_place += atomic_load(&heap->gone_in_place);
    stats->reallocs_moved += atomic_load(&heap->gone_moved);
}

/* Bytes of live small blocks, exact in heaps with trailers. */
static void sum_small(hf_heap *heap, const struct class_sum *sums, const struct hfi_live_sum *live,
                      hf_stats *stats) {
    uint64_t taken_bytes = 0, cached_bytes = 0, live_blocks = 0;
    for (unsigned c = 1; c < CLASSES; c++) {
        taken_bytes += sums[c].taken * hfi_class_size[c];
        cached_bytes += sums[c].cached * hfi_class_size[c];
        live_blocks += sums[c].taken - sums[c].cached;
        stats->bytes_free += sums[c].free_blocks * hfi_class_size[c];
        stats->small_allocs += sums[c].allocs;
        stats->cache_misses += sums[c].misses;
        stats->lock_waits += sums[c].waits;
        stats->lock_wait_ns += sums[c].wait_ns;
        stats->cache_flushes += sums[c].flushes;
    }
    if (heap->trailer) {
        /* Live by its trailer; whatever else is out of the slabs waits in some cache. */
        uint64_t extent = live->small_extent < taken_bytes ? live->small_extent : taken_bytes;
        stats->blocks_in_use += live->small_blocks;
        stats->bytes_in_use += live->small_bytes;
        stats->bytes_slack += extent - live->small_bytes;
        stats->bytes_cached += taken_bytes - extent;
        stats->bytes_in_use += live->quarantined_live_bytes;
        stats->bytes_slack += live->quarantined_live_extent - live->quarantined_live_bytes;
        stats->bytes_quarantined -= live->quarantined_live_extent;
    } else {
        stats->blocks_in_use += live_blocks;
        stats->bytes_in_use += taken_bytes - cached_bytes;
        stats->bytes_cached += cached_bytes;
    }
}

static void sum_tiers(hf_heap *heap, const struct hfi_live_sum *live, hf_stats *stats) {
    struct hfi_middle_figures middle;
    struct hfi_large_figures large;
    hfi_middle_sum(heap, &middle);
    hfi_large_sum(heap, &large);
    stats->bytes_mapped += middle.mapped + large.mapped;
    stats->bytes_meta += middle.meta_bytes + large.meta_bytes;
    uint64_t middle_size =
        live->middle_bytes < middle.live_bytes ? live->middle_bytes : middle.live_bytes;
    uint64_t large_size =
        live->large_bytes < large.live_bytes ? live->large_bytes : large.live_bytes;
    stats->bytes_in_use += middle_size + large_size;
    stats->bytes_slack += middle.live_bytes - middle_size + large.live_bytes - large_size;
    stats->bytes_cached += middle.kept_bytes;
    stats->bytes_free +=
        middle.mapped - middle.live_bytes - middle.kept_bytes - middle.quarantined_bytes;
    stats->bytes_quarantined += middle.quarantined_bytes + large.quarantined_bytes;
    stats->blocks_in_use += middle.live_blocks + large.live_blocks;
    stats->splits = middle.splits;
    stats->coalesces = middle.coalesces;
    stats->middle_pools = middle.pools;
    stats->middle_pools_quarantined = middle.quarantined_pools;
    stats->large_blocks = large.live_blocks;
    stats->lock_waits += middle.lock_waits + large.lock_waits;
    stats->lock_wait_ns += middle.lock_wait_ns + large.lock_wait_ns;
}

/* What belongs to the process is on the default heap's account. */
static void sum_process(hf_stats *stats) {
    size_t used = 0, mapped = hfi_meta_mapped(&used);
    uint64_t wait_ns;
    (void)used;
    stats->bytes_meta = mapped; /* everybody's, to the page; more exact than the sum of parts */
    size_t warm = hfi_segment_dirty(HFI_ZONE_SMALL), warm_large = hfi_segment_dirty(HFI_ZONE_HUGE);
    stats->bytes_free += warm;
    stats->bytes_cached += warm_large;
    stats->bytes_mapped += warm + warm_large;
    stats->purges = hfi_segment_purges();
    stats->bytes_returned = hfi_segment_returned();
    stats->lock_waits += hfi_segment_lock_waits(&wait_ns);
    stats->lock_wait_ns += wait_ns;
    stats->os_maps = hfi_os_map_calls();
    stats->os_failures = hfi_os_map_failures();
}

hf_status hf_heap_stats(hf_heap *heap, hf_stats *stats_out) {
    struct class_sum sums[CLASSES] = {{0}};
    struct hfi_live_sum live;
    hf_stats stats = {.struct_size = sizeof stats};
    if (heap == NULL || stats_out == NULL) return HF_E_INVALID;
    hfi_walk_sum(heap, &live);
    sum_classes(heap, sums, &stats);
    sum_caches(heap, &stats);
    sum_small(heap, sums, &live, &stats);
    sum_tiers(heap, &live, &stats);
    stats.profile = heap->options.profile;
    if (heap->is_default) sum_process(&stats);
    stats.bytes_mapped += stats.bytes_meta;
    stats.small_allocs += atomic_load(&heap->direct_allocs);
    stats.allocs = stats.small_allocs + stats.middle_allocs + stats.large_allocs;
    stats.frees = stats.allocs > stats.blocks_in_use ? stats.allocs - stats.blocks_in_use : 0;
    stats.cache_refills = stats.cache_misses;
    uint64_t peak = atomic_load(&heap->mapped_peak) + stats.bytes_meta;
    stats.bytes_mapped_peak = peak > stats.bytes_mapped ? peak : stats.bytes_mapped;
    stats.failures = atomic_load(&heap->failures);
    stats.limit_hits = atomic_load(&heap->limit_hits);
    stats.reports = atomic_load(&heap->reports);
    stats.reclaims = atomic_load(&heap->reclaims);
    stats.reclaim_ns = atomic_load(&heap->reclaim_ns);
    *stats_out = stats;
    return HF_OK;
}

hf_status hf_heap_class_stats(hf_heap *heap, hf_class_stats *classes_out, size_t capacity,
                              size_t *count_out) {
    struct class_sum sums[CLASSES] = {{0}};
    hf_stats ignored = {0};
    if (heap == NULL || count_out == NULL || (classes_out == NULL && capacity != 0))
        return HF_E_INVALID;
    sum_classes(heap, sums, &ignored);
    for (unsigned c = 1; c < CLASSES && c - 1 < capacity; c++) {
        classes_out[c - 1] = (hf_class_stats){
            .size = hfi_class_size[c],
            .alignment = hfi_class_alignment[c],
            .allocs = sums[c].allocs,
            .blocks = sums[c].taken - sums[c].cached,
            .cached = sums[c].cached,
            .free = sums[c].free_blocks,
            .slabs = sums[c].slabs,
            .misses = sums[c].misses,
            .lock_waits = sums[c].waits,
        };
    }
    *count_out = CLASSES - 1;
    return HF_OK;
}

size_t hf_process_json(char *buffer, size_t size) {
    hfi_writer writer = hfi_writer_make(buffer, size);
    hf_heap *heap = hf_heap_default();
    hf_class_stats classes[CLASSES];
    hf_stats stats;
    size_t count = 0;
    hfi_json_open(&writer, '{');
    hfi_json_pair_text(&writer, "version", HF_VERSION_STRING);
    if (heap != NULL && hf_heap_stats(heap, &stats) == HF_OK &&
        hf_heap_class_stats(heap, classes, CLASSES, &count) == HF_OK) {
        hfi_json_key(&writer, "stats");
        hfi_write_stats(&writer, &stats);
        hfi_json_key(&writer, "classes");
        hfi_write_class_stats(&writer, classes, count);
    }
    hfi_json_key(&writer, "options");
    hfi_write_options(&writer, hf_options_active());
    hfi_json_pair_u64(&writer, "report_count", hf_report_count());
    hfi_json_close(&writer, '}');
    return hfi_writer_finish(&writer);
}
