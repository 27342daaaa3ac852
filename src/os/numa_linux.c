/* numa_linux.c - nodes of the machine, read once from /sys, no libnuma.
 * Nodes are renumbered 0..count-1; the kernel's own numbers may have gaps.
 * Threads     started once before any other thread allocates; read-only afterwards.
 * Fails with  nothing: a machine that does not say has one node. */
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NODES_MAX           64
#define MPOL_PREFERRED_MODE 1
#define MPOL_INTERLEAVED    3

static unsigned node_count = 1;
static unsigned node_number[NODES_MAX]; /* the kernel's number of our node i */
static bool node_pretended;

/* Parses "0-1,4" into node_number; returns how many. */
static unsigned parse_list(const char *text) {
    unsigned count = 0;
    while (*text >= '0' && *text <= '9') {
        unsigned first = 0, last;
        while (*text >= '0' && *text <= '9')
            first = first * 10 + (unsigned)(*text++ - '0');
        last = first;
        if (*text == '-') {
            text++;
            last = 0;
            while (*text >= '0' && *text <= '9')
                last = last * 10 + (unsigned)(*text++ - '0');
        }
        for (unsigned n = first; n <= last && count < NODES_MAX; n++)
            node_number[count++] = n;
        if (*text != ',') break;
        text++;
    }
    return count;
}

void hfi_os_numa_start(unsigned pretended_nodes) {
    if (pretended_nodes != 0) {
        node_pretended = true;
        node_count = pretended_nodes < NODES_MAX ? pretended_nodes : NODES_MAX;
        for (unsigned i = 0; i < node_count; i++)
            node_number[i] = 0;
        return;
    }
    char text[256];
    int saved = errno;
    int file = (int)syscall(SYS_openat, AT_FDCWD, "/sys/devices/system/node/online",
                            O_RDONLY | O_CLOEXEC, 0);
    if (file >= 0) {
        long got = syscall(SYS_read, file, text, sizeof text - 1);
        syscall(SYS_close, file);
        if (got > 0) {
            text[got] = '\0';
            unsigned found = parse_list(text);
            if (found > 0) node_count = found;
        }
    }
    errno = saved;
}

unsigned hfi_os_node_count(void) {
    return node_count;
}

unsigned hfi_os_node_current(void) {
    if (node_count == 1) return 0;
    unsigned cpu = 0, node = 0;
    int saved = errno;
    syscall(SYS_getcpu, &cpu, &node, NULL);
    errno = saved;
    if (node_pretended) return cpu % node_count;
    for (unsigned i = 0; i < node_count; i++)
        if (node_number[i] == node) return i;
    return 0;
}

/* Of our nodes `first` to before `end`. */
static int bind_to(void *address, size_t size, int mode, unsigned first, unsigned end) {
    if (node_pretended || node_count == 1) return 0;
    unsigned long mask[NODES_MAX / (8 * sizeof(unsigned long)) + 1] = {0};
    for (unsigned i = first; i < end; i++) {
        unsigned number = node_number[i];
        if (number >= NODES_MAX) return -1;
        mask[number / (8 * sizeof mask[0])] |= 1ul << (number % (8 * sizeof mask[0]));
    }
    int saved = errno;
    long result = syscall(SYS_mbind, address, size, mode, mask, NODES_MAX + 1, 0);
    errno = saved;
    return result == 0 ? 0 : -1;
}

int hfi_os_node_bind(void *address, size_t size, unsigned node) {
    if (node >= node_count) return -1;
    return bind_to(address, size, MPOL_PREFERRED_MODE, node, node + 1);
}

int hfi_os_node_interleave(void *address, size_t size) {
    return bind_to(address, size, MPOL_INTERLEAVED, 0, node_count);
}

unsigned hfi_os_cpu_count(void) {
    unsigned char mask[1024 / 8] = {0};
    int saved = errno;
    long bytes = syscall(SYS_sched_getaffinity, 0, sizeof mask, mask);
    errno = saved;
    unsigned count = 0;
    for (long i = 0; i < bytes; i++)
        for (unsigned bits = mask[i]; bits != 0; bits &= bits - 1)
            count++;
    return count != 0 ? count : 1;
}

unsigned hfi_os_cpu_online(void) {
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (unsigned)count : 1;
}

size_t hfi_os_memory_size(void) {
    long pages = sysconf(_SC_PHYS_PAGES);
    return pages > 0 ? (size_t)pages * HFI_PAGE : (size_t)1 << 30;
}
