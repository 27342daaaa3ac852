/* test_arena_programs.c - random programs of arenas against a model.
 *
 *   test_arena_programs [SEED [PROGRAMS [STEPS]]]
 *
 * Method      a program is a seed: options and steps (allocate in every way, mark, rewind, leave, reset, release,
 *             borrow, give back, free, resize, decay, check) are drawn from it. The model knows every live block with
 *             its content, every mark with the number of blocks below it, and every borrow with the marks
 *             that were open. It predicts each answer: OK, BUSY or INVALID.
 * Contract    blocks never overlap, keep their content and alignment; the account adds up after each program and
 *             at random steps; a refused call changes nothing. A failure prints the seed. */
#include <base/hooks.h>
#include <errno.h>
#include <os/os.h>

#include "../c/arena_account.h"
#include "../c/content.h"

enum { BLOCKS = 4000, MARKS = 80, BORROWS = 40, DEEP = 60 };

typedef struct block {
    char *address;
    size_t size;
    uint64_t tag;
} block;

typedef struct open_mark {
    hf_mark mark;
    size_t blocks;   /* live ones when it was made */
    uint64_t number; /* which one it is            */
} open_mark;

typedef struct model {
    hf_arena *arena;
    hf_arena_options options;
    uint64_t seed, next_tag, next_mark, clock;
    check_random random;
    block blocks[BLOCKS];
    size_t block_count;
    open_mark marks[MARKS]; /* open, oldest first */
    size_t mark_count;
    open_mark stale; /* one that ended */
    bool has_stale;
    struct {
        uint64_t ticket;
        size_t depth; /* marks open when it was made */
    } borrows[BORROWS];
    size_t borrow_count;
    char *buffer;
} model;

#define SAY(m, condition)                                                                          \
    CHECK_SAY(condition, "seed %" PRIu64 ", %zu blocks, %zu marks, %zu borrows", (m)->seed,        \
              (m)->block_count, (m)->mark_count, (m)->borrow_count)

static size_t below(model *m, size_t bound) {
    return (size_t)check_random_below(&m->random, bound);
}

static size_t draw_size(model *m) {
    switch (below(m, 12)) {
    case 0: return below(m, 3);
    case 1: return below(m, 70000);
    case 2: return 4096 * below(m, 5) + below(m, 33);
    case 3: return below(m, 40) == 0 ? below(m, 3000000) : below(m, 3000);
    default: return below(m, 300);
    }
}

static void blocks_whole(model *m, size_t from) {
    for (size_t i = from; i < m->block_count; i++)
        SAY(m, content_whole(m->blocks[i].address, m->blocks[i].size, m->blocks[i].tag));
}

static void keep(model *m, char *address, size_t size, size_t alignment) {
    SAY(m, (uintptr_t)address % (alignment > 16 ? alignment : 16) == 0);
    SAY(m, hf_arena_owns(m->arena, address));
    for (size_t i = 0; i < m->block_count; i++) {
        const block *other = &m->blocks[i];
        SAY(m, address + (size > 0 ? size : 1) <= other->address ||
                   other->address + (other->size > 0 ? other->size : 1) <= address);
    }
    if (m->options.zero) SAY(m, content_zero(address, size));
    content_fill(address, size, m->next_tag);
    m->blocks[m->block_count++] = (block){address, size, m->next_tag++};
}

static void step_alloc(model *m) {
    if (m->block_count + 20 >= BLOCKS) return;
    size_t size = draw_size(m), alignment = m->options.alignment;
    char *address = NULL;
    void *several[10];
    errno = 0;
    switch (below(m, 5)) {
    case 0:
        alignment = (size_t)16 << below(m, 9);
        address = hf_arena_alloc_aligned(m->arena, size, alignment);
        break;
    case 1:
        address = hf_arena_allocate_zeroed(m->arena, size, 0);
        if (address != NULL) SAY(m, content_zero(address, size));
        break;
    case 2: {
        size_t made = hf_arena_alloc_bulk(m->arena, size % 500, 32, 10, several);
        for (size_t i = 0; i < made; i++)
            keep(m, several[i], size % 500, 32);
        SAY(m, made == 10 || (errno == ENOMEM && m->options.limit != 0) || m->buffer != NULL);
        return;
    }
    case 3: address = hf_arena_alloc(m->arena, 24), size = 24; break;
    default: address = hf_arena_alloc(m->arena, size);
    }
    if (address != NULL) {
        keep(m, address, size, alignment);
        return;
    }
    SAY(m, errno == ENOMEM);
    SAY(m, m->options.limit != 0 || m->buffer != NULL);
    size_t asked = 0, left = 0;
    hf_arena_last_refusal(m->arena, &asked, &left);
    SAY(m, asked == size);
    SAY(m, left < size + 4096 + 32 + m->options.alignment); /* it was not refused for nothing */
}

