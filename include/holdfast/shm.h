/* shm.h - a segment: memory that several processes map, with a table of what lies in it.
 *
 *   hf_shm_options options;                       hf_shm *shm;
 *   hf_shm_options_init(&options, 64 << 20);      hf_shm_open("frames", HF_SHM_OPEN_OR_CREATE, &options, &shm);
 *   hf_shm_queue_open(shm, "work", ...);  ...     hf_shm_close(shm);
 *
 * The promise  a process may be killed between any two instructions. The others go on, nothing hangs,
 *              nothing is corrupt, and what the dead one held comes back. Who lives is decided by a
 *              lock that the kernel releases, never by a timer: a stopped process is not a dead one.
 * Caveats
 *  - A segment is a participant of its own in every hf_shm that opens it; the child of a fork is one
 *    from its first instruction. The last one out removes the segment, unless it persists.
 *  - What a peer writes into the segment is not trusted: sizes and offsets are taken once, checked,
 *    and kept privately. A peer that cuts the file short is the one thing that ends in SIGBUS.
 *  - Every function may be called from any thread; close when no other thread uses the segment.
 *  - Errors are statuses; hf_shm_detail says in a sentence what was asked and what was found. */
#ifndef HOLDFAST_SHM_H
#define HOLDFAST_SHM_H

#include <stddef.h>
#include <stdint.h>

#include <holdfast/export.h>
#include <holdfast/stats.h>
#include <holdfast/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hf_shm hf_shm;

#define HF_SHM_NAME_MAX         200 /* bytes of a segment's name: letters, digits, '.', '_', '-' */
#define HF_SHM_DIMENSIONS_MAX   8
#define HF_SHM_PARTICIPANTS_MAX 1023
#define HF_SHM_ROLE_MAX         23
#define HF_SHM_SIZE_MAX         ((uint64_t)1 << 46)
#define HF_FOREVER              UINT64_MAX /* as a timeout [ns]; 0: do not wait */

typedef enum hf_shm_mode { HF_SHM_OPEN, HF_SHM_CREATE, HF_SHM_OPEN_OR_CREATE } hf_shm_mode;

/* What an opener does with a segment in which nobody lives any more. */
typedef enum hf_shm_stale {
    HF_SHM_RECOVER, /* keeps the data, gives back what the dead held         */
    HF_SHM_RESET,   /* removes it; with HF_SHM_OPEN that is HF_E_NOT_FOUND    */
    HF_SHM_REFUSE   /* HF_E_OWNER_DIED                                        */
} hf_shm_stale;

/* As what an opener takes part. */
typedef enum hf_shm_presence {
    HF_SHM_MEMBER, /* a participant; the last one that leaves removes the segment              */
    HF_SHM_GUEST,  /* one for a while: leaves it there if nobody but guests lived in it before */
    HF_SHM_WATCHER /* none at all: reads, changes nothing, needs no right to write             */
} hf_shm_presence;

typedef struct hf_shm_options {
    uint32_t struct_size;
    uint32_t access;           /* file mode of a new segment, 0600                            */
    int64_t group;             /* gid of a new segment; -1: the process's                     */
    int64_t owner;             /* uid that may own an opened one; -1: this user; -2: anybody  */
    uint64_t size;             /* of a new one, everything included [bytes]; open: 0 = any     */
    uint64_t size_max;         /* up to which it may grow; 0: it does not [bytes]             */
    uint32_t participants_max; /* 64; up to HF_SHM_PARTICIPANTS_MAX                           */
    uint32_t entries_max;      /* structures, 256                                             */
    uint32_t name_size;        /* bytes of a structure's name with its 0, 64                  */
    uint32_t format_size;      /* bytes of a structure's element format with its 0, 192       */
    uint32_t stale;            /* hf_shm_stale                                                */
    uint32_t persist;          /* 1: stays when the last participant leaves                   */
    uint32_t huge_pages;       /* 1: asks for them                                            */
    uint32_t prefault;         /* 1: touches every page at once                               */
    int32_t node;              /* NUMA node of the pages; -1: of who touches; -2: interleaved */
    uint32_t presence;         /* hf_shm_presence; a watcher only opens                           */
    uint64_t lock_wait_ns;     /* longest wait for another's change of the table, 10 s; >= 1 ms */
    const char *path;          /* a file instead of shared memory (persistence); NULL         */
    const char *role;          /* of this participant, shown to others; NULL                  */
} hf_shm_options;

HF_API void hf_shm_options_init(hf_shm_options *options, uint64_t size);

/* Opens or makes the segment of this name (not used when options->path is set). HF_E_NOT_FOUND,
 * HF_E_EXISTS, HF_E_PERMISSION, HF_E_NO_SPACE (shared memory is full: nothing is ever promised that
 * is not there), HF_E_LAYOUT (another version or no segment of ours), HF_E_MISMATCH (size),
 * HF_E_LIMIT (participants), HF_E_INVALID (name, options), HF_E_TIMEOUT. */
HF_API hf_status hf_shm_open(const char *name, hf_shm_mode mode, const hf_shm_options *options,
                             hf_shm **shm_out);
