/* layout.c - where things lie in a segment, from four numbers.
 * Talks to    rng (mixing).   Called by create.c, segment.c, check.c.
 * Fails with  false for numbers out of range: nothing is computed from them. */
#include "layout.h"

#include <string.h>

#include "base/rng.h"

bool hfi_shm_geometry_make(struct hfi_shm_geometry *geometry) {
    struct hfi_shm_constants *c = &geometry->c;
    if (c->participants_max < 1 || c->participants_max > HF_SHM_PARTICIPANTS_MAX ||
        c->entries_max < 1 || c->entries_max > HFI_SHM_ENTRIES_MAX || c->name_size < 2 ||
        c->name_size > HFI_SHM_NAME_SIZE || c->format_size < 1 ||
        c->format_size > HFI_SHM_FORMAT_SIZE)
        return false;
    c->name_size = (uint32_t)hfi_shm_round(c->name_size, 8);
    c->format_size = (uint32_t)hfi_shm_round(c->format_size, 8);
    geometry->user_words = (c->participants_max + 63) / 64;
    geometry->row_size = hfi_shm_round(offsetof(struct hfi_shm_row, tail) +
                                           geometry->user_words * 8 + c->name_size + c->format_size,
                                       HFI_SHM_LINE);
    geometry->rows_at =
        HFI_SHM_PLACES_AT + (uint64_t)c->participants_max * sizeof(struct hfi_shm_place);
    c->data_at =
        hfi_shm_round(geometry->rows_at + c->entries_max * geometry->row_size, HFI_SHM_PAGE);
    return true;
}

static uint64_t sum_of(const void *bytes, size_t size) {
    uint64_t sum = HFI_SHM_LAYOUT;
    for (size_t i = 0; i < size / 8; i++) {
        uint64_t word;
        memcpy(&word, (const char *)bytes + 8 * i, 8);
        sum = hfi_rng_mix(sum ^ word);
    }
    return sum;
}

uint64_t hfi_shm_checksum(const struct hfi_shm_constants *constants) {
    return sum_of(constants, sizeof *constants);
}

uint32_t hfi_shm_facts_checksum(const struct hfi_shm_facts *facts) {
    struct hfi_shm_facts copy = *facts;
    copy.checksum = 0;
    return (uint32_t)(sum_of(&copy, sizeof copy) >> 32);
}

uint32_t hfi_shm_machine(void) {
    const uint32_t order = 0x01020304;
    uint8_t first;
    memcpy(&first, &order, 1);
    return (uint32_t)sizeof(void *) << 8 | first;
}
