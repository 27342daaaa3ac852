/// stats.hpp - the figures of one heap, as a value.
///
/// hf::Stats has one field per row of stats.def (it is the C struct with functions). At rest
///   bytes_mapped = bytes_in_use + bytes_slack + bytes_cached + bytes_free + bytes_quarantined
///                + bytes_meta
/// Talks to    stats.h.   Used by heap.hpp.
/// Threads     a plain value; a snapshot taken while others allocate is consistent per counter.
/// Fails with  json() allocates a string and may throw std::bad_alloc; nothing else throws.
#ifndef HOLDFAST_STATS_HPP
#define HOLDFAST_STATS_HPP

#include <cstddef>
#include <cstdint>
#include <string>

#include <holdfast/stats.h>

namespace hf {

using ClassStats = hf_class_stats;

struct Stats : hf_stats {
    /// The right-hand side of the account.
    [[nodiscard]] std::uint64_t bytes_accounted() const noexcept {
        return bytes_in_use + bytes_slack + bytes_cached + bytes_free + bytes_quarantined +
               bytes_meta;
    }

    /// True if every mapped byte stands on exactly one line of the account.
    [[nodiscard]] bool adds_up() const noexcept { return bytes_mapped == bytes_accounted(); }

    /// Share of small allocations that a thread cache served [0..1]; 1 if there were none.
    [[nodiscard]] double hit_rate() const noexcept {
        if (small_allocs == 0) return 1.0;
        return 1.0 - static_cast<double>(cache_misses) / static_cast<double>(small_allocs);
    }

    /// Bytes of live blocks beyond what was asked for, as a share of those blocks [0..1].
    [[nodiscard]] double fragmentation_internal() const noexcept {
        const double live = static_cast<double>(bytes_in_use + bytes_slack);
        return live > 0 ? static_cast<double>(bytes_slack) / live : 0.0;
    }

    /// Free bytes in slabs and middle pools, as a share of what the heap holds [0..1].
    [[nodiscard]] double fragmentation_external() const noexcept {
        const double held = static_cast<double>(bytes_mapped);
        return held > 0 ? static_cast<double>(bytes_free) / held : 0.0;
    }

    /// Calls visit(name, unit, sentence, value) for every row of stats.def, in its order.
    template <class Visit> void for_each(Visit &&visit) const {
#define HF_STAT(name, unit, sentence) visit(#name, unit, sentence, name);
#include <holdfast/stats.def>
#undef HF_STAT
    }

    /// The snapshot as one JSON object.
    [[nodiscard]] std::string json() const {
        std::string text(hf_stats_json(this, nullptr, 0), '\0');
        hf_stats_json(this, text.data(), text.size() + 1);
        return text;
    }
};

} // namespace hf

#endif
