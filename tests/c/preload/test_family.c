/* test_family.c - every function of libc's allocation family: contents, alignment, sizes of zero,
 * sizes that cannot be, products that overflow. Method: the documented contract of each function,
 * one by one, at the borders of the size tiers. */
#define _GNU_SOURCE
#include "preload_test.h"

#include <errno.h>
#include <malloc.h>

void free_sized(void *block, size_t size);
void free_aligned_sized(void *block, size_t alignment, size_t size);
void *__libc_malloc(size_t size);
void __libc_free(void *block);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void *__libc_valloc(size_t size);
void *__libc_pvalloc(size_t size);

/* volatile: the compiler must neither warn about these nor compute with them. */
static volatile size_t huge = PTRDIFF_MAX;
static volatile size_t endless = SIZE_MAX;
static volatile size_t nothing = 0;

static const size_t sizes[] = {
    1,       7,       8,     9,     15,    16,    17,    24,     31,      32,      33,
    100,     127,     128,   255,   256,   1000,  1016,  1024,   1025,    4096,    10000,
    16384,   32767,   32768, 32776, 32784, 32785, 65536, 100000, 1 << 18, 1 << 20, (1 << 20) + 1,
    3 << 20, 16 << 20};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static int is_aligned(const void *block, size_t alignment) {
    return ((uintptr_t)block & (alignment - 1)) == 0;
}

static void test_malloc_every_size_is_usable_aligned_and_disjoint(void) {
    void *blocks[SIZES];
    for (unsigned i = 0; i < SIZES; i++) {
        blocks[i] = malloc(sizes[i]);
        CHECK(blocks[i] != NULL);
        CHECK(is_aligned(blocks[i], sizes[i] >= 16 ? 16 : 8));
        CHECK(malloc_usable_size(blocks[i]) >= sizes[i]);
        fill(blocks[i], sizes[i], i);
    }
    for (unsigned i = 0; i < SIZES; i++)
        CHECK(is_filled(blocks[i], sizes[i], i));
    for (unsigned i = 0; i < SIZES; i++)
        free(blocks[i]);
}

static void test_malloc_usable_size_may_be_used(void) {
    for (unsigned i = 0; i < SIZES; i++) {
        void *block = malloc(sizes[i]);
        size_t usable = malloc_usable_size(block);
        memset(block, 0x5a, usable);
        free(block);
    }
    CHECK(malloc_usable_size(NULL) == 0);
    CHECK(report_count() == 0);
}

static void test_malloc_zero_is_a_block_of_its_own(void) {
    void *first = malloc(nothing), *second = malloc(nothing);
    CHECK(first != NULL);
    CHECK(second != NULL);
    CHECK(first != second);
    free(first);
    free(second);
    void *third = calloc(nothing, 8), *fourth = calloc(8, nothing);
    CHECK(third != NULL);
    CHECK(fourth != NULL);
    free(third);
    free(fourth);
    free(NULL);
}

#define CHECK_NO_MEMORY(call)                                                                      \
    do {                                                                                           \
        errno = 0;                                                                                 \
        void *none = (call);                                                                       \
        CHECK(none == NULL);                                                                       \
        CHECK(errno == ENOMEM);                                                                    \
    } while (0)

static void test_impossible_sizes_are_refused_with_enomem(void) {
    CHECK_NO_MEMORY(malloc(huge));
    CHECK_NO_MEMORY(malloc(endless));
    CHECK_NO_MEMORY(malloc(endless - 8));
    CHECK_NO_MEMORY(malloc(endless - 4096));
    CHECK_NO_MEMORY(calloc(1, endless));
    CHECK_NO_MEMORY(calloc(endless, 2));
    CHECK_NO_MEMORY(calloc(huge, 4));
    CHECK_NO_MEMORY(calloc((endless >> 31) + 1, (endless >> 31) + 1));
    CHECK_NO_MEMORY(realloc(NULL, endless));
    CHECK_NO_MEMORY(reallocarray(NULL, endless / 2, 3));
    CHECK_NO_MEMORY(aligned_alloc(64, endless));
    CHECK_NO_MEMORY(aligned_alloc(4096, endless - 63));
    CHECK_NO_MEMORY(memalign(64, endless - 8));
    CHECK_NO_MEMORY(valloc(endless - 8));
    CHECK_NO_MEMORY(pvalloc(endless - 8));
    CHECK_NO_MEMORY(pvalloc(endless - 4095));
}

