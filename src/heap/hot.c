/* hot.c - malloc and free of the default heap, as few instructions as the profile allows.
 *
 *   fast      pop; push.
 *   checked   pop, head still as freed? seal; trailer whole and live? pattern whole? mark, push.
 *   hardened  hot_hardened.c.
 *   general   debug, all sites, zero on free: everything through malloc.c.
 *
 * Invariants  a path that meets anything unusual (no cache, empty or full magazine, odd size, a
 *             pointer that is not a healthy small block) tail-calls malloc.c, which decides.
 * Talks to    tcache, pagemap, block; malloc.c for the rest.   Called through hfi_dispatch.
 * Threads     any.
 * Figures     benchmarks/instructions.py: instructions per malloc and free, loop included. */
#include "hot.h"

#include <errno.h>
#include <string.h>

#include "dispatch.h"
#include "hot_path.h"

/* --- fast ----------------------------------------------------------------------------------- */

/* Sizes above the linear classes: same magazine, a computed class. */
static __attribute__((noinline)) void *malloc_fast_wide(size_t size) {
    if (size > HFI_SMALL_MAX) return hfi_malloc_cold(size);
    struct hfi_magazine *m = &hfi_tcache_current->magazine[hfi_class_of(size)];
    void **top = hfi_own_load(m->top);
    void *block = top[-1];
    if (hfi_unlikely(block == NULL)) return hfi_malloc_cold(size);
    hfi_own_step(m->top, -1);
    hfi_own_add(m->allocs, 1);
    return block;
}

static HFI_HOT void *malloc_fast(size_t size) {
    if (hfi_unlikely(size > HFI_LINEAR_MAX)) return malloc_fast_wide(size);
    struct hfi_magazine *m = hfi_magazine_at(hfi_tcache_current, (size + 15) & ~(size_t)15);
    void **top = hfi_own_load(m->top);
    void *block = top[-1];
    if (hfi_unlikely(block == NULL)) return hfi_malloc_cold(size);
    hfi_own_step(m->top, -1);
    hfi_own_add(m->allocs, 1);
    return block;
}

static HFI_HOT void free_fast(void *block) {
    struct hfi_magazine *m =
        (struct hfi_magazine *)((char *)hfi_tcache_current + hfi_magazine_offset(block));
    void **top = hfi_own_load(m->top);
    if (hfi_unlikely(top >= hfi_own_load(m->limit))) {
        hfi_free_cold(block);
        return;
    }
    *top = block;
    hfi_own_step(m->top, 1);
}

/* --- checked -------------------------------------------------------------------------------- */

/* `domain` is a constant in libc's functions: there it costs nothing. */
static inline void *checked_pop(struct hfi_magazine *m, size_t extent, size_t size, int domain) {
    void **top = hfi_own_load(m->top);
    char *block = top[-1];
    if (hfi_unlikely(block == NULL))
        return domain == HF_DOMAIN_LIBC ? hfi_malloc_cold(size)
                                        : hfi_domain_malloc_cold(domain, size);
    hfi_own_step(m->top, -1);
    hfi_own_add(m->allocs, 1);
    if (hfi_unlikely(hfi_load64(block) != hfi_block_pattern))
        return hfi_suspect_cold(block, extent, size, domain);
    hfi_block_seal(block, extent, size,
                   (extent - HFI_TRAILER - size) + ((uint64_t)domain << HFI_DOMAIN_SHIFT));
    return block;
}

static __attribute__((noinline)) void *checked_wide(int domain, size_t size) {
    if (size > HFI_SMALL_MAX - HFI_TRAILER) return hfi_domain_malloc_cold(domain, size);
    unsigned class_index = hfi_class_of(size + HFI_TRAILER);
    return checked_pop(&hfi_tcache_current->magazine[class_index], hfi_class_size[class_index],
                       size, domain);
}

static inline void *checked_malloc(int domain, size_t size) {
    if (hfi_unlikely(size > HFI_LINEAR_MAX - HFI_TRAILER)) return checked_wide(domain, size);
    size_t extent = (size + HFI_TRAILER + 15) & ~(size_t)15;
    return checked_pop(hfi_magazine_at(hfi_tcache_current, extent), extent, size, domain);
}

/* Leaves the block as a freed one looks and in the magazine, which has room. */
static inline void checked_push(struct hfi_magazine *m, void **top, void *block, char *trailer) {
    hfi_complement64(trailer);
    hfi_store64(block, hfi_block_pattern);
    *top = block;
    hfi_own_step(m->top, 1);
}

/* More slack than the linear classes have: all of the pattern is there. */
static __attribute__((noinline)) void free_checked_wide(int domain, void *block,
                                                        struct hfi_magazine *m, uint64_t slack) {
    char *trailer = hfi_block_trailer(block, m->block_size);
    /* Freed, damaged, of another domain, with a site: all of it is above. */
    if (hfi_unlikely(slack > HFI_SLACK_MAX || hfi_load64(trailer - slack) != hfi_block_pattern)) {
        hfi_domain_free_cold(domain, block);
        return;
    }
    checked_push(m, hfi_own_load(m->top), block, trailer);
}

