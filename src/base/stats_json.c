/* stats_json.c - the figures of one owner as JSON, with the ratios people ask for.
 *
 *   hit_rate                1 - cache_misses / small_allocs        small allocations that took no lock
 *   fragmentation_internal  slack / (in_use + slack)               of the memory of live blocks
 *   fragmentation_external  free / mapped                          of all memory the owner holds
 *   account_difference      mapped - (in_use + slack + cached + free + quarantined + meta)
 *   account_ok              the difference is 0; at rest it must be
 * Invariants  a ratio whose denominator is 0 is 0 (hit_rate: 1), never a missing key.
 * Threads     stateless. */
#include "stats_json.h"

#include "options.h"

static void json_ratio(hfi_writer *writer, const char *key, uint64_t part, uint64_t whole) {
    hfi_json_key(writer, key);
    hfi_json_ratio(writer, part, whole, 6);
}

static void json_profile(hfi_writer *writer, uint32_t profile) {
    const hfi_option *option = hfi_option_find("profile", sizeof "profile" - 1);
    char text[16];
    hfi_writer word = hfi_writer_make(text, sizeof text);
    hfi_option_write(&word, option, profile);
    (void)hfi_writer_finish(&word);
    hfi_json_pair_text(writer, "profile", text);
}

void hfi_write_stats(hfi_writer *writer, const hf_stats *stats) {
    hfi_json_open(writer, '{');
    json_profile(writer, stats->profile);
#define HF_STAT(name, unit, sentence) hfi_json_pair_u64(writer, #name, stats->name);
#include <holdfast/stats.def>
#undef HF_STAT
    /* A snapshot under way may have seen a miss before its allocation. */
    uint64_t asked = stats->small_allocs;
    uint64_t hits = asked > stats->cache_misses ? asked - stats->cache_misses : 0;
    json_ratio(writer, "hit_rate", asked > 0 ? hits : 1, asked > 0 ? asked : 1);
    json_ratio(writer, "fragmentation_internal", stats->bytes_slack,
               stats->bytes_in_use + stats->bytes_slack);
    json_ratio(writer, "fragmentation_external", stats->bytes_free, stats->bytes_mapped);
    uint64_t sum = stats->bytes_in_use + stats->bytes_slack + stats->bytes_cached +
                   stats->bytes_free + stats->bytes_quarantined + stats->bytes_meta;
    hfi_json_key(writer, "account_difference");
    hfi_json_i64(writer, (int64_t)(stats->bytes_mapped - sum));
    hfi_json_key(writer, "account_ok");
    hfi_json_bool(writer, stats->bytes_mapped == sum);
    hfi_json_close(writer, '}');
}

size_t hf_stats_json(const hf_stats *stats, char *buffer, size_t size) {
    hfi_writer writer = hfi_writer_make(buffer, size);
    hfi_write_stats(&writer, stats);
    return hfi_writer_finish(&writer);
}

void hfi_write_class_stats(hfi_writer *writer, const hf_class_stats *classes, size_t count) {
    hfi_json_open(writer, '[');
    for (size_t i = 0; i < count; i++) {
        const hf_class_stats *class = &classes[i];
        if (class->allocs == 0 && class->slabs == 0) continue;
        hfi_json_open(writer, '{');
        hfi_json_pair_u64(writer, "size", class->size);
        hfi_json_pair_u64(writer, "alignment", class->alignment);
        hfi_json_pair_u64(writer, "allocs", class->allocs);
        hfi_json_pair_u64(writer, "blocks", class->blocks);
        hfi_json_pair_u64(writer, "cached", class->cached);
        hfi_json_pair_u64(writer, "free", class->free);
        hfi_json_pair_u64(writer, "slabs", class->slabs);
        hfi_json_pair_u64(writer, "misses", class->misses);
        hfi_json_pair_u64(writer, "lock_waits", class->lock_waits);
        hfi_json_close(writer, '}');
    }
    hfi_json_close(writer, ']');
}
