/* malloc_large.c - 5 to 25 MiB buffers, each page written once, twenty live, a random one
 * replaced.
 * Load        one thread; who maps anew every time pays for page faults, who keeps freed
 *             mappings does not.
 * Checks      a byte in the middle of each dying buffer. */
#include "bench.h"

enum { BUFFERS = 20, MIB = 1 << 20, PAGE = 4096 };

int main(int argc, char **argv) {
    bench_start(argc, argv, 1);
    bench_rng rng = bench_seed(300);
    unsigned char *buffer[BUFFERS] = {0};
    size_t size[BUFFERS] = {0}, rounds = bench_scaled(200);
    uint64_t checksum = 0;
    for (size_t round = 0; round < rounds; round++) {
        uint32_t i = bench_below(&rng, BUFFERS);
        if (buffer[i] != NULL && buffer[i][size[i] / 2] != (unsigned char)i)
            bench_fail("malloc_large: a buffer changed");
        free(buffer[i]);
        size[i] = 5u * MIB + bench_below(&rng, 20u * MIB);
        buffer[i] = bench_need(malloc(size[i]));
        for (size_t at = 0; at < size[i]; at += PAGE)
            buffer[i][at] = 0;
        buffer[i][size[i] / 2] = (unsigned char)i;
        checksum = checksum * 31 + size[i];
    }
    for (int i = 0; i < BUFFERS; i++)
        free(buffer[i]);
    return bench_done("malloc_large", checksum);
}
