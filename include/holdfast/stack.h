/* stack.h - guarded stacks of one size, taken and given back in a few nanoseconds.
 *
 *   low                                                                                  high
 *   | guard | stack 0 ........ top | guard | stack 1 ........ top | guard | ... | guard |
 *     ^ guard_low                ^ stack_ptr, also guard_high       a stack grows down
 *
 * Caveats
 *  - A stack is uninitialised: what its last user left is still there (zero where memory was trimmed).
 *  - The pool must outlive its stacks: hf_stack_pool_destroy with taken stacks is HF_E_BUSY.
 *  - An overflow is fatal. hf_stack_overflow_install makes it say which stack it was, on threads that
 *    have an alternate signal stack: hf_stack_thread_prepare gives one, and once the handler is there a
 *    thread's first hf_stack_take and the first resume of a fiber or task do.
 *  - A frame larger than the guard jumps over it unless the code is built with
 *    -fstack-clash-protection.
 * Threads   take and give from any thread, also give on another one than take; no lock while the
 *           thread's cache serves. A stack itself belongs to whoever took it. */
#ifndef HOLDFAST_STACK_H
#define HOLDFAST_STACK_H

#include <stddef.h>
#include <stdint.h>

#include <holdfast/export.h>
#include <holdfast/stats.h>
#include <holdfast/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hf_stack_pool hf_stack_pool;

#define HF_STACK_NAME_MAX 31

/* hf_stack_pool_options_init fills in the defaults, in brackets. Sizes are rounded up to pages. */
typedef struct hf_stack_pool_options {
    uint32_t struct_size;
    uint32_t count_max;   /* stacks that may exist at once [4,194,304]                           */
    size_t stack_size;    /* usable bytes of each, 4 KiB to 1 TiB [64 KiB]                       */
    size_t guard_size;    /* bytes that fault below each, at least a page [16 KiB]               */
    uint64_t decay_ns;    /* memory of stacks idle for so long goes back; 0: at once [1 s]       */
    size_t retain;        /* idle stacks whose memory never decays [16]                          */
    uint8_t paint;        /* fill stacks: exact high water, writes after give are reported [0]   */
    uint8_t own_mapping;  /* guards by mprotect, one mapping each, as where the kernel has no
                            light guards: for tests and comparisons [0]                         */
    uint8_t unregistered; /* Valgrind is not told about stacks: to count instructions as they are
                            outside of it [0]                                               */
    uint8_t spare[5];
    const char *name; /* for reports; copied, 31 bytes ["stacks"]                            */
} hf_stack_pool_options;

/* One stack. A value: copy it, keep it anywhere but on the stack itself. */
typedef struct hf_stack {
    void *stack_ptr;     /* the top, 16-aligned and exclusive: a new frame goes below it        */
    size_t size;         /* usable bytes below stack_ptr                                        */
    void *guard_low;     /* first byte of the guard below                                       */
    void *guard_high;    /* first byte of the guard above; equals stack_ptr                     */
    uint32_t index;      /* place in the pool                                                   */
    uint32_t generation; /* of this place; differs each time it is taken                        */
} hf_stack;

typedef struct hf_stack_pool_info {
    uint32_t struct_size;
    uint32_t light_guards; /* 1: guards are page-table marks, no mapping each; 0: mprotect    */
    size_t stack_size;     /* usable bytes                                                    */
    size_t guard_size;
    uint64_t count; /* stacks that exist                                               */
    uint64_t count_taken;
    uint64_t count_max;    /* the option, or less where mappings are limited                  */
    uint64_t regions;      /* address ranges they are carved from                             */
    size_t high_water_max; /* most bytes any stack was seen to have used                      */
} hf_stack_pool_info;

HF_API void hf_stack_pool_options_init(hf_stack_pool_options *options);
/* `options` NULL is the defaults. HF_E_INVALID, HF_E_NO_MEMORY. */
HF_API hf_status hf_stack_pool_create(const hf_stack_pool_options *options,
                                      hf_stack_pool **pool_out);
