/* owners.c - the owners of memory that the conformance suite runs over.
 * Contract    owners.h. A first-class heap is made with a profile and a fit order taken from its name.
 * Fails with  the end of the test: an owner that cannot be opened is no owner. */
#include "owners.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "../c/check.h"

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

static owner open_default(const char *name) {
    return (owner){.name = name,
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
    return open_heap(name);
}

void owner_close(owner *o) {
    if (o->closable) CHECK_EQ(hf_heap_destroy(o->heap), HF_OK);
    o->heap = NULL;
}
