/* test_bitflip.c - one bit of memory turns over; nothing silent may come of it.
 *
 *   test_bitflip PROFILE [TARGET [BIT]]      the last line of a failure is the command to repeat it
 *
 * Method      each flip happens in a child of its own, under an alarm: the child makes a small heap,
 *             flips one bit of a target, then frees, allocates, fills, checks and walks. Outcomes:
 *               detected   a report was made       harmless   none, and every byte was right
 *               stopped    the process died of it  anything else, a hang above all, is a failure
 * Contract    `must` targets (trailers, patterns, headers: what this profile promises to watch) are
 *             detected; others may be harmless; only the allocator's own tables may stop the process.
 * Why         the heap is made anew each time, so that each flip meets the same heap. */
#include <blocks/slab.h>
#include <errno.h>
#include <heap/large.h>
#include <heap/middle.h>
#include <pages/pagemap.h>
#include <signal.h>
#include <sys/wait.h>

#include "../c/account.h"
#include "../c/content.h"

enum { LIVE = 40, HANG_S = CHECK_SANITIZED ? 120 : 30 };
enum { DETECTED = 10, HARMLESS = 11, WRONG = 12, NO_SUCH_BIT = 13 };

static hf_profile profile;
static hf_heap *heap;
static char *live[LIVE];
static size_t block_size;
static int watched; /* the block that is flipped: live[watched], freed first or not */
static int reports;

static void on_report(const hf_report *report, void *context) {
    (void)context;
    reports++;
    if (getenv("BITFLIP_SHOW") != NULL) {
        char text[4096];
        hf_report_format(report, text, sizeof text);
        fputs(text, stderr);
    }
}

typedef struct target {
    const char *name;
    size_t size; /* of the blocks in the heap                       */
    bool freed;  /* the block is freed before the flip              */
    enum { TRAILER, PATTERN, PAYLOAD, HEADER, SLAB_MAP, FIT_USED, FIT_FREE, FIT_LENGTH } part;
    unsigned least; /* first profile that must detect it; 9 for none   */
    bool may_stop;
} target;

static const target targets[] = {
    {"trailer-8", 8, false, TRAILER, HF_PROFILE_CHECKED, false},
    {"trailer-24", 24, false, TRAILER, HF_PROFILE_CHECKED, false},
    {"trailer-100", 100, false, TRAILER, HF_PROFILE_CHECKED, false},
    {"trailer-5000", 5000, false, TRAILER, HF_PROFILE_CHECKED, false},
    {"trailer-50000", 50000, false, TRAILER, HF_PROFILE_CHECKED, false},
    {"trailer-3000000", 3000000, false, TRAILER, HF_PROFILE_CHECKED, false},
    {"pattern-7", 7, false, PATTERN, HF_PROFILE_CHECKED, false},
    {"pattern-20", 20, false, PATTERN, HF_PROFILE_CHECKED, false},
    {"pattern-96", 96, false, PATTERN, HF_PROFILE_CHECKED, false},
    {"pattern-50000", 50000, false, PATTERN, HF_PROFILE_CHECKED, false},
    {"pattern-3000001", 3000001, false, PATTERN, HF_PROFILE_CHECKED, false},
    {"freed-trailer-24", 24, true, TRAILER, 9, false},
    {"freed-trailer-1000", 1000, true, TRAILER, 9, false},
    {"freed-pattern-24", 24, true, PAYLOAD, HF_PROFILE_CHECKED, false},
    {"freed-pattern-1000", 1000, true, PAYLOAD, HF_PROFILE_CHECKED, false},
    {"header-50000", 50000, false, HEADER, HF_PROFILE_CHECKED, false},
    {"header-500000", 500000, false, HEADER, HF_PROFILE_CHECKED, false},
    {"slab-map-24", 24, false, SLAB_MAP, 9, true},
    {"slab-map-1000", 1000, false, SLAB_MAP, 9, true},
    {"fit-used-50000", 50000, false, FIT_USED, 9, true},
    {"fit-free-50000", 50000, false, FIT_FREE, 9, true},
    {"fit-length-50000", 50000, false, FIT_LENGTH, 9, true},
};
#define TARGETS (sizeof targets / sizeof targets[0])

