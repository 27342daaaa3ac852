/* test_fiber - contexts, fibers and the scheduler.
 * Method  fibers write down what they do; the order is compared with what the contract says. Registers
 *         are checked by computations that keep many values alive across switches. */
#include <fenv.h>
#include <holdfast/fiber.h>
#include <math.h>
#include <pthread.h>
#include <stdbool.h>

#include "check.h"

/* --- contexts ------------------------------------------------------------------------------- */

static hf_context main_context, other_context;

static void echo_entry(void *argument, void *value) {
    CHECK_STR((const char *)argument, "argument");
    CHECK_EQ((uintptr_t)__builtin_frame_address(0) % 16, 0);
    for (;;)
        value = hf_context_switch(&other_context, &main_context, (char *)value + 1);
}

static void test_context_switch_carries_values_both_ways(void) {
    hf_stack stack;
    if (CHECK_SANITIZED) return; /* raw switches are not announced */
    CHECK_EQ(hf_stack_take(hf_stack_pool_default(), &stack), HF_OK);
    hf_context_make(&other_context, stack.stack_ptr, echo_entry, "argument", 0);
    for (intptr_t i = 0; i < 1000; i++)
        CHECK_EQ((intptr_t)hf_context_switch(&main_context, &other_context, (void *)i), i + 1);
    CHECK_EQ(hf_stack_give(hf_stack_pool_default(), &stack), HF_OK);
}

/* Many values alive across each switch: more than there are callee-saved registers. */
static __attribute__((noinline)) uint64_t churn(uint64_t seed, void *(*turn)(void *),
                                                void *context) {
    uint64_t a = seed, b = seed * 3, c = seed * 5, d = seed * 7, e = seed * 11, f = seed * 13;
    uint64_t g = seed * 17, h = seed * 19;
    double x = (double)seed / 3, y = (double)seed / 7;
    for (int i = 0; i < 200; i++) {
        a += b ^ (uint64_t)i, b += c, c ^= d << 1, d += e, e ^= f, f += g, g ^= h, h += a;
        x += y / (i + 1), y *= 1.0001;
        turn(context);
    }
    return a ^ b ^ c ^ d ^ e ^ f ^ g ^ h ^ (uint64_t)(x * 1000) ^ (uint64_t)(y * 1000);
}

static void *no_turn(void *context) {
    return context;
}
static void *yield_turn(void *context) {
    CHECK_EQ(hf_fiber_yield(context, NULL, NULL), HF_OK);
    return NULL;
}

static void *churning_fiber(hf_fiber *self, void *argument) {
    return (void *)(uintptr_t)churn((uintptr_t)argument, yield_turn, self);
}

static void test_registers_survive_switches(void) {
    enum { COUNT = 8 };
    hf_fiber *fibers[COUNT];
    void *value = NULL;
    for (unsigned flags = 0; flags <= HF_FIBER_FLOAT_CONTROL; flags++) {
        for (uintptr_t i = 0; i < COUNT; i++)
            CHECK_EQ(
                hf_fiber_create(NULL, churning_fiber, (void *)(i + 1), NULL, flags, &fibers[i]),
                HF_OK);
        for (int round = 0; round <= 200; round++)
            for (int i = 0; i < COUNT; i++)
                CHECK_EQ(hf_fiber_resume(fibers[i], NULL, &value), HF_OK);
        for (uintptr_t i = 0; i < COUNT; i++)
            CHECK_EQ(hf_fiber_state_get(fibers[i]), HF_FIBER_FINISHED);
        CHECK_EQ((uintptr_t)value, (uintptr_t)churn(COUNT, no_turn, NULL));
        for (uintptr_t i = 0; i < COUNT; i++)
            CHECK_EQ(hf_fiber_destroy(fibers[i]), HF_OK);
    }
}

/* --- fibers --------------------------------------------------------------------------------- */

static void *adder(hf_fiber *self, void *argument) {
    intptr_t sum = (intptr_t)argument;
    void *got = NULL;
    CHECK_PTR(hf_fiber_current(), self);
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(hf_fiber_yield(self, (void *)sum, &got), HF_OK);
        sum += (intptr_t)got;
    }
    return (void *)(sum * 1000);
}

