/* larson.c - the server pattern of larson_body.h on malloc and free.
 * Load        one lane a processor, 8-1000 bytes, every 20000 replacements a new thread takes
 *             over. */
#include "larson_body.h"

static unsigned char *larson_take(size_t size) {
    return bench_need(malloc(size));
}

static void larson_give(unsigned char *block, size_t size) {
    (void)size;
    free(block);
}

int main(int argc, char **argv) {
    return larson_main("larson", argc, argv, 300);
}
