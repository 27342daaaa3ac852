/* owner.h - who owns memory in this process: heaps, arenas, pools, stack pools,
 * segments of shared memory.
 * The visitor runs without locks held, on a copy; owners that come or go meanwhile may be missed. */
#ifndef HOLDFAST_OWNER_H
#define HOLDFAST_OWNER_H

#include <stdint.h>

#include <holdfast/export.h>
#include <holdfast/stats.h>
#include <holdfast/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum hf_owner_kind {
    HF_OWNER_HEAP,
    HF_OWNER_ARENA,
    HF_OWNER_POOL,
    HF_OWNER_STACKS,
    HF_OWNER_SHM
} hf_owner_kind;

#define HF_OWNER_NAME_MAX 31

typedef struct hf_owner {
    uint64_t id;                      /* never used again in this process */
    hf_owner_kind kind;               /* what it is                       */
    char name[HF_OWNER_NAME_MAX + 1]; /* as given; "" if none was         */
    hf_stats stats;                   /* exact at rest                    */
} hf_owner;

/* Return non-zero to stop. */
typedef int (*hf_owner_visitor)(const hf_owner *owner, void *context);

/* Visits every owner, oldest first. HF_OK, or HF_E_INVALID without a visitor. */
HF_API hf_status hf_owners_visit(hf_owner_visitor visitor, void *context);
/* "heap", "arena", "pool", "stacks", "shm"; "" for anything else. */
HF_API const char *hf_owner_kind_name(hf_owner_kind kind);

#ifdef __cplusplus
}
#endif
#endif