static void test_values_go_both_ways_and_states_follow(void) {
    hf_fiber *fiber = NULL;
    void *value = NULL;
    CHECK_PTR(hf_fiber_current(), NULL);
    CHECK_EQ(hf_fiber_create(NULL, adder, (void *)100, "adder", 0, &fiber), HF_OK);
    CHECK_EQ(hf_fiber_state_get(fiber), HF_FIBER_NEW);
    CHECK_EQ(hf_fiber_resume(fiber, (void *)9999, &value), HF_OK);
    CHECK_EQ((intptr_t)value, 100);
    CHECK_EQ(hf_fiber_state_get(fiber), HF_FIBER_SUSPENDED);
    CHECK_PTR(hf_fiber_current(), NULL);
    for (intptr_t i = 1, sum = 100; i < 5; i++) {
        CHECK_EQ(hf_fiber_resume(fiber, (void *)i, &value), HF_OK);
        CHECK_EQ((intptr_t)value, sum += i);
    }
    CHECK_EQ(hf_fiber_resume(fiber, (void *)5, &value), HF_OK);
    CHECK_EQ((intptr_t)value, 115000);
    CHECK_EQ(hf_fiber_state_get(fiber), HF_FIBER_FINISHED);
    CHECK_EQ(hf_fiber_resume(fiber, NULL, &value), HF_E_CLOSED);
    CHECK_EQ(hf_fiber_destroy(fiber), HF_OK);
    CHECK_EQ(hf_fiber_destroy(NULL), HF_OK);
    CHECK_EQ(hf_fiber_create(NULL, adder, NULL, NULL, 8, &fiber), HF_E_INVALID);
    CHECK_EQ(hf_fiber_yield(NULL, NULL, NULL), HF_E_INVALID);
}

static hf_fiber *outer, *inner;
static void *inner_main(hf_fiber *self, void *argument) {
    CHECK_EQ(hf_fiber_state_get(outer), HF_FIBER_WAITING);
    CHECK_EQ(hf_fiber_resume(outer, NULL, NULL), HF_E_INVALID);
    CHECK_EQ(hf_fiber_resume(self, NULL, NULL), HF_E_INVALID);
    CHECK_EQ(hf_fiber_destroy(outer), HF_E_BUSY);
    CHECK_EQ(hf_fiber_destroy(self), HF_E_BUSY);
    CHECK_EQ(hf_fiber_abandon(self), HF_E_BUSY);
    CHECK_EQ(hf_fiber_yield(outer, NULL, NULL), HF_E_INVALID);
    CHECK_EQ(hf_fiber_yield(self, "inside", NULL), HF_OK);
    return argument;
}
static void *outer_main(hf_fiber *self, void *argument) {
    void *value = NULL;
    CHECK_EQ(hf_fiber_create(hf_fiber_pool(self), inner_main, argument, "inner", 0, &inner), HF_OK);
    CHECK_EQ(hf_fiber_resume(inner, NULL, &value), HF_OK);
    CHECK_STR((char *)value, "inside");
    CHECK_PTR(hf_fiber_current(), self);
    CHECK_EQ(hf_fiber_yield(self, NULL, NULL), HF_OK);
    CHECK_EQ(hf_fiber_resume(inner, NULL, &value), HF_OK);
    CHECK_EQ(hf_fiber_destroy(inner), HF_OK);
    return value;
}

static void test_fibers_nest(void) {
    void *value = NULL;
    CHECK_EQ(hf_fiber_create(NULL, outer_main, "deep", "outer", 0, &outer), HF_OK);
    CHECK_EQ(hf_fiber_resume(outer, NULL, NULL), HF_OK);
    CHECK_EQ(hf_fiber_resume(outer, NULL, &value), HF_OK);
    CHECK_STR((char *)value, "deep");
    CHECK_EQ(hf_fiber_destroy(outer), HF_OK);
}

static int cleaned;
static void *cleaner(hf_fiber *self, void *argument) {
    bool stubborn = argument != NULL;
    hf_status status;
    while ((status = hf_fiber_yield(self, NULL, NULL)) == HF_OK)
        ;
    CHECK_EQ(status, HF_E_CANCELLED);
    CHECK_EQ(hf_fiber_yield(self, NULL, NULL), HF_E_CANCELLED);
    cleaned++;
    return stubborn ? "stubborn" : NULL;
}

