/* squeeze.c - gives back pages of a pool in use that hold no live block. Contract: squeeze.h.
 *
 *   before  | header  L f f | f f f f | f f L f | f f - - |   L live, f free, listed, - never used
 *   after   | header  L f f | (gone)  | f f L   | (gone)  |
 *                                     next_offset ^
 *   What lies behind the last L counts as never used; the gap is out of reach until the pool is
 *   empty and starts anew.
 *
 * Invariants  the live blocks are known only if blocks below next_offset, less the list, are as
 *             many as the pool counts: a pool with a gap fails that and is left alone. A pool in
 *             use keeps at least one block on its list, as pymalloc expects.
 * Threads     the interpreter is still.
 * Talks to    os.   Called by trim.c. */
#include "squeeze.h"

#include "os/os.h"

#define PAGES       (HFI_ARENA_POOL_SIZE / HFI_PAGE)
#define BLOCKS_MOST (HFI_ARENA_POOL_SIZE / 16)

typedef struct blocks {
    uint32_t size;  /* of one                        */
    uint32_t count; /* below next_offset             */
    uint32_t end;   /* index after the last live one */
    uint64_t free[BLOCKS_MOST / 64];
} blocks;

static bool is_free(const blocks *b, uint32_t index) {
    return (b->free[index / 64] >> index % 64 & 1) != 0;
}

static uint32_t offset_of(const blocks *b, uint32_t index) {
    return HFI_POOL_HEADER + index * b->size;
}

/* Pages that block `index` touches, as bits. */
static unsigned pages_of(const blocks *b, uint32_t index) {
    unsigned first = offset_of(b, index) / HFI_PAGE;
    unsigned last = (offset_of(b, index) + b->size - 1) / HFI_PAGE;
    return 1u << first | 1u << last; /* a block of 512 bytes touches two pages at most */
}

/* Reads the free list; false if it is not a list of this pool's free blocks and nothing else. */
static bool read_blocks(const hfi_pool *pool, blocks *b) {
    b->size = (pool->class_index + 1) * 16;
    if ((pool->next_offset - HFI_POOL_HEADER) % b->size != 0) return false;
    b->count = (pool->next_offset - HFI_POOL_HEADER) / b->size;
    uint32_t listed = 0;
    for (void *block = pool->free_block; block != NULL; block = *(void **)block) {
        size_t offset = (size_t)((char *)block - (char *)pool);
        if (offset < HFI_POOL_HEADER || offset >= pool->next_offset) return false;
        uint32_t index = (uint32_t)(offset - HFI_POOL_HEADER) / b->size;
        if (offset_of(b, index) != offset || is_free(b, index)) return false;
        b->free[index / 64] |= (uint64_t)1 << index % 64;
        listed++;
    }
    if (b->count - listed != pool->count) return false;
    b->end = b->count;
    while (b->end > 0 && is_free(b, b->end - 1))
        b->end--;
    return b->end > 0;
}

/* The list anew, in order of address, from the free blocks that lie in kept pages. */
static void rebuild_list(hfi_pool *pool, const blocks *b, unsigned keep, uint32_t spare) {
    void **link = &pool->free_block;
    for (uint32_t i = 0; i < b->end; i++) {
        if (!is_free(b, i)) continue;
        if ((pages_of(b, i) & ~keep) != 0 && i != spare) continue;
        void *block = (char *)pool + offset_of(b, i);
        *link = block;
        link = (void **)block;
    }
    uint32_t unused = b->end;
    if (spare == b->end) { /* the first block behind the last live one stays on the list */
        void *block = (char *)pool + offset_of(b, spare);
        *link = block;
        link = (void **)block;
        unused++;
    }
    *link = NULL;
    pool->next_offset = offset_of(b, unused);
}

size_t hfi_pool_squeeze(hfi_pool *pool) {
    blocks b = {0};
    if (pool->free_block == NULL || !read_blocks(pool, &b)) return 0;
    unsigned keep = 1; /* the header's page */
    for (uint32_t i = 0; i < b.end; i++) {
        if (!is_free(&b, i)) keep |= pages_of(&b, i);
    }
    bool listed = false; /* a free block below `end` that stays on the list */
    uint32_t first = b.count;
    for (uint32_t i = 0; i < b.end && !listed; i++) {
        if (!is_free(&b, i)) continue;
        if (first == b.count) first = i;
        listed = (pages_of(&b, i) & ~keep) == 0;
    }
    uint32_t spare = UINT32_MAX;
    if (!listed) {
        spare = offset_of(&b, b.end) <= pool->last_offset ? b.end : first;
        if (spare >= b.count && spare != b.end) return 0;
        keep |= pages_of(&b, spare);
    }
    unsigned drop = ~keep & ((1u << PAGES) - 1);
    if (drop == 0) return 0;
    rebuild_list(pool, &b, keep, spare);
    size_t bytes = 0;
    for (unsigned page = 0; page < PAGES; page++) {
        unsigned run = 0;
        while (page + run < PAGES && (drop >> (page + run) & 1) != 0)
            run++;
        if (run == 0) continue;
        hfi_os_purge((char *)pool + page * HFI_PAGE, run * HFI_PAGE);
        bytes += run * HFI_PAGE;
        page += run;
    }
    return bytes;
}
