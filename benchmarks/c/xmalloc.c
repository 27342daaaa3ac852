/* xmalloc.c - producers allocate batches, consumers free them: every block dies on another
 * thread.
 * Method      one producer and one consumer a processor; batches of 4096 pointers go through a
 *             bounded queue under one lock; 8-2048 bytes in sixteen common sizes.
 * Checks      both ends of every block; the bytes produced are the bytes consumed. */
#include "bench.h"

enum { BATCH = 4096, QUEUE = 8 };

typedef struct {
    unsigned char *block[BATCH];
    uint16_t size[BATCH];
} batch;

static struct {
    pthread_mutex_t lock;
    pthread_cond_t filled, drained;
    batch *ring[QUEUE];
    size_t head, tail, producers;
} queue = {
    PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, PTHREAD_COND_INITIALIZER, {0}, 0, 0, 0};

typedef struct {
    int index;
    uint64_t bytes, checksum;
    char pad[40];
} job;

static void produce(job *j) {
    static const uint16_t sizes[16] = {8,   12,  16,  24,  32,  48,   64,   96,
                                       128, 192, 256, 384, 512, 1024, 1536, 2048};
    bench_rng rng = bench_seed(90 + (uint64_t)j->index);
    size_t batches = bench_scaled(1200) / (size_t)(bench_threads / 2);
    for (size_t b = 0; b < batches; b++) {
        batch *full = bench_need(malloc(sizeof(batch)));
        for (size_t i = 0; i < BATCH; i++) {
            uint16_t size = sizes[bench_below(&rng, 16)];
            full->size[i] = size;
            full->block[i] = bench_take(size, (unsigned char)size);
            j->bytes += size;
        }
        pthread_mutex_lock(&queue.lock);
        while (queue.tail - queue.head == QUEUE)
            pthread_cond_wait(&queue.drained, &queue.lock);
        queue.ring[queue.tail++ % QUEUE] = full;
        pthread_cond_signal(&queue.filled);
        pthread_mutex_unlock(&queue.lock);
    }
    pthread_mutex_lock(&queue.lock);
    queue.producers--;
    pthread_cond_broadcast(&queue.filled);
    pthread_mutex_unlock(&queue.lock);
}

static void consume(job *j) {
    for (;;) {
        pthread_mutex_lock(&queue.lock);
        while (queue.head == queue.tail && queue.producers > 0)
            pthread_cond_wait(&queue.filled, &queue.lock);
        batch *full = queue.head == queue.tail ? NULL : queue.ring[queue.head++ % QUEUE];
        pthread_cond_signal(&queue.drained);
        pthread_mutex_unlock(&queue.lock);
        if (full == NULL) return;
        for (size_t i = 0; i < BATCH; i++) {
            bench_check(full->block[i], full->size[i], (unsigned char)full->size[i]);
            j->bytes += full->size[i];
            free(full->block[i]);
        }
        free(full);
    }
}

static void *work(void *arg) {
    job *j = arg;
    if (j->index % 2 == 0)
        produce(j);
    else
        consume(j);
    return NULL;
}

int main(int argc, char **argv) {
    bench_start(argc, argv, 0);
    bench_threads *= 2;
    job jobs[256] = {0};
    for (int i = 0; i < bench_threads; i++)
        jobs[i].index = i;
    queue.producers = (size_t)bench_threads / 2;
    bench_run(work, jobs, sizeof(job));
    uint64_t bytes[2] = {0, 0};
    for (int i = 0; i < bench_threads; i++)
        bytes[i % 2] += jobs[i].bytes;
    if (bytes[0] != bytes[1]) bench_fail("xmalloc: consumed is not produced");
    return bench_done("xmalloc", bytes[0]);
}
