/* stack_grow.c - new stacks: regions, guards, slots.
 *
 *   region: | guard 0 | stack 0 | guard 1 | stack 1 | ... committed | reserved ... | guard |
 * Contract    stack_pool.h.
 * Threads     pool->lock.
 * Fails with  HF_E_NO_MEMORY; HF_E_LIMIT at count_max, at the limit of mappings, or when the table of
 *             regions is full. What was made before stays usable.
 * Source      MADV_GUARD_INSTALL, Linux 6.13: guards are page-table marks, no mapping each; in batches
 *             by process_madvise. Locked memory refuses (EINVAL): then guards are made by mprotect. */
#include <errno.h>
#include <string.h>

#include "base/format.h"
#include "fiber/stack_pool.h"

/* GUARDS_AT_ONCE: 1 KiB of ranges, as whoever takes a stack may stand on a small one. */
enum { BATCH_LEAST = 16, BATCH_MOST = 1024, GUARDS_AT_ONCE = 64 };
#define REGION_LEAST ((size_t)64 << 20)
#define REGION_MOST  ((size_t)64 << 30)
#define BATCH_BYTES  ((size_t)256 << 20)

static size_t page_up(size_t bytes) {
    return (bytes + HFI_PAGE - 1) & ~(HFI_PAGE - 1);
}

/* One line, once per pool: the one thing about guards that an operator can change. */
static void say_limit(hf_stack_pool *pool, uint32_t created) HF_REQUIRES(pool->lock) {
    char text[320];
    if (pool->said_limit) return;
    pool->said_limit = true;
    hfi_writer writer = hfi_writer_make(text, sizeof text);
    hfi_write_text(&writer, "holdfast: stack pool '");
    hfi_write_text(&writer, pool->name);
    hfi_write_text(&writer, "' ends at ");
    hfi_write_u64(&writer, created);
    hfi_write_text(&writer,
                   " stacks: without light guards (Linux 6.13, memory not locked) each takes "
                   "two mappings, and vm.max_map_count is ");
    hfi_write_u64(&writer, hfi_os_mappings_max());
    hfi_write_char(&writer, '\n');
    size_t length = hfi_writer_finish(&writer);
    hfi_os_write(2, text, length < sizeof text ? length : sizeof text - 1);
}

/* Guards for `count` stacks from `first` on; how many of them there are now. */
static unsigned guard_light(const hf_stack_pool *pool, char *first, unsigned count) {
    struct hfi_os_range guards[GUARDS_AT_ONCE];
    /* Valgrind does not know the call for many: one by one there. */
    unsigned at_once = pool->valgrind ? 1 : GUARDS_AT_ONCE, done = 0;
    while (done < count) {
        unsigned more = count - done < at_once ? count - done : at_once;
        for (unsigned i = 0; i < more; i++)
            guards[i] = (struct hfi_os_range){first + (done + i) * pool->stride, pool->guard_size};
        if (hfi_os_guard_many(guards, more) != 0) break;
        done += more;
    }
    return done;
}

static unsigned guard_by_mapping(const hf_stack_pool *pool, char *first, unsigned count) {
    for (unsigned done = 0; done < count; done++) {
        struct hfi_os_range range = {first + done * pool->stride, pool->guard_size};
        if (hfi_os_guard_by_mapping(&range, 1) != 0) return done;
    }
    return count;
}

static hf_status guard(hf_stack_pool *pool, char *first, unsigned count, unsigned *guarded_out)
    HF_REQUIRES(pool->lock) {
    if (pool->light) {
        *guarded_out = guard_light(pool, first, count);
        if (*guarded_out > 0) return HF_OK;
        if (errno != EINVAL && errno != ENOSYS) return HF_E_NO_MEMORY;
        pool->light = false;
    }
    *guarded_out = guard_by_mapping(pool, first, count);
    if (*guarded_out > 0) return HF_OK;
    uint32_t created = hfi_stack_created(pool);
    if (errno != ENOMEM) return HF_E_NO_MEMORY;
    /* The kernel says ENOMEM for both; many stacks of two mappings each mean the limit. */
    if ((uint64_t)created * 2 + 1024 < hfi_os_mappings_max()) return HF_E_NO_MEMORY;
    say_limit(pool, created);
    pool->count_max = created;
    return HF_E_LIMIT;
}

