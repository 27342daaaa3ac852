/* owners.h - everything that owns memory, behind one small table of functions.
 *
 * Contract    an owner answers the verbs of malloc. `exact` says that usable_size is what was asked
 *             for (all profiles but fast); `heap` is NULL for an owner with no heap of its own to
 *             look at (the preloaded malloc). owner_open ends the test if the name is unknown.
 * Threads     every verb from any thread. */
#ifndef HF_TESTS_OWNERS_H
#define HF_TESTS_OWNERS_H

#include <holdfast/holdfast.h>
#include <stdbool.h>

typedef struct owner {
    const char *name;
    hf_heap *heap;
    bool exact;
    bool closable; /* owner_close frees every block that is left */
    void *(*alloc)(struct owner *owner, size_t size);
    void *(*alloc_zero)(struct owner *owner, size_t count, size_t size);
    void *(*resize)(struct owner *owner, void *block, size_t size);
    void *(*alloc_aligned)(struct owner *owner, size_t alignment, size_t size);
    void (*give)(struct owner *owner, void *block);
    size_t (*usable)(struct owner *owner, void *block);
} owner;

/* Names: "default", "malloc", "domain", "fast", "checked", "hardened", "debug", and those four with
 * "-next" or "-best" for the other orders of the middle tier. */
owner owner_open(const char *name);
void owner_close(owner *owner);

#endif
