/* cpython.c - finds the interpreter, puts the parts to work. Contracts: cpython.h, python_api.h.
 * Invariants  hfi_python and `ranges` are written once, before Py_Initialize.
 * Threads     start runs in the constructor; the hook on the reclaimer.
 * Why         everything by dlsym: one library serves every interpreter, and programs without one.
 *             An interpreter that is loaded later (dlopen) is not served: its memory began
 *             elsewhere.
 * Talks to    every file of this folder, base/hooks.h, base/format.h. */
#define _GNU_SOURCE
#include "cpython.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <holdfast/options.h>

#include "arenas.h"
#include "base/hooks.h"
#include "domains.h"
#include "frames.h"
#include "lines.h"
#include "python_api.h"
#include "raise.h"
#include "trim.h"

#define RANGE_COUNT 8

typedef struct range {
    const uintptr_t *words;
    size_t count;
} range;

hfi_python_api hfi_python;
static range ranges[RANGE_COUNT];
static size_t range_count;
static struct {
    _Atomic(const char *) reason; /* NULL: not asked for */
    _Atomic bool on;
} parts[HFI_PART_COUNT];

void hfi_part_set(hfi_python_part part, bool on, const char *reason) {
    /* relaxed: text is static; nobody reads other memory through either word. */
    atomic_store_explicit(&parts[part].reason, reason, memory_order_relaxed);
    atomic_store_explicit(&parts[part].on, on, memory_order_relaxed);
}

bool hfi_part_is_on(hfi_python_part part) {
    return atomic_load_explicit(&parts[part].on, memory_order_relaxed);
}

const char *hfi_part_reason(hfi_python_part part) {
    return atomic_load_explicit(&parts[part].reason, memory_order_relaxed);
}

/* Writable parts of the file (program or libpython) that holds the interpreter's data. */
static int range_add(struct dl_phdr_info *info, size_t size, void *context) {
    (void)size;
    uintptr_t inside = (uintptr_t)context;
    bool ours = false;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        uintptr_t begin = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        if (info->dlpi_phdr[i].p_type == PT_LOAD && inside - begin < info->dlpi_phdr[i].p_memsz)
            ours = true;
    }
    if (!ours) return 0;
    for (int i = 0; i < info->dlpi_phnum && range_count < RANGE_COUNT; i++) {
        if (info->dlpi_phdr[i].p_type != PT_LOAD || (info->dlpi_phdr[i].p_flags & PF_W) == 0)
            continue;
        uintptr_t begin = (info->dlpi_addr + info->dlpi_phdr[i].p_vaddr + 7) & ~(uintptr_t)7;
        uintptr_t end = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz;
        ranges[range_count++] = (range){(const uintptr_t *)begin, (end - begin) / 8};
    }
    return 1;
}

bool hfi_python_each_data_range(hfi_words_visitor visitor, void *context) {
    for (size_t i = 0; i < range_count; i++) {
        if (visitor(ranges[i].words, ranges[i].count, context)) return true;
    }
    return false;
}

/* "3.13.0 experimental free-threading build (...)" */
static void read_version(const char *text) {
    unsigned long parts_of[3] = {0};
    char *at = (char *)(uintptr_t)text;
    for (int i = 0; i < 3; i++) {
        parts_of[i] = strtoul(at, &at, 10);
        if (*at != '.') break;
        at++;
    }
    hfi_python.version = (unsigned)(parts_of[0] << 8 | parts_of[1]);
    hfi_python.micro = (unsigned)parts_of[2];
    hfi_python.free_threaded = strstr(text, "free-threading") != NULL;
}

static void *symbol(const char *name) {
    return dlsym(RTLD_DEFAULT, name);
}

static void find_runtime(void) {
    const ElfW(Sym) *entry = NULL;
    Dl_info info;
    hfi_python.runtime = symbol("_PyRuntime");
    if (hfi_python.runtime == NULL) return;
    if (dladdr1(hfi_python.runtime, &info, (void **)&entry, RTLD_DL_SYMENT) == 0) entry = NULL;
    hfi_python.runtime_size = entry != NULL ? entry->st_size : 0;
    if (hfi_python.runtime_size == 0) hfi_python.runtime = NULL;
    dl_iterate_phdr(range_add, (void *)(uintptr_t)hfi_python.runtime);
}

