/* test_pool_programs.c - random programs on an object pool against a model.
 *
 *   test_pool_programs [SEED [PROGRAMS [STEPS]]]
 *
 * Method      a program is a seed: it draws the options of a pool and then acquires, releases, in
 *             bulk, twice, inside, foreign, writes, trims, checks; another thread takes and leaves
 *             blocks in between. The model is the list of blocks that are out with what they hold.
 * Contract    after every step that could break it: count, content, states, the report that was due
 *             and no other. After every program the account adds up and all blocks come back. */
#include <pthread.h>
#include <sched.h>

#include "../c/content.h"
#include "../c/pool_check.h"

enum { BLOCKS = 600 };

typedef struct program {
    hf_pool *pool;
    hf_pool_options options;
    check_random random;
    uint64_t seed;
    char *out[BLOCKS];
    uint64_t tags[BLOCKS];
    size_t count;
    uint64_t next_tag;
    char *last; /* released a moment ago */
} program;

static pool_reported reported;

#define P_CHECK(p, condition) CHECK_SAY(condition, "seed %" PRIu64, (p)->seed)

static uint64_t below(program *p, uint64_t bound) {
    return check_random_below(&p->random, bound);
}

static void draw(program *p) {
    static const size_t sizes[] = {1, 3, 8, 16, 24, 40, 64, 100, 256, 1000, 5000, 70000};
    hf_pool_options *o = &p->options;
    hf_pool_options_init(o, sizes[below(p, sizeof sizes / sizeof *sizes)]);
    if (below(p, 3) == 0) o->alignment = (uint64_t)1 << below(p, 13);
    o->sanitize = (uint32_t)below(p, 3);
    o->grow = below(p, 2) * (1 + below(p, 300));
    if (below(p, 2) == 0) {
        o->capacity = 1 + below(p, 400);
        o->on_exhausted = (uint32_t)(1 + below(p, 2));
        o->wait_ns = 1000;
    }
}

static bool is_out(const program *p, const char *block) {
    for (size_t i = 0; i < p->count; i++)
        if (p->out[i] == block) return true;
    return false;
}

static void keep(program *p, char *block) {
    size_t size = p->options.block_size;
    P_CHECK(p, !is_out(p, block));
    P_CHECK(p, p->options.alignment == 0 || (uintptr_t)block % p->options.alignment == 0);
    P_CHECK(p, hf_pool_state(p->pool, block) == HF_BLOCK_LIVE);
    if (p->options.sanitize == HF_POOL_ZERO) P_CHECK(p, content_zero(block, size));
    p->out[p->count] = block;
    p->tags[p->count++] = p->next_tag;
    content_fill(block, size, p->next_tag++);
}

static char *drop(program *p, size_t i) {
    char *block = p->out[i];
    P_CHECK(p, content_whole(block, p->options.block_size, p->tags[i]));
    p->out[i] = p->out[--p->count];
    p->tags[i] = p->tags[p->count];
    return block;
}

static bool is_full(const program *p, size_t more) {
    return p->options.on_exhausted != HF_POOL_GROW && p->count + more > p->options.capacity;
}

static void expect_refusal(program *p, hf_status status, size_t wanted) {
    bool waits = p->options.on_exhausted == HF_POOL_WAIT && wanted <= p->options.capacity;
    P_CHECK(p, status == (waits ? HF_E_TIMEOUT : HF_E_LIMIT));
}

static void step_acquire(program *p) {
    void *block = NULL;
    if (p->count == BLOCKS) return;
    hf_status status = hf_pool_acquire(p->pool, &block);
    if (is_full(p, 1)) {
        expect_refusal(p, status, 1);
        return;
    }
    P_CHECK(p, status == HF_OK);
    keep(p, block);
}

static void step_acquire_bulk(program *p) {
    void *blocks[200];
    size_t count = below(p, 200);
    if (p->count + count > BLOCKS) return;
    hf_status status = hf_pool_acquire_bulk(p->pool, blocks, count);
    if (count != 0 && is_full(p, count)) {
        expect_refusal(p, status, count);
        return;
    }
    P_CHECK(p, status == HF_OK);
    for (size_t i = 0; i < count; i++)
        keep(p, blocks[i]);
}