static size_t extent_found;
static int find_extent(const hf_view_block *block, void *context) {
    if (block->address != context) return 0;
    extent_found = block->class_size;
    return 1;
}

/* Where the bits of a target are: its first byte and how many bits; NULL if there are none here. */
static unsigned char *target_bits(const target *t, size_t *bits_out) {
    char *block = live[watched];
    struct hfi_owner *owner = hfi_pagemap_owner(block);
    extent_found = 0;
    CHECK_EQ(hf_heap_view(heap, find_extent, block), HF_OK);
    /* A large block occupies its segment; its trailer stands at the end of its own pages. */
    if (owner->kind == HFI_OWNER_LARGE) extent_found = ((struct hfi_large *)owner)->extent;
    CHECK(extent_found >= t->size + HFI_TRAILER);
    size_t room = extent_found - t->size - HFI_TRAILER;
    *bits_out = 64;
    switch (t->part) {
    case TRAILER: return (unsigned char *)block + extent_found - HFI_TRAILER;
    case PATTERN:
        *bits_out = 8 * (room < 8 ? room : 8);
        return room == 0 ? NULL : (unsigned char *)block + t->size;
    case PAYLOAD: return (unsigned char *)block;
    case HEADER: *bits_out = 128; return (unsigned char *)block - HFI_MIDDLE_HEADER;
    case SLAB_MAP: {
        if (owner->kind != HFI_OWNER_SLAB) return NULL;
        struct hfi_slab *slab = (struct hfi_slab *)owner;
        *bits_out = slab->count < 512 ? slab->count : 512;
        return (unsigned char *)slab->free;
    }
    default: {
        if (owner->kind != HFI_OWNER_MIDDLE) return NULL;
        struct hfi_fit *fit = &((struct hfi_middle_pool *)owner)->fit;
        /* One bit per 50 KiB block would do; 1,024 units are some 20 blocks. */
        *bits_out = t->part == FIT_LENGTH ? 16 * 64 : 1024;
        return (unsigned char *)(t->part == FIT_USED   ? fit->used
                                 : t->part == FIT_FREE ? fit->free
                                                       : (uint64_t *)fit->length);
    }
    }
}

static void make_heap(const target *t) {
    hf_options options;
    hf_options_init(&options);
    options.profile = profile;
    /* A guarded block now and then would be another layout than the one that is flipped. */
    if (profile == HF_PROFILE_DEBUG) options.guard_every = 1000000000;
    options.sites = HF_SITES_OFF;
    options.reclaim = HF_RECLAIM_OFF;
    CHECK_EQ(hf_heap_create(&options, "flip", -1, &heap), HF_OK);
    block_size = t->size;
    watched = t->size > 1000000 ? 2 : LIVE / 2;
    int count = t->size > 1000000 ? 5 : LIVE;
    for (int i = 0; i < count; i++) {
        live[i] = hf_heap_malloc(heap, t->size);
        CHECK(live[i] != NULL);
        content_fill(live[i], t->size, (uint64_t)i);
    }
}

static bool others_are_whole(bool freed) {
    for (int i = 0; i < LIVE; i++)
        if (live[i] != NULL && !(freed && i == watched) &&
            !content_whole(live[i], block_size, (uint64_t)i))
            return false;
    return true;
}

/* Uses the heap as a program would; false if any byte was wrong. */
static bool use_heap(bool freed, bool walk_first) {
    enum { MORE = 200 };
    static char *more[MORE];
    int count = block_size > 1000000 ? 3 : block_size > 30000 ? 30 : MORE;
    if (walk_first) (void)hf_heap_check(heap, NULL);
    if (!freed) hf_heap_free(heap, live[watched]);
    for (int i = 0; i < count; i++) {
        more[i] = hf_heap_malloc(heap, block_size);
        if (more[i] != NULL) content_fill(more[i], block_size, 1000 + (uint64_t)i);
    }
    bool right = others_are_whole(true);
    for (int i = 0; i < count; i++)
        if (more[i] != NULL && !content_whole(more[i], block_size, 1000 + (uint64_t)i))
            right = false;
    for (int i = 0; i < count; i++)
        hf_heap_free(heap, more[i]);
    hf_thread_flush();
    (void)hf_heap_check(heap, NULL);
    right = right && others_are_whole(true);
    for (int i = 0; i < LIVE; i++)
        if (live[i] != NULL && i != watched) hf_heap_free(heap, live[i]);
    (void)hf_heap_reclaim(heap);
    (void)hf_heap_check(heap, NULL);
    return right;
}

