/* model.h - what a random program believes about the heap it uses.
 *
 *   slot[i] = {address, size, alignment, tag}       address NULL: nothing there
 *
 * Contract    a block given to the model must be where no other block of the model is, aligned, owned
 *             by the heap and as long as asked; its content is checked when it is freed, moved, and
 *             at every sweep. A violation ends the process and names the seed.
 * Threads     one model per thread; blocks travel by model_drop on one side and model_keep on the
 *             other. */
#ifndef HF_TESTS_MODEL_H
#define HF_TESTS_MODEL_H

#include <holdfast/holdfast.h>
#include <stdbool.h>

#include "../c/account.h"
#include "../c/check.h"
#include "../c/content.h"

enum { MODEL_SLOTS = 400 };

typedef struct model_block {
    char *address;
    size_t size;
    size_t alignment;
    uint64_t tag;
} model_block;

typedef struct model {
    hf_heap *heap;
    bool exact;
    uint64_t seed;
    uint64_t next_tag;
    check_random random;
    model_block slot[MODEL_SLOTS];
} model;

#define MODEL_CHECK(m, condition, block)                                                           \
    CHECK_SAY(condition, "seed %" PRIu64 ", block %p of %zu bytes, alignment %zu", (m)->seed,      \
              (void *)(block)->address, (block)->size, (block)->alignment)

/* The block is whole, and the heap says about it what the model says. */
static inline void model_verify(model *m, const model_block *b) {
    MODEL_CHECK(m, content_whole(b->address, b->size, b->tag), b);
    MODEL_CHECK(m, hf_heap_of(b->address) == m->heap, b);
    size_t usable = hf_usable_size(b->address);
    MODEL_CHECK(m, m->exact ? usable == b->size : usable >= b->size, b);
}

/* Takes a fresh block into slot i: nowhere near another one, then filled. */
static inline void model_keep(model *m, size_t i, char *address, size_t size, size_t alignment) {
    model_block *b = &m->slot[i];
    *b = (model_block){address, size, alignment, m->next_tag++};
    MODEL_CHECK(m, (uintptr_t)address % alignment == 0, b);
    uintptr_t start = (uintptr_t)address, end = start + (size > 0 ? size : 1);
    for (size_t j = 0; j < MODEL_SLOTS; j++) {
        const model_block *other = &m->slot[j];
        if (j == i || other->address == NULL) continue;
        uintptr_t other_start = (uintptr_t)other->address;
        uintptr_t other_end = other_start + (other->size > 0 ? other->size : 1);
        MODEL_CHECK(m, end <= other_start || other_end <= start, b);
    }
    content_fill(address, size, b->tag);
}

static inline model_block model_drop(model *m, size_t i) {
    model_block b = m->slot[i];
    m->slot[i].address = NULL;
    return b;
}

static inline void model_sweep(model *m) {
    for (size_t i = 0; i < MODEL_SLOTS; i++)
        if (m->slot[i].address != NULL) model_verify(m, &m->slot[i]);
}

/* A size that likes borders: small mostly, near a class or tier border often, large sometimes. */
static inline size_t model_size(check_random *random) {
    static const size_t near[] = {8,     16,    24,     1016,   1024,   4096,    8192,   32768,
                                  32776, 65536, 131072, 262144, 524288, 1048576, 2097152};
    switch (check_random_below(random, 16)) {
    case 0: return check_random_below(random, 3);
    case 1:
    case 2: {
        size_t border = near[check_random_below(random, sizeof near / sizeof near[0])];
        size_t shift = check_random_below(random, 33);
        return border + shift > 16 ? border + shift - 16 : 0;
    }
    case 3: return check_random_below(random, 40000);
    case 4: return 30000 + check_random_below(random, 300000);
    case 5:
        if (check_random_below(random, 4) == 0) return check_random_below(random, 3000000);
        return check_random_below(random, 3000);
    case 6:
    case 7:
    case 8: return check_random_below(random, 3000);
    default: return check_random_below(random, 300);
    }
}

#endif