static void step_release(program *p) {
    if (p->count == 0) return;
    p->last = drop(p, below(p, p->count));
    P_CHECK(p, hf_pool_release(p->pool, p->last) == HF_OK);
}

static void step_release_bulk(program *p) {
    void *blocks[BLOCKS];
    size_t count = below(p, p->count + 1);
    for (size_t i = 0; i < count; i++)
        blocks[i] = drop(p, below(p, p->count));
    P_CHECK(p, hf_pool_release_bulk(p->pool, blocks, count) == HF_OK);
}

static void expect(program *p, hf_report_kind kind) {
    P_CHECK(p, reported.count == 1);
    P_CHECK(p, reported.last.kind == kind);
    reported.count = 0;
}

static void step_misuse(program *p) {
    static char elsewhere[64];
    switch (below(p, 3)) {
    case 0:
        if (p->last == NULL || is_out(p, p->last)) return;
        P_CHECK(p, hf_pool_release(p->pool, p->last) == HF_E_INVALID);
        /* A trim may have forgotten that it was ever handed out. */
        if (reported.last.kind != HF_REPORT_INVALID_FREE) expect(p, HF_REPORT_DOUBLE_FREE);
        reported.count = 0;
        return;
    case 1:
        if (p->count == 0 || p->options.block_size < 2) return;
        P_CHECK(p, hf_pool_release(p->pool, p->out[0] + 1 + below(p, p->options.block_size - 1)) ==
                       HF_E_INVALID);
        expect(p, HF_REPORT_INTERIOR_FREE);
        return;
    default:
        P_CHECK(p, hf_pool_release(p->pool, elsewhere) == HF_E_INVALID);
        expect(p, HF_REPORT_INVALID_FREE);
    }
}

/* Another thread makes the magazines of this one stale. */
static void *visit(void *argument) {
    program *p = argument;
    void *blocks[50];
    size_t count = 0;
    while (count < 50 && hf_pool_acquire_within(p->pool, 0, &blocks[count]) == HF_OK)
        count++;
    P_CHECK(p, hf_pool_release_bulk(p->pool, blocks, count) == HF_OK);
    return NULL;
}

static void step_thread(program *p) {
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, visit, p), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

static void program_play(uint64_t seed, unsigned steps) {
    static program p;
    p = (program){.seed = seed, .random = {seed}, .next_tag = 1};
    draw(&p);
    p.pool = pool_make(&p.options);
    for (unsigned step = 0; step < steps; step++) {
        uint64_t verb = below(&p, 1000);
        if (verb < 430)
            step_acquire(&p);
        else if (verb < 860)
            step_release(&p);
        else if (verb < 890)
            step_acquire_bulk(&p);
        else if (verb < 920)
            step_release_bulk(&p);
        else if (verb < 960)
            step_misuse(&p);
        else if (verb < 975)
            (void)hf_pool_trim(p.pool);
        else if (verb < 985)
            P_CHECK(&p, hf_pool_check(p.pool, NULL) == HF_OK);
        else if (verb < 990)
            step_thread(&p);
        else
            pool_account(p.pool, p.count);
        P_CHECK(&p, reported.count == 0);
    }
    pool_account(p.pool, p.count);
    while (p.count != 0)
        step_release(&p);
    (void)hf_pool_trim(p.pool);
    pool_account(p.pool, 0);
    CHECK_EQ(hf_pool_destroy(p.pool), HF_OK);
}

int main(int argc, char **argv) {
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
    unsigned programs = argc > 2 ? (unsigned)atoi(argv[2]) : (CHECK_SANITIZED ? 20 : 150);
    unsigned steps = argc > 3 ? (unsigned)atoi(argv[3]) : 1500;
    CHECK_WATCHDOG(240);
    hf_report_handler_set(pool_note_report, &reported);
    for (unsigned i = 0; i < programs; i++) {
        printf("test_pool_programs %" PRIu64 " 1 %u\n", seed + i, steps);
        fflush(stdout);
        program_play(seed + i, steps);
    }
    return 0;
}
