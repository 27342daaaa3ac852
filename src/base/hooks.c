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
        /* SYNC(hooks.hook): what the owner prepared for it; pairs with hfi_hooks_run. */
        if (atomic_compare_exchange_strong_explicit(&hooks[i], &present, hook, memory_order_release,
                                                    memory_order_relaxed) ||
            present == hook)
            return;
    }
}

uint64_t hfi_hooks_run(uint64_t now_ns, int force) {
    uint64_t given = 0;
    for (unsigned i = 0; i < HOOKS_MAX; i++) {
        /* SYNC(hooks.hook): pairs with hfi_reclaim_hook_add. */
        hfi_reclaim_hook hook = atomic_load_explicit(&hooks[i], memory_order_acquire);
        if (hook != NULL) given += hook(now_ns, force);
    }
    return given;
}

void hfi_hooks_serve(const struct hfi_hook_services *services) {
    /* SYNC(hooks.serving): the heap has started; pairs with services_now. */
    atomic_store_explicit(&serving, services, memory_order_release);
}

static const struct hfi_hook_services *services_now(void) {
    /* SYNC(hooks.serving): pairs with hfi_hooks_serve. */
    return atomic_load_explicit(&serving, memory_order_acquire);
}

void hfi_reclaim_wake(void) {
    const struct hfi_hook_services *services = services_now();
    if (services != NULL) services->wake();
}

bool hfi_external_charge(size_t bytes) {
    const struct hfi_hook_services *services = services_now();
    return services == NULL || services->charge(bytes);
}

void hfi_external_discharge(size_t bytes) {
    const struct hfi_hook_services *services = services_now();
    if (services != NULL) services->discharge(bytes);
}
