/* A heap of its own for one part of a program: limited, measured, and told when it is damaged. */
#include <holdfast/holdfast.h>
#include <stdio.h>
#include <string.h>

static void on_report(const hf_report *report, void *context) {
    char text[4096];
    hf_report_format(report, text, sizeof text);
    fputs(text, stdout);
    ++*(int *)context;
}

int main(void) {
    int reports = 0;
    hf_report_handler_set(on_report, &reports);

    hf_options options;
    hf_options_init(&options);
    options.profile = HF_PROFILE_HARDENED;
    options.limit = 64 << 20;
    hf_heap *heap = NULL;
    hf_status status = hf_heap_create(&options, "names", -1, &heap);
    if (status != HF_OK) {
        fprintf(stderr, "no heap: %s\n", hf_status_text(status));
        return 1;
    }

    char *names[1000];
    for (int i = 0; i < 1000; i++) {
        names[i] = hf_heap_malloc(heap, 16);
        if (names[i] == NULL) return 1;
        snprintf(names[i], 16, "name %d", i);
    }
    if (hf_heap_malloc(heap, 100 << 20) == NULL) puts("100 MiB are refused: the limit is 64 MiB");

    hf_stats stats;
    hf_heap_stats(heap, &stats);
    printf("%llu blocks, %llu bytes in use, %llu bytes mapped\n",
           (unsigned long long)stats.blocks_in_use, (unsigned long long)stats.bytes_in_use,
           (unsigned long long)stats.bytes_mapped);

    strcpy(names[7], "sixteen letters!"); /* and one byte more for the terminator */
    hf_heap_free(heap, names[7]);

    hf_heap_destroy(heap); /* frees the other 999 */
    return reports == 1 ? 0 : 1;
}
