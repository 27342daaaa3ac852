/* segment_state.h - an open segment as this process sees it.
 *
 *   file --> locks alone: its byte says that this participant lives
 *   view --> maps, and is what hf_shm_file gives away: sharing it says nothing about who lives
 *
 * Invariants  [base, base + mapped) is the file, up to reserved it is address space without memory;
 *             opens[i] > 0 <=> the bit of `self` is set in the users of row i.
 * Threads     `lock` guards opens, opened, pins' neighbours and growing the mapping; it is held for
 *             a few instructions and never while waiting for another process. Its rank is OWNER, as
 *             a peer: in a fork all owners' locks are held.
 * Talks to    layout, owners.   Private to the files about the segment. */
#ifndef HFI_SHM_SEGMENT_STATE_H
#define HFI_SHM_SEGMENT_STATE_H

#include "base/lock.h"
#include "base/owners.h"
#include "base/racy.h"
#include "layout.h"
#include "os/shm.h"

enum { HFI_SHM_PINS = 16, HFI_SHM_AGAIN = 1 /* a status of our own: look again */ };

/* Lock numbers of the file: one for changes of the name, then one for each place; one more for each
 * place whose process ends: nobody lives there, and nobody may follow yet. */
#define HFI_SHM_NAME_BYTE   0u
#define HFI_SHM_PLACE_BYTE  1u
#define HFI_SHM_ENDING_BYTE 4096u

struct hfi_shm_extent {
    uint64_t start, end;
};

struct hf_shm {
    struct hfi_shm_front front; /* self; 0: closed in the child of a fork  */
    hfi_lock lock;
    hfi_lock pin_lock;
    char *base;
    _Atomic uint64_t mapped; /* bytes; grows                            */
    uint64_t reserved;       /* of address space; constant              */
    int file, view;
    int fork_file; /* in a fork: the child's lock              */
    uint32_t fork_self;
    struct hfi_shm_geometry geometry; /* constant                                */
    uint64_t device, inode;
    uint32_t on_file, sync;
    uint32_t alone; /* all bytes are ours                      */
    uint32_t huge_pages;
    uint32_t presence, keeps; /* hf_shm_presence; 1: leaving never removes the segment */
    int32_t node;
    uint32_t opened; /* structures; guarded by: lock             */
    uint64_t lock_wait_ns;
    uint32_t *opens;                /* [entries_max]; guarded by: lock          */
    struct hfi_shm_extent *extents; /* [entries_max]; guarded by: lock          */
    struct hfi_shm_pin {
        uint32_t owner, thread, depth;
    } pins[HFI_SHM_PINS]; /* guarded by: pin_lock                     */
    size_t private_size;  /* of this and the two arrays               */
    struct hfi_owner_entry entry;
    char name[HF_SHM_NAME_MAX + 1];
    char role[HF_SHM_ROLE_MAX + 1];
    char path[HFI_OS_PATH_MAX]; /* of the file; "" without a name           */
};

static inline struct hfi_shm_header *hfi_shm_header_of(const hf_shm *shm) {
    return (struct hfi_shm_header *)shm->base;
}
static inline struct hfi_shm_place *hfi_shm_place_of(const hf_shm *shm, uint32_t index) {
    return (struct hfi_shm_place *)(shm->base + HFI_SHM_PLACES_AT) + index;
}
static inline struct hfi_shm_row *hfi_shm_row_of(const hf_shm *shm, uint32_t index) {
    return (struct hfi_shm_row *)(shm->base + shm->geometry.rows_at +
                                  index * shm->geometry.row_size);
}
static inline uint32_t hfi_shm_places(const hf_shm *shm) {
    return shm->geometry.c.participants_max;
}
static inline uint64_t hfi_shm_page_up(uint64_t size) {
    return (size + HFI_PAGE - 1) & ~(uint64_t)(HFI_PAGE - 1);
}
static inline void hfi_shm_enter(hf_shm *shm) HF_ACQUIRES(shm->lock) HF_NO_THREAD_SAFETY {
    hfi_lock_acquire_peer(&shm->lock);
}
static inline void hfi_shm_exit(hf_shm *shm) HF_RELEASES(shm->lock) HF_NO_THREAD_SAFETY {
    hfi_lock_release(&shm->lock);
}