static void test_cancel_lets_a_fiber_clean_up(void) {
    hf_fiber *fiber;
    cleaned = 0;
    CHECK_EQ(hf_fiber_create(NULL, cleaner, NULL, NULL, 0, &fiber), HF_OK);
    CHECK_EQ(hf_fiber_destroy(fiber), HF_OK); /* new: nothing to clean up */
    CHECK_EQ(cleaned, 0);
    CHECK_EQ(hf_fiber_create(NULL, cleaner, NULL, NULL, 0, &fiber), HF_OK);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(hf_fiber_resume(fiber, NULL, NULL), HF_OK);
    CHECK_EQ(hf_fiber_cancel(fiber), HF_OK);
    CHECK_EQ(cleaned, 1);
    CHECK_EQ(hf_fiber_cancel(fiber), HF_OK);
    CHECK_EQ(hf_fiber_state_get(fiber), HF_FIBER_FINISHED);
    CHECK_EQ(hf_fiber_destroy(fiber), HF_OK);
    CHECK_EQ(hf_fiber_create(NULL, cleaner, NULL, NULL, 0, &fiber), HF_OK);
    CHECK_EQ(hf_fiber_resume(fiber, NULL, NULL), HF_OK);
    CHECK_EQ(hf_fiber_destroy(fiber), HF_OK);
    CHECK_EQ(cleaned, 2);
    CHECK_EQ(hf_fiber_create(NULL, cleaner, NULL, NULL, 0, &fiber), HF_OK);
    CHECK_EQ(hf_fiber_resume(fiber, NULL, NULL), HF_OK);
    CHECK_EQ(hf_fiber_abandon(fiber), HF_OK);
    CHECK_EQ(cleaned, 2);
}

static void *rounding_fiber(hf_fiber *self, void *argument) {
    CHECK_EQ(fesetround(FE_UPWARD), 0);
    CHECK_EQ(hf_fiber_yield(self, NULL, NULL), HF_OK);
    return (void *)(intptr_t)(fegetround() == FE_UPWARD ? 1 : (intptr_t)argument);
}

static void test_float_control_belongs_to_the_fiber_or_to_the_thread(void) {
    hf_fiber *fiber;
    void *value;
    int before = fegetround();
    CHECK_EQ(hf_fiber_create(NULL, rounding_fiber, (void *)2, NULL, HF_FIBER_FLOAT_CONTROL, &fiber),
             HF_OK);
    CHECK_EQ(hf_fiber_resume(fiber, NULL, NULL), HF_OK);
    CHECK_EQ(fegetround(), before);
    CHECK_EQ(fesetround(FE_DOWNWARD), 0);
    CHECK_EQ(hf_fiber_resume(fiber, NULL, &value), HF_OK);
    CHECK_EQ((intptr_t)value, 1);
    CHECK_EQ(fegetround(), FE_DOWNWARD);
    CHECK_EQ(hf_fiber_destroy(fiber), HF_OK);
    CHECK_EQ(fesetround(before), 0);
    CHECK_EQ(hf_fiber_create(NULL, rounding_fiber, (void *)2, NULL, 0, &fiber), HF_OK);
    CHECK_EQ(hf_fiber_resume(fiber, NULL, NULL), HF_OK);
    CHECK_EQ(fegetround(), FE_UPWARD);
    CHECK_EQ(fesetround(before), 0);
    CHECK_EQ(hf_fiber_resume(fiber, NULL, &value), HF_OK);
    CHECK_EQ((intptr_t)value, 2);
    CHECK_EQ(hf_fiber_destroy(fiber), HF_OK);
}

static void *resume_here(void *fiber) {
    void *value = NULL;
    CHECK_EQ(hf_fiber_resume(fiber, (void *)1, &value), HF_OK);
    CHECK_PTR(hf_fiber_current(), NULL);
    return value;
}

static void test_a_fiber_may_move_between_threads(void) {
    hf_fiber *fiber;
    CHECK_EQ(hf_fiber_create(NULL, adder, (void *)0, NULL, 0, &fiber), HF_OK);
    for (intptr_t i = 0; i < 5; i++) {
        pthread_t thread;
        void *value;
        CHECK_EQ(pthread_create(&thread, NULL, resume_here, fiber), 0);
        CHECK_EQ(pthread_join(thread, &value), 0);
        CHECK_EQ((intptr_t)value, i);
    }
    CHECK_EQ(hf_fiber_resume(fiber, (void *)1, NULL), HF_OK);
    CHECK_EQ(hf_fiber_state_get(fiber), HF_FIBER_FINISHED);
    CHECK_EQ(hf_fiber_destroy(fiber), HF_OK);
}

