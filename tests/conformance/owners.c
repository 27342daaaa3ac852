/* owners.c - the owners of memory that the conformance suite runs over.
 * Contract    owners.h. A first-class heap is made with a profile and a fit order taken from its name.
 * Fails with  the end of the test: an owner that cannot be opened is no owner. */
#include "owners.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "../c/account.h"
#include "../c/arena_account.h"

static void *heap_alloc(owner *o, size_t size) {
    return hf_heap_malloc(o->heap, size);
}
static void *heap_zero(owner *o, size_t count, size_t size) {
    return hf_heap_calloc(o->heap, count, size);
}
static void *heap_resize(owner *o, void *block, size_t size) {
    return hf_heap_realloc(o->heap, block, size);
}
static void *heap_aligned(owner *o, size_t alignment, size_t size) {
    return hf_heap_aligned_alloc(o->heap, alignment, size);
}
static void heap_give(owner *o, void *block) {
    hf_heap_free(o->heap, block);
}
static size_t any_usable(owner *o, void *block) {
    (void)o;
    return hf_usable_size(block);
}

static void *default_alloc(owner *o, size_t size) {
    (void)o;
    return hf_malloc(size);
}
static void *default_zero(owner *o, size_t count, size_t size) {
    (void)o;
    return hf_calloc(count, size);
}
static void *default_resize(owner *o, void *block, size_t size) {
    (void)o;
    return hf_realloc(block, size);
}
static void *default_aligned(owner *o, size_t alignment, size_t size) {
    (void)o;
    return hf_aligned_alloc(alignment, size);
}
static void default_give(owner *o, void *block) {
    (void)o;
    hf_free(block);
}

static void *domain_alloc(owner *o, size_t size) {
    (void)o;
    return hf_domain_malloc(HF_DOMAIN_PY_OBJ, size);
}
static void *domain_zero(owner *o, size_t count, size_t size) {
    (void)o;
    return hf_domain_calloc(HF_DOMAIN_PY_OBJ, count, size);
}
static void *domain_resize(owner *o, void *block, size_t size) {
    (void)o;
    return hf_domain_realloc(HF_DOMAIN_PY_OBJ, block, size);
}
static void domain_give(owner *o, void *block) {
    (void)o;
    hf_domain_free(HF_DOMAIN_PY_OBJ, block);
}
/* The domains have no aligned call; blocks of the default heap are freed as what they are. */
static void *domain_aligned(owner *o, size_t alignment, size_t size) {
    if (alignment <= 16) return domain_alloc(o, size);
    errno = EINVAL;
    return NULL;
}

static void *libc_alloc(owner *o, size_t size) {
    (void)o;
    return malloc(size);
}
static void *libc_zero(owner *o, size_t count, size_t size) {
    (void)o;
    return calloc(count, size);
}
static void *libc_resize(owner *o, void *block, size_t size) {
    (void)o;
    return realloc(block, size);
}
static void *libc_aligned(owner *o, size_t alignment, size_t size) {
    (void)o;
    return aligned_alloc(alignment, size);
}
static void libc_give(owner *o, void *block) {
    (void)o;
    free(block);
}
static size_t libc_usable(owner *o, void *block) {
    (void)o;
    return malloc_usable_size(block);
}

/* --- arenas: a word before each block remembers its size, as malloc's verbs need it ------------- */

typedef struct arena_word {
    size_t size, whole; /* asked for; of the arena's block */
} arena_word;
_Static_assert(sizeof(arena_word) == 16, "keeps the alignment of 16");

static void *arena_block(owner *o, size_t alignment, size_t size, bool zero) {
    size_t lead = alignment > 16 ? alignment : 16, whole = 0;
    if (__builtin_add_overflow(size, lead, &whole)) {
        errno = ENOMEM;
        return NULL;
    }
    char *raw = zero ? hf_arena_allocate_zeroed(o->arena, whole, alignment)
                     : hf_arena_alloc_aligned(o->arena, whole, alignment);
    if (raw == NULL) return NULL;
    CHECK(hf_arena_owns(o->arena, raw));
    ((arena_word *)(void *)(raw + lead))[-1] = (arena_word){size, whole};
    atomic_fetch_add(&o->live, 1);
    return raw + lead;
}

