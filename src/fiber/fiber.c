/* fiber.c - resume and yield: two switches with a little bookkeeping around them.
 * Contract    holdfast/fiber.h, fiber_state.h.
 * Threads     the fiber's side sets the thread back before it leaves, on the thread it was resumed on;
 *             after a switch nothing is read at all, least of all something thread-local.
 * Fails with  HF_E_INVALID, HF_E_CLOSED, HF_E_BUSY, HF_E_CANCELLED; what hf_stack_take says. */
#include <string.h>

#include "base/assert.h"
#include "fiber/annotate.h"
#include "fiber/fiber_state.h"
#include "fiber/stack_pool.h"
#include "os/context.h"

/* Records of neighbours start at different cache sets: with a thousand fibers in turn, the first lines
 * of all their stacks would otherwise fight for the same eight places. */
enum { COLOURS = 8, COLOUR_SIZE = 128, LEAST_STACK = 2048 };

__thread struct hf_fiber *hfi_fiber_current
    __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* --- make ----------------------------------------------------------------------------------- */

/* Field by field, as take has just written them: a wider load would wait for all stores before it. */
static inline void handle_copy(hf_stack *to, const volatile hf_stack *from) {
    to->stack_ptr = from->stack_ptr;
    to->size = from->size;
    to->guard_low = from->guard_low;
    to->guard_high = from->guard_high;
    to->index = from->index;
    to->generation = from->generation;
}

static inline hf_status make(hf_stack_pool *pool, size_t size, hf_context_entry entry,
                             const char *name, unsigned flags, struct hf_fiber **fiber_out) {
    hf_stack stack;
    if (pool == NULL) pool = hf_stack_pool_default();
    if (pool == NULL) return HF_E_NO_MEMORY;
    hf_status status = hf_stack_take(pool, &stack);
    if (status != HF_OK) return status;
    size_t colour = stack.index % COLOURS * COLOUR_SIZE;
    hf_assert(stack.size > size + colour + LEAST_STACK);
    struct hf_fiber *fiber =
        (struct hf_fiber *)(((uintptr_t)stack.stack_ptr - colour - size) & ~(uintptr_t)63);
    /* Field by field: what sanitizers need stays untouched without them. */
    fiber->resumer = NULL;
    fiber->yield_out = &fiber->ignored;
    fiber->state = HF_FIBER_NEW;
    fiber->flags = (uint8_t)flags;
    fiber->cancelled = false;
    fiber->pool = pool;
    handle_copy(&fiber->stack, &stack);
    fiber->name[0] = '\0';
    if (name != NULL) {
        strncpy(fiber->name, name, HF_STACK_NAME_MAX);
        fiber->name[HF_STACK_NAME_MAX] = '\0';
    }
    fiber->tsan = NULL;
    if (hfi_asan_is_here() || hfi_tsan_is_here()) fiber->flags |= HFI_FIBER_ANNOTATED;
    if (hfi_tsan_is_here()) fiber->tsan = __tsan_create_fiber(0);
    hf_context_make(&fiber->context, fiber, entry, fiber, (flags & HFI_FIBER_FLOAT) != 0);
    *fiber_out = fiber;
    return HF_OK;
}

hf_status hfi_fiber_make(hf_stack_pool *pool, size_t size, hf_context_entry entry, const char *name,
                         unsigned flags, struct hf_fiber **fiber_out) {
    return make(pool, size, entry, name, flags, fiber_out);
}

hf_status hfi_fiber_unmake(struct hf_fiber *fiber) {
    if (fiber->tsan != NULL) __tsan_destroy_fiber(fiber->tsan);
    /* The handle lies on the stack itself: give has read it before the stack is anybody else's. */
    return hf_stack_give(fiber->pool, &fiber->stack);
}

/* --- switches ------------------------------------------------------------------------------- */

static void *go_plain(const struct hf_fiber *fiber, hf_context *from, const hf_context *to,
                      void *value) {
    return (fiber->flags & HFI_FIBER_FLOAT) != 0 ? hfi_context_switch_float(from, to, value)
                                                 : hfi_context_switch(from, to, value);
}

