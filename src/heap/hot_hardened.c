/* hot_hardened.c - malloc and free of profile hardened for small blocks.
 *
 *   malloc  pop, every word still as freed? seal.
 *   free    trailer and pattern whole, neighbour's trailer whole; mark, fill, and into the delay: the
 *           block takes a random place in a ring and the one that was there becomes reusable.
 *
 * Invariants  what is popped was verified word by word as far as freed blocks are filled; blocks up
 *             to 4 KiB rest for 16 frees of their class on average.
 * Talks to    as hot.c.   Called through hfi_dispatch.
 * Threads     any.
 * Source      delayed and randomised reuse after DieHarder (Novark and Berger 2010) and
 *             hardened_malloc's slab quarantine. */
#include "base/rng.h"
#include "hot.h"
#include "hot_path.h"

/* Asks for what the next malloc looks at: as much of a block as is filled, and its trailer. NULL does
 * no harm. */
static inline void fetch(const void *block, size_t extent) {
    uintptr_t at = (uintptr_t)block;
    __builtin_prefetch((const void *)at);
    __builtin_prefetch((const void *)(at + extent - HFI_TRAILER));
    if (extent <= 64) return;
    for (size_t line = 64; line < HFI_FILL_MAX; line += 64)
        __builtin_prefetch((const void *)(at + line));
}

static inline void *hardened_malloc(int domain, size_t size) {
    if (hfi_unlikely(size > HFI_SMALL_MAX - HFI_TRAILER))
        return hfi_domain_malloc_cold(domain, size);
    unsigned class_index = hfi_class_of(size + HFI_TRAILER);
    size_t extent = hfi_class_size[class_index];
    struct hfi_magazine *m = &hfi_tcache_current->magazine[class_index];
    void **top = hfi_own_load(m->top);
    char *block = top[-1];
    if (hfi_unlikely(block == NULL)) return hfi_domain_malloc_cold(domain, size);
    /* The next of this class, which a refill may have brought from far. */
    fetch(top[-2], extent);
    hfi_own_step(m->top, -1);
    hfi_own_add(m->allocs, 1);
    /* A site word of the last owner is no pattern: the suspect path knows. */
    if (hfi_unlikely(!hfi_block_filled_whole(block, extent)))
        return hfi_suspect_cold(block, extent, size, domain);
    hfi_block_seal(block, extent, size,
                   (extent - HFI_TRAILER - size) + ((uint64_t)domain << HFI_DOMAIN_SHIFT));
    return block;
}

/* A random place in the delay: four bits of a number drawn every sixteenth time. The bit above them
 * says when they are used up. */
_Static_assert(HFI_DELAY_SLOTS == 16, "four bits a place");
static inline size_t delay_place(struct hfi_tcache *tc) {
    uint64_t bits = tc->delay_bits;
    if (hfi_unlikely(bits <= 1)) bits = hfi_rng_next(&tc->rng) >> 4 | UINT64_C(1) << 60;
    tc->delay_bits = bits >> 4;
    return bits & 15;
}

/* `size`: what the program says the payload is long, or SIZE_MAX. */
static inline void hardened_free(int domain, void *pointer, size_t size) {
    char *block = pointer;
    struct hfi_tcache *tc = hfi_tcache_current;
    size_t at = hfi_magazine_offset(block), class_index = at / sizeof(struct hfi_magazine);
    struct hfi_magazine *m = (struct hfi_magazine *)((char *)tc + at);
    /* Aligned classes have no lead before their first block, so they go the general way. */
    size_t extent = m->block_size;
    if (hfi_unlikely(at == 0 || class_index >= HFI_CLASS_ALIGNED ||
                     hfi_own_load(m->top) >= hfi_own_load(m->limit))) {
        hfi_sized_free_cold(domain, block, size);
        return;
    }
    uint64_t slack = hfi_block_note(block, extent) - ((uint64_t)domain << HFI_DOMAIN_SHIFT);
    const char *trailer = hfi_block_trailer(block, extent);
    if (hfi_unlikely(slack > HFI_SLACK_MAX)) {
        hfi_sized_free_cold(domain, block, size);
        return;
    }
    uint64_t differs = hfi_load64(trailer - slack) ^ hfi_block_pattern;
    /* The trailer before is that of a whole neighbour, or of the slab's lead. */
    if (hfi_unlikely((differs & tc->slack_mask[slack < 15 ? slack : 15]) != 0 ||
                     !hfi_block_trailer_whole(block - HFI_TRAILER) ||
                     (size != SIZE_MAX && extent - HFI_TRAILER - slack != size))) {
        hfi_sized_free_cold(domain, block, size);
        return;
    }
    hfi_block_mark_freed(block, extent);
    hfi_block_fill_whole(block, extent);
    if (hfi_unlikely(extent > HFI_HARDENED_DELAY_MAX)) {
        *hfi_own_load(m->top) = block;
        hfi_own_step(m->top, 1);
        return;
    }
    void **place = &tc->delay[class_index].blocks[delay_place(tc)];
    char *out = *place;
    hfi_own_store(*place, block);
    if (hfi_unlikely(out == NULL)) return;
    /* It rested long enough to leave the cache, and the next malloc of this class looks at it. */
    fetch(out, extent);
    *hfi_own_load(m->top) = out;
    hfi_own_step(m->top, 1);
}

static HFI_HOT void *malloc_hardened(size_t size) {
    return hardened_malloc(HF_DOMAIN_LIBC, size);
}

static HFI_HOT void free_hardened(void *block) {
    hardened_free(HF_DOMAIN_LIBC, block, SIZE_MAX);
}

static HFI_HOT void free_sized_hardened(void *block, size_t size) {
    hardened_free(HF_DOMAIN_LIBC, block, size);
}

static HFI_HOT void *domain_malloc_hardened(int domain, size_t size) {
    return hardened_malloc(domain & 3, size);
}

static HFI_HOT void domain_free_hardened(int domain, void *block) {
    hardened_free(domain & 3, block, SIZE_MAX);
}

void hfi_hot_hardened_start(struct hfi_dispatch *dispatch) {
    dispatch->domain_free = domain_free_hardened;
    dispatch->domain_malloc = domain_malloc_hardened;
    dispatch->free_sized = free_sized_hardened;
    dispatch->free = free_hardened;
    dispatch->malloc = malloc_hardened;
}
