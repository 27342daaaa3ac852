/* malloc_info.c - glibc's questions about the heap, answered from our statistics.
 *
 * Invariants  figures are those of the default heap at the moment of asking; mallinfo's ints stop
 *             at INT_MAX instead of wrapping.
 * Threads     any. malloc_info uses the stream it is given, the others use no stdio.
 * Fails with  malloc_info: EINVAL for options other than 0, as glibc.
 * Talks to    holdfast/heap.h, base/format.h.   Called by the program.
 * Source      GNU C Library manual, "Statistics for Memory Allocation with malloc". */
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

#include "base/format.h"
#include "os/os.h"
#include <holdfast/heap.h>

static hf_stats stats_now(void) {
    hf_stats stats = {.struct_size = sizeof stats};
    int saved = errno;
    (void)hf_heap_stats(hf_heap_default(), &stats);
    errno = saved;
    return stats;
}

static size_t free_bytes(const hf_stats *stats) {
    return stats->bytes_free + stats->bytes_cached;
}

static size_t live_bytes(const hf_stats *stats) {
    return stats->bytes_in_use + stats->bytes_slack;
}

HF_API struct mallinfo2 mallinfo2(void) {
    hf_stats stats = stats_now();
    return (struct mallinfo2){
        .arena = stats.bytes_mapped,
        .ordblks = stats.slabs_empty + stats.slabs_partial,
        .hblks = stats.large_blocks,
        .usmblks = 0,
        .uordblks = live_bytes(&stats),
        .fordblks = free_bytes(&stats),
        .keepcost = stats.bytes_free,
    };
}

static int clip(size_t value) {
    return value > INT_MAX ? INT_MAX : (int)value;
}

HF_API struct mallinfo mallinfo(void) {
    struct mallinfo2 wide = mallinfo2();
    return (struct mallinfo){
        .arena = clip(wide.arena),
        .ordblks = clip(wide.ordblks),
        .hblks = clip(wide.hblks),
        .uordblks = clip(wide.uordblks),
        .fordblks = clip(wide.fordblks),
        .keepcost = clip(wide.keepcost),
    };
}

/* 1 if anything was given back. `pad` asks glibc to keep some; here the decay keeps what is warm. */
HF_API int malloc_trim(size_t pad) {
    (void)pad;
    int saved = errno;
    size_t returned = hf_reclaim();
    errno = saved;
    return returned > 0;
}

/* Accepted and without effect: glibc's parameters name things this heap does not have. */
HF_API int mallopt(int parameter, int value) {
    (void)parameter;
    (void)value;
    return 1;
}

static void write_line(hfi_writer *writer, const char *label, uint64_t value) {
    hfi_write_text(writer, label);
    hfi_write_u64(writer, value);
    hfi_write_char(writer, '\n');
}

HF_API void malloc_stats(void) {
    hf_stats stats = stats_now();
    char text[512];
    hfi_writer writer = hfi_writer_make(text, sizeof text);
    hfi_write_text(&writer, "holdfast heap\n");
    write_line(&writer, "system bytes     = ", stats.bytes_mapped);
    write_line(&writer, "in use bytes     = ", live_bytes(&stats));
    write_line(&writer, "free bytes       = ", free_bytes(&stats));
    write_line(&writer, "max system bytes = ", stats.bytes_mapped_peak);
    write_line(&writer, "allocations      = ", stats.allocs);
    write_line(&writer, "frees            = ", stats.frees);
    size_t length = hfi_writer_finish(&writer);
    hfi_os_write(STDERR_FILENO, text, length < sizeof text ? length : sizeof text - 1);
}

HF_API int malloc_info(int options, FILE *stream) {
    if (options != 0) {
        errno = EINVAL;
        return -1;
    }
    hf_stats stats = stats_now();
    int written = fprintf(stream,
                          "<malloc version=\"1\">\n"
                          "<heap nr=\"0\">\n"
                          "<total type=\"fast\" count=\"0\" size=\"%zu\"/>\n"
                          "<total type=\"rest\" count=\"%zu\" size=\"%zu\"/>\n"
                          "<system type=\"current\" size=\"%zu\"/>\n"
                          "<system type=\"max\" size=\"%zu\"/>\n"
                          "</heap>\n"
                          "<total type=\"mmap\" count=\"%zu\" size=\"0\"/>\n"
                          "<system type=\"current\" size=\"%zu\"/>\n"
                          "<system type=\"max\" size=\"%zu\"/>\n"
                          "</malloc>\n",
                          (size_t)stats.bytes_cached, (size_t)stats.slabs_partial,
                          (size_t)stats.bytes_free, (size_t)stats.bytes_mapped,
                          (size_t)stats.bytes_mapped_peak, (size_t)stats.large_blocks,
                          (size_t)stats.bytes_mapped, (size_t)stats.bytes_mapped_peak);
    return written < 0 ? -1 : 0;
}