static __attribute__((noinline)) hf_status go_in_annotated(struct hf_fiber *fiber, void *value) {
    const char *low = (const char *)fiber->stack.stack_ptr - fiber->stack.size;
    if (hfi_asan_is_here())
        __sanitizer_start_switch_fiber(&fiber->asan_back_fake, low, fiber->stack.size);
    if (fiber->tsan != NULL) {
        fiber->tsan_back = __tsan_get_current_fiber();
        __tsan_switch_to_fiber(fiber->tsan, 0);
    }
    value = go_plain(fiber, &fiber->back, &fiber->context, value);
    if (hfi_asan_is_here()) __sanitizer_finish_switch_fiber(fiber->asan_back_fake, NULL, NULL);
    return (hf_status)(intptr_t)value;
}

static __attribute__((noinline)) hf_status go_out_annotated(struct hf_fiber *fiber, void *value,
                                                            bool for_good) {
    if (hfi_asan_is_here())
        __sanitizer_start_switch_fiber(for_good ? NULL : &fiber->asan_fake, fiber->asan_back_low,
                                       fiber->asan_back_size);
    if (fiber->tsan != NULL) __tsan_switch_to_fiber(fiber->tsan_back, 0);
    value = go_plain(fiber, &fiber->context, &fiber->back, value);
    if (hfi_asan_is_here())
        __sanitizer_finish_switch_fiber(fiber->asan_fake, &fiber->asan_back_low,
                                        &fiber->asan_back_size);
    return (hf_status)(intptr_t)value;
}

static inline void arrived(struct hf_fiber *fiber) {
    if ((fiber->flags & HFI_FIBER_ANNOTATED) != 0 && hfi_asan_is_here())
        __sanitizer_finish_switch_fiber(NULL, &fiber->asan_back_low, &fiber->asan_back_size);
    /* This thread need not be the one that took the stack. */
    if (__builtin_expect(hfi_stack_overflow_installed(), 0)) (void)hf_stack_thread_prepare();
}

void hfi_fiber_arrived(struct hf_fiber *fiber) {
    arrived(fiber);
}

/* What a switch carries is the status that the other side returns; values travel through resume_out
 * and yield_out. So nothing is left to do after a switch, the calls below are jumps, and the CPU's
 * return-address predictor has no return to miss. */
static inline hf_status go_in(struct hf_fiber *fiber, hf_status status) {
    void *carried = (void *)(intptr_t)status;
    if (__builtin_expect((fiber->flags & (HFI_FIBER_FLOAT | HFI_FIBER_ANNOTATED)) == 0, 1))
        return hfi_context_go(&fiber->back, &fiber->context, carried);
    if ((fiber->flags & HFI_FIBER_ANNOTATED) != 0) return go_in_annotated(fiber, carried);
    return hfi_context_go_float(&fiber->back, &fiber->context, carried);
}

static inline hf_status go_out(struct hf_fiber *fiber, bool for_good) {
    if (__builtin_expect((fiber->flags & (HFI_FIBER_FLOAT | HFI_FIBER_ANNOTATED)) == 0, 1))
        return hfi_context_go(&fiber->context, &fiber->back, NULL);
    if ((fiber->flags & HFI_FIBER_ANNOTATED) != 0) return go_out_annotated(fiber, NULL, for_good);
    return hfi_context_go_float(&fiber->context, &fiber->back, NULL);
}

hf_status hfi_fiber_go_in(struct hf_fiber *fiber, hf_status status) {
    return go_in(fiber, status);
}

hf_status hfi_fiber_go_out(struct hf_fiber *fiber, bool for_good) {
    return go_out(fiber, for_good);
}

/* --- the public ones ------------------------------------------------------------------------ */

/* The resumer runs again, with this value. */
static inline void hand_back(struct hf_fiber *self, hf_fiber_state state, void *value) {
    struct hf_fiber *resumer = self->resumer;
    self->state = (uint8_t)state;
    *self->resume_out = value;
    hfi_fiber_current = resumer;
    if (resumer != NULL) resumer->state = HF_FIBER_RUNNING;
}

static __attribute__((aligned(64))) void fiber_main(void *argument, void *value) {
    struct hf_fiber *fiber = argument;
    (void)value;
    arrived(fiber);
    value = fiber->function(fiber, fiber->argument);
    hand_back(fiber, HF_FIBER_FINISHED, value);
    (void)go_out(fiber, true);
    __builtin_unreachable();
}

