/* python_json.c - what the interpreter is served with, as JSON.
 * Invariants  pools are counted by their headers while the interpreter may run: each figure was
 *             true for its pool when it was read. Reading a pool that was never used costs no
 *             memory.
 * Threads     any; takes the arenas' lock for a moment.
 * Talks to    every part.   Called by the exit report, and by hf_python_json. */
#include <holdfast/options.h>
#include <holdfast/python.h>

#include "arenas.h"
#include "base/format.h"
#include "cpython.h"
#include "frames.h"
#include "lines.h"
#include "pymalloc.h"
#include "python_api.h"
#include "trim.h"

typedef struct pool_figures {
    uint64_t live, free, parked;
    uint64_t blocks, block_bytes; /* live blocks and their bytes                 */
    uint64_t free_bytes;          /* in pools that hold a live block             */
} pool_figures;

static void count_pools(const hfi_arena_slot *slot, pool_figures *f) {
    if (!hfi_pymalloc_is_arena(slot->address)) return;
    uint64_t parked = slot->parked;
    f->parked += (uint64_t)__builtin_popcountll(parked);
    for (unsigned i = 0; i < HFI_ARENA_POOLS; i++) {
        if ((parked >> i & 1) != 0) continue;
        const hfi_pool *pool = (const hfi_pool *)(slot->address + i * HFI_ARENA_POOL_SIZE);
        uint32_t count = pool->count, class_index = pool->class_index;
        if (count == 0 || class_index >= HFI_POOL_CLASSES) {
            f->free++;
            continue;
        }
        f->live++;
        f->blocks += count;
        f->block_bytes += (uint64_t)count * (class_index + 1) * 16;
        f->free_bytes +=
            HFI_ARENA_POOL_SIZE - HFI_POOL_HEADER - (uint64_t)count * (class_index + 1) * 16;
    }
}

static void write_parts(hfi_writer *w) {
    static const char *const names[HFI_PART_COUNT] = {"arenas", "trim", "domains", "frames"};
    hfi_json_key(w, "parts");
    hfi_json_open(w, '{');
    for (int part = 0; part < HFI_PART_COUNT; part++) {
        hfi_json_key(w, names[part]);
        hfi_json_open(w, '{');
        hfi_json_key(w, "on");
        hfi_json_bool(w, hfi_part_is_on((hfi_python_part)part));
        hfi_json_pair_text(w, "reason", hfi_part_reason((hfi_python_part)part));
        hfi_json_close(w, '}');
    }
    hfi_json_close(w, '}');
}

static void write_arenas(hfi_writer *w) {
    hfi_arenas_figures f = hfi_arenas_read();
    hfi_json_key(w, "arenas");
    hfi_json_open(w, '{');
    hfi_json_pair_u64(w, "used", f.used);
    hfi_json_pair_u64(w, "used_peak", f.used_peak);
    hfi_json_pair_u64(w, "cached", f.cached);
    hfi_json_pair_u64(w, "cold", f.cold);
    hfi_json_pair_u64(w, "huge", f.huge);
    hfi_json_pair_u64(w, "allocs", f.allocs);
    hfi_json_pair_u64(w, "hits", f.hits);
    hfi_json_pair_u64(w, "bytes_used", f.used * HFI_ARENA_SIZE);
    hfi_json_pair_u64(w, "bytes_cached", f.cached * HFI_ARENA_SIZE);
    hfi_json_pair_u64(w, "bytes_reserved", f.bytes_reserved);
    hfi_json_pair_u64(w, "bytes_returned", f.bytes_returned);
    hfi_json_pair_u64(w, "stack_bytes", f.other_bytes);
    hfi_json_pair_u64(w, "stack_chunks_cached", f.other_cached);
    hfi_json_close(w, '}');
}

static void write_pools(hfi_writer *w) {
    pool_figures f = {0};
    size_t cursor = 0;
    for (hfi_arena_slot *slot; (slot = hfi_arenas_next(&cursor)) != NULL;)
        count_pools(slot, &f);
    hfi_trim_figures trim = hfi_trim_read();
    hfi_json_key(w, "pools");
    hfi_json_open(w, '{');
    hfi_json_pair_u64(w, "live", f.live);
    hfi_json_pair_u64(w, "free", f.free);
    hfi_json_pair_u64(w, "parked", f.parked);
    hfi_json_pair_u64(w, "blocks", f.blocks);
    hfi_json_pair_u64(w, "bytes_in_blocks", f.block_bytes);
    hfi_json_pair_u64(w, "bytes_beside_blocks", f.free_bytes);
    hfi_json_pair_u64(w, "scans", trim.scans);
    hfi_json_pair_u64(w, "turned_away", trim.turned_away);
    hfi_json_pair_u64(w, "parked_so_far", trim.pools_parked);
    hfi_json_pair_u64(w, "squeezed_so_far", trim.pools_squeezed);
    hfi_json_pair_u64(w, "bytes_returned", trim.bytes_returned);
    hfi_json_pair_u64(w, "held_ns_max", trim.held_ns_max);
    hfi_json_close(w, '}');
}

static void write_range(uintptr_t begin, uintptr_t end, const char *kind, void *context) {
    hfi_writer *w = context;
    hfi_json_open(w, '{');
    hfi_json_key(w, "start");
    hfi_json_hex(w, begin, 0);
    hfi_json_key(w, "end");
    hfi_json_hex(w, end, 0);
    hfi_json_pair_text(w, "kind", kind);
    hfi_json_close(w, '}');
}

size_t hfi_python_json(char *buffer, size_t size) {
    hfi_writer w = hfi_writer_make(buffer, size);
    if (!hfi_python.present) {
        hfi_json_null(&w);
        return hfi_writer_finish(&w);
    }
    char version[16], mode[16];
    hfi_writer v = hfi_writer_make(version, sizeof version);
    hfi_write_u64(&v, hfi_python.version >> 8);
    hfi_write_char(&v, '.');
    hfi_write_u64(&v, hfi_python.version & 0xff);
    hfi_write_char(&v, '.');
    hfi_write_u64(&v, hfi_python.micro);
    hfi_writer_finish(&v);
    hf_options_text(hf_options_active(), "python_allocator", mode, sizeof mode);
    hfi_json_open(&w, '{');
    hfi_json_pair_text(&w, "version", version);
    hfi_json_key(&w, "free_threaded");
    hfi_json_bool(&w, hfi_python.free_threaded);
    hfi_json_pair_text(&w, "mode", mode);
    write_parts(&w);
    write_arenas(&w);
    write_pools(&w);
    hfi_json_key(&w, "ranges");
    hfi_json_open(&w, '[');
    hfi_python_ranges(write_range, &w);
    hfi_json_close(&w, ']');
    hfi_json_key(&w, "sites");
    hfi_json_open(&w, '{');
    hfi_json_pair_u64(&w, "lines", hfi_lines_count());
    hfi_json_pair_u64(&w, "captured", hfi_frames_captured());
    hfi_json_pair_u64(&w, "bytes", hfi_lines_bytes());
    hfi_json_close(&w, '}');
    hfi_json_close(&w, '}');
    return hfi_writer_finish(&w);
}

void hfi_python_ranges(hfi_python_range visitor, void *context) {
    hfi_arenas_ranges(visitor, context);
}

size_t hf_python_json(char *buffer, size_t size) {
    return hfi_python_json(buffer, size);
}

uint64_t hf_python_reclaim(void) {
    return hfi_python.present ? hfi_trim_now() : 0;
}
