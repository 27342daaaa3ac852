/* shm_cells.h - numbers in a segment that any process changes in one step: counters, flags, maxima.
 *
 *   hf_shm_cells_options options;                            hf_shm_cells *counts;
 *   hf_shm_cells_options_init(&options, HF_SHM_CELL_U64, 16);
 *   hf_shm_cells_open(shm, "counts", HF_SHM_OPEN_OR_CREATE, &options, &counts);
 *   hf_shm_cells_add(counts, 3, (hf_shm_cell){.u64 = 1}, NULL);
 *   hf_shm_cells_wait(counts, 3, (hf_shm_cell){.u64 = 0}, HF_FOREVER);       sleeps while it is 0
 *
 * Killed    each operation changes the number by one instruction: it happened or it did not, and
 *           nobody can tell which. What must be counted exactly belongs into a queue or a pool.
 * Layout    one cell per 64 bytes, so that two processes on two cells do not share a cache line;
 *           packed: side by side.
 * Caveats
 *  - What was written before a store or a change is seen by who loads or changes afterwards (release and
 *    acquire). Adding wraps (integers) or rounds (doubles).
 *  - Doubles are compared by their bits (compare_exchange, wait): NaN equals itself, 0.0 is not -0.0;
 *    min and max go by value, and a NaN loses to a number.
 *  - Only notify wakes at once; who waits looks again every 50 ms in any case.
 *  - Every function may be called from any thread; close when no other thread uses the cells. */
#ifndef HOLDFAST_SHM_CELLS_H
#define HOLDFAST_SHM_CELLS_H

#include <stdint.h>

#include <holdfast/export.h>
#include <holdfast/shm.h>
#include <holdfast/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hf_shm_cells hf_shm_cells;

#define HF_SHM_CELLS_COUNT_MAX ((uint64_t)1 << 32)

typedef enum hf_shm_cell_type {
    HF_SHM_CELL_I64 = 1,
    HF_SHM_CELL_U64,
    HF_SHM_CELL_I32,
    HF_SHM_CELL_U32,
    HF_SHM_CELL_F64
} hf_shm_cell_type;

/* A number; the member of the cells' type counts. */
typedef union hf_shm_cell {
    int64_t i64;
    uint64_t u64;
    int32_t i32;
    uint32_t u32;
    double f64;
} hf_shm_cell;

typedef struct hf_shm_cells_options {
    uint32_t struct_size;
    uint32_t type;   /* hf_shm_cell_type; opened: must agree                 */
    uint64_t count;  /* 1 to HF_SHM_CELLS_COUNT_MAX; open: 0 = any           */
    uint32_t packed; /* 1: side by side instead of one per 64 bytes; likewise */
    uint32_t spare;
} hf_shm_cells_options;

HF_API void hf_shm_cells_options_init(hf_shm_cells_options *options, hf_shm_cell_type type,
                                      uint64_t count);
/* New cells are 0. Options NULL with HF_SHM_OPEN: whatever they are. HF_E_NOT_FOUND, HF_E_EXISTS,
 * HF_E_MISMATCH, HF_E_NO_SPACE, HF_E_LIMIT, HF_E_INVALID. */
HF_API hf_status hf_shm_cells_open(hf_shm *shm, const char *name, hf_shm_mode mode,
                                   const hf_shm_cells_options *options, hf_shm_cells **cells_out);
HF_API void hf_shm_cells_close(hf_shm_cells *cells);

/* HF_E_INVALID: there is no such cell. before_out may be NULL. */
HF_API hf_status hf_shm_cells_load(const hf_shm_cells *cells, uint64_t index, hf_shm_cell *out);
HF_API hf_status hf_shm_cells_store(hf_shm_cells *cells, uint64_t index, hf_shm_cell value);
HF_API hf_status hf_shm_cells_exchange(hf_shm_cells *cells, uint64_t index, hf_shm_cell value,
                                       hf_shm_cell *before_out);
HF_API hf_status hf_shm_cells_add(hf_shm_cells *cells, uint64_t index, hf_shm_cell value,
                                  hf_shm_cell *before_out);
HF_API hf_status hf_shm_cells_min(hf_shm_cells *cells, uint64_t index, hf_shm_cell value,
                                  hf_shm_cell *before_out);
HF_API hf_status hf_shm_cells_max(hf_shm_cells *cells, uint64_t index, hf_shm_cell value,
                                  hf_shm_cell *before_out);
/* Puts `value` where *expected is. *done_out: 1 if so; 0: *expected is what was there instead. */
HF_API hf_status hf_shm_cells_compare_exchange(hf_shm_cells *cells, uint64_t index,
                                               hf_shm_cell *expected, hf_shm_cell value,
                                               int *done_out);
/* Sleeps while the cell is `value`. HF_E_TIMEOUT: it was, for that long (0: it is). */
HF_API hf_status hf_shm_cells_wait(hf_shm_cells *cells, uint64_t index, hf_shm_cell value,
                                   uint64_t timeout_ns);
/* Wakes up to `count` that wait for this cell (UINT32_MAX: all). Cheap if nobody does. */
HF_API hf_status hf_shm_cells_notify(hf_shm_cells *cells, uint64_t index, uint32_t count);

HF_API hf_shm_cell_type hf_shm_cells_type(const hf_shm_cells *cells);
HF_API uint64_t hf_shm_cells_count(const hf_shm_cells *cells);
/* From one cell to the next [bytes]. */
HF_API uint64_t hf_shm_cells_stride(const hf_shm_cells *cells);
/* The cell itself: 8 (32-bit types: 4) bytes that are to be accessed atomically. NULL: no such cell. */
HF_API void *hf_shm_cells_at(hf_shm_cells *cells, uint64_t index);

#ifdef __cplusplus
}
#endif
#endif