/* segment.c: HF_E_CLOSED with a sentence in a child that is no participant, HF_E_PERMISSION for a
 * watcher, HF_E_INVALID for NULL. */
hf_status hfi_shm_usable(const hf_shm *shm);
/* The same for what a watcher may do too: it only reads. */
hf_status hfi_shm_readable(const hf_shm *shm);
/* Size of the segment as the header says, checked; the mapping covers it afterwards as far as it can. */
uint64_t hfi_shm_size(hf_shm *shm);
/* True if [0, end) is mapped in this process, after looking whether the segment has grown. */
bool hfi_shm_cover(hf_shm *shm, uint64_t end);
/* The file of a name; HF_E_INVALID for what is none. `path`: HFI_OS_PATH_MAX bytes. */
hf_status hfi_shm_name_path(const char *name, char *path);
/* Removes the name if it is still this file's. */
void hfi_shm_unname(hf_shm *shm);

/* segment.c: a new segment whose bytes behind the header are there before anybody can know it. fill:
 * into zeroed memory; finish: after the header was written. */
struct hfi_shm_filling {
    hf_status (*fill)(hf_shm *shm, void *context);
    void (*finish)(hf_shm *shm, void *context);
    void *context;
};
hf_status hfi_shm_create_filled(const char *name, const hf_shm_options *options,
                                const struct hfi_shm_filling *filling, hf_shm **shm_out);

/* segment.c, for create.c. What `errno` says, with a sentence: "`what` `path`: ..."; keeps errno. */
hf_status hfi_shm_say_errno(const char *what, const char *path);
/* Private state for a segment of this geometry. `name`, `path`: NULL without one. */
hf_status hfi_shm_make(const struct hfi_shm_geometry *geometry, const char *name, const char *path,
                       const hf_shm_options *o, hf_shm **shm_out);
/* Address space for all it may grow to, the file's first `size` bytes mapped into it. */
hf_status hfi_shm_map_file(hf_shm *shm, uint64_t size);
/* On the nodes that were asked for, by the file's policy: before memory is behind these pages. */
void hfi_shm_place_pages(hf_shm *shm, uint64_t from, uint64_t to);
/* The opposite of both; closes the file too. */
void hfi_shm_discard(hf_shm *shm);

/* create.c: makes a segment and joins it. `path` NULL: anonymous; `filling` NULL: zeroes. HFI_SHM_AGAIN:
 * somebody else has the name. */
hf_status hfi_shm_create(const char *name, const char *path, const hf_shm_options *o,
                         const struct hfi_shm_filling *filling, hf_shm **shm_out);

/* participants.c. join: HFI_SHM_AGAIN if the segment was removed meanwhile. `fresh`: nobody can know
 * it yet. */
hf_status hfi_shm_join(hf_shm *shm, hf_shm_stale stale, bool fresh, uint64_t deadline);
void hfi_shm_leave(hf_shm *shm);
/* At exit of a process that did not close: it lives no more, and the segment goes if nobody else does.
 * Nobody follows in its place before the process is gone: other threads may still run. */
void hfi_shm_at_exit(void *self, void *context);
void hfi_shm_identify(hf_shm *shm, uint32_t index);
/* Everything of a participant whose byte the caller has locked, then its place is free. `killed`:
 * counts. */
void hfi_shm_bury(hf_shm *shm, uint32_t owner, bool killed);
size_t hfi_shm_sweep_all(hf_shm *shm);

/* persist.c. harden: on the medium when it returns; nothing for a segment in memory. was_cut: the
 * machine that had it open went down, and the file holds pages of different moments. mark_open: by
 * one who is alone, before anything else is written; mark_closed: after leaving, by whoever is last. */
enum { POWER_MUTANT_NO_RECOVERY = 91, POWER_MUTANT_ROW_FIRST, POWER_MUTANT_REUSE, POWER_MUTANTS };
void hfi_shm_harden(hf_shm *shm, uint64_t offset, uint64_t size);
void hfi_shm_harden_table(hf_shm *shm);
bool hfi_shm_was_cut(hf_shm *shm);
void hfi_shm_mark_open(hf_shm *shm);
void hfi_shm_mark_closed(hf_shm *shm);