/* `size`: what the program says the payload is long, or SIZE_MAX. A constant domain and SIZE_MAX
 * cost nothing. */
static inline void checked_free(int domain, void *block, size_t size) {
    struct hfi_tcache *tc = hfi_tcache_current;
    struct hfi_magazine *m = (struct hfi_magazine *)((char *)tc + hfi_magazine_offset(block));
    void **top = hfi_own_load(m->top);
    if (hfi_unlikely(top >= hfi_own_load(m->limit))) {
        hfi_sized_free_cold(domain, block, size);
        return;
    }
    char *trailer = hfi_block_trailer(block, m->block_size);
    uintptr_t end = hfi_block_end(trailer) + ((uintptr_t)domain << HFI_DOMAIN_SHIFT);
    /* The compiler would compute slack from the unfinished sum, at two instructions more. */
    __asm__("" : "+r"(end));
    if (size != SIZE_MAX && hfi_unlikely(end != (uintptr_t)block + size)) {
        hfi_sized_free_cold(domain, block, size);
        return;
    }
    uint64_t slack = (uintptr_t)trailer - end;
    if (hfi_unlikely(slack > 15)) {
        free_checked_wide(domain, block, m, slack);
        return;
    }
    /* Masked and not compared as far as it goes: whether a block has eight bytes of slack is what no
     * branch predictor knows. */
    uint64_t differs = hfi_load64((const char *)end) ^ hfi_block_pattern;
    if (hfi_unlikely((differs & tc->slack_mask[slack]) != 0)) {
        hfi_domain_free_cold(domain, block);
        return;
    }
    checked_push(m, top, block, trailer);
}

static HFI_HOT void *malloc_checked(size_t size) {
    return checked_malloc(HF_DOMAIN_LIBC, size);
}

static HFI_HOT void free_checked(void *block) {
    checked_free(HF_DOMAIN_LIBC, block, SIZE_MAX);
}

static HFI_HOT void *domain_malloc_checked(int domain, size_t size) {
    return checked_malloc(domain & 3, size);
}

static HFI_HOT void domain_free_checked(int domain, void *block) {
    checked_free(domain & 3, block, SIZE_MAX);
}

/* --- the rest of the family ------------------------------------------------------------------ */

static void *calloc_small(size_t count, size_t size) {
    size_t bytes;
    if (hfi_unlikely(__builtin_mul_overflow(count, size, &bytes)))
        return hfi_heap_failed(&hfi_default_heap);
    if (bytes > HFI_LINEAR_MAX * 8)
        return hfi_alloc(&hfi_default_heap, bytes, 16, HF_DOMAIN_LIBC, true);
    void *block = hfi_dispatch.malloc(bytes);
    if (hfi_likely(block != NULL)) memset(block, 0, bytes);
    return block;
}

static void *realloc_default(void *block, size_t size) {
    return hfi_realloc(&hfi_default_heap, block, size, HF_DOMAIN_LIBC);
}

/* A whole small block of libc's domain without a site: looked at once, in place if it fits, else by
 * the hot paths. The magazine says the class and the trailer the rest; what either does not say of a
 * usual block is for the general way. */
static void *realloc_sealed(void *block, size_t size) {
    struct hfi_tcache *tc = hfi_tcache_current;
    size_t at = hfi_magazine_offset(block);
    if (hfi_unlikely(at == 0 || tc == &hfi_tcache_empty || size - 1 >= HFI_SMALL_MAX - HFI_TRAILER))
        return realloc_default(block, size);
    size_t extent = hfi_class_size[at / sizeof(struct hfi_magazine)];
    uint64_t slack = hfi_block_note(block, extent);
    char *trailer = hfi_block_trailer(block, extent);
    if (hfi_unlikely(slack > HFI_SLACK_MAX)) return realloc_default(block, size);
    uint64_t differs = hfi_load64(trailer - slack) ^ hfi_block_pattern;
    if (hfi_unlikely((differs & tc->slack_mask[slack < 15 ? slack : 15]) != 0))
        return realloc_default(block, size);
    size_t room = extent - HFI_TRAILER, before = room - slack;
    if (size <= room && size + HFI_TRAILER >= extent / 2 && room - size <= HFI_SLACK_MAX) {
        hfi_block_seal(block, extent, size, room - size);
        hfi_own_add(tc->in_place, 1);
        return block;
    }
    void *copy = hfi_dispatch.malloc(size);
    if (hfi_unlikely(copy == NULL)) return NULL;
    memcpy(copy, block, before < size ? before : size);
    hfi_own_add(tc->moved, 1);
    hfi_dispatch.free(block);
    return copy;
}