static void *arena_alloc(owner *o, size_t size) {
    return arena_block(o, 16, size, false);
}
static void *arena_zero(owner *o, size_t count, size_t size) {
    size_t bytes = 0;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return arena_block(o, 16, bytes, true);
}
static void *arena_aligned(owner *o, size_t alignment, size_t size) {
    if (alignment != 0) return arena_block(o, alignment, size, false);
    errno = EINVAL;
    return NULL;
}
static size_t arena_usable(owner *o, void *block) {
    (void)o;
    return block != NULL ? ((arena_word *)block)[-1].size : 0;
}
static void arena_give(owner *o, void *block) {
    if (block == NULL) return;
    arena_word word = ((arena_word *)block)[-1];
    hf_arena_free(o->arena, (char *)block - (word.whole - word.size), word.whole);
    if (atomic_fetch_sub(&o->live, 1) == 1 && !o->quiet) CHECK_EQ(hf_arena_reset(o->arena), HF_OK);
}
static void *arena_resize(owner *o, void *block, size_t size) {
    size_t old = arena_usable(o, block);
    if (size == 0 && block != NULL) {
        arena_give(o, block);
        return NULL;
    }
    void *moved = arena_alloc(o, size);
    if (moved == NULL || block == NULL) return moved;
    memcpy(moved, block, old < size ? old : size);
    arena_give(o, block);
    return moved;
}

static owner open_arena(const char *name) {
    hf_arena_options options;
    bool shared = strcmp(name, "arena-shared") == 0;
    hf_arena_options_init(&options,
                          strcmp(name, "arena-safety") == 0 ? HF_ARENA_SAFETY : HF_ARENA_DEFAULT);
    options.thread_safe = shared;
    options.statistics |= strcmp(name, "arena-statistics") == 0;
    options.name = name;
    return (owner){.name = name,
                   .arena = arena_open(&options),
                   .exact = true,
                   .threads = shared,
                   .recycles = !shared,
                   .closable = true,
                   .alloc = arena_alloc,
                   .alloc_zero = arena_zero,
                   .resize = arena_resize,
                   .alloc_aligned = arena_aligned,
                   .give = arena_give,
                   .usable = arena_usable};
}

hf_stats owner_stats(owner *o) {
    return o->arena != NULL ? arena_stats(o->arena) : account_stats(o->heap);
}

void owner_whole(owner *o) {
    if (o->arena != NULL) {
        arena_account(o->arena);
        arena_whole(o->arena);
    } else {
        account_check(o->heap);
        account_whole(o->heap);
    }
}

static owner open_default(const char *name) {
    return (owner){.name = name,
                   .threads = true,
                   .recycles = true,
                   .heap = hf_heap_default(),
                   .exact = hf_options_active()->profile != HF_PROFILE_FAST,
                   .alloc = default_alloc,
                   .alloc_zero = default_zero,
                   .resize = default_resize,
                   .alloc_aligned = default_aligned,
                   .give = default_give,
                   .usable = any_usable};
}

static owner open_domain(const char *name) {
    owner o = open_default(name);
    o.alloc = domain_alloc;
    o.alloc_zero = domain_zero;
    o.resize = domain_resize;
    o.alloc_aligned = domain_aligned;
    o.give = domain_give;
    return o;
}

static owner open_libc(const char *name) {
    if (!hf_is_active()) CHECK_SKIP("libholdfast_malloc.so is not preloaded");
    owner o = open_default(name);
    o.alloc = libc_alloc;
    o.alloc_zero = libc_zero;
    o.resize = libc_resize;
    o.alloc_aligned = libc_aligned;
    o.give = libc_give;
    o.usable = libc_usable;
    return o;
}

static owner open_heap(const char *name) {
    hf_options options;
    char profile[32], why[256] = "";
    const char *dash = strchr(name, '-');
    size_t length = dash != NULL ? (size_t)(dash - name) : strlen(name);
    CHECK_LT(length, sizeof profile);
    memcpy(profile, name, length);
    profile[length] = '\0';
    hf_options_init(&options);
    if (hf_options_parse(&options, "profile", profile, why, sizeof why) != HF_OK)
        CHECK_FAIL("%s is no owner: %s", name, why);
    if (dash != NULL && hf_options_parse(&options, "fit", dash + 1, why, sizeof why) != HF_OK)
        CHECK_FAIL("%s is no owner: %s", name, why);
    owner o = {.name = name,
               .exact = options.profile != HF_PROFILE_FAST,
               .threads = true,
               .recycles = true,
               .closable = true,
               .alloc = heap_alloc,
               .alloc_zero = heap_zero,
               .resize = heap_resize,
               .alloc_aligned = heap_aligned,
               .give = heap_give,
               .usable = any_usable};
    CHECK_EQ(hf_heap_create(&options, name, -1, &o.heap), HF_OK);
    return o;
}

owner owner_open(const char *name) {
    if (strcmp(name, "default") == 0) return open_default(name);
    if (strcmp(name, "domain") == 0) return open_domain(name);
    if (strcmp(name, "malloc") == 0) return open_libc(name);
    if (strncmp(name, "arena", 5) == 0) return open_arena(name);
    return open_heap(name);
}

void owner_close(owner *o) {
    if (o->closable)
        CHECK_EQ(o->arena != NULL ? hf_arena_destroy(o->arena) : hf_heap_destroy(o->heap), HF_OK);
    o->heap = NULL;
    o->arena = NULL;
}
