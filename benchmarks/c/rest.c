/* rest.c - what stays resident after a load spike: 33 MB live, a spike to about 300 MB, all but
 * the first freed.
 * Contract    rest [percent]: one JSON line with RSS in KiB: live, peak, right after the frees,
 *             one and two seconds later without a call, and after a little more traffic.
 * Load        one thread; 16-2000 byte blocks; the spike's blocks interleave five sizes; the
 *             live ones stay scattered in whole runs, as a cache filled at start does. */
#include <time.h>

#include "bench.h"

static long rss_kib(void) {
    char line[256];
    long kib = -1;
    int status = 0;
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    if (file == NULL) bench_fail("smaps_rollup");
    while (status == 0 && fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "Rss: %ld kB", &kib) == 1) status = 1;
    }
    fclose(file);
    return kib;
}

static void pause_ms(long ms) {
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

static unsigned char **fill(bench_rng *rng, size_t count, uint64_t *bytes) {
    unsigned char **blocks = bench_need(malloc(count * sizeof(*blocks)));
    for (size_t i = 0; i < count; i++) {
        size_t size = 16 + (bench_below(rng, 1984) >> bench_below(rng, 4));
        blocks[i] = bench_need(malloc(size));
        memset(blocks[i], 1, size);
        *bytes += size;
    }
    return blocks;
}

int main(int argc, char **argv) {
    bench_start(argc, argv, 1);
    bench_rng rng = bench_seed(800);
    uint64_t live_bytes = 0, spike_bytes = 0;
    size_t live_count = bench_scaled(67000), spike_count = bench_scaled(540000);
    unsigned char **live = fill(&rng, live_count, &live_bytes);
    long live_rss = rss_kib();
    unsigned char **spike = fill(&rng, spike_count, &spike_bytes);
    long peak = rss_kib();
    for (size_t i = 0; i < spike_count; i++)
        free(spike[i]);
    free(spike);
    long after = rss_kib();
    pause_ms(1000);
    long one = rss_kib();
    pause_ms(1000);
    long two = rss_kib();
    for (int i = 0; i < 20000; i++)
        free(bench_take(bench_size(&rng, 2000), 1));
    pause_ms(50);
    long traffic = rss_kib();
    for (size_t i = 0; i < live_count; i++)
        free(live[i]);
    free(live);
    printf(
        "{\"live_bytes\": %llu, \"live\": %ld, \"peak\": %ld, \"after\": %ld, \"after_1s\": %ld, "
        "\"after_2s\": %ld, \"traffic\": %ld}\n",
        (unsigned long long)live_bytes, live_rss, peak, after, one, two, traffic);
    return 0;
}