/* Servers ask it of every block they take and give. */
static size_t usable_sealed(const void *block) {
    size_t at = hfi_magazine_offset(block);
    if (hfi_unlikely(at == 0)) return hfi_size_of(block);
    size_t extent = hfi_class_size[at / sizeof(struct hfi_magazine)];
    uint64_t note = hfi_block_note(block, extent);
    if (hfi_unlikely(note > HFI_NOTE_MAX || (note & HFI_NOTE_SITE))) return hfi_size_of(block);
    return hfi_block_size(extent, note);
}

static void *aligned_default(size_t alignment, size_t size) {
    if (alignment <= 16) return hfi_dispatch.malloc(size);
    return hfi_alloc(&hfi_default_heap, size, alignment, HF_DOMAIN_LIBC, false);
}

static void free_sized_fast(void *block, size_t size) {
    (void)size;
    free_fast(block);
}

static HFI_HOT void free_sized_checked(void *block, size_t size) {
    checked_free(HF_DOMAIN_LIBC, block, size);
}

static void free_sized_general(void *block, size_t size) {
    hfi_free(NULL, block, HF_DOMAIN_LIBC, size);
}

/* --- start ---------------------------------------------------------------------------------- */

static void *first_malloc(size_t size) {
    if (!hfi_start()) return hfi_heap_failed(&hfi_default_heap);
    return hfi_dispatch.malloc(size);
}

static void first_free(void *block) {
    if (block != NULL && hfi_start()) hfi_dispatch.free(block);
}

static void *first_calloc(size_t count, size_t size) {
    return hfi_start() ? hfi_dispatch.calloc(count, size) : hfi_heap_failed(&hfi_default_heap);
}

static void *first_realloc(void *block, size_t size) {
    return hfi_start() ? hfi_dispatch.realloc(block, size) : hfi_heap_failed(&hfi_default_heap);
}

static void *first_aligned(size_t alignment, size_t size) {
    return hfi_start() ? hfi_dispatch.aligned_alloc(alignment, size)
                       : hfi_heap_failed(&hfi_default_heap);
}

static void *first_domain_malloc(int domain, size_t size) {
    return hfi_start() ? hfi_dispatch.domain_malloc(domain, size)
                       : hfi_heap_failed(&hfi_default_heap);
}

static void first_domain_free(int domain, void *block) {
    if (block != NULL && hfi_start()) hfi_dispatch.domain_free(domain, block);
}

static void *domain_malloc_fast(int domain, size_t size) {
    (void)domain;
    return malloc_fast(size);
}

static void domain_free_fast(int domain, void *block) {
    (void)domain;
    free_fast(block);
}

static void first_free_sized(void *block, size_t size) {
    if (block != NULL && hfi_start()) hfi_dispatch.free_sized(block, size);
}

struct hfi_dispatch hfi_dispatch = {
    .malloc = first_malloc,
    .free = first_free,
    .calloc = first_calloc,
    .realloc = first_realloc,
    .aligned_alloc = first_aligned,
    .free_sized = first_free_sized,
    .usable_size = hfi_size_of,
    .domain_malloc = first_domain_malloc,
    .domain_free = first_domain_free,
};

void hfi_hot_start(const hf_heap *heap) {
    const hf_options *options = &heap->options;
    bool general = heap->all_sites || options->zero_on_free || options->guard_every != 0 ||
                   options->limit_block != 0;
    hfi_dispatch.calloc = calloc_small;
    hfi_dispatch.realloc = realloc_default;
    hfi_dispatch.aligned_alloc = aligned_default;
    hfi_dispatch.free_sized = free_sized_general;
    hfi_dispatch.domain_free = hfi_domain_free_cold;
    hfi_dispatch.domain_malloc = hfi_domain_malloc_cold;
    hfi_dispatch.free = hfi_free_cold;
    hfi_dispatch.malloc = hfi_malloc_cold;
    if (general) return;
    if (heap->trailer) {
        hfi_dispatch.realloc = realloc_sealed;
        hfi_dispatch.usable_size = usable_sealed;
    }
    if (heap->fill) {
        hfi_hot_hardened_start(&hfi_dispatch);
    } else if (heap->trailer) {
        hfi_dispatch.free_sized = free_sized_checked;
        hfi_dispatch.domain_free = domain_free_checked;
        hfi_dispatch.domain_malloc = domain_malloc_checked;
        hfi_dispatch.free = free_checked;
        hfi_dispatch.malloc = malloc_checked;
    } else {
        hfi_dispatch.free_sized = free_sized_fast;
        hfi_dispatch.domain_free = domain_free_fast;
        hfi_dispatch.domain_malloc = domain_malloc_fast;
        hfi_dispatch.free = free_fast;
        hfi_dispatch.malloc = malloc_fast;
    }
}
