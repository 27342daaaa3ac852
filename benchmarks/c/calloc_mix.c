/* calloc_mix.c - zeroed tables of all sizes: small records, hash tables, 1 MiB bitmaps.
 * Load        one thread; mostly 16-512 bytes, some 4-64 KiB, a few of 256 KiB to 2 MiB; dirtied
 *             before they die, so an allocator that skips clearing must know what it does.
 * Checks      that fresh memory is zero, at sixteen places. */
#include "bench.h"

enum { SLOTS = 4096 };

int main(int argc, char **argv) {
    bench_start(argc, argv, 1);
    bench_rng rng = bench_seed(600);
    unsigned char **slots = bench_need(calloc(SLOTS, sizeof(*slots)));
    uint64_t checksum = 0;
    size_t rounds = bench_scaled(4000000);
    for (size_t round = 0; round < rounds; round++) {
        uint32_t slot = bench_below(&rng, SLOTS), draw = bench_next(&rng) % 16384;
        size_t count = 1 + bench_below(&rng, 32), size = 16;
        if (draw < 4)
            size = 8192 + bench_below(&rng, 57344);
        else if (draw < 512)
            size = 128 + bench_below(&rng, 1920);
        unsigned char *block = bench_need(calloc(count, size));
        size_t bytes = count * size;
        for (size_t i = 0; i < 16; i++) {
            if (block[i * (bytes - 1) / 15] != 0) bench_fail("calloc_mix: memory is not zero");
        }
        memset(block, 0xA5, bytes < 256 ? bytes : 256);
        block[bytes - 1] = 0xA5;
        checksum = checksum * 31 + bytes;
        free(slots[slot]);
        slots[slot] = block;
        if (bytes > 65536 || slot % 2 == 0) {
            free(block);
            slots[slot] = NULL;
        }
    }
    for (size_t i = 0; i < SLOTS; i++)
        free(slots[i]);
    free(slots);
    return bench_done("calloc_mix", checksum);
}
