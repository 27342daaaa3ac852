/* stack_check.h - what the tests of stacks share: pools to try, their account, the last report.
 * Method      a pool's account adds up, and its own check agrees, wherever a test looks at it. */
#ifndef HF_TESTS_STACK_CHECK_H
#define HF_TESTS_STACK_CHECK_H

#include <holdfast/holdfast.h>
#include <holdfast/stack.h>
#include <stdio.h>

#include "account.h"
#include "check.h"

static hf_report last_report;
static unsigned reports;

static inline void keep_report(const hf_report *report, void *context) {
    (void)context;
    last_report = *report;
    reports++;
}

static inline hf_stack_pool *make_pool(size_t size, void (*change)(hf_stack_pool_options *)) {
    hf_stack_pool_options options;
    hf_stack_pool *pool = NULL;
    hf_stack_pool_options_init(&options);
    options.stack_size = size;
    options.name = "test";
    if (change != NULL) change(&options);
    CHECK_EQ(hf_stack_pool_create(&options, &pool), HF_OK);
    CHECK(pool != NULL);
    return pool;
}

static inline hf_stats account(hf_stack_pool *pool) {
    hf_stats s = {.struct_size = sizeof s};
    CHECK_EQ(hf_stack_pool_stats(pool, &s), HF_OK);
    account_adds_up(&s);
    CHECK_EQ(hf_stack_pool_check(pool), HF_OK);
    return s;
}

static inline hf_stack_pool_info info_of(hf_stack_pool *pool) {
    hf_stack_pool_info info;
    CHECK_EQ(hf_stack_pool_info_get(pool, &info), HF_OK);
    return info;
}

static inline hf_stack take(hf_stack_pool *pool) {
    hf_stack stack;
    CHECK_EQ(hf_stack_take(pool, &stack), HF_OK);
    return stack;
}

static inline void touch(const hf_stack *stack, size_t bytes) {
    for (size_t i = 8; i <= bytes; i += 4096)
        ((volatile char *)stack->stack_ptr)[-(ptrdiff_t)i] = 1;
}

static inline size_t mappings(void) {
    size_t lines = 0;
    FILE *file = fopen("/proc/self/maps", "r");
    if (file == NULL) return 0;
    for (int c; (c = fgetc(file)) != EOF;)
        lines += c == '\n';
    fclose(file);
    return lines;
}

#endif
