/* owners.h - everything that owns memory, behind one small table of functions.
 *
 * Contract    an owner answers the verbs of malloc. `exact` says that usable_size is what was asked
 *             for (all profiles but fast); `heap` is NULL for an owner with no heap of its own to
 *             look at (the preloaded malloc). owner_open ends the test if the name is unknown.
 * Threads     every verb from any thread. */
#ifndef HF_TESTS_OWNERS_H
#define HF_TESTS_OWNERS_H

#include <holdfast/holdfast.h>
#include <stdatomic.h>
#include <stdbool.h>

typedef struct owner {
    const char *name;
    hf_heap *heap;   /* NULL: not a heap */
    hf_arena *arena; /* NULL: not an arena */
    bool exact;
    bool threads;  /* any thread may use it                      */
    bool recycles; /* a block given back is used for the next one */
    bool
        quiet; /* an arena is reset when nothing is live: set while other threads use it to stop that */
    _Atomic size_t live;
    bool closable; /* owner_close frees every block that is left */
    void *(*alloc)(struct owner *owner, size_t size);
    void *(*alloc_zero)(struct owner *owner, size_t count, size_t size);
    void *(*resize)(struct owner *owner, void *block, size_t size);
    void *(*alloc_aligned)(struct owner *owner, size_t alignment, size_t size);
    void (*give)(struct owner *owner, void *block);
    size_t (*usable)(struct owner *owner, void *block);
} owner;

/* The account, whatever kind of owner it is. */
hf_stats owner_stats(owner *owner);
/* Verifies everything; nothing may be found. */
void owner_whole(owner *owner);

/* Names: "arena", "arena-safety", "arena-shared", "arena-statistics", "default", "malloc", "domain", "fast", "checked", "hardened", "debug", and those four with
 * "-next" or "-best" for the other orders of the middle tier. */
owner owner_open(const char *name);
void owner_close(owner *owner);

#endif
