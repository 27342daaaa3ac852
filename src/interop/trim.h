/* trim.h - memory inside live arenas goes back: free pools, and free pages of pools in use.
 *
 *   reclaimer --> hfi_trim_tick --> [GIL free?] --> pymalloc's own lists, edited --> madvise
 *
 * Invariants  pymalloc's structures are changed only while no thread can run Python code, only
 *             after everything about them was checked, and are consistent whenever that ends.
 * Threads     ticks come from the reclaimer; `now` from a thread that holds the GIL. One at a time,
 *             the others are turned away.
 * Fails with  nothing: on the first surprise the part goes off for good and says why. */
#ifndef HFI_TRIM_H
#define HFI_TRIM_H

#include <stdbool.h>
#include <stdint.h>

typedef struct hfi_trim_figures {
    uint64_t scans;          /* looks at one arena                                    */
    uint64_t turned_away;    /* ticks that met a busy interpreter                     */
    uint64_t pools_parked;   /* free pools taken out of the lists so far              */
    uint64_t pools_squeezed; /* pools in use that gave pages back so far              */
    uint64_t bytes_returned; /* by both                                               */
    uint64_t held_ns_max;    /* longest time the interpreter was kept from running    */
} hfi_trim_figures;

void hfi_trim_start(void);
/* Called by arenas.c on the thread that grew, with its GIL held. */
void hfi_trim_note_growth(void);
/* One pass of bounded length. Returns the bytes; *left_out: another pass may find more. */
uint64_t hfi_trim_tick(uint64_t now_ns, bool force, bool *left_out);
/* Everything, at once; the caller holds the GIL. */
uint64_t hfi_trim_now(void);
hfi_trim_figures hfi_trim_read(void);

void hfi_trim_fork_prepare(void);
void hfi_trim_fork_done(void);

#endif
