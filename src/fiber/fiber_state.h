/* fiber_state.h - the record of a fiber, at the top of its own stack.
 *
 *   low | ... frames grow down <-- | record | colour | top
 * Invariants  state, see holdfast/fiber.h. `back` is valid while the fiber runs or waits, `context`
 *             while it is new or suspended. A record moves neither place nor thread while it runs.
 * Talks to    os/context.h, stack.h.   Called by fiber.
 * Threads     one at a time: whoever runs or resumes it. */
#ifndef HFI_FIBER_STATE_H
#define HFI_FIBER_STATE_H

#include <holdfast/fiber.h>
#include <stdbool.h>

enum hfi_fiber_flag {
    HFI_FIBER_FLOAT = HF_FIBER_FLOAT_CONTROL,
    HFI_FIBER_ANNOTATED = 2, /* a sanitizer wants to know about switches */
    HFI_FIBER_TASK = 4,      /* belongs to a scheduler                   */
};

struct hf_fiber {
    hf_context context; /* where it goes on                         */
    hf_context back;    /* where whoever resumed it goes on         */
    struct hf_fiber *resumer;
    void **resume_out; /* where the value for the resumer goes     */
    void **yield_out;  /* where the value for the fiber goes       */
    void *ignored;     /* place of values that nobody wants        */
    uint8_t state;     /* hf_fiber_state                           */
    uint8_t flags;     /* hfi_fiber_flag                           */
    bool cancelled;
    hf_fiber_function function;
    void *argument;
    hf_stack_pool *pool;
    hf_stack stack;
    char name[HF_STACK_NAME_MAX + 1];
    /* Sanitizers only. */
    void *asan_fake, *asan_back_fake;
    const void *asan_back_low;
    size_t asan_back_size;
    void *tsan, *tsan_back;
};

extern __thread struct hf_fiber *hfi_fiber_current
    __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* A record of `size` bytes (hf_fiber first) on a new stack; it will start in `entry(record, value)`. */
hf_status hfi_fiber_make(hf_stack_pool *pool, size_t size, hf_context_entry entry, const char *name,
                         unsigned flags, struct hf_fiber **fiber_out);
/* Gives the stack back. */
hf_status hfi_fiber_unmake(struct hf_fiber *fiber);
/* Switches with whatever the flags of the fiber ask for; `status` is what the other side returns. */
hf_status hfi_fiber_go_in(struct hf_fiber *fiber, hf_status status);
hf_status hfi_fiber_go_out(struct hf_fiber *fiber, bool for_good);
/* First thing on the new stack. */
void hfi_fiber_arrived(struct hf_fiber *fiber);

/* True if the calling thread is in a fiber whose stack ends at `top`. */
static inline bool hfi_fiber_runs_on(const char *top) {
    return hfi_fiber_current != NULL && hfi_fiber_current->stack.stack_ptr == top;
}

#endif