/* info.c: as an owner's `stats`. */
hf_status hfi_shm_account(void *self, hf_stats *out);

/* fork.c: as an owner's `fork`. */
void hfi_shm_fork(void *self, enum hfi_fork moment);

/* table.c; deliberate faults of builds with steps */
enum { TABLE_MUTANT_FREE_USED = 81, TABLE_MUTANT_KEEP_BITS, TABLE_MUTANT_EARLY_PUBLISH };
struct hfi_shm_sight {
    struct hfi_shm_facts facts;
    uint64_t control;
    uint32_t index;
};
uint64_t hfi_shm_hash(const char *name);
uint32_t hfi_shm_rows(const hf_shm *shm); /* that may hold anything */
/* A consistent copy of a row in any of the states that have facts. False if there is none, or if it
 * changes too fast. `name`, `format`: room for name_size and format_size, or NULL. */
bool hfi_shm_see(const hf_shm *shm, uint32_t index, struct hfi_shm_sight *sight, char *name,
                 char *format);
/* The structure that was seen is still there. */
static inline bool hfi_shm_same_row(const hf_shm *shm, const struct hfi_shm_sight *sight) {
    return hfi_shm_load64(&hfi_shm_row_of(shm, sight->index)->control) == sight->control;
}
/* The facts are possible: inside the data, aligned, mapped after this. */
bool hfi_shm_sound(hf_shm *shm, const struct hfi_shm_facts *facts);
/* HF_OK, HF_E_NOT_FOUND, HF_E_CORRUPT. */
hf_status hfi_shm_lookup(hf_shm *shm, const char *name, struct hfi_shm_sight *sight, char *format);
/* Marks a row used by this participant: false if it is not what was seen any more. */
bool hfi_shm_hold(hf_shm *shm, const struct hfi_shm_sight *sight);
void hfi_shm_unhold(hf_shm *shm, uint32_t index, uint32_t generation);
void hfi_shm_facts_write(struct hfi_shm_row *row, const struct hfi_shm_facts *facts);
/* Frees the bytes of a dying row that nobody uses. */
void hfi_shm_reclaim(hf_shm *shm, uint32_t index);
_Atomic uint64_t *hfi_shm_users(const hf_shm *shm, struct hfi_shm_row *row);
bool hfi_shm_unused(const hf_shm *shm, struct hfi_shm_row *row);
/* What a dead (or leaving) participant left in the table. */
void hfi_shm_table_recover(hf_shm *shm, uint32_t owner);
/* The structure that was seen, as its functions take it. */
void hfi_shm_part_fill(hf_shm *shm, const struct hfi_shm_sight *sight, struct hfi_shm_part *out);
/* Whether the segment knows this kind in this layout; fills a part for the kind's functions. */
const struct hfi_shm_kind *hfi_shm_kind_of(hf_shm *shm, const struct hfi_shm_sight *sight,
                                           struct hfi_shm_part *part_out);
/* Under the table's lock: reserves, and tells where; then fills the row and publishes it. */
hf_status hfi_shm_reserve(hf_shm *shm, const char *name, uint64_t size, struct hfi_shm_sight *out);
void hfi_shm_publish(hf_shm *shm, struct hfi_shm_sight *sight, const char *name, const char *format,
                     bool used);
hf_status hfi_shm_table_lock(hf_shm *shm);
void hfi_shm_table_unlock(hf_shm *shm);
bool hfi_shm_name_is_sound(const hf_shm *shm, const char *name);

/* space.c: free bytes, as the complement of what rows say. Guarded by: shm->lock. */
struct hfi_shm_space {
    uint64_t used, free, largest;
};
uint32_t hfi_shm_extents(hf_shm *shm) HF_REQUIRES(shm->lock);
/* Where `size` bytes are free; 0: nowhere. */
uint64_t hfi_shm_place_bytes(hf_shm *shm, uint64_t size, struct hfi_shm_space *space_out);
struct hfi_shm_space hfi_shm_space(hf_shm *shm);
/* Bytes that a structure of `size` takes. */
uint64_t hfi_shm_footprint(uint64_t size);

#endif
