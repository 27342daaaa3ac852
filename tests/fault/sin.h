/* sin.h - the frame around one misuse of memory.
 *
 *   // expect: checked,hardened,debug OVERFLOW size=n offset=n length=1 found_by=free
 *   // with: 1..40
 *   #include "sin.h"
 *   SIN(n) { char *p = sin_alloc(n); p[n] = 1; free(p); }
 *
 * Contract    the program commits the sin with n from argv[1], then allocates, fills, checks and frees
 *             10,000 blocks of all tiers and exits 0: memory must go on working after a report. With
 *             SIN_HANDLER set it also counts the reports that a handler is given and prints them.
 *             run_faults.py reads the first lines and says what must have been reported.
 * Why         the pointers are volatile and the file is built without optimisation of malloc: what
 *             is undefined for the compiler must still reach the library. */
#ifndef HF_TESTS_SIN_H
#define HF_TESTS_SIN_H

#include <errno.h>
#include <holdfast/holdfast.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SIN(parameter)                                                                             \
    static void sin_commit(size_t parameter);                                                      \
    int main(int argc, char **argv) {                                                              \
        sin_start();                                                                               \
        sin_commit(argc > 1 ? strtoull(argv[1], NULL, 0) : 0);                                     \
        sin_continue();                                                                            \
        return sin_end();                                                                          \
    }                                                                                              \
    static void sin_commit(__attribute__((unused)) size_t parameter)

static int sin_reports;
static char sin_kinds[256];

static void sin_handler(const hf_report *report, void *context) {
    (void)context;
    sin_reports++;
    strncat(sin_kinds, " ", sizeof sin_kinds - strlen(sin_kinds) - 1);
    strncat(sin_kinds, hf_report_kind_name(report->kind), sizeof sin_kinds - strlen(sin_kinds) - 1);
    free(malloc(100)); /* a handler may allocate */
}

static void sin_fail(const char *what) {
    fprintf(stderr, "sin: %s\n", what);
    _exit(3);
}

static void sin_start(void) {
    alarm(60);
    if (!hf_is_active()) sin_fail("the library is not preloaded");
    /* The reclaim thread starts with the first large free: not in the middle of the sin, whose memory
     * it would take for its own. Room for what the sin's libraries ask for is made as well. */
    static void *volatile warm[400];
    for (size_t i = 0; i < 400; i++)
        warm[i] = malloc(i * 8);
    for (size_t i = 0; i < 400; i += 2)
        free(warm[i]);
    free(malloc(5000000));
    usleep(2000);
    if (getenv("SIN_HANDLER") != NULL) hf_report_handler_set(sin_handler, NULL);
}

/* The compiler sees a pointer that could be anything. */
static char *sin_opaque(void *pointer) {
    char *volatile hidden = pointer;
    return hidden;
}

/* A filled block, through malloc. */
__attribute__((unused)) static char *sin_alloc(size_t size) {
    char *block = sin_opaque(malloc(size));
    if (block == NULL) sin_fail("malloc");
    memset(block, 'x', size);
    return block;
}

/* Every byte is another one afterwards. */
__attribute__((unused)) static void sin_overwrite(char *at, size_t count) {
    for (size_t i = 0; i < count; i++)
        at[i] ^= 'A';
}

/* A block whose next neighbour is live and known: *next_out == block + extent. NULL-safe. */
__attribute__((unused)) static char *sin_neighbours(size_t size, char **next_out) {
    enum { COUNT = 256 };
    static char *blocks[COUNT];
    size_t extent = 0;
    for (int i = 0; i < COUNT; i++)
        blocks[i] = sin_alloc(size);
    for (int i = 0; i < COUNT; i++)
        for (int j = 0; j < COUNT; j++) {
            size_t distance = (size_t)(blocks[j] - blocks[i]);
            if (blocks[j] > blocks[i] && (extent == 0 || distance < extent)) extent = distance;
        }
    for (int i = 0; i < COUNT; i++)
        for (int j = 0; j < COUNT; j++)
            if (blocks[j] == blocks[i] + extent) {
                char *block = blocks[i];
                *next_out = blocks[j];
                for (int k = 0; k < COUNT; k++)
                    if (k != i && k != j) free(blocks[k]);
                return block;
            }
    sin_fail("no two blocks are neighbours");
    return NULL;
}

static void sin_continue(void) {
    enum { COUNT = 10000, LIVE = 300 };
    static unsigned char *live[LIVE];
    static size_t sizes[LIVE];
    uint64_t state = 88172645463325252u;
    for (unsigned i = 0; i < COUNT + LIVE; i++) {
        unsigned at = i % LIVE;
        if (live[at] != NULL) {
            unsigned char tag = (unsigned char)(i - LIVE);
            if (live[at][0] != tag || live[at][sizes[at] / 2] != tag ||
                live[at][sizes[at] - 1] != tag)
                sin_fail("a block lost its content afterwards");
            free(live[at]);
            live[at] = NULL;
        }
        if (i >= COUNT) continue;
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        sizes[at] = i % 997 == 0 ? 3000000 : i % 101 == 0 ? 60000 : 1 + state % 1200;
        live[at] = malloc(sizes[at]);
        if (live[at] == NULL) sin_fail("malloc failed afterwards");
        if (sizes[at] < 4096) memset(live[at], (int)(unsigned char)i, sizes[at]);
        live[at][0] = live[at][sizes[at] / 2] = live[at][sizes[at] - 1] = (unsigned char)i;
    }
}

static int sin_end(void) {
    if (getenv("SIN_HANDLER") != NULL) {
        /* What only a walk finds must reach the handler as well. */
        hf_heap_check(hf_heap_default(), NULL);
        printf("handler %d%s\n", sin_reports, sin_kinds);
        fflush(stdout);
    }
    return 0;
}

#endif
