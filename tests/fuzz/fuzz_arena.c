/* fuzz_arena.c - bytes as a program of an arena: blocks, marks in any order, borrows, resets.
 *
 *   input: options byte, then steps of 3 bytes: verb | which | size
 *
 * Method      the newest blocks are remembered with the mark they lie above; after each step that succeeds those that must
 *             live are whole. Marks are used in any order, also when they have ended.
 * Contract    any input is a legal program: a report, a crash or a failed check is a fault of ours. */
#include "../c/arena_account.h"
#include "../c/content.h"

enum { BLOCKS = 256, MARKS = 16, BORROWS = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
    char *address;
    size_t size;
} blocks[BLOCKS];
static size_t count;
static struct {
    hf_mark mark;
    size_t blocks;
} marks[MARKS];
static bool made[MARKS];
static uint64_t tickets[BORROWS];
static size_t borrowed;

static void whole(void) {
    for (size_t i = 0; i < count; i++)
        CHECK(content_whole(blocks[i].address, blocks[i].size, i));
}

static void step(hf_arena *arena, const uint8_t *s) {
    size_t which = s[1] % MARKS;
    switch (s[0] % 12) {
    case 0:
        CHECK_EQ(hf_arena_mark(arena, &marks[which].mark), HF_OK);
        marks[which].blocks = count;
        made[which] = true;
        break;
    case 1:
    case 2: {
        if (!made[which]) break;
        hf_status status = s[0] & 16 ? hf_arena_leave(arena, &marks[which].mark)
                                     : hf_arena_rewind(arena, &marks[which].mark);
        CHECK(status == HF_OK || status == HF_E_INVALID || status == HF_E_BUSY);
        CHECK(status != HF_E_BUSY || borrowed != 0);
        if (status == HF_OK) count = marks[which].blocks;
        break;
    }
    case 3:
        if (borrowed < BORROWS) tickets[borrowed++] = hf_arena_borrow(arena);
        break;
    case 4:
        if (borrowed > 0) hf_arena_give_back(arena, tickets[--borrowed]);
        break;
    case 5: {
        hf_status status = s[2] & 1 ? hf_arena_reset(arena) : hf_arena_release(arena);
        CHECK_EQ(status, borrowed != 0 ? HF_E_BUSY : HF_OK);
        if (status == HF_OK) count = 0;
        break;
    }
    default: {
        size_t size = (size_t)s[2] << (s[1] % 9);
        if (count == BLOCKS) break;
        char *block = s[0] & 32 ? hf_arena_alloc_aligned(arena, size, (size_t)16 << s[1] % 8)
                                : hf_arena_alloc(arena, size);
        if (block == NULL) break; /* the limit */
        content_fill(block, size, count);
        blocks[count].address = block;
        blocks[count++].size = size;
    }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    hf_arena_options options;
    if (size < 1) return 0;
    hf_arena_options_init(&options, (hf_arena_policy)(data[0] % 3));
    options.thread_safe = data[0] >> 3 & 1;
    if (data[0] & 16) options.reserve = 64 << 10;
    if (data[0] & 32) options.limit = options.capacity = 200000;
    count = borrowed = 0;
    memset(made, 0, sizeof made);
    uint64_t reports = hf_report_count();
    hf_arena *arena = arena_open(&options);
    for (size_t i = 1; i + 3 <= size; i += 3) {
        step(arena, data + i);
        if (i % 64 == 1) whole();
    }
    whole();
    while (borrowed > 0)
        hf_arena_give_back(arena, tickets[--borrowed]);
    arena_close(arena);
    CHECK_EQ(hf_report_count(), reports);
    return 0;
}
