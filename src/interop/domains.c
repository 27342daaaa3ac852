/* domains.c - CPython's three allocator domains on the heap. domains.h is the contract.
 * Invariants  a request for no bytes is one for one byte, as PyMem_Malloc promises a unique
 *             pointer.
 * Threads     no state.
 * Why         PYTHONMALLOC and -X dev replace or wrap the allocators while Python starts, after us:
 *             blocks of the first moments would be freed by other functions than allocated them.
 *             There the domains stay CPython's; libc's malloc below them is ours all the same.
 *             Free-threaded: the collector walks mimalloc's pages, so objects must stay there. */
#include "domains.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <holdfast/heap.h>
#include <holdfast/report.h>

#include "python_api.h"

#define PYTHON_DOMAINS 3    /* PYMEM_DOMAIN_RAW, _MEM, _OBJ: 0, 1, 2 */
#define ARGUMENTS_SIZE 4096 /* of the command line that is looked at */

#define DOMAIN_FUNCTIONS(name, domain)                                                             \
    static void *name##_malloc(void *context, size_t size) {                                       \
        (void)context;                                                                             \
        return hf_domain_malloc(domain, size != 0 ? size : 1);                                     \
    }                                                                                              \
    static void *name##_calloc(void *context, size_t count, size_t size) {                         \
        (void)context;                                                                             \
        if (count == 0 || size == 0) count = size = 1;                                             \
        return hf_domain_calloc(domain, count, size);                                              \
    }                                                                                              \
    static void *name##_realloc(void *context, void *block, size_t size) {                         \
        (void)context;                                                                             \
        return hf_domain_realloc(domain, block, size != 0 ? size : 1);                             \
    }                                                                                              \
    static void name##_free(void *context, void *block) {                                          \
        (void)context;                                                                             \
        hf_domain_free(domain, block);                                                             \
    }

DOMAIN_FUNCTIONS(raw, HF_DOMAIN_PY_RAW)
DOMAIN_FUNCTIONS(mem, HF_DOMAIN_PY_MEM)
DOMAIN_FUNCTIONS(obj, HF_DOMAIN_PY_OBJ)

static const hfi_python_allocator allocators[PYTHON_DOMAINS] = {
    {NULL, raw_malloc, raw_calloc, raw_realloc, raw_free},
    {NULL, mem_malloc, mem_calloc, mem_realloc, mem_free},
    {NULL, obj_malloc, obj_calloc, obj_realloc, obj_free},
};

bool hfi_domains_are_malloc(void) {
    const char *wanted = getenv("PYTHONMALLOC");
    return wanted != NULL && (strcmp(wanted, "malloc") == 0 || strcmp(wanted, "malloc_debug") == 0);
}

/* True if the interpreter's own options (up to the script, -c or -m) contain -X dev. */
static bool arguments_ask_dev(void) {
    char text[ARGUMENTS_SIZE + 1];
    int file = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    if (file < 0) return false;
    ssize_t length = read(file, text, ARGUMENTS_SIZE);
    close(file);
    if (length <= 0) return false;
    text[length] = '\0';
    const char *end = text + length;
    for (const char *at = text + strlen(text) + 1; at < end; at += strlen(at) + 1) {
        if (at[0] != '-' || at[1] == '\0') return false;
        if (at[1] == '-') continue; /* --check-hash-based-pycs and the like */
        for (const char *letter = at + 1; *letter != '\0'; letter++) {
            if (*letter == 'c' || *letter == 'm') return false;
            if (*letter != 'X' && *letter != 'W') continue;
            const char *value = letter[1] != '\0' ? letter + 1 : at + strlen(at) + 1;
            if (value >= end) return false;
            if (*letter == 'X' && strcmp(value, "dev") == 0) return true;
            if (letter[1] == '\0') at = value; /* the value was an argument of its own */
            break;
        }
    }
    return false;
}

static bool is_set(const char *name) {
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0';
}

void hfi_domains_start(void) {
    if (is_set("PYTHONMALLOC")) {
        hfi_part_set(HFI_PART_DOMAINS, false, "PYTHONMALLOC chooses the allocators");
        return;
    }
    if (is_set("PYTHONDEVMODE") || arguments_ask_dev()) {
        hfi_part_set(HFI_PART_DOMAINS, false, "development mode wraps the allocators");
        return;
    }
    int count = hfi_python.free_threaded ? PYTHON_DOMAINS - 1 : PYTHON_DOMAINS;
    for (int domain = 0; domain < count; domain++) {
        hfi_python_allocator copy = allocators[domain];
        hfi_python.set_allocator(domain, &copy);
    }
    hfi_part_set(HFI_PART_DOMAINS, true,
                 hfi_python.free_threaded ? "raw and mem only: objects are mimalloc's" : NULL);
}