static bool find_interpreter(void) {
    const char *(*version)(void) = (const char *(*)(void))symbol("Py_GetVersion");
    if (version == NULL) return false; /* as in most programs: a search in vain is all they pay */
    hfi_python.set_arena_allocator =
        (void (*)(hfi_python_arena_allocator *))symbol("PyObject_SetArenaAllocator");
    hfi_python.set_allocator = (void (*)(int, hfi_python_allocator *))symbol("PyMem_SetAllocator");
    hfi_python.is_initialized = (int (*)(void))symbol("Py_IsInitialized");
    if (hfi_python.set_arena_allocator == NULL || hfi_python.set_allocator == NULL ||
        hfi_python.is_initialized == NULL)
        return false;
    read_version(version());
    void *current = symbol("PyThreadState_GetUnchecked");
    if (current == NULL) current = symbol("_PyThreadState_UncheckedGet");
    hfi_python.thread_current = (void *(*)(void))current;
    hfi_python.thread_own = (void *(*)(void))symbol("PyGILState_GetThisThreadState");
    hfi_python.add_pending_call = (int (*)(int (*)(void *), void *))symbol("Py_AddPendingCall");
    hfi_python.code_type = symbol("PyCode_Type");
    hfi_python.text_type = symbol("PyUnicode_Type");
    hfi_python.bytes_type = symbol("PyBytes_Type");
    find_runtime();
    hfi_python.present = true;
    return true;
}

static uint64_t decay(uint64_t now_ns, int force) {
    bool arenas_left = false, trim_left = false;
    /* Trim first: what it empties entirely comes back as arenas later, through the interpreter. */
    uint64_t bytes = hfi_trim_tick(now_ns, force != 0, &trim_left);
    bytes += hfi_arenas_decay(now_ns, force != 0, &arenas_left);
    if (arenas_left || trim_left) hfi_reclaim_wake();
    return bytes;
}

static void fork_prepare(void) {
    hfi_trim_fork_prepare();
    hfi_arenas_fork_prepare();
    hfi_lines_fork_prepare();
}

static void fork_done(void) {
    hfi_lines_fork_done();
    hfi_arenas_fork_done();
    hfi_trim_fork_done();
}

/* Why the private layouts are not to be relied on; NULL if they are known. */
static const char *layout_objection(void) {
    if (hfi_python.free_threaded) return "the interpreter is free-threaded";
    if (hfi_python.version < HFI_PYTHON_3_11) return "the interpreter is older than 3.11";
    if (hfi_python.version > HFI_PYTHON_3_13) return "the interpreter is newer than 3.13";
    if (hfi_python.runtime == NULL) return "_PyRuntime is not exported";
    if (hfi_python.thread_current == NULL || hfi_python.thread_own == NULL) {
        return "the current thread state cannot be asked for";
    }
    return NULL;
}

static void start_arenas(const char *objection) {
    if (hfi_python.free_threaded) {
        hfi_part_set(HFI_PART_ARENAS, false,
                     "the interpreter is free-threaded: objects are mimalloc's");
        return;
    }
    if (hfi_domains_are_malloc()) {
        hfi_part_set(HFI_PART_ARENAS, false, "PYTHONMALLOC sends objects to malloc, which is ours");
        return;
    }
    hfi_arenas_start();
    hfi_part_set(HFI_PART_ARENAS, true, NULL);
    if (hfi_part_is_on(HFI_PART_DOMAINS)) {
        hfi_part_set(HFI_PART_TRIM, false, "objects are on the heap: there are no pools");
    } else if (hf_options_active()->python_trim == 0) {
        hfi_part_set(HFI_PART_TRIM, false, "option python_trim is 0");
    } else if (objection != NULL) {
        hfi_part_set(HFI_PART_TRIM, false, objection);
    } else {
        hfi_trim_start();
    }
    hfi_reclaim_hook_add(decay);
}

void hfi_python_start(void) {
    uint32_t mode = hf_options_active()->python_allocator;
    bool raises = hf_options_active()->on_corruption == HF_POLICY_RAISE;
    if ((mode == HF_PYTHON_NONE && !raises) || !find_interpreter()) return;
    if (raises && hfi_python.add_pending_call != NULL) (void)hfi_raise_start(symbol);
    if (mode == HF_PYTHON_NONE) {
        hfi_python.present = false; /* it is told, not served */
        return;
    }
    const char *objection = layout_objection();
    if (mode == HF_PYTHON_HEAP) hfi_domains_start();
    /* In `heap` mode the interpreter's frame stack still comes from the arena allocator. */
    start_arenas(objection);
    if (objection != NULL) {
        hfi_part_set(HFI_PART_FRAMES, false, objection);
    } else {
        hfi_frames_start();
    }
    pthread_atfork(fork_prepare, fork_done, fork_done);
}