/* --- scheduler ------------------------------------------------------------------------------ */

static char trace[4096];
static size_t traced;
static void note(char c) {
    CHECK(traced < sizeof trace - 1);
    trace[traced++] = c;
    trace[traced] = '\0';
}

static void *letters(void *argument) {
    for (int i = 0; i < 3; i++) {
        note((char)(uintptr_t)argument);
        CHECK_EQ(hf_task_yield(), HF_OK);
    }
    return argument;
}

static void test_tasks_take_turns(void) {
    hf_scheduler *s;
    traced = 0;
    CHECK_EQ(hf_task_yield(), HF_E_INVALID);
    CHECK_EQ(hf_task_park(), HF_E_INVALID);
    CHECK_EQ(hf_scheduler_create(NULL, &s), HF_OK);
    for (char c = 'a'; c <= 'd'; c++)
        CHECK_EQ(hf_scheduler_spawn(s, letters, (void *)(uintptr_t)c, NULL, NULL), HF_OK);
    CHECK_EQ(hf_scheduler_ready(s), 4);
    CHECK_EQ(hf_scheduler_run_some(s, 2), HF_E_BUSY);
    CHECK_STR(trace, "ab");
    CHECK_EQ(hf_scheduler_run(s), HF_OK);
    CHECK_STR(trace, "abcdabcdabcd");
    CHECK_EQ(hf_scheduler_live(s), 0);
    CHECK_EQ(hf_scheduler_destroy(s), HF_OK);
}

static void test_a_task_alone_takes_every_turn(void) {
    hf_scheduler *s;
    traced = 0;
    CHECK_EQ(hf_scheduler_create(NULL, &s), HF_OK);
    CHECK_EQ(hf_scheduler_spawn(s, letters, (void *)'a', NULL, NULL), HF_OK);
    CHECK_EQ(hf_scheduler_run(s), HF_OK);
    CHECK_STR(trace, "aaa");
    CHECK_EQ(hf_scheduler_destroy(s), HF_OK);
}

static hf_scheduler *running;
static void *parent_main(void *argument) {
    hf_task *children[5];
    intptr_t sum = 0;
    for (uintptr_t i = 0; i < 5; i++)
        CHECK_EQ(hf_scheduler_spawn(running, letters, (void *)('p' + i), NULL, &children[i]),
                 HF_OK);
    CHECK_EQ(hf_scheduler_run(running), HF_E_INVALID);
    CHECK_EQ(hf_scheduler_destroy(running), HF_E_BUSY);
    CHECK_EQ(hf_task_join(hf_task_current(), NULL), HF_E_INVALID);
    for (int i = 0; i < 5; i++) {
        void *result;
        CHECK_EQ(hf_task_join(children[i], &result), HF_OK);
        sum += (intptr_t)result;
    }
    return (void *)(sum + (intptr_t)argument);
}

static void test_join_waits_and_hands_over_the_result(void) {
    hf_task *parent;
    void *result;
    traced = 0;
    CHECK_EQ(hf_scheduler_create(NULL, &running), HF_OK);
    CHECK_EQ(hf_scheduler_spawn(running, parent_main, (void *)7, "parent", &parent), HF_OK);
    CHECK_EQ(hf_task_is_finished(parent), 0);
    CHECK_EQ(hf_task_join(parent, &result), HF_E_BUSY);
    CHECK_EQ(hf_scheduler_run(running), HF_OK);
    CHECK_EQ(hf_task_is_finished(parent), 1);
    CHECK_EQ(hf_task_join(parent, &result), HF_OK);
    CHECK_EQ((intptr_t)result, 'p' + 'q' + 'r' + 's' + 't' + 7);
    CHECK_EQ(hf_scheduler_destroy(running), HF_OK);
}

static void *joiner(void *task) {
    void *result = NULL;
    CHECK_EQ(hf_task_join(task, &result), HF_OK);
    return result;
}

