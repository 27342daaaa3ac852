/* test_programs.c - random programs against a model (model.h).
 *
 *   test_programs [PROFILE [SEED [PROGRAMS [STEPS [THREADS]]]]]
 *
 * Method      a program is a seed: its steps are malloc, calloc, realloc, aligned_alloc, free, sized
 *             free, exchange with another thread, flush, reclaim, check. Heap options are drawn from
 *             the seed as well. A failure prints the seed; the same arguments replay it.
 * Contract    after every program: a walk finds nothing, the view shows the model's blocks and no
 *             other, the account adds up exactly; then everything is freed and it does so again. */
#include <heap/types.h>
#include <pthread.h>
#include <stdatomic.h>

#include "model.h"

enum { EXCHANGE_SLOTS = 16, THREADS_MAX = 8 };

typedef struct program {
    hf_heap *heap;
    bool exact;
    uint64_t seed;
    unsigned steps;
    unsigned threads;
    model *models[THREADS_MAX];
    _Atomic(model_block *) exchange[EXCHANGE_SLOTS];
} program;

typedef struct worker {
    program *program;
    unsigned number;
} worker;

static void step_alloc(model *m, size_t i) {
    size_t size = model_size(&m->random);
    switch (check_random_below(&m->random, 8)) {
    case 0: {
        char *block = hf_heap_calloc(m->heap, 1, size);
        CHECK(block != NULL);
        CHECK_SAY(content_zero(block, size), "seed %" PRIu64 ", calloc of %zu", m->seed, size);
        model_keep(m, i, block, size, 16);
        break;
    }
    case 1: {
        size_t alignment = (size_t)16 << check_random_below(&m->random, 13);
        char *block = hf_heap_aligned_alloc(m->heap, alignment, size);
        CHECK(block != NULL);
        model_keep(m, i, block, size, alignment);
        break;
    }
    case 2: {
        char *block = hf_heap_realloc(m->heap, NULL, size);
        CHECK(block != NULL);
        model_keep(m, i, block, size, 16);
        break;
    }
    default: {
        char *block = hf_heap_malloc(m->heap, size);
        CHECK(block != NULL);
        model_keep(m, i, block, size, 16);
    }
    }
}

static void step_realloc(model *m, size_t i) {
    model_block old = m->slot[i];
    size_t size = model_size(&m->random);
    if (check_random_below(&m->random, 2) == 0)
        size = old.size + check_random_below(&m->random, 64) - (old.size >= 32 ? 32 : 0);
    if (size == 0) size = 1;
    model_verify(m, &old);
    char *block = hf_heap_realloc(m->heap, old.address, size);
    CHECK(block != NULL);
    model_drop(m, i);
    size_t kept = size < old.size ? size : old.size;
    MODEL_CHECK(m, content_whole_to(block, old.size, kept, old.tag), &old);
    model_keep(m, i, block, size, 16);
}

static void step_free(model *m, size_t i) {
    model_block b = m->slot[i];
    model_verify(m, &b);
    model_drop(m, i);
    switch (check_random_below(&m->random, 4)) {
    case 0: hf_free(b.address); break;
    case 1: hf_free_sized(b.address, b.size); break;
    default: hf_heap_free(m->heap, b.address);
    }
}

/* Swaps the block of slot i for whatever another thread left. */
static void step_exchange(program *p, model *m, size_t i) {
    model_block *mine = malloc(sizeof *mine);
    CHECK(mine != NULL);
    *mine = model_drop(m, i);
    size_t at = check_random_below(&m->random, EXCHANGE_SLOTS);
    /* acq_rel: the content of a block goes with the message that carries it. */
    model_block *other = atomic_exchange_explicit(&p->exchange[at], mine, memory_order_acq_rel);
    if (other == NULL) return;
    model_verify(m, other);
    char *address = other->address;
    size_t size = other->size, alignment = other->alignment;
    free(other);
    model_keep(m, i, address, size, alignment);
}

static void *program_run(void *argument) {
    worker *w = argument;
    program *p = w->program;
    model *m = p->models[w->number];
    for (unsigned step = 0; step < p->steps; step++) {
        size_t i = check_random_below(&m->random, MODEL_SLOTS);
        if (m->slot[i].address == NULL) {
            step_alloc(m, i);
            continue;
        }
        uint64_t verb = check_random_below(&m->random, 1000);
        if (verb < 250)
            step_realloc(m, i);
        else if (verb < 350)
            step_exchange(p, m, i);
        else if (verb < 990)
            step_free(m, i);
        else if (verb < 992)
            hf_thread_flush();
        else if (verb < 993)
            (void)hf_heap_reclaim(m->heap);
        else if (verb < 995)
            CHECK_EQ(hf_heap_check(m->heap, NULL), HF_OK);
        else if (verb < 996)
            (void)account_stats(m->heap);
        else if (verb < 997)
            model_sweep(m);
        else
            for (size_t j = 0; j < MODEL_SLOTS; j += 2) /* a spike falls */
                if (m->slot[j].address != NULL) step_free(m, j);
    }
    model_sweep(m);
    return NULL;
}