/* Address space for more: four times the last region, less where that is refused. */
static hf_status region_add(hf_stack_pool *pool) HF_REQUIRES(pool->lock) {
    uint32_t number = atomic_load_explicit(&pool->region_count, memory_order_relaxed);
    uint32_t created = atomic_load_explicit(&pool->created, memory_order_relaxed);
    if (number == HFI_STACK_REGIONS) return HF_E_LIMIT;
    size_t size = number == 0 ? REGION_LEAST : pool->regions[number - 1].size * 4;
    if (size > REGION_MOST) size = REGION_MOST;
    if (size < pool->stride) size = pool->stride;
    size_t most = pool->count_max - created; /* stacks that may still come */
    size_t least = REGION_LEAST < pool->stride ? pool->stride : REGION_LEAST;
    struct hfi_region *region = &pool->regions[number];
    for (;; size /= 2) {
        size_t count = size / pool->stride;
        if (count == 0) count = 1;
        if (count > most) count = most;
        if (hfi_region_reserve(region, count * pool->stride, pool->guard_size, HFI_PAGE) == 0)
            break;
        if (size / 2 < least) return HF_E_NO_MEMORY;
    }
    /* One page touched must not become 2 MiB. */
    hfi_os_huge(region->base, region->size, false);
    pool->region_first[number] = created;
    (void)hfi_stack_region_add(pool, region, created);
    atomic_store_explicit(&pool->region_count, number + 1, memory_order_release);
    return HF_OK;
}

static bool slots_commit(hf_stack_pool *pool, size_t count) HF_REQUIRES(pool->lock) {
    size_t wanted = page_up(count * sizeof *pool->slots);
    if (wanted <= pool->slots_committed) return true;
    /* In steps: each is a system call. */
    size_t step = page_up(pool->slots_committed / 2) + 16 * HFI_PAGE;
    if (wanted < pool->slots_committed + step) wanted = pool->slots_committed + step;
    if (wanted > pool->table_slots) wanted = pool->table_slots;
    if (hfi_os_commit(pool->table.base + pool->slots_committed, wanted - pool->slots_committed) !=
        0)
        return false;
    pool->slots_committed = wanted;
    return true;
}

bool hfi_stack_names_commit(hf_stack_pool *pool) {
    size_t wanted = page_up((size_t)hfi_stack_created(pool) * sizeof *pool->names);
    if (wanted <= pool->names_committed) return true;
    size_t most = pool->table.size - pool->table_slots;
    if (wanted < pool->names_committed * 2) wanted = pool->names_committed * 2;
    if (wanted > most) wanted = most;
    char *from = (char *)pool->names + pool->names_committed;
    if (hfi_os_commit(from, wanted - pool->names_committed) != 0) return false;
    pool->names_committed = wanted;
    return true;
}

hf_status hfi_stack_grow(hf_stack_pool *pool) {
    uint32_t created = atomic_load_explicit(&pool->created, memory_order_relaxed);
    if (created >= pool->count_max) return HF_E_LIMIT;
    uint32_t number = atomic_load_explicit(&pool->region_count, memory_order_relaxed);
    if (number == 0 || (size_t)(created - pool->region_first[number - 1]) * pool->stride >=
                           pool->regions[number - 1].size) {
        hf_status status = region_add(pool);
        if (status != HF_OK) return status;
        number++;
    }
    struct hfi_region *region = &pool->regions[number - 1];
    uint32_t used = created - pool->region_first[number - 1];
    size_t count = created / 2 < BATCH_LEAST ? BATCH_LEAST : created / 2;
    size_t room = region->size / pool->stride - used, bytes = BATCH_BYTES / pool->stride;
    if (count > BATCH_MOST) count = BATCH_MOST;
    if (count > bytes) count = bytes > 0 ? bytes : 1;
    if (count > room) count = room;
    if (count > pool->count_max - created) count = pool->count_max - created;
    if (!slots_commit(pool, created + count)) return HF_E_NO_MEMORY;
    char *first = region->base + (size_t)used * pool->stride;
    if (hfi_region_commit(region, (used + count) * pool->stride, false, -1) != 0)
        return HF_E_NO_MEMORY;
    unsigned guarded;
    hf_status status = guard(pool, first, (unsigned)count, &guarded);
    if (status != HF_OK) return status;
    for (uint32_t i = 0; i < guarded; i++) {
        pool->slots[created + i].top = first + (size_t)(i + 1) * pool->stride;
        pool->slots[created + i].index = created + i;
    }
    for (uint32_t i = guarded; i-- > 0;)
        hfi_stack_push_cold(pool, &pool->slots[created + i]);
    /* SYNC(pool.created): publishes the slots; pairs with the acquire in hfi_stack_created. */
    atomic_store_explicit(&pool->created, created + guarded, memory_order_release);
    return HF_OK;
}

void hfi_stack_regions_release(hf_stack_pool *pool) {
    uint32_t count = atomic_load_explicit(&pool->region_count, memory_order_relaxed);
    hfi_stack_regions_forget(pool);
    for (uint32_t i = 0; i < count; i++)
        hfi_region_release(&pool->regions[i]);
}
