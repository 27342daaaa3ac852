/* owners.c - a list in order of age, walked by id so that no lock is held while a visitor runs.
 * Threads     owners_lock guards everything.
 * Fails with  HF_E_INVALID without a visitor. */
#include "base/owners.h"

#include <string.h>

#include "base/lock.h"

static hfi_lock owners_lock = HFI_LOCK_INIT(HFI_RANK_OWNERS);
static struct hfi_owner_entry *oldest, *youngest; /* guarded by: owners_lock */
static uint64_t last_id;                          /* guarded by: owners_lock */

void hfi_owners_add(struct hfi_owner_entry *entry) {
    hfi_lock_acquire(&owners_lock);
    entry->id = ++last_id;
    entry->next = NULL;
    entry->prev = youngest;
    *(youngest != NULL ? &youngest->next : &oldest) = entry;
    youngest = entry;
    hfi_lock_release(&owners_lock);
}

void hfi_owners_remove(struct hfi_owner_entry *entry) {
    hfi_lock_acquire(&owners_lock);
    *(entry->prev != NULL ? &entry->prev->next : &oldest) = entry->next;
    *(entry->next != NULL ? &entry->next->prev : &youngest) = entry->prev;
    hfi_lock_release(&owners_lock);
}

void hfi_owners_fork_list(enum hfi_fork moment) HF_NO_THREAD_SAFETY {
    if (moment == HFI_FORK_PREPARE)
        hfi_lock_acquire(&owners_lock);
    else if (moment == HFI_FORK_PARENT)
        hfi_lock_release(&owners_lock);
    else
        hfi_lock_reinit(&owners_lock);
}

void hfi_owners_fork_each(enum hfi_fork moment) {
    for (struct hfi_owner_entry *at = oldest; at != NULL; at = at->next)
        if (at->fork != NULL) at->fork(at->self, moment);
}

void hfi_owners_each(hf_owner_kind kind, void (*visit)(void *self, void *context), void *context) {
    hfi_lock_acquire(&owners_lock);
    for (struct hfi_owner_entry *at = oldest; at != NULL; at = at->next)
        if (at->kind == kind) visit(at->self, context);
    hfi_lock_release(&owners_lock);
}

/* Copies the oldest owner that is younger than `id`; false if there is none. */
static bool copy_after(uint64_t id, hf_owner *out) {
    hfi_lock_acquire(&owners_lock);
    struct hfi_owner_entry *at = oldest;
    while (at != NULL && at->id <= id)
        at = at->next;
    if (at != NULL) {
        *out = (hf_owner){.id = at->id, .kind = at->kind};
        if (at->name != NULL) strncpy(out->name, at->name, HF_OWNER_NAME_MAX);
        /* What cannot be told stays zero: an owner that is being closed by its user. */
        (void)at->stats(at->self, &out->stats);
    }
    hfi_lock_release(&owners_lock);
    return at != NULL;
}

hf_status hf_owners_visit(hf_owner_visitor visitor, void *context) {
    if (visitor == NULL) return HF_E_INVALID;
    hf_owner owner = {.id = 0};
    while (copy_after(owner.id, &owner))
        if (visitor(&owner, context) != 0) break;
    return HF_OK;
}

const char *hf_owner_kind_name(hf_owner_kind kind) {
    static const char *const names[] = {"heap", "arena", "pool", "stacks", "shm"};
    return (unsigned)kind < sizeof names / sizeof *names ? names[kind] : "";
}
