/* pymalloc.c - CPython's small-object allocator, as it lies in memory. pymalloc.h is the contract.
 * Invariants  hf_usable_size is asked before a word of the program is followed as a pointer, so
 *             that no guess can fault; tables come from PyMem_RawRealloc, which is our malloc.
 * Threads     no state.
 * Why         the variables are static and stripped builds have no symbols; a search that demands
 *             complete agreement is safer than offsets that are right for one build. */
#include "pymalloc.h"

#include <holdfast/heap.h>

#include "python_api.h"

#define TABLE_SMALLEST ((size_t)16) /* arena objects; the table doubles from here          */
#define WITNESSES      ((size_t)4)  /* arenas that must be found before a table is believed */

typedef struct search {
    uintptr_t value;                                 /* looked for, or found              */
    hfi_arena_object *head;                          /* of the list of usable arenas      */
    hfi_arena_object *expected[HFI_ARENA_POOLS + 1]; /* list positions, word for word     */
    uintptr_t skip_begin, skip_end;                  /* not looked at                     */
    const uintptr_t *match;                          /* first place that fits             */
    size_t matches;                                  /* places that fit                   */
} search;

bool hfi_pymalloc_is_arena(const void *address) {
    /* A stack chunk starts {previous, size, top}; a pool has a pointer or NULL in that place. */
    return ((const uintptr_t *)address)[1] != HFI_ARENA_SIZE;
}

/* Objects in a table of `bytes`: the interpreter asks for 16, 32, 64, ... of them. */
static size_t table_count(size_t bytes) {
    if (bytes < TABLE_SMALLEST * sizeof(hfi_arena_object)) return 0;
    size_t count = TABLE_SMALLEST;
    while (count * 2 * sizeof(hfi_arena_object) <= bytes)
        count *= 2;
    return count;
}

/* Every arena object with an address must name one of ours, and its pools must name the object. */
static size_t table_witnesses(const hfi_arena_object *table, size_t count) {
    size_t witnesses = 0;
    for (size_t i = 0; i < count; i++) {
        if (table[i].address == 0) continue;
        if (hfi_arenas_find((const void *)table[i].address) == NULL) return 0;
        if (((const hfi_pool *)table[i].address)->arena_index != i) return 0;
        witnesses++;
    }
    return witnesses;
}

/* The value of the table: many words may hold it, all of them must hold the same. */
static bool visit_table(const uintptr_t *words, size_t count, void *context) {
    search *s = context;
    for (size_t i = 0; i < count; i++) {
        if (words[i] % 16 != 0 || words[i] < HFI_ARENA_SIZE || words[i] == s->value) continue;
        size_t objects = table_count(hf_usable_size((const void *)words[i]));
        if (objects == 0) continue;
        if (table_witnesses((const hfi_arena_object *)words[i], objects) < WITNESSES) continue;
        s->value = words[i];
        s->matches++;
    }
    return s->matches > 1;
}

static bool visit_value(const uintptr_t *words, size_t count, void *context) {
    search *s = context;
    for (size_t i = 0; i < count; i++) {
        if (words[i] != s->value) continue;
        uintptr_t place = (uintptr_t)&words[i];
        if (place >= s->skip_begin && place < s->skip_end) continue;
        s->match = &words[i];
        s->matches++;
    }
    return s->matches > 1;
}

static bool visit_last(const uintptr_t *words, size_t count, void *context) {
    search *s = context;
    for (size_t i = 0; i + HFI_ARENA_POOLS < count; i++) {
        size_t k = 0;
        while (k <= HFI_ARENA_POOLS && words[i + k] == (uintptr_t)s->expected[k])
            k++;
        if (k <= HFI_ARENA_POOLS) continue;
        s->match = &words[i];
        s->matches++;
    }
    return s->matches > 1;
}

/* The list as the table implies it: its head, and the last arena for each number of free pools.
 * False if the links are not those of one ascending list of all usable arenas. */
static bool derive(hfi_arena_object *table, size_t count, search *s) {
    size_t usable = 0;
    s->head = NULL;
    for (size_t i = 0; i <= HFI_ARENA_POOLS; i++)
        s->expected[i] = NULL;
    for (size_t i = 0; i < count; i++) {
        if (table[i].address == 0 || table[i].free_pools == 0) continue;
        usable++;
        if (table[i].previous != NULL) continue;
        if (s->head != NULL) return false;
        s->head = &table[i];
    }
    uint32_t before = 1;
    hfi_arena_object *previous = NULL;
    for (hfi_arena_object *a = s->head; a != NULL; previous = a, a = a->next) {
        bool inside = a >= table && a < table + count;
        if (!inside || usable == 0 || a->previous != previous || a->free_pools < before)
            return false;
        if (a->free_pools > HFI_ARENA_POOLS || a->address == 0) return false;
        before = a->free_pools;
        s->expected[before] = a;
        usable--;
    }
    return usable == 0;
}

static const uintptr_t *find(hfi_words_visitor visitor, search *s) {
    s->match = NULL;
    s->matches = 0;
    hfi_python_each_data_range(visitor, s);
    return s->match;
}