static void step_mark(model *m) {
    if (m->mark_count == MARKS || m->mark_count == DEEP) return;
    open_mark *mark = &m->marks[m->mark_count++];
    SAY(m, hf_arena_mark(m->arena, &mark->mark) == HF_OK);
    mark->blocks = m->block_count;
    mark->number = ++m->next_mark;
}

/* Borrows made while mark `index` was open. */
static size_t borrowed_above(const model *m, size_t index) {
    size_t count = 0;
    for (size_t i = 0; i < m->borrow_count; i++)
        count += m->borrows[i].depth > index;
    return count;
}

static void step_rewind(model *m, bool leave) {
    if (m->mark_count == 0) return;
    size_t index = m->mark_count - 1 - below(m, below(m, 4) == 0 ? m->mark_count : 1);
    open_mark *mark = &m->marks[index];
    blocks_whole(m, mark->blocks);
    hf_status status =
        leave ? hf_arena_leave(m->arena, &mark->mark) : hf_arena_rewind(m->arena, &mark->mark);
    bool busy = borrowed_above(m, index) != 0;
    SAY(m, status == (busy ? HF_E_BUSY : HF_OK));
    if (busy) return;
    if (index + 1 < m->mark_count) {
        m->stale = m->marks[m->mark_count - 1];
        m->has_stale = true;
    }
    m->block_count = mark->blocks;
    m->mark_count = leave ? index : index + 1;
}

static void step_reset(model *m, bool release) {
    hf_status status = release ? hf_arena_release(m->arena) : hf_arena_reset(m->arena);
    SAY(m, status == (m->borrow_count != 0 ? HF_E_BUSY : HF_OK));
    if (status != HF_OK) return;
    if (m->mark_count > 0) {
        m->stale = m->marks[below(m, m->mark_count)];
        m->has_stale = true;
    }
    m->block_count = m->mark_count = 0;
    hf_arena_figures f = arena_figures(m->arena);
    SAY(m, f.bytes_in_use == 0 && f.blocks == 0);
}

static void step_borrow(model *m) {
    if (m->borrow_count == BORROWS) return;
    m->borrows[m->borrow_count].ticket = hf_arena_borrow(m->arena);
    m->borrows[m->borrow_count++].depth = m->mark_count;
    SAY(m, hf_arena_borrows(m->arena) == m->borrow_count);
}

static void step_give_back(model *m) {
    if (m->borrow_count == 0) return;
    size_t i = below(m, m->borrow_count);
    hf_arena_give_back(m->arena, m->borrows[i].ticket);
    m->borrows[i] = m->borrows[--m->borrow_count];
}

/* The youngest block, if no mark is younger. */
static void step_youngest(model *m) {
    size_t floor = m->mark_count > 0 ? m->marks[m->mark_count - 1].blocks : 0;
    if (m->block_count <= floor) return;
    block *b = &m->blocks[m->block_count - 1];
    SAY(m, content_whole(b->address, b->size, b->tag));
    if (below(m, 2) == 0) {
        hf_arena_free(m->arena, b->address, b->size);
        m->block_count--;
        return;
    }
    size_t size = draw_size(m), old = b->size;
    int resized = hf_arena_resize(m->arena, b->address, old, size);
    if (!resized) {
        SAY(m, content_whole(b->address, b->size, b->tag));
        return;
    }
    SAY(m, content_whole_to(b->address, old, old < size ? old : size, b->tag));
    if (m->options.zero && size > old) SAY(m, content_zero(b->address + old, size - old));
    block moved = *b;
    m->block_count--;
    bool zero = m->options.zero;
    m->options.zero = 0; /* its beginning is not */
    keep(m, moved.address, size, 16);
    m->options.zero = zero;
}

