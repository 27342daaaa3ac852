/* rptest.c - rounds of blocks up to 16000 bytes; a share is freed by the next thread in the
 * ring.
 * Method      a round allocates 1500 blocks (falling size tail), frees its scattered part,
 *             leaves every fourth in the neighbour's inbox as one list, and frees what was left
 *             here.
 * Load        one thread a processor, 16-16000 bytes; lists cross threads, a few hundred blocks
 *             at a time.
 * Checks      both ends of every block. */
#include <stdatomic.h>

#include "bench.h"

enum { ROUND = 1500, LARGEST = 16000 };

typedef struct parcel {
    struct parcel *next;
    size_t size;
} parcel;

typedef struct {
    _Atomic(parcel *) inbox;
    char pad[56];
} mailbox;

typedef struct {
    int index;
    uint64_t checksum;
    char pad[48];
} job;

static mailbox boxes[256];

static void list_free(parcel *list) {
    while (list != NULL) {
        parcel *next = list->next;
        size_t size = list->size;
        if (((unsigned char *)list)[size - 1] != (unsigned char)size)
            bench_fail("rptest: a block changed");
        free(list);
        list = next;
    }
}

static void *work(void *arg) {
    job *j = arg;
    bench_rng rng = bench_seed(200 + (uint64_t)j->index);
    parcel *block[ROUND];
    mailbox *neighbour = &boxes[(j->index + 1) % bench_threads];
    size_t rounds = bench_scaled(2200) / (size_t)bench_threads;
    for (size_t round = 0; round < rounds; round++) {
        for (size_t i = 0; i < ROUND; i++) {
            size_t size = 32 + bench_below(&rng, 1 + bench_below(&rng, LARGEST - 64));
            block[i] = bench_need(malloc(size));
            block[i]->next = NULL;
            block[i]->size = size;
            ((unsigned char *)block[i])[size - 1] = (unsigned char)size;
            j->checksum += size;
        }
        parcel *first = NULL;
        for (size_t k = 0; k < ROUND; k++) {
            size_t i = (k * 1009) % ROUND;
            if (i % 4 != 0) {
                list_free(block[i]);
            } else {
                block[i]->next = first;
                first = block[i];
            }
        }
        /* acq_rel: lists travel both ways. One that nobody fetched in time is freed here, so the
         * memory in flight is bounded however the threads are scheduled. */
        list_free(atomic_exchange_explicit(&neighbour->inbox, first, memory_order_acq_rel));
        list_free(atomic_exchange_explicit(&boxes[j->index].inbox, NULL, memory_order_acquire));
    }
    return NULL;
}

int main(int argc, char **argv) {
    bench_start(argc, argv, 0);
    job jobs[256] = {0};
    uint64_t checksum = 0;
    for (int i = 0; i < bench_threads; i++)
        jobs[i].index = i;
    bench_run(work, jobs, sizeof(job));
    for (int i = 0; i < bench_threads; i++) {
        list_free(boxes[i].inbox);
        checksum ^= jobs[i].checksum;
    }
    return bench_done("rptest", checksum);
}
