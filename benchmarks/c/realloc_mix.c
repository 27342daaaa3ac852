/* realloc_mix.c - many small strings that grow and shrink, a few large buffers that grow by
 * appending.
 * Load        one thread; 512 strings of 8-4000 bytes resized in random order; every 4000th step
 *             a buffer grows by half from 4 KiB up to 8 MiB and starts over.
 * Checks      first byte, and the last byte written before each resize. */
#include "bench.h"

enum { STRINGS = 512, LARGEST = 8 << 20 };

typedef struct {
    unsigned char *bytes;
    size_t size;
} text;

/* Resizes to size, checks that the common part survived, and marks the ends anew. */
static void text_resize(text *t, size_t size, unsigned char tag) {
    size_t common = t->size < size ? t->size : size;
    unsigned char head = common > 0 ? t->bytes[0] : 0, tail = common > 0 ? t->bytes[common - 1] : 0;
    t->bytes = bench_need(realloc(t->bytes, size));
    if (common > 0 && (t->bytes[0] != head || t->bytes[common - 1] != tail))
        bench_fail("realloc_mix: bytes were lost");
    if (size > common) memset(t->bytes + common, tag, size - common);
    t->bytes[0] = t->bytes[size - 1] = tag;
    t->size = size;
}

int main(int argc, char **argv) {
    bench_start(argc, argv, 1);
    bench_rng rng = bench_seed(400);
    text *strings = bench_need(calloc(STRINGS, sizeof(text))), buffer = {0};
    uint64_t checksum = 0;
    size_t rounds = bench_scaled(7000000);
    for (size_t round = 0; round < rounds; round++) {
        text *t = &strings[bench_below(&rng, STRINGS)];
        uint32_t draw = bench_next(&rng);
        if (t->size > 3000 || draw % 16 == 0) {
            free(t->bytes);
            *t = (text){0};
        } else if (draw % 8 == 1) {
            text_resize(t, 8 + t->size / 2, (unsigned char)round);
        } else {
            text_resize(t, t->size + 8 + (draw >> 8) % (t->size / 2 + 16), (unsigned char)round);
        }
        checksum = checksum * 31 + t->size;
        if (round % 4000 == 0) {
            size_t grown = buffer.size + buffer.size / 2 + 4096;
            if (grown > LARGEST) {
                free(buffer.bytes);
                buffer = (text){0};
                grown = 4096;
            }
            text_resize(&buffer, grown, (unsigned char)round);
        }
    }
    for (size_t i = 0; i < STRINGS; i++)
        free(strings[i].bytes);
    free(strings);
    free(buffer.bytes);
    return bench_done("realloc_mix", checksum);
}
