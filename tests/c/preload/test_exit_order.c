/* test_exit_order.c - allocation after main returned: handlers, destructors, streams, a thread that
 * never stops. Method: main registers handlers and returns; the last of them prints the verdict, and
 * CTest compares what arrives on standard output. */
#define _GNU_SOURCE
#include "preload_test.h"

#include <pthread.h>
#include <stdatomic.h>

static char *kept[100];
static atomic_bool running;

static void allocate_some(void) {
    void *blocks[200];
    for (unsigned i = 0; i < 200; i++)
        blocks[i] = malloc(10 + i * 50);
    for (unsigned i = 0; i < 200; i++)
        CHECK(blocks[i] != NULL);
    for (unsigned i = 0; i < 200; i++)
        free(blocks[i]);
}

static void handler_frees_and_registers_another(void) {
    for (unsigned i = 0; i < 100; i++) {
        CHECK(is_filled(kept[i], 100 + i, i));
        free(kept[i]);
    }
    CHECK(atexit(allocate_some) == 0);
    allocate_some();
}

static __attribute__((constructor)) void before_main(void) {
    for (unsigned i = 0; i < 100; i++) {
        kept[i] = malloc(100 + i);
        fill(kept[i], 100 + i, i);
    }
}

static __attribute__((destructor)) void after_main(void) {
    allocate_some();
    CHECK(report_count() == 0);
    printf("destructor\n"); /* stays in the stream's buffer until libc flushes it, after us */
}

static void *never_stops(void *argument) {
    for (unsigned size = 1;; size = size % 100000 + 13) {
        free(malloc(size));
        atomic_store(&running, 1);
    }
    return argument;
}

int main(void) {
    test_begin(60);
    static char buffer[1 << 16];
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    CHECK(atexit(allocate_some) == 0);
    CHECK(atexit(handler_frees_and_registers_another) == 0);
    for (unsigned i = 0; i < 40; i++)
        CHECK(atexit(allocate_some) == 0); /* more than libc's own table */
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, never_stops, NULL) == 0);
    while (!atomic_load(&running))
        usleep(100);
    printf("main\n");
    return 0;
}