/* Without a name: reached by its file descriptor alone (inherited, sent over a socket). */
HF_API hf_status hf_shm_create_anonymous(const hf_shm_options *options, hf_shm **shm_out);
/* Opens what a descriptor refers to; the descriptor stays the caller's. */
HF_API hf_status hf_shm_open_file(int file, const hf_shm_options *options, hf_shm **shm_out);
/* The descriptor of this segment, owned by it; -1 if closed. */
HF_API int hf_shm_file(const hf_shm *shm);
/* Leaves. HF_E_BUSY while structures are open on it (hf_shm_opened says how many). */
HF_API hf_status hf_shm_close(hf_shm *shm);
HF_API size_t hf_shm_opened(const hf_shm *shm);
/* Leaves every segment of this process in good order, as exit(3) does by itself: for programs that end
 * by _exit. Memory stays mapped; nothing else may be called on the segments afterwards. */
HF_API void hf_shm_leave_all(void);
/* Takes the name away; those who have it open go on. HF_E_NOT_FOUND, HF_E_PERMISSION. */
HF_API hf_status hf_shm_remove(const char *name);
/* Adds memory at the end, up to size_max; addresses stay. HF_E_LIMIT, HF_E_NO_SPACE. */
HF_API hf_status hf_shm_grow(hf_shm *shm, uint64_t size);

typedef struct hf_shm_info {
    char name[HF_SHM_NAME_MAX + 1]; /* "" without one                              */
    char id[33];                    /* drawn when it was made, hexadecimal         */
    uint64_t size, size_max;        /* of the segment [bytes]                      */
    uint64_t bytes_used;            /* by structures                               */
    uint64_t bytes_free;            /* for structures                              */
    uint64_t largest_free;          /* longest run of them                         */
    uint64_t bytes_meta;            /* header, participants, table                 */
    uint64_t created_ns;            /* realtime                                    */
    uint32_t layout;                /* version of the layout                       */
    uint32_t participants_max, participants_live, participants_dead;
    uint32_t entries_max, entries; /* of the table                                */
    uint32_t self;                 /* index of this participant; UINT32_MAX: none */
    uint32_t persist;              /* 1: outlives its participants                */
    uint32_t access;               /* file mode                                   */
    uint32_t on_file;              /* 1: on a file given by path                  */
    uint64_t recoveries;           /* participants that were killed and recovered */
    uint64_t power_cuts;           /* on a file: times the machine went down while it was open */
} hf_shm_info;
HF_API hf_status hf_shm_info_of(hf_shm *shm, hf_shm_info *info_out);
/* The account of owner.h for the mapping in this process. */
HF_API hf_status hf_shm_stats(hf_shm *shm, hf_stats *stats_out);

typedef enum hf_shm_life { HF_SHM_SELF, HF_SHM_LIVE, HF_SHM_DEAD } hf_shm_life;
typedef struct hf_shm_participant {
    uint32_t index, generation;
    uint32_t pid;       /* in its own pid namespace                         */
    hf_shm_life life;   /* by the kernel; DEAD: killed and not yet recovered */
    uint64_t started;   /* of the process, clock ticks since boot           */
    uint64_t joined_ns; /* realtime                                         */
    char role[HF_SHM_ROLE_MAX + 1];
} hf_shm_participant;
/* Return non-zero to stop. */
typedef int (*hf_shm_participant_visitor)(const hf_shm_participant *participant, void *context);
HF_API hf_status hf_shm_participants(hf_shm *shm, hf_shm_participant_visitor visitor,
                                     void *context);
/* Gives back what killed participants held. Happens by itself where somebody waits for it. */
HF_API hf_status hf_shm_sweep(hf_shm *shm, size_t *recovered_out);

/* --- the table -------------------------------------------------------------------------------- */

typedef struct hf_shm_span {
    uint64_t offset, size; /* from the start of the segment [bytes] */
} hf_shm_span;

typedef struct hf_shm_entry {
    const char *name;       /* valid inside the visitor; of hf_shm_find: NULL      */
    const char *format;     /* of one element, as NumPy writes it; likewise        */
    uint32_t kind;          /* of shm_kind.def                                     */
    uint32_t layout;        /* version of the structure's layout                   */
    hf_shm_span span;       /* where it lies                                       */
    uint64_t element_size;  /* [bytes]                                             */
    uint64_t element_count; /* or its capacity                                     */
    uint32_t dimensions;
    uint32_t users; /* participants that have it open                      */
    uint64_t shape[HF_SHM_DIMENSIONS_MAX];
    uint64_t created_ns; /* realtime                                            */
    uint32_t index, generation;
} hf_shm_entry;
typedef int (*hf_shm_entry_visitor)(const hf_shm_entry *entry, void *context);

#define HF_SHM_KIND(name, value, text) HF_SHM_KIND_##name = value,
typedef enum hf_shm_kind {
#include <holdfast/shm_kind.def>
    HF_SHM_KIND_COUNT
} hf_shm_kind;
#undef HF_SHM_KIND
/* "queue" and the like; "" for a value that is none. */
HF_API const char *hf_shm_kind_name(uint32_t kind);