hf_status hf_fiber_create(hf_stack_pool *pool, hf_fiber_function function, void *argument,
                          const char *name, unsigned flags, hf_fiber **fiber_out) {
    HF_EXPECT(function != NULL);
    HF_EXPECT(fiber_out != NULL);
    struct hf_fiber *fiber;
    if ((flags & ~HF_FIBER_FLOAT_CONTROL) != 0) return HF_E_INVALID;
    hf_status status = make(pool, sizeof *fiber, fiber_main, name, flags, &fiber);
    if (status != HF_OK) return status;
    fiber->function = function;
    fiber->argument = argument;
    *fiber_out = fiber;
    return HF_OK;
}

hf_status hf_fiber_resume(hf_fiber *fiber, void *value, void **value_out) {
    HF_EXPECT(fiber != NULL);
    if (__builtin_expect(fiber->state > HF_FIBER_SUSPENDED, 0))
        return fiber->state == HF_FIBER_FINISHED ? HF_E_CLOSED : HF_E_INVALID;
    if (__builtin_expect((fiber->flags & HFI_FIBER_TASK) != 0, 0)) return HF_E_INVALID;
    struct hf_fiber *self = hfi_fiber_current;
    if (self != NULL) self->state = HF_FIBER_WAITING;
    fiber->resumer = self;
    fiber->resume_out = value_out != NULL ? value_out : &fiber->ignored;
    fiber->state = HF_FIBER_RUNNING;
    hfi_fiber_current = fiber;
    *fiber->yield_out = value;
    return go_in(fiber, fiber->cancelled ? HF_E_CANCELLED : HF_OK);
}

hf_status hf_fiber_yield(hf_fiber *self, void *value, void **value_out) {
    if (__builtin_expect(
            self == NULL || self != hfi_fiber_current || (self->flags & HFI_FIBER_TASK) != 0, 0))
        return HF_E_INVALID;
    if (__builtin_expect(self->cancelled, 0)) return HF_E_CANCELLED;
    self->yield_out = value_out != NULL ? value_out : &self->ignored;
    hand_back(self, HF_FIBER_SUSPENDED, value);
    return go_out(self, false);
}

hf_status hf_fiber_cancel(hf_fiber *fiber) {
    HF_EXPECT(fiber != NULL);
    if ((fiber->flags & HFI_FIBER_TASK) != 0) return HF_E_INVALID;
    switch (fiber->state) {
    case HF_FIBER_NEW: fiber->state = HF_FIBER_FINISHED; return HF_OK;
    case HF_FIBER_SUSPENDED:
        fiber->cancelled = true;
        (void)hf_fiber_resume(fiber, NULL, NULL);
        return fiber->state == HF_FIBER_FINISHED ? HF_OK : HF_E_BUSY;
    case HF_FIBER_FINISHED: return HF_OK;
    default: return HF_E_BUSY;
    }
}

hf_status hf_fiber_destroy(hf_fiber *fiber) {
    if (fiber == NULL) return HF_OK;
    if (__builtin_expect(fiber->state != HF_FIBER_FINISHED || (fiber->flags & HFI_FIBER_TASK) != 0,
                         0)) {
        hf_status status = hf_fiber_cancel(fiber);
        if (status != HF_OK) return status;
    }
    return hfi_fiber_unmake(fiber);
}

hf_status hf_fiber_abandon(hf_fiber *fiber) {
    HF_EXPECT(fiber != NULL);
    if ((fiber->flags & HFI_FIBER_TASK) != 0) return HF_E_INVALID;
    if (fiber->state == HF_FIBER_RUNNING || fiber->state == HF_FIBER_WAITING) return HF_E_BUSY;
    return hfi_fiber_unmake(fiber);
}

hf_fiber_state hf_fiber_state_get(const hf_fiber *fiber) {
    HF_EXPECT(fiber != NULL);
    return (hf_fiber_state)fiber->state;
}

hf_fiber *hf_fiber_current(void) {
    return hfi_fiber_current;
}

const hf_stack *hf_fiber_stack(const hf_fiber *fiber) {
    HF_EXPECT(fiber != NULL);
    return &fiber->stack;
}

hf_stack_pool *hf_fiber_pool(const hf_fiber *fiber) {
    HF_EXPECT(fiber != NULL);
    return fiber->pool;
}
