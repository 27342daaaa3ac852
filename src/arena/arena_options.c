/* arena_options.c - defaults, ready-made policies, and what contradicts itself.
 * Threads     none.
 * Fails with  HF_E_INVALID, HF_E_CONFLICT and a sentence. */
#include <string.h>

#include "arena_state.h"
#include "base/bits.h"

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)

void hf_arena_options_init(hf_arena_options *options, hf_arena_policy policy) {
    *options = (hf_arena_options){
        .struct_size = sizeof *options,
        .huge_pages = HF_HUGE_AUTO,
        .capacity = 64 * KIB,
        .reserve = 1024 * MIB,
        .retain = 64 * KIB,
        .decay_ms = 1000,
        .guard = HFI_PAGE,
        .alignment = HF_ARENA_ALIGNMENT,
        .node = -1,
    };
    if (policy == HF_ARENA_HIGH_PERFORMANCE) {
        options->capacity = 2 * MIB;
        options->huge_pages = HF_HUGE_ALWAYS;
        options->decay_ms = HF_ARENA_NEVER;
        options->guard = 0;
    } else if (policy == HF_ARENA_SAFETY) {
        options->guard = 64 * KIB;
        options->zero = 1;
        options->statistics = 1;
        options->track_allocations = 1;
        options->validate_access = 1;
        options->check_corruption = 1;
        options->log_operations = 1;
    }
}

static hf_status refuse(hf_status status, const char *sentence, char *why, size_t why_size) {
    if (why != NULL && why_size > 0) {
        size_t length = strlen(sentence);
        if (length >= why_size) length = why_size - 1;
        memcpy(why, sentence, length);
        why[length] = '\0';
    }
    return status;
}

hf_status hf_arena_options_check(const hf_arena_options *o, char *why, size_t why_size) {
    const uint64_t most = HFI_BUMP_MAX;
    if (o == NULL) return refuse(HF_E_INVALID, "no options", why, why_size);
    if (o->capacity > most || o->reserve > most || o->guard > most / 4)
        return refuse(HF_E_INVALID, "capacity, reserve and guard are at most 64 TiB", why,
                      why_size);
    if (o->reserve < HFI_PAGE || (o->reserve & (HFI_PAGE - 1)) != 0)
        return refuse(HF_E_INVALID, "reserve must be a multiple of the page size, 4096", why,
                      why_size);
    if (o->alignment != 0 && (!hfi_is_power(o->alignment) || o->alignment > 4096))
        return refuse(HF_E_INVALID, "alignment must be a power of two from 16 to 4096", why,
                      why_size);
    if (o->min_size > MIB) return refuse(HF_E_INVALID, "min_size is at most 1 MiB", why, why_size);
    if (o->prefetch > 16 * KIB)
        return refuse(HF_E_INVALID, "prefetch is at most 16 KiB", why, why_size);
    if (o->huge_pages > HF_HUGE_ALWAYS)
        return refuse(HF_E_INVALID, "huge_pages is auto, never or always", why, why_size);
    if (o->node < -1 || o->node >= (int32_t)hfi_os_node_count())
        return refuse(HF_E_INVALID, "this machine has no such NUMA node", why, why_size);
    if ((o->zero | o->thread_safe | o->statistics | o->track_allocations | o->validate_access |
         o->check_corruption | o->log_operations) > 1)
        return refuse(HF_E_INVALID, "switches are 0 or 1", why, why_size);
    if (o->limit != 0 && o->limit < HFI_BUMP_UNIT)
        return refuse(HF_E_INVALID, "limit must leave room for one block of 16 bytes", why,
                      why_size);
    if (o->limit != 0 && o->capacity > o->limit && o->capacity != 64 * KIB)
        return refuse(HF_E_CONFLICT, "capacity is larger than limit", why, why_size);
    return HF_OK;
}
