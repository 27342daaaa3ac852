/* glibc_simple.c - one size at a time: a pair, a few, many, first in first out.
 * Load        one thread; 16-1024 bytes; 1, 25, 100, 400 and 1600 blocks live; nothing is
 *             touched, so this is the allocator's own path and nothing else. */
#include "bench.h"

enum { MOST = 1600 };

int main(int argc, char **argv) {
    bench_start(argc, argv, 1);
    static const size_t sizes[] = {16, 32, 64, 128, 256, 512, 1024};
    static const size_t lives[] = {1, 25, 100, 400, 1600};
    void *block[MOST];
    uint64_t checksum = 0;
    size_t pairs = bench_scaled(300000);
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        for (size_t l = 0; l < sizeof(lives) / sizeof(lives[0]); l++) {
            size_t live = lives[l];
            for (size_t round = 0; round < pairs / live + 1; round++) {
                for (size_t i = 0; i < live; i++)
                    block[i] = bench_need(malloc(sizes[s]));
                for (size_t i = 0; i < live; i++)
                    free(block[i]);
                checksum += live;
            }
        }
    }
    return bench_done("glibc_simple", checksum);
}
