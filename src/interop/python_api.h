/* python_api.h - the interpreter of this process: what was found of it, and which parts serve it.
 *
 * Invariants  written by hfi_python_start before Py_Initialize, but for the state of the parts,
 *             which goes from off to on or from on to off with a reason, each at most a few times.
 * Threads     functions are fixed after start; parts are words of their own, read by anybody.
 * Source      Include/cpython of CPython 3.11, 3.12, 3.13; structures are copied by layout, no
 *             header of Python is needed to build. */
#ifndef HFI_PYTHON_API_H
#define HFI_PYTHON_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HFI_PYTHON_3_11 0x030bu
#define HFI_PYTHON_3_12 0x030cu
#define HFI_PYTHON_3_13 0x030du

/* PyMemAllocatorEx and PyObjectArenaAllocator. */
typedef struct hfi_python_allocator {
    void *context;
    void *(*malloc)(void *context, size_t size);
    void *(*calloc)(void *context, size_t count, size_t size);
    void *(*realloc)(void *context, void *block, size_t size);
    void (*free)(void *context, void *block);
} hfi_python_allocator;
typedef struct hfi_python_arena_allocator {
    void *context;
    void *(*alloc)(void *context, size_t size);
    void (*free)(void *context, void *address, size_t size);
} hfi_python_arena_allocator;

typedef struct hfi_python_api {
    unsigned version;              /* 0x030d for 3.13; 0 where it is not known */
    unsigned micro;                /* 1 of 3.12.1                              */
    bool present;                  /* there is an interpreter in the process   */
    bool free_threaded;            /* built without a GIL                      */
    const char *runtime;           /* _PyRuntime; NULL if it is not exported   */
    size_t runtime_size;           /* bytes of it                              */
    const void *code_type;         /* &PyCode_Type                             */
    const void *text_type;         /* &PyUnicode_Type                          */
    const void *bytes_type;        /* &PyBytes_Type                            */
    int (*is_initialized)(void);   /* Py_IsInitialized                         */
    void *(*thread_current)(void); /* thread state that runs now               */
    void *(*thread_own)(void);     /* first thread state of the calling thread */
    int (*add_pending_call)(int (*function)(void *), void *context);
    void (*set_allocator)(int domain, hfi_python_allocator *allocator);
    void (*set_arena_allocator)(hfi_python_arena_allocator *allocator);
} hfi_python_api;

extern hfi_python_api hfi_python;

typedef enum hfi_python_part {
    HFI_PART_ARENAS,  /* arenas of pymalloc come from us    */
    HFI_PART_TRIM,    /* free pools go back to the system   */
    HFI_PART_DOMAINS, /* PyMem_SetAllocator                 */
    HFI_PART_FRAMES,  /* call sites name Python lines       */
    HFI_PART_COUNT
} hfi_python_part;

/* `reason` is static text: why a part is off, or what is special about it being on. */
void hfi_part_set(hfi_python_part part, bool on, const char *reason);
bool hfi_part_is_on(hfi_python_part part);
/* NULL for a part nobody asked for, and for one that is on without more to say. */
const char *hfi_part_reason(hfi_python_part part);

/* True if the calling thread runs Python code now, that is: holds the GIL of its interpreter. */
static inline bool hfi_python_thread_runs(void) {
    if (!hfi_python.is_initialized()) return false;
    void *current = hfi_python.thread_current();
    if (current == NULL) return false;
    /* Up to 3.11 `current` is one word for the process; from 3.12 on it is the thread's own. */
    return hfi_python.version >= HFI_PYTHON_3_12 || current == hfi_python.thread_own();
}

/* Calls `visitor` for each writable range of the program file that holds the interpreter; stops at
 * the first true. */
typedef bool (*hfi_words_visitor)(const uintptr_t *words, size_t count, void *context);
bool hfi_python_each_data_range(hfi_words_visitor visitor, void *context);

#endif