static void step_stale(model *m) {
    if (!m->has_stale) return;
    for (size_t i = 0; i < m->mark_count; i++)
        if (m->marks[i].number == m->stale.number) return;
    SAY(m, hf_arena_rewind(m->arena, &m->stale.mark) == HF_E_INVALID);
    blocks_whole(m, m->block_count > 5 ? m->block_count - 5 : 0);
}

static void step(model *m) {
    size_t verb = below(m, 1000);
    if (verb < 600)
        step_alloc(m);
    else if (verb < 700)
        step_mark(m);
    else if (verb < 760)
        step_rewind(m, false);
    else if (verb < 830)
        step_rewind(m, true);
    else if (verb < 880)
        step_youngest(m);
    else if (verb < 920)
        step_borrow(m);
    else if (verb < 965)
        step_give_back(m);
    else if (verb < 975)
        step_stale(m);
    else if (verb < 983)
        step_reset(m, below(m, 4) == 0);
    else if (verb < 990)
        (void)hfi_hooks_run(m->clock += 3000000000u, (int)below(m, 2));
    else if (verb < 995)
        arena_account(m->arena);
    else if (verb < 998)
        arena_whole(m->arena);
    else
        blocks_whole(m, 0);
}

static void draw_options(model *m) {
    hf_arena_options *o = &m->options;
    hf_arena_options_init(o, (hf_arena_policy)below(m, 3));
    if (below(m, 2)) o->reserve = (uint64_t)65536 << below(m, 6);
    if (below(m, 3) == 0) o->limit = o->capacity = 16384 + below(m, 4000000);
    if (below(m, 4) == 0) o->alignment = 16u << below(m, 5);
    if (below(m, 4) == 0) o->min_size = (uint32_t)below(m, 200);
    if (below(m, 4) == 0) o->decay_ms = below(m, 2);
    if (below(m, 4) == 0) o->retain = below(m, 3000000);
    o->thread_safe = below(m, 3) == 0;
    o->statistics = (uint32_t)below(m, 2);
    o->zero = below(m, 3) == 0;
    o->track_allocations = below(m, 4) == 0;
    o->validate_access = below(m, 4) == 0;
    o->check_corruption = below(m, 3) == 0;
    o->log_operations = below(m, 4) == 0;
    o->prefetch = below(m, 2) * 256;
}

static void play(uint64_t seed, unsigned steps) {
    model *m = calloc(1, sizeof *m);
    CHECK(m != NULL);
    m->seed = seed;
    m->random.state = seed * 7919 + 1;
    m->next_tag = 1;
    m->clock = hfi_os_clock_ns();
    draw_options(m);
    uint64_t reports = hf_report_count();
    if (below(m, 6) == 0) {
        size_t size = 4096 + below(m, 200000);
        m->buffer = malloc(size);
        CHECK(m->buffer != NULL);
        memset(m->buffer, 0x5A, size);
        SAY(m, hf_arena_create_on(m->buffer, size, &m->options, &m->arena) == HF_OK);
    } else {
        SAY(m, hf_arena_create(&m->options, &m->arena) == HF_OK);
    }
    for (unsigned i = 0; i < steps; i++)
        step(m);
    blocks_whole(m, 0);
    arena_account(m->arena);
    SAY(m, hf_arena_destroy(m->arena) == (m->borrow_count != 0 ? HF_E_BUSY : HF_OK));
    if (m->borrow_count != 0) {
        blocks_whole(m, 0);
        while (m->borrow_count != 0)
            step_give_back(m);
        SAY(m, hf_arena_destroy(m->arena) == HF_OK);
    }
    SAY(m, hf_report_count() == reports);
    free(m->buffer);
    free(m);
}

int main(int argc, char **argv) {
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
    unsigned programs = argc > 2 ? (unsigned)atoi(argv[2]) : (CHECK_SANITIZED ? 30 : 150);
    unsigned steps = argc > 3 ? (unsigned)atoi(argv[3]) : 1500;
    CHECK_WATCHDOG(240);
    for (unsigned i = 0; i < programs; i++) {
        printf("test_arena_programs %" PRIu64 " 1 %u\n", seed + i, steps);
        fflush(stdout);
        play(seed + i, steps);
    }
    return 0;
}
