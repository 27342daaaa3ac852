/* test_region.c - a range of its own between two guards: reserve, commit upwards, purge, release.
 * Method      bytes are written and read on both sides of every border; what must fault does so in a child. */
#include <errno.h>
#include <pages/region.h>
#include <signal.h>
#include <sys/wait.h>

#include "check.h"
#include "content.h"

/* True if touching the byte ends the program. */
static bool faults(volatile char *at) {
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        *at = 1;
        _exit(0);
    }
    int status = 0;
    CHECK_EQ(waitpid(child, &status, 0), child);
    /* A sanitizer turns the signal into an exit of its own. */
    return WIFSIGNALED(status) || WEXITSTATUS(status) != 0;
}

static void test_reserve_is_aligned_and_guarded(void) {
    for (size_t alignment = HFI_PAGE; alignment <= HFI_HUGE_PAGE * 2; alignment *= 4)
        for (size_t guard = 0; guard <= 4 * HFI_PAGE; guard += 2 * HFI_PAGE) {
            struct hfi_region region = {.base = NULL};
            CHECK_EQ(hfi_region_reserve(&region, 16 * HFI_PAGE, guard, alignment), 0);
            CHECK_EQ((uintptr_t)region.base % alignment, 0);
            CHECK_EQ(region.size, 16 * HFI_PAGE);
            CHECK_EQ(region.committed, 0);
            CHECK_EQ(region.guard, guard);
            hfi_region_release(&region);
            CHECK(region.base == NULL);
            hfi_region_release(&region); /* twice is no harm */
        }
}

static void test_reserve_wrong_arguments_fail_with_einval(void) {
    struct hfi_region region = {.base = NULL};
    const size_t wrong[][3] = {
        {0, 0, HFI_PAGE},  {100, 0, HFI_PAGE},          {HFI_PAGE, 5, HFI_PAGE},
        {HFI_PAGE, 0, 64}, {HFI_PAGE, 0, 3 * HFI_PAGE}, {HFI_PAGE, 0, 0}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        errno = 0;
        CHECK_EQ(hfi_region_reserve(&region, wrong[i][0], wrong[i][1], wrong[i][2]), -1);
        CHECK_EQ(errno, EINVAL);
        CHECK(region.base == NULL);
    }
    errno = 0;
    CHECK_EQ(hfi_region_reserve(&region, SIZE_MAX & ~(HFI_PAGE - 1), HFI_PAGE, HFI_PAGE), -1);
    CHECK_EQ(errno, ENOMEM);
    errno = 0;
    CHECK_EQ(hfi_region_reserve(&region, (size_t)1 << 60, 0, HFI_PAGE), -1);
    CHECK_EQ(errno, ENOMEM);
}

static void test_commit_makes_bytes_usable_and_zero_in_steps(void) {
    struct hfi_region region = {.base = NULL};
    CHECK_EQ(hfi_region_reserve(&region, 64 * HFI_PAGE, HFI_PAGE, HFI_PAGE), 0);
    CHECK(faults(region.base));
    CHECK(faults(region.base - 1));
    size_t before = 0;
    for (size_t bytes = 1; bytes <= region.size; bytes = bytes * 3 + 1) {
        CHECK_EQ(hfi_region_commit(&region, bytes, bytes % 2 == 0, -1), 0);
        CHECK_GE(region.committed, bytes);
        CHECK_LT(region.committed, bytes + HFI_PAGE);
        CHECK(content_zero(region.base + before, region.committed - before));
        memset(region.base + before, 0x77, region.committed - before);
        before = region.committed;
    }
    CHECK_EQ(hfi_region_commit(&region, 10, false, -1), 0); /* less is no change */
    CHECK_EQ(region.committed, before);
    CHECK_EQ(region.base[0], 0x77);
    CHECK(faults(region.base + region.committed));
    errno = 0;
    CHECK_EQ(hfi_region_commit(&region, region.size + 1, false, -1), -1);
    CHECK_EQ(errno, ENOMEM);
    CHECK_EQ(hfi_region_commit(&region, region.size, false, 0), 0);
    region.base[region.size - 1] = 1;
    CHECK(faults(region.base + region.size));
    hfi_region_release(&region);
}

static void test_commit_refused_leaves_the_region_as_it_was(void) {
    struct hfi_region region = {.base = NULL};
    hfi_os_fail_after(1);
    CHECK_EQ(hfi_region_reserve(&region, 16 * HFI_PAGE, HFI_PAGE, HFI_PAGE), -1);
    CHECK_EQ(errno, ENOMEM);
    CHECK(region.base == NULL);
    CHECK_EQ(hfi_region_reserve(&region, 16 * HFI_PAGE, HFI_PAGE, HFI_PAGE), 0);
    CHECK_EQ(hfi_region_commit(&region, HFI_PAGE, false, -1), 0);
    hfi_os_fail_after(1);
    CHECK_EQ(hfi_region_commit(&region, 3 * HFI_PAGE, false, -1), -1);
    hfi_os_fail_after(0);
    CHECK_EQ(region.committed, HFI_PAGE);
    CHECK_EQ(hfi_region_commit(&region, 3 * HFI_PAGE, false, -1), 0);
    region.base[3 * HFI_PAGE - 1] = 1;
    hfi_region_release(&region);
}

static void test_purge_gives_whole_pages_back(void) {
    struct hfi_region region = {.base = NULL};
    CHECK_EQ(hfi_region_reserve(&region, 16 * HFI_PAGE, 0, HFI_PAGE), 0);
    CHECK_EQ(hfi_region_commit(&region, 8 * HFI_PAGE, false, -1), 0);
    memset(region.base, 0x55, 8 * HFI_PAGE);
    CHECK_EQ(hfi_region_purge(&region, 100, 3 * HFI_PAGE + 100), 2 * HFI_PAGE);
    CHECK_EQ(region.base[HFI_PAGE - 1], 0x55); /* the part of a page at either end stays */
    CHECK(content_zero(region.base + HFI_PAGE, 2 * HFI_PAGE));
    CHECK_EQ(region.base[3 * HFI_PAGE], 0x55);
    CHECK_EQ(hfi_region_purge(&region, 10, 20), 0);
    CHECK_EQ(hfi_region_purge(&region, 6 * HFI_PAGE, 100 * HFI_PAGE), 2 * HFI_PAGE);
    CHECK_EQ(hfi_region_purge(&region, 9 * HFI_PAGE, 10 * HFI_PAGE), 0);
    CHECK_EQ(region.committed, 8 * HFI_PAGE);
    memset(region.base, 1, 8 * HFI_PAGE); /* and is usable again */
    hfi_region_release(&region);
}

int main(void) {
    CHECK_WATCHDOG(60);
    CHECK_RUN(test_reserve_is_aligned_and_guarded);
    CHECK_RUN(test_reserve_wrong_arguments_fail_with_einval);
    CHECK_RUN(test_commit_makes_bytes_usable_and_zero_in_steps);
    CHECK_RUN(test_commit_refused_leaves_the_region_as_it_was);
    CHECK_RUN(test_purge_gives_whole_pages_back);
    return 0;
}