static void test_detach_leaves_a_task_to_whoever_joins_it(void) {
    hf_stats stats = {.struct_size = sizeof stats};
    hf_task *joined, *parent;
    void *result;
    traced = 0;
    CHECK_EQ(hf_scheduler_create(NULL, &running), HF_OK);
    CHECK_EQ(hf_scheduler_spawn(running, letters, (void *)'j', NULL, &joined), HF_OK);
    CHECK_EQ(hf_scheduler_spawn(running, joiner, joined, NULL, &parent), HF_OK);
    CHECK_EQ(hf_scheduler_run_some(running, 2), HF_E_BUSY);
    hf_task_detach(joined); /* too late */
    CHECK_EQ(hf_scheduler_run(running), HF_OK);
    CHECK_EQ(hf_task_join(parent, &result), HF_OK);
    CHECK_EQ((intptr_t)result, 'j');
    CHECK_EQ(hf_scheduler_destroy(running), HF_OK);
    CHECK_EQ(hf_stack_pool_stats(hf_stack_pool_default(), &stats), HF_OK);
    CHECK_EQ(stats.reports, 0);
}

static void *tell_fiber(void *argument) {
    *(hf_fiber **)argument = hf_fiber_current();
    return NULL;
}

static void test_the_fiber_of_a_task_is_its_scheduler_s(void) {
    hf_fiber *fiber;
    hf_task *task;
    CHECK_EQ(hf_scheduler_create(NULL, &running), HF_OK);
    CHECK_EQ(hf_scheduler_spawn(running, tell_fiber, &fiber, NULL, &task), HF_OK);
    CHECK_EQ(hf_scheduler_run(running), HF_OK);
    CHECK_EQ(hf_fiber_state_get(fiber), HF_FIBER_FINISHED);
    CHECK_EQ(hf_fiber_resume(fiber, NULL, NULL), HF_E_CLOSED);
    CHECK_EQ(hf_fiber_cancel(fiber), HF_E_INVALID);
    CHECK_EQ(hf_fiber_abandon(fiber), HF_E_INVALID);
    CHECK_EQ(hf_fiber_destroy(fiber), HF_E_INVALID);
    CHECK_EQ(hf_task_join(task, NULL), HF_OK);
    CHECK_EQ(hf_scheduler_destroy(running), HF_OK);
}

static void *parker(void *argument) {
    note((char)(uintptr_t)argument);
    hf_status status = hf_task_park();
    note(status == HF_OK ? '!' : '-');
    return NULL;
}

static void test_park_waits_for_unpark_which_is_not_lost(void) {
    hf_task *a, *b;
    traced = 0;
    CHECK_EQ(hf_scheduler_create(NULL, &running), HF_OK);
    CHECK_EQ(hf_scheduler_spawn(running, parker, (void *)'a', NULL, &a), HF_OK);
    CHECK_EQ(hf_scheduler_spawn(running, parker, (void *)'b', NULL, &b), HF_OK);
    hf_task_unpark(b); /* before it parks */
    CHECK_EQ(hf_scheduler_run(running), HF_E_BUSY);
    CHECK_STR(trace, "ab!");
    CHECK_EQ(hf_scheduler_live(running), 1);
    hf_task_unpark(a);
    CHECK_EQ(hf_scheduler_run(running), HF_OK);
    CHECK_STR(trace, "ab!!");
    CHECK_EQ(hf_task_join(a, NULL), HF_OK);
    hf_task_detach(b);
    CHECK_EQ(hf_scheduler_destroy(running), HF_OK);
}

static void test_destroy_cancels_what_is_left(void) {
    hf_task *a;
    hf_stack_pool *pool;
    hf_stats stats = {.struct_size = sizeof stats};
    traced = 0;
    CHECK_EQ(hf_stack_pool_create(NULL, &pool), HF_OK);
    CHECK_EQ(hf_scheduler_create(pool, &running), HF_OK);
    CHECK_EQ(hf_scheduler_spawn(running, parker, (void *)'a', NULL, &a), HF_OK);
    CHECK_EQ(hf_scheduler_spawn(running, parker, (void *)'b', NULL, NULL), HF_OK);
    CHECK_EQ(hf_scheduler_run(running), HF_E_BUSY);
    CHECK_EQ(hf_scheduler_spawn(running, parker, (void *)'c', NULL, NULL), HF_OK);
    CHECK_EQ(hf_scheduler_destroy(running), HF_OK);
    CHECK_STR(trace, "ab--");
    CHECK_EQ(hf_stack_pool_stats(pool, &stats), HF_OK);
    CHECK_EQ(stats.blocks_in_use, 0);
    CHECK_EQ(hf_stack_pool_destroy(pool), HF_OK);
    CHECK_EQ(hf_scheduler_destroy(NULL), HF_OK);
}

