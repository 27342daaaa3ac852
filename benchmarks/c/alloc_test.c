/* alloc_test.c - every thread replaces random slots of a table by blocks of random size.
 * Load        131072 slots a thread, 8-2048 bytes with a falling tail; small ones dominate; each
 *             block is filled, and read once when it dies. Random order, so the free lists get
 *             shuffled.
 * Checks      the bytes of a dying block. */
#include "bench.h"

enum { SLOTS = 131072, SIZE_MAX_BYTES = 2048 };

typedef struct {
    uint64_t seed, checksum;
    char pad[48];
} job;

typedef struct {
    unsigned char *block;
    uint32_t size;
    unsigned char tag;
} slot;

static void *work(void *arg) {
    job *j = arg;
    bench_rng rng = bench_seed(j->seed);
    slot *slots = bench_need(calloc(SLOTS, sizeof(slot)));
    size_t rounds = bench_scaled(4000000) / (size_t)bench_threads;
    uint64_t sum = 0;
    for (size_t i = 0; i < rounds; i++) {
        slot *s = &slots[bench_below(&rng, SLOTS)];
        if (s->block != NULL) {
            bench_check(s->block, s->size, s->tag);
            sum += s->block[s->size / 2];
            free(s->block);
            s->block = NULL;
        } else {
            s->size = (uint32_t)bench_size(&rng, SIZE_MAX_BYTES);
            s->tag = (unsigned char)i;
            s->block = bench_need(malloc(s->size));
            memset(s->block, s->tag, s->size);
        }
    }
    for (size_t i = 0; i < SLOTS; i++)
        free(slots[i].block);
    free(slots);
    j->checksum = sum;
    return NULL;
}

int main(int argc, char **argv) {
    bench_start(argc, argv, 1);
    job jobs[256] = {0};
    uint64_t checksum = 0;
    for (int i = 0; i < bench_threads; i++)
        jobs[i].seed = 40 + (uint64_t)i;
    bench_run(work, jobs, sizeof(job));
    for (int i = 0; i < bench_threads; i++)
        checksum += jobs[i].checksum;
    return bench_done("alloc_test", checksum);
}