/* Unmaps everything. HF_E_BUSY while stacks are taken (nothing happens then). NULL does nothing. */
HF_API hf_status hf_stack_pool_destroy(hf_stack_pool *pool);
/* The process-wide pool of 64 KiB stacks (options of the defaults), made at first use; NULL if the
 * system refuses memory. Never destroyed. */
HF_API hf_stack_pool *hf_stack_pool_default(void);

/* HF_E_NO_MEMORY: the system refused; HF_E_LIMIT: count_max, vm.max_map_count or the limit of the
 * process. *stack_out is untouched then. */
HF_API hf_status hf_stack_take(hf_stack_pool *pool, hf_stack *stack_out);
/* Gives a stack back. Twice, or one of another pool, is refused: HF_E_INVALID and a DOUBLE_FREE or
 * FOREIGN_FREE report. Two threads giving the same stack in the same instant may both succeed; the
 * next take notices, reports and does not hand it out twice. */
HF_API hf_status hf_stack_give(hf_stack_pool *pool, const hf_stack *stack);
/* Names a taken stack for reports ("parser-17"; copied, 31 bytes; NULL or "" removes the name). The
 * name goes with give. HF_E_INVALID if the stack is not taken. */
HF_API hf_status hf_stack_name(hf_stack_pool *pool, const hf_stack *stack, const char *name);
/* The taken or free stack that `address` lies in or whose low guard it hits; HF_E_INVALID if none. */
HF_API hf_status hf_stack_find(hf_stack_pool *pool, const void *address, hf_stack *stack_out);
/* Most bytes of the stack in use at once since its memory was last fresh (`paint`: since it was
 * taken), counted from the top: exact with `paint`, else whole pages, by asking the kernel. */
HF_API hf_status hf_stack_high_water(hf_stack_pool *pool, const hf_stack *stack, size_t *bytes_out);

/* Gives the memory of all free stacks back, caches of threads included; returns the bytes. */
HF_API size_t hf_stack_pool_trim(hf_stack_pool *pool);
/* bytes_in_use: stacks taken; bytes_cached: in caches of threads; bytes_free: idle and not trimmed.
 * Guards and trimmed stacks have no memory behind them and are not mapped in this account. */
HF_API hf_status hf_stack_pool_stats(hf_stack_pool *pool, hf_stats *stats_out);
HF_API hf_status hf_stack_pool_info_get(hf_stack_pool *pool, hf_stack_pool_info *info_out);
HF_API const char *hf_stack_pool_name(const hf_stack_pool *pool);
/* Compares the bookkeeping with itself. HF_E_CORRUPT after a METADATA report if it disagrees. Exact
 * when no other thread uses the pool. */
HF_API hf_status hf_stack_pool_check(hf_stack_pool *pool);

typedef enum hf_stack_policy {
    HF_STACK_ABORT, /* report, then abort()                                                     */
    HF_STACK_CHAIN  /* report, then whatever handled SIGSEGV before: a handler or the core dump */
} hf_stack_policy;

/* Handles SIGSEGV on an alternate stack: a fault in a guard of any pool becomes a STACK_OVERFLOW (or
 * STACK_GUARD) report on fd 2 and to the report handler, then `policy`. Any other fault goes to the
 * previous handler untouched. Prepares the calling thread. Again: changes the policy, and puts the
 * handler in front again if another one was installed meanwhile. HF_E_SYSTEM, HF_E_NO_MEMORY. */
HF_API hf_status hf_stack_overflow_install(hf_stack_policy policy);
/* Puts the previous handler back. HF_E_BUSY if somebody else's handler is in front by now. */
HF_API hf_status hf_stack_overflow_remove(void);
/* Gives the calling thread an alternate signal stack unless it has one of at least 32 KiB; it goes
 * when the thread ends. HF_E_NO_MEMORY. Cheap when done already. */
HF_API hf_status hf_stack_thread_prepare(void);

#ifdef __cplusplus
}
#endif
#endif
