/* tsan_suppressions.c - reads without a lock that are meant, for the thread sanitizer's runtime.
 * Contract    linked into every test; nothing else in a build without that sanitizer. Each line is a
 *             function that looks at single words others write, and is right with any value of them.
 * Why         the words cannot be atomic types: they are the program's own memory, or hot-path words
 *             that must stay plain. What is not listed here is a race and a fault. */

const char *__tsan_default_suppressions(void);

const char *__tsan_default_suppressions(void) {
    return
        /* Walks read live blocks; the check looks again before it reports (walk.c). */
        "race:classify_small\n"
        "race:classify_middle\n"
        "race:classify_large\n"
        /* A free looks at the trailer before its block, which belongs to another (diagnose.c). */
        "race:hfi_verify_before\n"
        "race:before_whole\n"
        /* `fresh` only grows and is above the index of every block that was handed out. */
        "race:hfi_resolve\n"
        /* `state` turns QUARANTINED once; who sees it late gives a block to a magazine once more. */
        "race:small_give\n"
        "race:hfi_verify_freed\n"
        /* Hints about pools: too old a value costs a look, a tick or a pool too many. */
        "race:heap_pass\n"
        "race:hfi_middle_alloc\n"
        "race:pool_make\n"
        "race:hfi_pool_give\n"
        /* The idle sweep proves that the owner sleeps, with a barrier TSan does not know. */
        "race:sweep_one\n"
        "race:hfi_tcache_restore_slow\n"
        /* Statistics read the owners' words. */
        "race:hfi_tcache_sum\n"
        "race:sum_caches\n"
        /* What a program wrote after free is read by design. */
        "race:hfi_freed_whole\n";
}

/* The other side of a race is named only while its history lasts; without a name nothing matches. */
const char *__tsan_default_options(void);

const char *__tsan_default_options(void) {
    return "history_size=7";
}