/* Every published structure; without locks held. */
HF_API hf_status hf_shm_list(hf_shm *shm, hf_shm_entry_visitor visitor, void *context);
HF_API hf_status hf_shm_find(hf_shm *shm, const char *name, hf_shm_entry *entry_out);
/* Plain bytes under a name, zeroed, at a multiple of 64 bytes (4096 from a page on). HF_E_EXISTS,
 * HF_E_NO_SPACE (no run of that length is free), HF_E_LIMIT (the table is full). */
HF_API hf_status hf_shm_add(hf_shm *shm, const char *name, uint64_t size, hf_shm_span *span_out);
/* The name is gone at once, the bytes when the last one that has it open closes it or dies. */
HF_API hf_status hf_shm_erase(hf_shm *shm, const char *name);
/* The address of a part of a span in this process; NULL if it does not lie inside. */
HF_API void *hf_shm_at(hf_shm *shm, hf_shm_span span, uint64_t offset, uint64_t size);

/* --- health ----------------------------------------------------------------------------------- */

/* How full a structure is and what went through it; 0 where it has no meaning. */
typedef struct hf_shm_figures {
    uint64_t capacity, count;  /* elements it can hold, holds now           */
    uint64_t written, read;    /* elements that went in, came out           */
    uint64_t lost;             /* overwritten, or given up with a killed one */
    uint64_t waits, recovered; /* waits in the kernel; repairs after a death */
    uint32_t readers, writers; /* live ones, where it knows them            */
} hf_shm_figures;
HF_API hf_status hf_shm_figures_of(hf_shm *shm, const char *name, hf_shm_figures *figures_out);

/* What is wrong with one structure (or the table: name ""): a sentence. */
typedef int (*hf_shm_fault_visitor)(const char *name, const char *fault, void *context);
/* Verifies header, table and every structure (or the one named). HF_E_CORRUPT if anything is wrong. */
HF_API hf_status hf_shm_check(hf_shm *shm, const char *name, hf_shm_fault_visitor visitor,
                              void *context);
/* Puts right what can be: rebuilds hints, returns what dead ones held, drops entries that cannot be. */
HF_API hf_status hf_shm_repair(hf_shm *shm, const char *name, size_t *repaired_out);

/* Segments of this machine that have a name, whoever made them. */
typedef int (*hf_shm_name_visitor)(const char *name, uint64_t size, void *context);
HF_API hf_status hf_shm_names(hf_shm_name_visitor visitor, void *context);
/* Removes the segment if nobody lives in it: 1 in *removed_out. Persistent ones stay. */
HF_API hf_status hf_shm_collect(const char *name, int *removed_out);

/* --- copies ----------------------------------------------------------------------------------- */

typedef struct hf_shm_dump_info {
    char name[HF_SHM_NAME_MAX + 1]; /* of the segment, "" without one            */
    uint64_t size, size_max;        /* of the segment [bytes]                    */
    uint64_t bytes_stored;          /* of them in the dump: zeroes are left out  */
    uint64_t created_ns, dumped_ns; /* realtime                                  */
    uint32_t entries;               /* structures                                */
    uint32_t live; /* other participants that lived while it was copied: 0, it was at rest */
} hf_shm_dump_info;
/* Writes the whole segment to `file`, from where it stands, for hf_shm_load on this kind of machine
 * (word size and byte order). While it is copied nobody else can come in. HF_E_BUSY if others live in
 * it, unless `while_live`: then the table stands still, but what they change meanwhile may be copied
 * half old and half new. `info_out` may be NULL. */
HF_API hf_status hf_shm_dump(hf_shm *shm, int file, int while_live, hf_shm_dump_info *info_out);
/* Reads the head of a dump alone: bytes_stored is 0. HF_E_LAYOUT, HF_E_CORRUPT. */
HF_API hf_status hf_shm_dump_look(int file, hf_shm_dump_info *info_out);
/* A new segment of this name (or options->path) with what was dumped: sizes and counts come from the
 * dump, the rest from the options (NULL: standard). Nobody lives in it but the caller. Its structures
 * are what they were at rest; one that was copied `while_live` is recovered as if everybody had been
 * killed: hf_shm_repair and hf_shm_check say what that made of it. HF_E_LAYOUT (no dump, another
 * version or machine), HF_E_CORRUPT (cut short, or a checksum differs), HF_E_EXISTS. */
HF_API hf_status hf_shm_load(const char *name, int file, const hf_shm_options *options,
                             hf_shm_dump_info *info_out, hf_shm **shm_out);

/* --- persistence ------------------------------------------------------------------------------ */

/* What was written before is on the medium when it returns (options.path; else HF_E_UNSUPPORTED). */
HF_API hf_status hf_shm_persist(hf_shm *shm);
HF_API hf_status hf_shm_persist_span(hf_shm *shm, hf_shm_span span);

/* The sentence to the last status of this thread that a function of shm*.h returned; never NULL. */
HF_API const char *hf_shm_detail(void);

#ifdef __cplusplus
}
#endif
#endif