static void draw_options(check_random *random, hf_options *options) {
    options->fit = (uint32_t)check_random_below(random, 3);
    options->reclaim = (uint32_t)check_random_below(random, 3);
    options->reclaim_every = 1 + check_random_below(random, 500);
    options->decay_ms = check_random_below(random, 3) * 5;
    options->zero_on_free =
        options->profile != HF_PROFILE_FAST && check_random_below(random, 4) == 0;
    options->cache_bytes = check_random_below(random, 3) * 100000;
    options->large_cache = check_random_below(random, 2) * ((uint64_t)16 << 20);
    options->sites = (uint32_t)check_random_below(random, 3);
    if (options->profile == HF_PROFILE_FAST) options->sites = HF_SITES_OFF;
    if (options->profile == HF_PROFILE_DEBUG)
        options->guard_every = check_random_below(random, 2) * (1 + check_random_below(random, 40));
}

/* All threads have ended: what the models and the exchange hold is what is live. */
static void program_check(program *p) {
    account_block *blocks = calloc(p->threads * MODEL_SLOTS + EXCHANGE_SLOTS, sizeof *blocks);
    size_t count = 0;
    CHECK(blocks != NULL);
    for (unsigned t = 0; t < p->threads; t++)
        for (size_t i = 0; i < MODEL_SLOTS; i++) {
            const model_block *b = &p->models[t]->slot[i];
            if (b->address != NULL) blocks[count++] = (account_block){b->address, b->size};
        }
    for (size_t i = 0; i < EXCHANGE_SLOTS; i++) {
        const model_block *b = atomic_load(&p->exchange[i]);
        if (b != NULL) blocks[count++] = (account_block){b->address, b->size};
    }
    /* Without trailers a walk cannot tell what waits in a cache from what is live: empty them. */
    if (!p->exact) (void)hf_heap_reclaim(p->heap);
    account_whole(p->heap);
    account_blocks(p->heap, blocks, count, p->exact);
    account_check(p->heap);
    /* The limits' own counter is another source for what is mapped for blocks. */
    hf_stats stats = account_stats(p->heap);
    CHECK_EQ(atomic_load(&p->heap->mapped), stats.bytes_mapped - stats.bytes_meta);
    free(blocks);
}

static void program_free(program *p) {
    for (unsigned t = 0; t < p->threads; t++)
        for (size_t i = 0; i < MODEL_SLOTS; i++)
            if (p->models[t]->slot[i].address != NULL) step_free(p->models[t], i);
    for (size_t i = 0; i < EXCHANGE_SLOTS; i++) {
        model_block *b = atomic_exchange(&p->exchange[i], NULL);
        if (b == NULL) continue;
        model_verify(p->models[0], b);
        hf_heap_free(p->heap, b->address);
        free(b);
    }
}

static void program_play(hf_profile profile, uint64_t seed, unsigned steps, unsigned threads) {
    check_random random = {seed * 7919 + profile};
    hf_options options;
    char why[256] = "";
    hf_options_init(&options);
    options.profile = profile;
    draw_options(&random, &options);
    if (hf_options_check(&options, why, sizeof why) != HF_OK)
        CHECK_FAIL("seed %" PRIu64 " drew a contradiction: %s", seed, why);
    program p = {
        .exact = profile != HF_PROFILE_FAST, .seed = seed, .steps = steps, .threads = threads};
    CHECK_EQ(hf_heap_create(&options, "program", -1, &p.heap), HF_OK);
    pthread_t ids[THREADS_MAX];
    worker workers[THREADS_MAX];
    for (unsigned t = 0; t < threads; t++) {
        p.models[t] = calloc(1, sizeof *p.models[t]);
        CHECK(p.models[t] != NULL);
        p.models[t]->heap = p.heap;
        p.models[t]->exact = p.exact;
        p.models[t]->seed = seed;
        p.models[t]->random.state = check_random_next(&random);
        p.models[t]->next_tag = ((uint64_t)t << 40) + 1;
        workers[t] = (worker){&p, t};
    }
    for (unsigned t = 1; t < threads; t++)
        CHECK_EQ(pthread_create(&ids[t], NULL, program_run, &workers[t]), 0);
    program_run(&workers[0]);
    for (unsigned t = 1; t < threads; t++)
        CHECK_EQ(pthread_join(ids[t], NULL), 0);
    program_check(&p);
    program_free(&p);
    program_check(&p);
    (void)hf_heap_reclaim(p.heap);
    program_check(&p);
    CHECK_EQ(hf_heap_destroy(p.heap), HF_OK);
    for (unsigned t = 0; t < threads; t++)
        free(p.models[t]);
}

int main(int argc, char **argv) {
    static const char *const names[] = {"fast", "checked", "hardened", "debug"};
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
    unsigned programs = argc > 3 ? (unsigned)atoi(argv[3]) : (CHECK_SANITIZED ? 6 : 25);
    unsigned steps = argc > 4 ? (unsigned)atoi(argv[4]) : 6000;
    unsigned threads = argc > 5 ? (unsigned)atoi(argv[5]) : 0;
    CHECK_LE(threads, THREADS_MAX);
    CHECK_WATCHDOG(240);
    hf_report_handler_set(account_print_report, NULL);
    for (unsigned profile = 0; profile < 4; profile++) {
        if (argc > 1 && strcmp(argv[1], names[profile]) != 0 && strcmp(argv[1], "all") != 0)
            continue;
        for (unsigned i = 0; i < programs; i++) {
            unsigned count = threads != 0 ? threads : 1 + (unsigned)((seed + i) % 3);
            printf("test_programs %s %" PRIu64 " 1 %u %u\n", names[profile], seed + i, steps,
                   count);
            fflush(stdout);
            program_play((hf_profile)profile, seed + i, steps, count);
        }
    }
    return 0;
}
