/* lines.c - lines of Python code, remembered for good. lines.h is the contract.
 * Invariants  records are append-only in chunks that never move; `count` is published after a
 *             record is complete. The index maps keys to numbers, half empty at most, and may be
 *             thrown away and made anew from the records.
 * Threads     `busy` is tried for a moment, never waited for: the caller may be anywhere inside
 *             malloc.
 * Why         text is copied when a line is first seen, because nothing tells us when code dies. */
#include "lines.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "base/format.h"
#include "os/os.h"

#define CHUNK_RECORDS 1024u
#define CHUNK_COUNT   (HFI_LINES_MOST / CHUNK_RECORDS)
#define TEXT_CHUNK    ((size_t)65536)
#define TEXT_LONGEST  ((size_t)512) /* bytes kept of a file name or function name */
#define INDEX_FIRST   2048u
#define SPINS_MOST    2000u

typedef struct record {
    hfi_line_key key;
    const char *file; /* text, terminated */
    const char *name; /* text, terminated */
    uint32_t line;
} record;

static record *chunks[CHUNK_COUNT];
static _Atomic uint32_t count;   /* SYNC(lines.count) */
static _Atomic bool busy;        /* SYNC(lines.busy); guards everything below */
static uint32_t *index_table;    /* number, 0 is free */
static uint32_t index_size;      /* power of two      */
static char *text_at, *text_end; /* room for text     */
static _Atomic size_t bytes;     /* mapped            */

static record *record_of(uint32_t number) {
    return &chunks[(number - 1) / CHUNK_RECORDS][(number - 1) % CHUNK_RECORDS];
}

static uint32_t hash_of(const hfi_line_key *key) {
    uint64_t mixed = (uintptr_t)key->code ^ (uint64_t)key->instruction << 40 ^ key->first_line;
    mixed *= 0x9e3779b97f4a7c15u;
    return (uint32_t)(mixed >> 32);
}

static bool same(const hfi_line_key *a, const hfi_line_key *b) {
    return a->code == b->code && a->instruction == b->instruction &&
           a->first_line == b->first_line && a->file == b->file && a->name == b->name &&
           a->lines == b->lines;
}

static void *map(size_t size) {
    void *address = hfi_os_map(size);
    if (address != NULL) atomic_fetch_add_explicit(&bytes, size, memory_order_relaxed);
    return address;
}

static void index_put(uint32_t number) {
    uint32_t at = hash_of(&record_of(number)->key) & (index_size - 1);
    while (index_table[at] != 0)
        at = (at + 1) & (index_size - 1);
    index_table[at] = number;
}

static bool index_grow(uint32_t records) {
    uint32_t size = index_size != 0 ? index_size * 2 : INDEX_FIRST;
    uint32_t *table = map(size * sizeof *table);
    if (table == NULL) return false;
    if (index_table != NULL) {
        hfi_os_unmap(index_table, index_size * sizeof *index_table);
        atomic_fetch_sub_explicit(&bytes, index_size * sizeof *index_table, memory_order_relaxed);
    }
    index_table = table;
    index_size = size;
    for (uint32_t number = 1; number <= records; number++)
        index_put(number);
    return true;
}

/* A terminated copy; the one of `neighbour` if it says the same, as lines of one file do. */
static const char *keep_text(const char *text, size_t length, const char *neighbour) {
    if (neighbour != NULL && strlen(neighbour) == length && memcmp(neighbour, text, length) == 0) {
        return neighbour;
    }
    if ((size_t)(text_end - text_at) < length + 1) {
        text_at = map(TEXT_CHUNK);
        text_end = text_at != NULL ? text_at + TEXT_CHUNK : NULL;
        if (text_at == NULL) return NULL;
    }
    char *copy = memcpy(text_at, text, length);
    text_at += length + 1;
    return copy;
}

static uint32_t add(const hfi_line_key *key, const hfi_line_reader *reader) {
    uint32_t records = atomic_load_explicit(&count, memory_order_relaxed);
    if (records == HFI_LINES_MOST) return 0;
    if ((records + 1) * 2 > index_size && !index_grow(records)) return 0;
    record **chunk = &chunks[records / CHUNK_RECORDS];
    if (*chunk == NULL && (*chunk = map(CHUNK_RECORDS * sizeof **chunk)) == NULL) return 0;
    record *made = record_of(records + 1);
    const record *before = records != 0 ? record_of(records) : NULL;
    char buffer[TEXT_LONGEST];
    size_t length = reader->text(key->file, buffer, sizeof buffer);
    made->file = keep_text(buffer, length, before != NULL ? before->file : NULL);
    length = reader->text(key->name, buffer, sizeof buffer);
    made->name = keep_text(buffer, length, before != NULL ? before->name : NULL);
    if (made->file == NULL || made->name == NULL) return 0;
    made->line = reader->line(key);
    made->key = *key;
    /* SYNC(lines.count): publishes the record; pairs with the acquire in hfi_line_text. */
    atomic_store_explicit(&count, records + 1, memory_order_release);
    index_put(records + 1);
    return records + 1;
}

uint32_t hfi_line_intern(const hfi_line_key *key, const hfi_line_reader *reader) {
    /* SYNC(lines.busy): pairs with the release below. Held for a look-up, mostly. */
    for (unsigned spins = 0; atomic_exchange_explicit(&busy, true, memory_order_acquire); spins++)
        if (spins == SPINS_MOST) return 0;
    uint32_t number = 0;
    if (index_size != 0) {
        uint32_t at = hash_of(key) & (index_size - 1);
        while ((number = index_table[at]) != 0 && !same(&record_of(number)->key, key)) {
            at = (at + 1) & (index_size - 1);
        }
    }
    if (number == 0) number = add(key, reader);
    atomic_store_explicit(&busy, false, memory_order_release);
    return number;
}

size_t hfi_line_text(uint32_t number, char *buffer, size_t size) {
    hfi_writer writer = hfi_writer_make(buffer, size);
    /* SYNC(lines.count): sees the record; pairs with the release in add. */
    if (number != 0 && number <= atomic_load_explicit(&count, memory_order_acquire)) {
        const record *r = record_of(number);
        hfi_write_text(&writer, r->file);
        hfi_write_char(&writer, ':');
        hfi_write_u64(&writer, r->line);
        hfi_write_text(&writer, " in ");
        hfi_write_text(&writer, r->name);
    }
    return hfi_writer_finish(&writer);
}

uint32_t hfi_lines_count(void) {
    return atomic_load_explicit(&count, memory_order_acquire);
}

size_t hfi_lines_bytes(void) {
    return atomic_load_explicit(&bytes, memory_order_relaxed);
}

/* The table must not be copied half made. Whoever holds `busy` never waits for anything. */
void hfi_lines_fork_prepare(void) {
    while (atomic_exchange_explicit(&busy, true, memory_order_acquire))
        sched_yield();
}

void hfi_lines_fork_done(void) {
    atomic_store_explicit(&busy, false, memory_order_release);
}
