/* fragmentation.c - a long-running cache: about 24 MB live, lifetimes from short to for ever,
 * and the sizes in fashion change from phase to phase.
 * Load        one thread; 16 phases, each with its own size band between 16 bytes and 8 KiB; old
 *             survivors sit scattered between new blocks. Peak RSS is the figure to look at.
 * Checks      both ends of every dying block. */
#include "bench.h"

enum { PHASES = 16, SLOTS = 65536, BYTES_MAX = 24 << 20 };

typedef struct {
    unsigned char *block;
    uint32_t size;
    uint32_t pinned; /* survives until phase `pinned` */
} entry;

int main(int argc, char **argv) {
    bench_start(argc, argv, 1);
    bench_rng rng = bench_seed(500);
    entry *entries = bench_need(calloc(SLOTS, sizeof(entry)));
    uint64_t checksum = 0;
    size_t live = 0, steps = bench_scaled(320000);
    for (uint32_t phase = 0; phase < PHASES; phase++) {
        uint32_t least = 16u << bench_below(&rng, 7), width = least * 3 + 1;
        for (size_t step = 0; step < steps; step++) {
            entry *e = &entries[bench_below(&rng, SLOTS)];
            uint32_t size = least + bench_below(&rng, width), draw = bench_next(&rng);
            if (e->block != NULL) {
                if (e->pinned > phase) continue;
                bench_check(e->block, e->size, (unsigned char)e->size);
                live -= e->size;
                free(e->block);
                e->block = NULL;
            }
            if (live + size > BYTES_MAX) continue;
            e->size = size;
            e->pinned = draw % 32 == 0 ? phase + 1 + (draw >> 8) % 6 : 0;
            e->block = bench_take(size, (unsigned char)size);
            live += size;
            checksum = checksum * 31 + size;
        }
    }
    for (size_t i = 0; i < SLOTS; i++)
        free(entries[i].block);
    free(entries);
    return bench_done("fragmentation", checksum);
}
