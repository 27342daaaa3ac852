/* shm_view.h - a structure in shared memory seen from outside: every slot, without owning any.
 *
 *   static int show(const hf_shm_view_item *item, void *context) {
 *       printf("%s %llu is %s\n", hf_shm_piece_name(item->piece), (unsigned long long)item->index,
 *              hf_shm_state_name(item->state));
 *       return 0;
 *   }
 *   hf_shm_view(shm, "work", show, NULL);
 *
 * Contract  each item was true at the moment it was read; while others go on, two items may be of
 *           different moments. Nothing of the structure is changed, nobody is locked out, nobody who
 *           died is recovered: what a killed participant left is shown as it left it.
 * Caveats
 *  - The visitor runs without locks held and may use the segment. It is called once for each slot,
 *    object, record and so on, also for the free ones: of a large structure that is many.
 *  - A watcher may look, too. It holds nothing: if the structure is erased meanwhile, it stops. */
#ifndef HOLDFAST_SHM_VIEW_H
#define HOLDFAST_SHM_VIEW_H

#include <stdint.h>

#include <holdfast/export.h>
#include <holdfast/shm.h>
#include <holdfast/status.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HF_SHM_PIECE(name, text, structures, number, value) HF_SHM_PIECE_##name,
#define HF_SHM_STATE(name, text, meaning)
/* What a structure is made of. */
typedef enum hf_shm_piece {
#include <holdfast/shm_view.def>
    HF_SHM_PIECE_COUNT
} hf_shm_piece;
#undef HF_SHM_PIECE
#undef HF_SHM_STATE

#define HF_SHM_PIECE(name, text, structures, number, value)
#define HF_SHM_STATE(name, text, meaning) HF_SHM_STATE_##name,
typedef enum hf_shm_state {
#include <holdfast/shm_view.def>
    HF_SHM_STATE_COUNT
} hf_shm_state;
#undef HF_SHM_PIECE
#undef HF_SHM_STATE

/* "slot", "in doubt" and the like; "" for a value that is none. */
HF_API const char *hf_shm_piece_name(uint32_t piece);
HF_API const char *hf_shm_state_name(uint32_t state);

#define HF_SHM_NOBODY UINT32_MAX /* instead of a participant */

typedef struct hf_shm_view_item {
    uint64_t index;       /* among the pieces of its kind                                     */
    uint64_t number;      /* position, generation, version or round, by piece: shm_view.def   */
    uint64_t value;       /* lag, keys, bits and so on, likewise; 0 where there is none       */
    hf_shm_span span;     /* of its bytes; of a lock and the like, of its word                */
    uint32_t piece;       /* hf_shm_piece                                                     */
    uint32_t state;       /* hf_shm_state                                                     */
    uint32_t participant; /* hf_shm_participant.index of who has it, or HF_SHM_NOBODY         */
    uint32_t pid;         /* of it, in its own pid namespace; 0: nobody has it                */
    uint32_t dead;        /* 1: it was killed, and what it had is not given back yet          */
    uint32_t spare;
} hf_shm_view_item;

/* Return non-zero to stop. */
typedef int (*hf_shm_visitor)(const hf_shm_view_item *item, void *context);

/* Visits every piece of the structure of this name. HF_E_NOT_FOUND (also: erased meanwhile),
 * HF_E_CORRUPT (the header or the entry cannot be; hf_shm_check says more), HF_E_LAYOUT (of a kind or
 * version that this library does not know), HF_E_INVALID. */
HF_API hf_status hf_shm_view(hf_shm *shm, const char *name, hf_shm_visitor visitor, void *context);

#ifdef __cplusplus
}
#endif
#endif
