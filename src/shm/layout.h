/* layout.h - the bytes of a segment: header, places of participants, table, data.
 *
 *   0 header | 4096 places[participants_max] | rows[entries_max] | data_at ... size ... size_max
 *   row: control 8 | 56 spare | facts 128 | users, a bit per place | name | format
 *
 * Invariants  the constants of the header never change once the segment has its name; everything
 *             behind `state` is changed by atomic words only. Where anything lies follows from four
 *             numbers, which every process takes once, checks, and keeps to itself.
 * Truth       a place is its participant's while the kernel says that its byte is locked; a row is a
 *             structure while its control says PUBLISHED. The rest is a hint or follows.
 * Talks to    nothing.   Called by everything in this folder that is about the segment itself.
 * Source      version: HFI_SHM_LAYOUT; a change of anything here makes it one more. */
#ifndef HFI_SHM_LAYOUT_H
#define HFI_SHM_LAYOUT_H

#include "segment.h"

#define HFI_SHM_MAGIC       UINT64_C(0x74736166646c6f68) /* "holdfast" */
#define HFI_SHM_LAYOUT      1u
#define HFI_SHM_ENTRIES_MAX 65536u
#define HFI_SHM_NAME_SIZE   1024u  /* of a structure, at most */
#define HFI_SHM_FORMAT_SIZE 16384u /* of a structure, at most */
#define HFI_SHM_PLACES_AT   4096u
#define HFI_SHM_GRAIN       128u
#define HFI_SHM_PAGE        4096u
#define HFI_SHM_HUGE        ((uint64_t)2 << 20)

/* header.state: no accident makes the one of the other */
#define HFI_SHM_READY   UINT32_C(0x59444552)
#define HFI_SHM_REMOVED UINT32_C(0x454e4f47)
enum {
    HFI_SHM_FREE,
    HFI_SHM_JOINED,
    HFI_SHM_BURIED, /* what it held is being given back      */
    HFI_SHM_LEFT    /* its process ends, or has, without close */
};                  /* place.state  */
enum hfi_shm_row_state {
    HFI_SHM_ROW_EMPTY,
    HFI_SHM_ROW_RESERVED,  /* by the holder of the table's lock         */
    HFI_SHM_ROW_PUBLISHED, /* there                                     */
    HFI_SHM_ROW_DYING,     /* name gone, bytes still used               */
    HFI_SHM_ROW_FREEING    /* its owner looks whether anybody uses them */
};

struct hfi_shm_header {
    uint64_t magic;
    uint32_t layout;
    uint32_t machine;  /* word size and byte order               */
    uint64_t checksum; /* of the constants that follow           */
    struct hfi_shm_constants {
        uint64_t size_created, size_max;
        uint64_t data_at, created_ns;
        uint32_t participants_max, entries_max;
        uint32_t name_size, format_size; /* multiples of 8                         */
        uint32_t huge_pages, unnamed;
        uint8_t id[16];
        char name[HF_SHM_NAME_MAX + 8]; /* "" without one                          */
    } constants;
    _Alignas(HFI_SHM_LINE) _Atomic uint32_t state;
    _Atomic uint32_t persist;
    _Atomic uint64_t size;         /* grows                                  */
    _Atomic uint64_t dirty_end;    /* bytes behind it were never used: zero  */
    _Atomic uint64_t recoveries;   /* a figure                               */
    _Atomic uint32_t entries_high; /* no row at or above it was ever used    */
    _Atomic uint32_t alone_pid;    /* of who last had all bytes, for sentences */
    _Atomic uint64_t boot;       /* on a file: of the machine that has it open; 0: closed cleanly */
    _Atomic uint64_t power_cuts; /* a figure */
    _Alignas(HFI_SHM_LINE) struct hfi_shm_lock lock; /* of the table           */
};

struct hfi_shm_place {
    _Alignas(HFI_SHM_LINE) _Atomic uint32_t state;
    _Atomic uint32_t generation;
    _Atomic uint32_t pid;
    _Atomic uint32_t guest; /* 1: does not count as one who lives in it */
    _Atomic uint64_t started, joined_ns, pid_namespace;
    _Atomic uint64_t role[(HF_SHM_ROLE_MAX + 1) / 8];
};

/* What a row says of its structure; copied as words. */
struct hfi_shm_facts {
    uint64_t hash; /* of the name */
    uint64_t offset, size;
    uint64_t element_size, element_count;
    uint64_t created_ns;
    uint32_t kind, layout, dimensions;
    uint32_t checksum; /* of all the others */
    uint64_t shape[HF_SHM_DIMENSIONS_MAX];
};
struct hfi_shm_row {
    _Alignas(HFI_SHM_LINE) _Atomic uint64_t control; /* generation:32 | owner:16 | state:8 */
    uint64_t spare[7];
    _Atomic uint64_t facts[sizeof(struct hfi_shm_facts) / 8];
    _Atomic uint64_t tail[]; /* users, name, format */
};
_Static_assert(sizeof(struct hfi_shm_header) <= HFI_SHM_PLACES_AT, "the header is one page");
_Static_assert(sizeof(struct hfi_shm_place) == HFI_SHM_LINE, "a place is one line");
_Static_assert(sizeof(struct hfi_shm_facts) == 128, "facts are two lines of 64");
_Static_assert(offsetof(struct hfi_shm_row, facts) == 64 &&
                   offsetof(struct hfi_shm_row, tail) == 192,
               "rows are the same for every compiler");

/* The private copy of the constants, and what follows from them. */
struct hfi_shm_geometry {
    struct hfi_shm_constants c;
    uint64_t row_size, rows_at;
    uint32_t user_words;
};
/* Fills the rest from the four counts and sizes; false if one is out of range. */
bool hfi_shm_geometry_make(struct hfi_shm_geometry *geometry);
uint64_t hfi_shm_checksum(const struct hfi_shm_constants *constants);
uint32_t hfi_shm_facts_checksum(const struct hfi_shm_facts *facts);
uint32_t hfi_shm_machine(void);

static inline uint64_t hfi_shm_control(uint32_t generation, uint32_t owner, unsigned state) {
    return (uint64_t)generation << 32 | (uint64_t)(owner & 0xffff) << 8 | state;
}
static inline uint32_t hfi_shm_control_generation(uint64_t control) {
    return (uint32_t)(control >> 32);
}
static inline uint32_t hfi_shm_control_owner(uint64_t control) {
    return (uint32_t)(control >> 8) & 0xffff;
}
static inline unsigned hfi_shm_control_state(uint64_t control) {
    return (unsigned)(control & 0xff);
}
static inline uint64_t hfi_shm_round(uint64_t value, uint64_t unit) {
    return (value + unit - 1) / unit * unit;
}

#endif
