/* mstress.c - waves of threads allocate objects of wild sizes, keep some, swap some through a
 * shared table.
 * Load        one thread a processor and wave, 8 bytes to 32 KiB and a few of 100-800 KiB,
 *             everything written; threads end between waves, blocks live on in the table.
 * Checks      each object's words are its cookie until it dies. */
#include <stdatomic.h>

#include "bench.h"

enum { TRANSFERS = 1000, WAVES = 10 };

typedef struct {
    size_t words;
    uintptr_t word[];
} object;

typedef struct {
    uint64_t seed, checksum;
    char pad[48];
} job;

static const uintptr_t cookie = (uintptr_t)0xBF58476D1CE4E5B9u;
static _Atomic(object *) transfer[TRANSFERS];

static object *object_new(bench_rng *rng, size_t words) {
    if (bench_below(rng, 2000) == 0) words *= 100; /* now and then large, rarely huge */
    object *o = bench_need(calloc(words + 1, sizeof(uintptr_t)));
    o->words = words;
    for (size_t i = 0; i < words; i++)
        o->word[i] = (words - i) ^ cookie;
    return o;
}

static void object_free(object *o) {
    if (o == NULL) return;
    for (size_t i = 0; i < o->words; i++) {
        if (((o->words - i) ^ cookie) != o->word[i]) bench_fail("mstress: an object changed");
    }
    free(o);
}

static void *work(void *arg) {
    job *j = arg;
    bench_rng rng = bench_seed(j->seed);
    size_t count = bench_scaled(100000), kept = 0, live = 0;
    object **keep = NULL, **data = bench_need(calloc(count, sizeof(*data)));
    size_t room = 0, top = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t draw = bench_next(&rng);
        size_t words = 1 + ((size_t)1 << (draw >> 8) % 7);
        if (draw % 64 == 0) words *= 16;
        object *o = object_new(&rng, words);
        j->checksum += o->words;
        if (draw % 3 == 0) { /* a third stays to the end of the wave */
            if (kept == room) {
                room = room == 0 ? 64 : room * 2;
                keep = bench_need(realloc(keep, room * sizeof(*keep)));
            }
            keep[kept++] = o;
        } else {
            data[top++] = o;
            live++;
        }
        if (draw % 5 == 0 && live > 0) { /* a random one dies */
            size_t victim = bench_below(&rng, (uint32_t)top);
            if (data[victim] != NULL) live--;
            object_free(data[victim]);
            data[victim] = NULL;
        }
        if (draw % 4 == 0 && live > 0) { /* a random one changes places with the table's */
            size_t mine = bench_below(&rng, (uint32_t)top), theirs = bench_below(&rng, TRANSFERS);
            /* acq_rel: the object's words travel with its pointer, both ways. */
            object *got =
                atomic_exchange_explicit(&transfer[theirs], data[mine], memory_order_acq_rel);
            /* Which object comes back depends on timing: it enters no books and dies here. */
            if (data[mine] != NULL) live--;
            data[mine] = NULL;
            object_free(got);
        }
    }
    for (size_t i = 0; i < top; i++)
        object_free(data[i]);
    for (size_t i = 0; i < kept; i++)
        object_free(keep[i]);
    free(data);
    free(keep);
    return NULL;
}

int main(int argc, char **argv) {
    bench_start(argc, argv, 0);
    job jobs[256] = {0};
    uint64_t checksum = 0;
    for (int wave = 0; wave < WAVES; wave++) {
        for (int i = 0; i < bench_threads; i++)
            jobs[i].seed = 1000 + (uint64_t)(wave * 256 + i);
        bench_run(work, jobs, sizeof(job));
        for (size_t i = (size_t)wave % 2; i < TRANSFERS; i += 2)
            object_free(atomic_exchange_explicit(&transfer[i], NULL, memory_order_acq_rel));
    }
    for (size_t i = 0; i < TRANSFERS; i++)
        object_free(transfer[i]);
    for (int i = 0; i < bench_threads; i++)
        checksum ^= jobs[i].checksum;
    return bench_done("mstress", checksum);
}
