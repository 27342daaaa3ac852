/* region.c - reserve once, commit upwards, purge anywhere.
 * Threads     no state of its own.
 * Fails with  -1 and errno: EINVAL for sizes that are no pages, ENOMEM from the system. */
#include "pages/region.h"

#include <errno.h>

int hfi_region_reserve(struct hfi_region *region, size_t size, size_t guard, size_t alignment) {
    size_t whole;
    if (size == 0 || ((size | guard) & (HFI_PAGE - 1)) != 0 || alignment < HFI_PAGE ||
        (alignment & (alignment - 1)) != 0) {
        errno = EINVAL;
        return -1;
    }
    /* The low guard is as long as the alignment asks, so that base is aligned when the mapping is. */
    size_t low = (guard + alignment - 1) & ~(alignment - 1);
    if (low < guard || __builtin_add_overflow(size, low, &whole) ||
        __builtin_add_overflow(whole, guard, &whole)) {
        errno = ENOMEM;
        return -1;
    }
    char *mapping = hfi_os_reserve(whole, alignment);
    if (mapping == NULL) return -1;
    if (low != guard) hfi_os_unmap(mapping, low - guard);
    *region = (struct hfi_region){.base = mapping + low, .size = size, .guard = guard};
    return 0;
}

int hfi_region_commit(struct hfi_region *region, size_t bytes, bool huge, int node) {
    if (bytes <= region->committed) return 0;
    if (bytes > region->size) {
        errno = ENOMEM;
        return -1;
    }
    size_t wanted = hfi_page_up(bytes);
    char *from = region->base + region->committed;
    size_t more = wanted - region->committed;
    if (hfi_os_commit(from, more) != 0) return -1;
    /* Placement and huge pages are advice: memory elsewhere is better than none. */
    if (huge) hfi_os_huge(from, more, true);
    if (node >= 0) (void)hfi_os_node_bind(from, more, (unsigned)node);
    region->committed = wanted;
    return 0;
}

size_t hfi_region_purge(struct hfi_region *region, size_t from, size_t to) {
    from = hfi_page_up(from);
    to &= ~(HFI_PAGE - 1);
    if (to > region->committed) to = region->committed;
    if (from >= to) return 0;
    hfi_os_purge(region->base + from, to - from);
    return to - from;
}

void hfi_region_release(struct hfi_region *region) {
    if (region->base == NULL) return;
    hfi_os_unmap(region->base - region->guard, region->size + 2 * region->guard);
    *region = (struct hfi_region){.base = NULL};
}