static void test_a_failed_realloc_keeps_the_block(void) {
    char *block = malloc(100);
    fill(block, 100, 1);
    CHECK_NO_MEMORY(realloc(block, endless));
    CHECK_NO_MEMORY(realloc(block, huge));
    CHECK_NO_MEMORY(reallocarray(block, endless, endless));
    CHECK(is_filled(block, 100, 1));
    free(block);
}

static void test_calloc_is_zero_also_on_used_memory(void) {
    for (unsigned round = 0; round < 3; round++)
        for (unsigned i = 0; i < SIZES; i++) {
            unsigned char *block = calloc(1, sizes[i]);
            CHECK(block != NULL);
            CHECK(is_zero(block, sizes[i]));
            memset(block, 0xff, sizes[i]);
            free(block);
        }
    unsigned char *array = calloc(37, 11);
    CHECK(is_zero(array, 37 * 11));
    free(array);
}

static void test_realloc_keeps_what_fits(void) {
    for (unsigned from = 0; from < SIZES; from++)
        for (unsigned to = 0; to < SIZES; to++) {
            if (sizes[from] > (1 << 20) && sizes[to] > (1 << 20) && from != to) continue;
            void *block = malloc(sizes[from]);
            CHECK(block != NULL);
            size_t kept = sizes[from] < sizes[to] ? sizes[from] : sizes[to];
            fill(block, kept, from);
            block = realloc(block, sizes[to]);
            CHECK(block != NULL);
            CHECK(is_filled(block, kept, from));
            CHECK(malloc_usable_size(block) >= sizes[to]);
            memset(block, 1, sizes[to]);
            free(block);
        }
}

static void test_realloc_at_the_ends(void) {
    void *block = realloc(NULL, 50);
    CHECK(block != NULL);
    /* glibc: size zero frees, and the answer is NULL. */
    CHECK(realloc(block, nothing) == NULL);
    block = realloc(NULL, nothing);
    CHECK(block != NULL);
    block = reallocarray(block, 10, 20);
    CHECK(block != NULL);
    memset(block, 1, 200);
    free(block);
}

static void test_aligned_every_alignment_and_size(void) {
    static const size_t lengths[] = {0, 1, 16, 24, 100, 1000, 5000, 40000, 300000, 3 << 20};
    for (size_t alignment = 1; alignment <= (size_t)2 << 20; alignment <<= 1) {
        void *blocks[sizeof lengths / sizeof lengths[0]][3];
        for (unsigned i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
            size_t size = lengths[i];
            blocks[i][0] = aligned_alloc(alignment, size);
            blocks[i][1] = memalign(alignment, size);
            blocks[i][2] = NULL;
            int code = posix_memalign(&blocks[i][2], alignment, size);
            CHECK(code == (alignment < sizeof(void *) ? EINVAL : 0));
            CHECK((blocks[i][2] != NULL) == (code == 0));
            for (unsigned k = 0; k < 3; k++) {
                if (blocks[i][k] == NULL) {
                    CHECK(k == 2);
                    continue;
                }
                CHECK(is_aligned(blocks[i][k], alignment));
                CHECK(malloc_usable_size(blocks[i][k]) >= size);
                fill(blocks[i][k], size, i * 3 + k);
            }
        }
        for (unsigned i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
            for (unsigned k = 0; k < 3; k++) {
                if (blocks[i][k] == NULL) continue;
                CHECK(is_filled(blocks[i][k], lengths[i], i * 3 + k));
                if (k == 1) {
                    void *moved = realloc(blocks[i][k], lengths[i] + 100);
                    CHECK(moved != NULL);
                    CHECK(is_filled(moved, lengths[i], i * 3 + k));
                    blocks[i][k] = moved;
                }
                free(blocks[i][k]);
            }
    }
}

static void test_bad_alignments_are_refused(void) {
    void *untouched = &untouched;
    static const size_t bad[] = {0, 1, 2, 4, 12, 24, 48, 100, SIZE_MAX, (SIZE_MAX / 2) + 2};
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        errno = 77;
        CHECK(posix_memalign(&untouched, bad[i], 64) == EINVAL);
        CHECK(errno == 77);
        CHECK(untouched == &untouched);
    }
    errno = 77;
    CHECK(posix_memalign(&untouched, 64, endless - 8) == ENOMEM);
    CHECK(errno == 77);
    CHECK(untouched == &untouched);
    static volatile size_t three = 3;
    errno = 0;
    CHECK(aligned_alloc(three, 64) == NULL);
    CHECK(errno == EINVAL);
    errno = 0;
    CHECK(memalign(endless, 64) == NULL);
    CHECK(errno == EINVAL);
    /* memalign rounds odd alignments up, as glibc does. */
    void *block = memalign(three * 8, 64);
    CHECK(block != NULL);
    CHECK(is_aligned(block, 32));
    free(block);
    block = memalign(nothing, 64);
    CHECK(block != NULL);
    free(block);
}

