/* owners.h - the list of everything that owns memory, for whoever looks on from outside.
 *
 *   oldest <-> ... <-> youngest      an entry lives inside its owner
 *
 * Invariants  ids grow along the list and are never used twice.
 * Talks to    lock.   Called by heap, arena, fiber: on creation and destruction.
 * Threads     one lock, rank OWNERS. `stats` and `fork` run under it and may take locks of higher
 *             rank; once hfi_owners_remove has returned neither runs any more. */
#ifndef HFI_OWNERS_H
#define HFI_OWNERS_H

#include <holdfast/owner.h>

enum hfi_fork { HFI_FORK_PREPARE, HFI_FORK_PARENT, HFI_FORK_CHILD };

struct hfi_owner_entry {
    struct hfi_owner_entry *next, *prev;
    uint64_t id;
    hf_owner_kind kind;
    const char *name;                               /* lives as long as the entry; may be NULL */
    hf_status (*stats)(void *self, hf_stats *out);  /* fills a zeroed structure                */
    void (*fork)(void *self, enum hfi_fork moment); /* its locks: take, release, reinit; or NULL */
    void *self;
};

/* Fills `next`, `prev` and `id`; the rest is the caller's. */
void hfi_owners_add(struct hfi_owner_entry *entry);
void hfi_owners_remove(struct hfi_owner_entry *entry);
/* Calls visit(self, context) for each owner of a kind with the list locked: it may take locks of higher
 * rank, and must not add, remove or call the user. */
void hfi_owners_each(hf_owner_kind kind, void (*visit)(void *self, void *context), void *context);
/* Around fork(2): the list's own lock, then those of the owners, which take theirs as peers. */
void hfi_owners_fork_list(enum hfi_fork moment);
void hfi_owners_fork_each(enum hfi_fork moment);

#endif
