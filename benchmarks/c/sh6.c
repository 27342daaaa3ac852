/* sh6.c - batches of equal blocks, freed in four different orders; a quarter outlives its batch.
 * Load        one thread a processor, 8-1000 bytes, batches of 60-500: long free lists of one
 *             size.
 * Checks      both ends of every block when it dies. */
#include "bench.h"

enum { KEEP = 50000 };

typedef struct {
    uint64_t seed, checksum;
    char pad[48];
} job;

static void *work(void *arg) {
    job *j = arg;
    bench_rng rng = bench_seed(j->seed);
    unsigned char **kept = bench_need(calloc(KEEP, sizeof(*kept)));
    unsigned char *batch[512];
    size_t rounds = bench_scaled(52000) / (size_t)bench_threads, next = 0;
    for (size_t round = 0; round < rounds; round++) {
        size_t size = 8 + (bench_below(&rng, 992) >> bench_below(&rng, 5));
        size_t count = 60 + bench_below(&rng, 440);
        unsigned char tag = (unsigned char)size;
        for (size_t i = 0; i < count; i++)
            batch[i] = bench_take(size, tag);
        j->checksum = j->checksum * 31 + size * count;
        for (size_t i = 0; i < count; i += 4) {
            unsigned char **place = &kept[next++ % KEEP];
            free(*place);
            *place = batch[i];
            batch[i] = NULL;
        }
        for (size_t k = 0; k < count; k++) {
            size_t i = k; /* oldest first */
            switch (round & 3) {
            case 1: i = count - 1 - k; break;                     /* newest first */
            case 2: i = k & 1 ? count - 1 - k / 2 : k / 2; break; /* from both ends */
            case 3: i = (k * 7) % count; break;                   /* scattered */
            }
            if (batch[i] == NULL) continue;
            bench_check(batch[i], size, tag);
            free(batch[i]);
            batch[i] = NULL;
        }
        for (size_t i = 0; i < count; i++)
            free(batch[i]);
    }
    for (size_t i = 0; i < KEEP; i++)
        free(kept[i]);
    free(kept);
    return NULL;
}

int main(int argc, char **argv) {
    bench_start(argc, argv, 0);
    job jobs[256] = {0};
    uint64_t checksum = 0;
    for (int i = 0; i < bench_threads; i++)
        jobs[i].seed = 60 + (uint64_t)i;
    bench_run(work, jobs, sizeof(job));
    for (int i = 0; i < bench_threads; i++)
        checksum ^= jobs[i].checksum;
    return bench_done("sh6", checksum);
}
