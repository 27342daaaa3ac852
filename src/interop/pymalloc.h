/* pymalloc.h - CPython's small-object allocator, as it lies in memory.
 *
 *   arena objects [0..count)  -->  arena of 1 MiB = 64 pools of 16 KiB  -->  header | blocks
 *   usable --> arena object with fewest free pools <--> ... <--> most   last[n]: last with n
 *
 * Invariants  the tables are found by value, not by name: `arenas` is the one word in the program's
 *             data that points to a table in which every arena we handed out is at the index its
 *             pools say. The lists are recomputed from the table and must be found word for word.
 * Threads     every function runs with the GIL held, or with the interpreter kept still by gil.h.
 * Fails with  false and a sentence: then nothing was changed.
 * Source      Objects/obmalloc.c, 3.11 to 3.13 (radix tree, 1 MiB arenas, 16 KiB pools). */
#ifndef HFI_PYMALLOC_H
#define HFI_PYMALLOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arenas.h"

#define HFI_POOL_HEADER   48u
#define HFI_POOL_CLASSES  32u     /* blocks of 16 to 512 bytes                          */
#define HFI_POOL_NO_CLASS 0xffffu /* such a pool is initialised when it is taken        */

typedef struct hfi_pool {
    uint32_t count; /* live blocks                                          */
    uint32_t padding;
    void *free_block;      /* head of the list of free blocks                      */
    struct hfi_pool *next; /* of its class, or of the arena's free pools           */
    struct hfi_pool *previous;
    uint32_t arena_index; /* into the arena objects                               */
    uint32_t class_index; /* blocks of (index + 1) * 16 bytes, or NO_CLASS        */
    uint32_t next_offset; /* of the first block never handed out                  */
    uint32_t last_offset; /* largest value of next_offset at which a block fits   */
} hfi_pool;

typedef struct hfi_arena_object {
    uintptr_t address;             /* of the arena; 0 if the object has none               */
    char *next_pool;               /* first pool never taken                               */
    uint32_t free_pools;           /* on the list and never taken                          */
    uint32_t total_pools;          /* 64, less the parked ones                             */
    hfi_pool *free_list;           /* singly linked                                        */
    struct hfi_arena_object *next; /* usable: list in ascending order of free_pools */
    struct hfi_arena_object *previous;
} hfi_arena_object;

typedef struct hfi_pymalloc {
    hfi_arena_object **table;  /* where the interpreter keeps the table */
    hfi_arena_object **usable; /* where it keeps the list's head        */
    hfi_arena_object **last;   /* its array of 65 list positions        */
} hfi_pymalloc;

typedef enum hfi_found { HFI_FOUND, HFI_FOUND_NOT_YET, HFI_FOUND_NEVER } hfi_found;

/* Finds the three; NOT_YET if there is too little to tell by. */
hfi_found hfi_pymalloc_locate(hfi_pymalloc *pymalloc, const char **why_out);
/* Arena objects in the table at this moment; 0 if the table is not where it was. */
size_t hfi_pymalloc_count(const hfi_pymalloc *pymalloc);
/* True if lists and table agree entirely. */
bool hfi_pymalloc_check(const hfi_pymalloc *pymalloc, size_t count);
/* Makes the lists from the table, after free_pools of some arenas were changed. */
void hfi_pymalloc_relink(const hfi_pymalloc *pymalloc, size_t count);
/* The arena's free list as bits; false if anything about the arena is not as it must be.
 * *carved_out: pools taken at least once, these are the first ones. */
bool hfi_pymalloc_arena_check(const hfi_arena_object *arena, uint32_t index,
                              const hfi_arena_slot *slot, uint64_t *free_out, unsigned *carved_out);
/* True if the memory is an arena at all, not a frame stack chunk of the same size. */
bool hfi_pymalloc_is_arena(const void *address);

#endif