hfi_found hfi_pymalloc_locate(hfi_pymalloc *pymalloc, const char **why_out) {
    search s = {0};
    find(visit_table, &s);
    if (s.matches == 0) return HFI_FOUND_NOT_YET;
    *why_out = "two tables of arenas were found";
    if (s.matches > 1) return HFI_FOUND_NEVER;
    hfi_arena_object *table = (hfi_arena_object *)s.value;
    *why_out = "the list of usable arenas is not as expected";
    if (!derive(table, table_count(hf_usable_size(table)), &s)) return HFI_FOUND_NEVER;
    size_t kinds = 0;
    for (size_t i = 0; i <= HFI_ARENA_POOLS; i++)
        kinds += s.expected[i] != NULL;
    /* The head may be the table's first object; then two words look the same. */
    if (kinds < 2 || s.head == table) return HFI_FOUND_NOT_YET;
    const uintptr_t *last = find(visit_last, &s);
    *why_out = "the array of list positions was not found once";
    if (s.matches != 1) return HFI_FOUND_NEVER;
    s.skip_begin = (uintptr_t)last;
    s.skip_end = s.skip_begin + sizeof s.expected;
    s.value = (uintptr_t)table;
    const uintptr_t *arenas = find(visit_value, &s);
    *why_out = NULL;
    if (s.matches != 1) return HFI_FOUND_NOT_YET;
    s.value = (uintptr_t)s.head;
    const uintptr_t *usable = find(visit_value, &s);
    if (s.matches != 1) return HFI_FOUND_NOT_YET;
    pymalloc->table = (hfi_arena_object **)(uintptr_t)arenas;
    pymalloc->last = (hfi_arena_object **)(uintptr_t)last;
    pymalloc->usable = (hfi_arena_object **)(uintptr_t)usable;
    return HFI_FOUND;
}

size_t hfi_pymalloc_count(const hfi_pymalloc *pymalloc) {
    return table_count(hf_usable_size(*pymalloc->table));
}

bool hfi_pymalloc_check(const hfi_pymalloc *pymalloc, size_t count) {
    search s = {0};
    if (!derive(*pymalloc->table, count, &s) || *pymalloc->usable != s.head) return false;
    for (size_t i = 0; i <= HFI_ARENA_POOLS; i++) {
        if (pymalloc->last[i] != s.expected[i]) return false;
    }
    return true;
}

void hfi_pymalloc_relink(const hfi_pymalloc *pymalloc, size_t count) {
    hfi_arena_object *first[HFI_ARENA_POOLS + 1] = {NULL};
    hfi_arena_object *table = *pymalloc->table, **last = pymalloc->last;
    for (size_t i = 0; i <= HFI_ARENA_POOLS; i++)
        last[i] = NULL;
    for (size_t i = 0; i < count; i++) {
        hfi_arena_object *a = &table[i];
        if (a->address == 0 || a->free_pools == 0) continue;
        a->next = NULL;
        a->previous = last[a->free_pools];
        if (a->previous != NULL)
            a->previous->next = a;
        else
            first[a->free_pools] = a;
        last[a->free_pools] = a;
    }
    hfi_arena_object *tail = NULL;
    *pymalloc->usable = NULL;
    for (size_t i = 1; i <= HFI_ARENA_POOLS; i++) {
        if (first[i] == NULL) continue;
        first[i]->previous = tail;
        if (tail != NULL)
            tail->next = first[i];
        else
            *pymalloc->usable = first[i];
        tail = last[i];
    }
}

static bool pool_in_use_is_right(const hfi_pool *pool, uint32_t index) {
    if (pool->arena_index != index || pool->class_index >= HFI_POOL_CLASSES) return false;
    uint32_t size = (pool->class_index + 1) * 16;
    if (pool->count == 0 || pool->count > (HFI_ARENA_POOL_SIZE - HFI_POOL_HEADER) / size)
        return false;
    if (pool->last_offset != HFI_ARENA_POOL_SIZE - size) return false;
    return pool->next_offset >= HFI_POOL_HEADER && pool->next_offset <= HFI_ARENA_POOL_SIZE;
}

bool hfi_pymalloc_arena_check(const hfi_arena_object *arena, uint32_t index,
                              const hfi_arena_slot *slot, uint64_t *free_out,
                              unsigned *carved_out) {
    size_t used = (size_t)(arena->next_pool - (char *)arena->address);
    if (used > HFI_ARENA_SIZE || used % HFI_ARENA_POOL_SIZE != 0) return false;
    unsigned carved = (unsigned)(used / HFI_ARENA_POOL_SIZE);
    uint64_t free_pools = 0;
    unsigned listed = 0;
    for (const hfi_pool *pool = arena->free_list; pool != NULL; pool = pool->next) {
        size_t offset = (uintptr_t)pool - arena->address;
        if (offset >= used || offset % HFI_ARENA_POOL_SIZE != 0) return false;
        uint64_t bit = (uint64_t)1 << offset / HFI_ARENA_POOL_SIZE;
        if ((free_pools & bit) != 0 || (slot->parked & bit) != 0) return false;
        if (pool->count != 0 || pool->arena_index != index) return false;
        free_pools |= bit;
        listed++;
    }
    uint64_t below = carved == HFI_ARENA_POOLS ? ~(uint64_t)0 : ((uint64_t)1 << carved) - 1;
    if ((slot->parked & ~below) != 0) return false;
    if (arena->free_pools != listed + HFI_ARENA_POOLS - carved) return false;
    if (arena->total_pools != HFI_ARENA_POOLS - (unsigned)__builtin_popcountll(slot->parked))
        return false;
    for (uint64_t live = below & ~free_pools & ~slot->parked; live != 0; live &= live - 1) {
        size_t offset = (size_t)__builtin_ctzll(live) * HFI_ARENA_POOL_SIZE;
        if (!pool_in_use_is_right((const hfi_pool *)(arena->address + offset), index)) return false;
    }
    *free_out = free_pools;
    *carved_out = carved;
    return true;
}
