/* dispatch.h - the hot entry points of the default heap, chosen once by profile.
 * malloc(n) is one jump through this table: no profile pays for another's checks. Before start every
 * entry leads to the one that starts the library.
 * Threads     written once, before the first block is handed out.
 * Called by   preload, api.c. */
#ifndef HFI_DISPATCH_H
#define HFI_DISPATCH_H

#include <stddef.h>

#include "base/visibility.h"

struct hfi_dispatch {
    void *(*malloc)(size_t size);
    void (*free)(void *block);
    void *(*calloc)(size_t count, size_t size);
    void *(*realloc)(void *block, size_t size);
    void *(*aligned_alloc)(size_t alignment, size_t size);
    void (*free_sized)(void *block, size_t size);
    size_t (*usable_size)(const void *block);
    void *(*domain_malloc)(int domain, size_t size); /* domain: 0..3, report.h */
    void (*domain_free)(int domain, void *block);
};
extern HFI_HIDDEN struct hfi_dispatch hfi_dispatch;

#endif
