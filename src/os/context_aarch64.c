/* context_aarch64.c - the switch between two stacks on AArch64, AAPCS64.
 *
 *   low   d8-d15 | x19-x28 | x29 x30 [ | fpcr ]   high          what a saved stack holds, 176 bytes
 * Contract    holdfast/fiber.h: hf_context_switch, hf_context_switch_float, hf_context_make. The hfi_
 *             names are the same addresses without the detour through the procedure linkage table.
 * Threads     stateless.
 * Why         `br` and not `ret`: the return-address predictor would miss every time. d8-d15 are
 *             callee-saved registers, not control words: both variants save them; fpcr only one.
 * Source      AAPCS64, 6.1.1 and 6.1.2. */
#if defined(__aarch64__)

#include <holdfast/fiber.h>
#include <stdint.h>
#include <string.h>

#include "os/context.h"

#define SAVE                                                                                       \
    "    sub sp, sp, #176\n"                                                                       \
    "    .cfi_adjust_cfa_offset 176\n"                                                             \
    "    stp d8, d9, [sp, #0]\n"                                                                   \
    "    stp d10, d11, [sp, #16]\n"                                                                \
    "    stp d12, d13, [sp, #32]\n"                                                                \
    "    stp d14, d15, [sp, #48]\n"                                                                \
    "    stp x19, x20, [sp, #64]\n"                                                                \
    "    stp x21, x22, [sp, #80]\n"                                                                \
    "    stp x23, x24, [sp, #96]\n"                                                                \
    "    stp x25, x26, [sp, #112]\n"                                                               \
    "    stp x27, x28, [sp, #128]\n"                                                               \
    "    stp x29, x30, [sp, #144]\n"                                                               \
    "    .cfi_offset x29, -32\n"                                                                   \
    "    .cfi_offset x30, -24\n"

#define RESTORE                                                                                    \
    "    ldp d8, d9, [sp, #0]\n"                                                                   \
    "    ldp d10, d11, [sp, #16]\n"                                                                \
    "    ldp d12, d13, [sp, #32]\n"                                                                \
    "    ldp d14, d15, [sp, #48]\n"                                                                \
    "    ldp x19, x20, [sp, #64]\n"                                                                \
    "    ldp x21, x22, [sp, #80]\n"                                                                \
    "    ldp x23, x24, [sp, #96]\n"                                                                \
    "    ldp x25, x26, [sp, #112]\n"                                                               \
    "    ldp x27, x28, [sp, #128]\n"                                                               \
    "    ldp x29, x30, [sp, #144]\n"                                                               \
    "    .cfi_restore x29\n"                                                                       \
    "    .cfi_restore x30\n"                                                                       \
    "    add sp, sp, #176\n"                                                                       \
    "    .cfi_adjust_cfa_offset -176\n"                                                            \
    "    mov x0, x2\n"                                                                             \
    "    br x30\n"

#define TURN                                                                                       \
    "    mov x9, sp\n"                                                                             \
    "    str x9, [x0]\n"                                                                           \
    "    ldr x9, [x1]\n"                                                                           \
    "    mov sp, x9\n"

#define BEGIN(name)                                                                                \
    ".p2align 4\n"                                                                                 \
    ".globl hf_" name "\n.type hf_" name ",@function\n"                                            \
    ".globl hfi_" name "\n.hidden hfi_" name "\n.type hfi_" name ",@function\n"                    \
    "hf_" name ":\nhfi_" name ":\n"                                                                \
    ".cfi_startproc\n"
#define END(name) ".cfi_endproc\n.size hf_" name ",.-hf_" name "\n"

/* clang-format off */
__asm__(".pushsection .text.hf_context,\"ax\",@progbits\n"
        BEGIN("context_switch") SAVE TURN RESTORE END("context_switch")
        BEGIN("context_switch_float") SAVE
        "    mrs x10, fpcr\n"
        "    str x10, [sp, #160]\n"
        TURN
        "    ldr x10, [sp, #160]\n"
        "    msr fpcr, x10\n"
        RESTORE END("context_switch_float")
        /* The first frame: entry in x19, its argument in x20, the value of the switch in x0. */
        ".p2align 4\n"
        ".hidden hfi_context_first\n.globl hfi_context_first\n.type hfi_context_first,@function\n"
        "hfi_context_first:\n"
        ".cfi_startproc\n"
        ".cfi_undefined x30\n"
        "    mov x1, x0\n"
        "    mov x0, x20\n"
        "    mov x29, xzr\n"
        "    mov x30, xzr\n"
        "    blr x19\n"
        "    brk #1\n"
        ".cfi_endproc\n"
        ".size hfi_context_first,.-hfi_context_first\n"
        ".popsection\n");
/* clang-format on */

void hfi_context_first(void);

void hf_context_make(hf_context *context, void *stack_ptr, hf_context_entry entry, void *argument,
                     int float_control) {
    enum { X19 = 8, X20 = 9, X30 = 19, FPCR = 20, WORDS = 22 };
    uint64_t *frame = (uint64_t *)((uintptr_t)stack_ptr & ~(uintptr_t)15) - WORDS;
    memset(frame, 0, WORDS * sizeof *frame);
    frame[X19] = (uint64_t)(uintptr_t)entry;
    frame[X20] = (uint64_t)(uintptr_t)argument;
    frame[X30] = (uint64_t)(uintptr_t)hfi_context_first;
    if (float_control) __asm__ volatile("mrs %0, fpcr" : "=r"(frame[FPCR]));
    context->stack_pointer = frame;
}

#endif
