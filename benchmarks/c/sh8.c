/* sh8.c - batches as in sh6.c, but a third of each batch is freed by whichever thread comes
 * next.
 * Load        one thread a processor, 8-500 bytes; blocks cross threads through a shared table
 *             of slots, one atomic exchange each, so frees arrive singly and far from home.
 * Checks      the tag of every block, own or inherited. */
#include <stdatomic.h>

#include "bench.h"

enum { SHARED = 65536 };

typedef struct {
    uint32_t size;
    unsigned char data[];
} parcel;

typedef struct {
    uint64_t seed, checksum;
    char pad[48];
} job;

static _Atomic(parcel *) shared[SHARED];

static parcel *parcel_new(uint32_t size) {
    parcel *p = bench_need(malloc(sizeof(parcel) + size));
    p->size = size;
    p->data[size - 1] = (unsigned char)size;
    return p;
}

static void parcel_free(parcel *p) {
    if (p == NULL) return;
    if (p->data[p->size - 1] != (unsigned char)p->size) bench_fail("sh8: a block changed");
    free(p);
}

static void *work(void *arg) {
    job *j = arg;
    bench_rng rng = bench_seed(j->seed);
    parcel *batch[512];
    size_t rounds = bench_scaled(42000) / (size_t)bench_threads;
    for (size_t round = 0; round < rounds; round++) {
        uint32_t size = 8 + (bench_below(&rng, 492) >> bench_below(&rng, 4));
        size_t count = 60 + bench_below(&rng, 440);
        for (size_t i = 0; i < count; i++)
            batch[i] = parcel_new(size);
        j->checksum = j->checksum * 31 + size * count;
        size_t start = bench_below(&rng, SHARED);
        for (size_t i = 0; i < count; i++) {
            size_t k = round & 1 ? count - 1 - i : i;
            parcel *dying = batch[k];
            if (k % 3 == 0) {
                /* acq_rel: the parcel's bytes travel with its pointer, both ways. */
                dying = atomic_exchange_explicit(&shared[(start + i) % SHARED], batch[k],
                                                 memory_order_acq_rel);
            }
            parcel_free(dying);
        }
    }
    return NULL;
}

int main(int argc, char **argv) {
    bench_start(argc, argv, 0);
    job jobs[256] = {0};
    uint64_t checksum = 0;
    for (int i = 0; i < bench_threads; i++)
        jobs[i].seed = 80 + (uint64_t)i;
    bench_run(work, jobs, sizeof(job));
    for (int i = 0; i < bench_threads; i++)
        checksum ^= jobs[i].checksum;
    for (size_t i = 0; i < SHARED; i++)
        parcel_free(shared[i]);
    return bench_done("sh8", checksum);
}
