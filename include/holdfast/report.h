/* report.h - corruption, reported once, where it is found.
 *
 * A report is a plain value on the finder's stack; building, formatting and emitting it allocate
 * nothing and take no lock. What happens next is policy: go on (the pool is quarantined), abort, or
 * raise (Python turns the pending report into an exception at the next safe point). */
#ifndef HOLDFAST_REPORT_H
#define HOLDFAST_REPORT_H

#include <stddef.h>
#include <stdint.h>

#include <holdfast/export.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum hf_report_kind {
#define HF_REPORT(name, python, anchor, sentence) HF_REPORT_##name,
#include <holdfast/report.def>
#undef HF_REPORT
    HF_REPORT_KIND_COUNT
} hf_report_kind;

/* Who asked for the block: libc's family or one of CPython's three. */
typedef enum hf_domain {
    HF_DOMAIN_LIBC = 0,   /* malloc, calloc, realloc, new, hf_* */
    HF_DOMAIN_PY_RAW = 1, /* PyMem_Raw* */
    HF_DOMAIN_PY_MEM = 2, /* PyMem_*    */
    HF_DOMAIN_PY_OBJ = 3, /* PyObject_* */
} hf_domain;

#define HF_REPORT_NAME  48   /* of a stack, terminator included */
#define HF_REPORT_BYTES 32   /* of damaged memory quoted in a report */
#define HF_SITE_TEXT    1024 /* longest rendered call site           */

typedef struct hf_report {
    uint32_t struct_size; /* sizeof(hf_report) of the library that filled it    */
    hf_report_kind kind;
    uint64_t time_ns;                /* CLOCK_REALTIME                                      */
    uint64_t thread_id;              /* kernel thread id that noticed                       */
    const char *found_by;            /* "free", "realloc", "malloc", "check", "exit", ...  */
    const void *address;             /* the pointer the program gave, or the block's start  */
    const void *block;               /* start of the block concerned; NULL if there is none */
    size_t block_size;               /* bytes the program asked for; 0 if unknown           */
    size_t class_size;               /* bytes the block occupies                            */
    ptrdiff_t damage_offset;         /* first overwritten byte, from `block` [bytes]        */
    size_t damage_length;            /* overwritten bytes seen                              */
    uint64_t expected;               /* first 8 bytes that should have been there           */
    uint64_t found;                  /* first 8 bytes that were there; STACK_*: the stack pointer */
    uint8_t bytes[HF_REPORT_BYTES];  /* what was written, from damage_offset           */
    uint32_t bytes_count;            /* how many of `bytes` are valid                       */
    hf_domain domain;                /* of the allocation                                   */
    hf_domain freed_as;              /* of the free, for DOMAIN_MISMATCH                    */
    size_t given_size;               /* for SIZE_MISMATCH: what the caller said             */
    const char *owner;               /* "small", "middle", "large", name of a heap          */
    uint64_t heap_id;                /* id of the heap, 0 if none                           */
    char site_noticed[HF_SITE_TEXT]; /* call stack, outermost first; "" if unknown */
    char site_allocated[HF_SITE_TEXT];
    char site_freed[HF_SITE_TEXT];
    char name[HF_REPORT_NAME]; /* "fiber 'parser-17'", "stack 12"; "" for blocks         */
    size_t high_water;         /* STACK_OVERFLOW: bytes of the stack that were in memory */
} hf_report;

/* Called once per report, without locks held, on the thread that noticed. It must not keep `report`.
 * It may allocate and free. A report that arises inside the handler is counted and not delivered. */
typedef void (*hf_report_handler)(const hf_report *report, void *context);

/* Installs the process-wide handler (NULL removes it); returns the previous one. */
HF_API hf_report_handler hf_report_handler_set(hf_report_handler handler, void *context);

/* Formats into `buffer` (always terminated, cut if short); returns the length it wanted. */
HF_API size_t hf_report_format(const hf_report *report, char *buffer, size_t size);
/* The same as one JSON object. */
HF_API size_t hf_report_json(const hf_report *report, char *buffer, size_t size);

HF_API const char *hf_report_kind_name(hf_report_kind kind);     /* "OVERFLOW"              */
HF_API const char *hf_report_kind_sentence(hf_report_kind kind); /* report.def              */
HF_API const char *hf_report_kind_anchor(hf_report_kind kind);   /* "overflow"              */

/* Reports so far in this process, and the most recent ones (at most 64 kept), oldest first.
 * Returns how many were copied. */
HF_API uint64_t hf_report_count(void);
HF_API size_t hf_report_recent(hf_report *reports_out, size_t capacity);
/* Policy `raise`: hands over the oldest undelivered report; 0 if there is none. */
HF_API int hf_report_take_pending(hf_report *report_out);

/* Call sites. A language front (CPython) installs both; neither may allocate, lock or call Python.
 * capture: writes at most `capacity` words that identify the current call stack, innermost first;
 *          returns how many, 0 when the calling thread runs no code of that language.
 * render:  turns captured words into text ("file:line in function", one frame a line, outermost
 *          first), terminated; returns the length. Words must stay renderable after their code died. */
typedef size_t (*hf_site_capture)(uintptr_t *frames, size_t capacity);
typedef size_t (*hf_site_render)(const uintptr_t *frames, size_t count, char *buffer, size_t size);
HF_API void hf_site_functions_set(hf_site_capture capture, hf_site_render render);

#ifdef __cplusplus
}
#endif
#endif
