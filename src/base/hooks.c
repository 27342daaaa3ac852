/* hooks.c - two tables of functions: those who join, and the one who serves.
 * Threads     atomics; an entry is written once.
 * Fails with  nothing. */
#include "base/hooks.h"

#include <stdatomic.h>

#define HOOKS_MAX 8u

static _Atomic hfi_reclaim_hook hooks[HOOKS_MAX];
static const struct hfi_hook_services *_Atomic serving;

void hfi_reclaim_hook_add(hfi_reclaim_hook hook) {
    for (unsigned i = 0; i < HOOKS_MAX; i++) {
        hfi_reclaim_hook present = NULL;
        if (atomic_compare_exchange_strong(&hooks[i], &present, hook) || present == hook) return;
    }
}

uint64_t hfi_hooks_run(uint64_t now_ns, int force) {
    uint64_t given = 0;
    for (unsigned i = 0; i < HOOKS_MAX; i++) {
        hfi_reclaim_hook hook = atomic_load(&hooks[i]);
        if (hook != NULL) given += hook(now_ns, force);
    }
    return given;
}

void hfi_hooks_serve(const struct hfi_hook_services *services) {
    atomic_store(&serving, services);
}

void hfi_reclaim_wake(void) {
    const struct hfi_hook_services *services = atomic_load(&serving);
    if (services != NULL) services->wake();
}

bool hfi_external_charge(size_t bytes) {
    const struct hfi_hook_services *services = atomic_load(&serving);
    return services == NULL || services->charge(bytes);
}

void hfi_external_discharge(size_t bytes) {
    const struct hfi_hook_services *services = atomic_load(&serving);
    if (services != NULL) services->discharge(bytes);
}
