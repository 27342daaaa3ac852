/* larson_body.h - a server's pattern: blocks outlive the thread that made them.
 * Method      each lane has 5000 blocks of 8-1000 bytes; a generation replaces random ones and
 *             then starts the thread of the next generation, which frees what its ancestors
 *             left, and ends.
 * Used by     larson.c (malloc and free) and larson_sized.cpp (new and sized delete). */
#ifndef LARSON_BODY_H
#define LARSON_BODY_H

#include "bench.h"

enum { LARSON_BLOCKS = 5000, LARSON_MIN = 8, LARSON_MAX = 1000, LARSON_GENERATION = 20000 };

typedef struct {
    unsigned char *block[LARSON_BLOCKS];
    uint32_t size[LARSON_BLOCKS];
    bench_rng rng;
    uint64_t checksum;
    size_t generations; /* still to come */
} larson_lane;

static unsigned char *larson_take(size_t size);
static void larson_give(unsigned char *block, size_t size);

static void larson_replace(larson_lane *lane, size_t i) {
    if (lane->block[i] != NULL) {
        bench_check(lane->block[i], lane->size[i], (unsigned char)lane->size[i]);
        larson_give(lane->block[i], lane->size[i]);
    }
    uint32_t size = LARSON_MIN + bench_below(&lane->rng, LARSON_MAX - LARSON_MIN);
    lane->size[i] = size;
    lane->block[i] = larson_take(size);
    lane->block[i][0] = (unsigned char)size;
    lane->block[i][size - 1] = (unsigned char)size;
    lane->checksum = lane->checksum * 31 + size;
}

static void *larson_generation(void *arg) {
    larson_lane *lane = (larson_lane *)arg;
    for (size_t i = 0; i < LARSON_GENERATION; i++)
        larson_replace(lane, bench_below(&lane->rng, LARSON_BLOCKS));
    return NULL;
}

static void *larson_supervisor(void *arg) {
    larson_lane *lane = (larson_lane *)arg;
    for (size_t i = 0; i < LARSON_BLOCKS; i++)
        larson_replace(lane, i);
    for (; lane->generations > 0; lane->generations--) {
        pthread_t heir;
        if (pthread_create(&heir, NULL, larson_generation, lane) != 0) bench_fail("pthread_create");
        pthread_join(heir, NULL);
    }
    for (size_t i = 0; i < LARSON_BLOCKS; i++)
        larson_give(lane->block[i], lane->size[i]);
    return NULL;
}

static int larson_main(const char *name, int argc, char **argv, size_t generations) {
    bench_start(argc, argv, 0);
    larson_lane *lanes =
        (larson_lane *)bench_need(calloc((size_t)bench_threads, sizeof(larson_lane)));
    for (int i = 0; i < bench_threads; i++) {
        lanes[i].rng = bench_seed(50 + (uint64_t)i);
        lanes[i].generations = bench_scaled(generations);
    }
    bench_run(larson_supervisor, lanes, sizeof(larson_lane));
    uint64_t checksum = 0;
    for (int i = 0; i < bench_threads; i++)
        checksum ^= lanes[i].checksum + (uint64_t)i;
    free(lanes);
    return bench_done(name, checksum);
}

#endif