static void test_page_functions(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *block = valloc(100);
    CHECK(block != NULL);
    CHECK(is_aligned(block, page));
    free(block);
    for (size_t size = 0; size < 3 * page; size += page / 2 + 1) {
        block = pvalloc(size);
        CHECK(block != NULL);
        CHECK(is_aligned(block, page));
        size_t whole = size == 0 ? page : (size + page - 1) / page * page;
        CHECK(malloc_usable_size(block) >= whole);
        memset(block, 1, whole);
        free(block);
    }
}

static void test_sized_frees(void) {
    for (unsigned i = 0; i < SIZES; i++) {
        void (*sized)(void *, size_t) =
            (void (*)(void *, size_t))(uintptr_t)library_symbol("free_sized");
        void (*aligned_sized)(void *, size_t, size_t) =
            (void (*)(void *, size_t, size_t))(uintptr_t)library_symbol("free_aligned_sized");
        CHECK(sized != NULL);
        CHECK(aligned_sized != NULL);
        sized(malloc(sizes[i]), sizes[i]);
        aligned_sized(aligned_alloc(64, sizes[i]), 64, sizes[i]);
        sized(NULL, 10);
    }
}

static void test_libc_names_are_the_same_heap(void) {
    static const char *const names[] = {"malloc",   "free",   "calloc", "realloc",
                                        "memalign", "valloc", "pvalloc"};
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        char libc_name[32];
        snprintf(libc_name, sizeof libc_name, "__libc_%s", names[i]);
        CHECK(library_symbol(libc_name) != NULL);
        CHECK(library_symbol(libc_name) == library_symbol(names[i]));
    }
}

static void test_questions_about_the_heap(void) {
    void *block = malloc(100000);
    struct mallinfo2 info = mallinfo2();
    CHECK(info.uordblks >= 100000);
    CHECK(info.arena >= info.uordblks);
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    struct mallinfo narrow = mallinfo();
    CHECK(narrow.uordblks >= 100000);
    CHECK(mallopt(M_MMAP_THRESHOLD, 1 << 20) == 1);
    free(block);
    int trimmed = malloc_trim(0);
    CHECK(trimmed == 0 || trimmed == 1);

    char *text = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);
    CHECK(malloc_info(0, stream) == 0);
    fclose(stream);
    CHECK(strstr(text, "<malloc version=") == text);
    CHECK(strstr(text, "</malloc>") != NULL);
    errno = 0;
    CHECK(malloc_info(1, stdout) == -1);
    CHECK(errno == EINVAL);
    free(text);
}

int main(void) {
    test_begin(120);
    test_malloc_every_size_is_usable_aligned_and_disjoint();
    test_malloc_usable_size_may_be_used();
    test_malloc_zero_is_a_block_of_its_own();
    test_impossible_sizes_are_refused_with_enomem();
    test_a_failed_realloc_keeps_the_block();
    test_calloc_is_zero_also_on_used_memory();
    test_realloc_keeps_what_fits();
    test_realloc_at_the_ends();
    test_aligned_every_alignment_and_size();
    test_bad_alignments_are_refused();
    test_page_functions();
    test_sized_frees();
    test_libc_names_are_the_same_heap();
    test_questions_about_the_heap();
    test_end();
    return 0;
}