static void child_run(const target *t, size_t bit, bool walk_first) {
    size_t bits = 0;
    alarm(HANG_S);
    /* A sanitizer would make an exit status of them. */
    (void)signal(SIGSEGV, SIG_DFL);
    (void)signal(SIGBUS, SIG_DFL);
    if (!CHECK_SANITIZED) freopen("/dev/null", "w", stdout);
    hf_report_handler_set(on_report, NULL);
    make_heap(t);
    unsigned char *first = target_bits(t, &bits);
    if (first == NULL || bit >= bits) _exit(NO_SUCH_BIT);
    if (t->freed) hf_heap_free(heap, live[watched]);
    first[bit / 8] = (unsigned char)(first[bit / 8] ^ (1u << bit % 8));
    bool right = use_heap(t->freed, walk_first);
    if (!right) _exit(WRONG);
    _exit(reports > 0 ? DETECTED : HARMLESS);
}

/* The outcome of one flip; the exit status, or minus the signal. */
static int flip(const target *t, size_t bit, bool walk_first) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) child_run(t, bit, walk_first);
    int status = 0;
    while (waitpid(child, &status, 0) < 0)
        CHECK_EQ(errno, EINTR);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static int try_target(const target *t, const char *program, long only) {
    unsigned detected = 0, harmless = 0, stopped = 0, failures = 0;
    bool must = profile >= t->least;
    /* Tables and large blocks: every few bits, so that the whole fits a minute. */
    size_t step = t->part >= SLAB_MAP ? 7 : t->size > 1000000 ? 3 : 1;
    /* Each suspect is looked at for a second where the sanitizer has a thread of its own; and with
     * one thread of ours there is nothing for it to see. */
    if (CHECK_SANITIZED) step *= CHECK_TSAN ? 31 : 5;
    for (size_t bit = only >= 0 ? (size_t)only : 0;; bit += step) {
        int outcome = HARMLESS;
        for (int walk_first = 0; walk_first < 2; walk_first++) {
            outcome = flip(t, bit, walk_first != 0);
            if (outcome == NO_SUCH_BIT) break;
            bool fine = outcome == DETECTED || (outcome == HARMLESS && !must) ||
                        (t->may_stop && outcome < 0 && outcome != -SIGALRM);
            detected += outcome == DETECTED;
            harmless += outcome == HARMLESS;
            stopped += outcome < 0;
            if (!fine) {
                printf("bit %zu of %s: outcome %d, walk first %d\n%s %s %s %zu\n", bit, t->name,
                       outcome, walk_first, program,
                       profile == 1   ? "checked"
                       : profile == 2 ? "hardened"
                                      : "debug",
                       t->name, bit);
                failures++;
            }
        }
        if (outcome == NO_SUCH_BIT || only >= 0 || failures > 10) break;
    }
    printf("%-20s %5u detected %5u harmless %5u stopped %5u failed\n", t->name, detected, harmless,
           stopped, failures);
    fflush(stdout);
    return failures != 0;
}

int main(int argc, char **argv) {
    static const char *const names[] = {"fast", "checked", "hardened", "debug"};
    if (argc < 2) CHECK_FAIL("usage: %s PROFILE [TARGET [BIT]]", argv[0]);
    for (unsigned i = 0; i < 4; i++)
        if (strcmp(argv[1], names[i]) == 0) profile = (hf_profile)i;
    int failed = 0;
    for (size_t i = 0; i < TARGETS; i++)
        if (argc < 3 || strcmp(argv[2], targets[i].name) == 0)
            failed |= try_target(&targets[i], argv[0], argc > 3 ? atol(argv[3]) : -1);
    return failed;
}
