/* instructions.c - one allocation pattern, repeated: counted under callgrind, never timed.
 * Contract    instructions PATTERN COUNT: COUNT malloc+free pairs (rounded up to whole rounds).
 *             The caller subtracts two counts, so start-up and warm-up drop out and the loop
 *             stays in.
 * Patterns    16 256 1024 8192 65536: one pair at a time; calloc: 16 bytes; lifo: 64 blocks of
 *             64 bytes, last in first out; fifo: 1000 blocks of 64 bytes, first in first out. */
#include "bench.h"

enum { MOST = 1000 };

static void pairs(size_t size, size_t count) {
    for (size_t i = 0; i < count; i++) {
        free(malloc(size)); /* -fno-builtin keeps the compiler from removing the pair */
    }
}

static void callocs(size_t count) {
    for (size_t i = 0; i < count; i++) {
        free(calloc(1, 16));
    }
}

static void batches(size_t live, int newest_first, size_t count) {
    static void *block[MOST];
    for (size_t done = 0; done < count; done += live) {
        for (size_t i = 0; i < live; i++)
            block[i] = malloc(64);
        if (newest_first) {
            for (size_t i = live; i-- > 0;)
                free(block[i]);
        } else {
            for (size_t i = 0; i < live; i++)
                free(block[i]);
        }
    }
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: %s 16|256|1024|8192|65536|calloc|lifo|fifo COUNT\n", argv[0]);
        return 2;
    }
    size_t count = strtoul(argv[2], NULL, 10), size = strtoul(argv[1], NULL, 10);
    if (strcmp(argv[1], "calloc") == 0)
        callocs(count);
    else if (strcmp(argv[1], "lifo") == 0)
        batches(64, 1, count);
    else if (strcmp(argv[1], "fifo") == 0)
        batches(1000, 0, count);
    else if (size > 0)
        pairs(size, count);
    else
        return 2;
    return 0;
}