enum { MANY = CHECK_SANITIZED ? 2000 : 20000 };
static uint64_t counted;
static void *counter(void *argument) {
    for (int i = 0; i < 3; i++) {
        counted++;
        CHECK_EQ(hf_task_yield(), HF_OK);
    }
    return argument;
}

static void *no_work(void *argument) {
    return argument;
}
static void *spawner(void *argument) {
    for (int i = 0; i < 2000; i++)
        CHECK_EQ(hf_scheduler_spawn(running, no_work, NULL, NULL, NULL), HF_OK);
    CHECK_EQ(hf_task_yield(), HF_OK);
    (void)hf_stack_pool_trim(argument);
    return argument;
}

/* What makes and purges stacks runs on the stack of whoever asks for them. */
static void test_tasks_spawn_and_trim_on_small_stacks(void) {
    hf_stack_pool_options options;
    hf_stack_pool *pool;
    hf_stack_pool_options_init(&options);
    options.stack_size = CHECK_SANITIZED ? 32768 : 8192;
    CHECK_EQ(hf_stack_pool_create(&options, &pool), HF_OK);
    CHECK_EQ(hf_scheduler_create(pool, &running), HF_OK);
    CHECK_EQ(hf_scheduler_spawn(running, spawner, pool, NULL, NULL), HF_OK);
    CHECK_EQ(hf_scheduler_run(running), HF_OK);
    CHECK_EQ(hf_scheduler_destroy(running), HF_OK);
    CHECK_EQ(hf_stack_pool_check(pool), HF_OK);
    CHECK_EQ(hf_stack_pool_destroy(pool), HF_OK);
}

static void test_many_tasks(void) {
    hf_stack_pool_options options;
    hf_stack_pool *pool;
    hf_stack_pool_options_init(&options);
    options.stack_size = 16384;
    const char *asked = getenv("HOLDFAST_TEST_TASKS");
    uint64_t count = asked != NULL ? strtoull(asked, NULL, 10) : MANY;
    CHECK_EQ(hf_stack_pool_create(&options, &pool), HF_OK);
    CHECK_EQ(hf_scheduler_create(pool, &running), HF_OK);
    for (int round = 0; round < 2; round++) {
        counted = 0;
        for (uint64_t i = 0; i < count; i++)
            CHECK_EQ(hf_scheduler_spawn(running, counter, NULL, "counter", NULL), HF_OK);
        CHECK_EQ(hf_scheduler_run(running), HF_OK);
        CHECK_EQ(counted, 3 * count);
    }
    CHECK_EQ(hf_scheduler_destroy(running), HF_OK);
    CHECK_EQ(hf_stack_pool_check(pool), HF_OK);
    CHECK_EQ(hf_stack_pool_destroy(pool), HF_OK);
}

int main(void) {
    CHECK_WATCHDOG(60);
    CHECK_RUN(test_context_switch_carries_values_both_ways);
    CHECK_RUN(test_registers_survive_switches);
    CHECK_RUN(test_values_go_both_ways_and_states_follow);
    CHECK_RUN(test_fibers_nest);
    CHECK_RUN(test_cancel_lets_a_fiber_clean_up);
    CHECK_RUN(test_float_control_belongs_to_the_fiber_or_to_the_thread);
    CHECK_RUN(test_a_fiber_may_move_between_threads);
    CHECK_RUN(test_tasks_take_turns);
    CHECK_RUN(test_a_task_alone_takes_every_turn);
    CHECK_RUN(test_join_waits_and_hands_over_the_result);
    CHECK_RUN(test_detach_leaves_a_task_to_whoever_joins_it);
    CHECK_RUN(test_the_fiber_of_a_task_is_its_scheduler_s);
    CHECK_RUN(test_park_waits_for_unpark_which_is_not_lost);
    CHECK_RUN(test_destroy_cancels_what_is_left);
    CHECK_RUN(test_tasks_spawn_and_trim_on_small_stacks);
    CHECK_RUN(test_many_tasks);
    return 0;
}
