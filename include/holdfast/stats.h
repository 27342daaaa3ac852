/* stats.h - figures of one owner, and of each size class. Counters are per thread and folded when
 * asked; a snapshot taken while others allocate is consistent per counter, exact at rest. */
#ifndef HOLDFAST_STATS_H
#define HOLDFAST_STATS_H

#include <stddef.h>
#include <stdint.h>

#include <holdfast/export.h>
#include <holdfast/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hf_stats {
    uint32_t struct_size;
    uint32_t profile;
#define HF_STAT(name, unit, sentence) uint64_t name;
#include <holdfast/stats.def>
#undef HF_STAT
} hf_stats;

typedef struct hf_class_stats {
    uint32_t size;       /* bytes of one block, trailer included       */
    uint32_t alignment;  /* of every block [bytes]                     */
    uint64_t allocs;     /* so far                                     */
    uint64_t blocks;     /* live                                       */
    uint64_t cached;     /* free, held by threads and depots [blocks]  */
    uint64_t free;       /* free, in slabs [blocks]                    */
    uint64_t slabs;      /* runs of this class                         */
    uint64_t misses;     /* of thread caches                           */
    uint64_t lock_waits; /* for this class's pool lock                 */
} hf_class_stats;

/* JSON of a snapshot with ratios (hit rate, fragmentation); returns the wanted length. */
HF_API size_t hf_stats_json(const hf_stats *stats, char *buffer, size_t size);
/* Everything of the default heap: totals, classes, options, number of reports (hf_report_recent has
 * them). Allocates nothing. */
HF_API size_t hf_process_json(char *buffer, size_t size);

#ifdef __cplusplus
}
#endif
#endif
