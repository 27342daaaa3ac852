/* test_queue_kill.c - producers and consumers under load, killed and stopped at random, item by item.
 *
 * Method: an item names its producer and its number there, and its bytes follow from both. A producer
 * notes a number before it puts it and again when it is in; a consumer marks what it got. At the end
 * every number is accounted for: marked once, or in the hand of one that was killed (that many at most
 * are missing, with redeliver none of what the queue still had), or never finished by its producer. No
 * number comes out twice, and none of one producer out of order. A stopped process costs nothing. */
#include <stdatomic.h>
#include <sys/mman.h>

#include "queue_world.h"

enum { SIDES_MAX = 2, SIZE_MAX_BYTES = 16384 };
#define NUMBERS_MAX (UINT64_C(1) << 29) /* items of one producer, a bit each */

struct side {
    _Atomic uint64_t intent, done; /* producer: number in hand, numbers that are in       */
    _Atomic uint64_t busy;         /* consumer: 1 from before a get until it is marked    */
    uint64_t last[SIDES_MAX];      /* consumer: highest number + 1 seen, by producer      */
    _Atomic uint64_t maybe[16384]; /* producer: numbers in hand when it was killed        */
    _Atomic uint32_t maybe_count;
};

struct load {
    struct world world;
    unsigned producers, consumers;
    uint64_t size;      /* of an item [bytes] */
    struct side *sides; /* shared: producers, then consumers */
    _Atomic uint64_t *marks[SIDES_MAX];
    _Atomic uint64_t *twice, *killed_busy;
};

struct stamp {
    uint32_t producer, size;
    uint64_t number, seed;
};

static uint64_t byte_word(const struct stamp *stamp, uint64_t index) {
    return (stamp->seed + index) * UINT64_C(0x9E3779B97F4A7C15);
}

static uint64_t item_make(char *bytes, const struct load *load, uint32_t producer,
                          uint64_t number) {
    bool bytes_kind = load->world.options.items == HF_SHM_QUEUE_BYTES;
    uint64_t size =
        bytes_kind ? sizeof(struct stamp) + number * 64 % (load->size - 64) / 8 * 8 : load->size;
    struct stamp stamp = {producer, (uint32_t)size, number, number * 31 + producer};
    memcpy(bytes, &stamp, sizeof stamp);
    for (uint64_t at = sizeof stamp; at + 8 <= size; at += 8) {
        uint64_t word = byte_word(&stamp, at);
        memcpy(bytes + at, &word, 8);
    }
    return size;
}

static struct stamp item_read(const char *bytes, uint64_t size) {
    struct stamp stamp;
    CHECK_GE(size, sizeof stamp);
    memcpy(&stamp, bytes, sizeof stamp);
    CHECK_SAY(stamp.size == size && stamp.seed == stamp.number * 31 + stamp.producer &&
                  stamp.producer < SIDES_MAX,
              "torn item of %" PRIu64 " bytes", size);
    for (uint64_t at = sizeof stamp; at + 8 <= size; at += 8) {
        uint64_t word;
        memcpy(&word, bytes + at, 8);
        CHECK_SAY(word == byte_word(&stamp, at), "torn item %" PRIu64 " at %" PRIu64, stamp.number,
                  at);
    }
    return stamp;
}

static void mark(struct load *load, const struct stamp *stamp) {
    uint64_t bit = UINT64_C(1) << stamp->number % 64;
    if (atomic_fetch_or(&load->marks[stamp->producer][stamp->number / 64], bit) & bit)
        atomic_fetch_add(load->twice, 1);
}

static int produce(struct load *load, unsigned worker, const volatile int *stop) {
    struct side *side = &load->sides[worker];
    static char bytes[SIZE_MAX_BYTES];
    uint64_t number = side->intent;
    if (side->done < number) side->done = number; /* what was in hand is not put again */
    while (!*stop && number < NUMBERS_MAX) {
        uint64_t size = item_make(bytes, load, worker, number);
        side->intent = number + 1;
        hf_status status;
        do
            status = hf_shm_queue_put(load->world.queue, bytes, size, UINT64_C(20000000));
        while (status == HF_E_TIMEOUT && !*stop);
        if (status == HF_E_TIMEOUT) { /* it was never put: the account must not expect it */
            side->intent = number;
            break;
        }
        CHECK_SAY(status == HF_OK, "put: %s: %s", hf_status_name(status), hf_shm_detail());
        side->done = ++number;
    }
    while (!*stop) /* all numbers are used */
        usleep(1000);
    return 0;
}

static void consume_one(struct load *load, struct side *side, const char *bytes, uint64_t size) {
    struct stamp stamp = item_read(bytes, size);
    if (!load->world.options.redeliver)
        CHECK_SAY(stamp.number >= side->last[stamp.producer],
                  "%" PRIu64 " of producer %u came after %" PRIu64, stamp.number, stamp.producer,
                  side->last[stamp.producer]);
    side->last[stamp.producer] = stamp.number + 1;
    mark(load, &stamp);
}

static int consume(struct load *load, unsigned worker, const volatile int *stop) {
    struct side *side = &load->sides[worker];
    static char bytes[SIZE_MAX_BYTES];
    while (!*stop) {
        uint64_t size = 0;
        side->busy = 1;
        hf_status status =
            hf_shm_queue_get(load->world.queue, bytes, sizeof bytes, UINT64_C(20000000), &size);
        if (status == HF_OK) consume_one(load, side, bytes, size);
        side->busy = 0;
        CHECK_SAY(status == HF_OK || status == HF_E_TIMEOUT, "get: %s: %s", hf_status_name(status),
                  hf_shm_detail());
    }
    return 0;
}

static int work(void *raw, unsigned worker, unsigned incarnation, const volatile int *stop) {
    (void)incarnation;
    struct load *load = raw;
    return worker < load->producers ? produce(load, worker, stop) : consume(load, worker, stop);
}

static void killed(void *raw, unsigned worker, unsigned incarnation) {
    (void)incarnation;
    struct load *load = raw;
    struct side *side = &load->sides[worker];
    if (worker >= load->producers) {
        atomic_fetch_add(load->killed_busy, side->busy);
        return;
    }
    if (side->intent == side->done) return;
    CHECK_LT(side->maybe_count, 16384);
    side->maybe[side->maybe_count++] = side->done;
}

static bool may_be_missing(const struct side *side, uint64_t number) {
    for (uint32_t i = 0; i < side->maybe_count; i++)
        if (side->maybe[i] == number) return true;
    return false;
}

static void drain(struct load *load) {
    static char bytes[SIZE_MAX_BYTES];
    struct side *side = &load->sides[load->producers + load->consumers];
    uint64_t size = 0;
    hf_status status;
    while ((status = hf_shm_queue_get(load->world.queue, bytes, sizeof bytes, UINT64_C(60000000),
                                      &size)) == HF_OK)
        consume_one(load, side, bytes, size);
    CHECK_EQ(status, HF_E_TIMEOUT);
}

static void account(struct load *load, const char *name) {
    drain(load);
    uint64_t missing = 0, all = 0, unfinished = 0;
    for (unsigned p = 0; p < load->producers; p++) {
        struct side *side = &load->sides[p];
        for (uint64_t number = 0; number < side->done; number++) {
            if (load->marks[p][number / 64] >> number % 64 & 1) continue;
            if (may_be_missing(side, number))
                unfinished++;
            else
                missing++;
        }
        all += side->done;
        CHECK_SAY((load->marks[p][side->done / 64] >> side->done % 64 & 1) == 0,
                  "%s: an item came out that was never put", name);
    }
    hf_shm_figures figures;
    CHECK_EQ(hf_shm_figures_of(load->world.shm, "queue", &figures), HF_OK);
    printf("  %s: %" PRIu64 " items, %" PRIu64 " lost in killed hands of %" PRIu64 ", %" PRIu64
           " never finished, %" PRIu64 " recovered\n",
           name, all, missing, (uint64_t)*load->killed_busy, unfinished, figures.recovered);
    CHECK_EQ(*load->twice, 0);
    CHECK_LE(missing, *load->killed_busy);
    CHECK_GT(all, 0);
    if (*load->killed_busy == 0) CHECK_EQ(missing, 0);
}

static void load_start(struct load *load, unsigned producers, unsigned consumers, uint64_t size,
                       uint64_t capacity, bool bytes, bool single, bool redeliver) {
    *load = (struct load){.world = world_with(capacity, bytes, single, redeliver),
                          .producers = producers,
                          .consumers = consumers,
                          .size = size};
    load->world.options.element_size = size;
    hf_shm_options options;
    hf_shm_options_init(&options, (2 << 20) + capacity * (size + 64));
    options.participants_max = 16;
    CHECK_EQ(hf_shm_create_anonymous(&options, &load->world.shm), HF_OK);
    CHECK_EQ(hf_shm_queue_open(load->world.shm, "queue", HF_SHM_CREATE, &load->world.options,
                               &load->world.queue),
             HF_OK);
    load->sides = harness_shared(sizeof *load->sides * (producers + consumers + 1));
    for (unsigned p = 0; p < producers; p++)
        load->marks[p] = harness_shared(NUMBERS_MAX / 8);
    load->twice = harness_shared(8);
    load->killed_busy = harness_shared(8);
}

static void load_end(struct load *load) {
    size_t recovered = 0;
    CHECK_EQ(hf_shm_sweep(load->world.shm, &recovered), HF_OK);
    CHECK_EQ(hf_shm_check(load->world.shm, "queue", world_fault, NULL), HF_OK);
    uint64_t capacity = hf_shm_queue_capacity(load->world.queue);
    static char bytes[SIZE_MAX_BYTES];
    for (int round = 0; round < 2; round++) {
        for (uint64_t i = 0; i < capacity; i++)
            CHECK_EQ(hf_shm_queue_put(load->world.queue, bytes, load->size, world_patience), HF_OK);
        CHECK_EQ(hf_shm_queue_put(load->world.queue, bytes, load->size, 0), HF_E_FULL);
        for (uint64_t i = 0; i < capacity; i++)
            CHECK_EQ(hf_shm_queue_get(load->world.queue, bytes, sizeof bytes, world_patience, NULL),
                     HF_OK);
    }
    for (unsigned p = 0; p < load->producers; p++)
        munmap((void *)load->marks[p], NUMBERS_MAX / 8);
    world_close(&load->world);
}

static void storm(struct load *load, const char *name, unsigned kills, unsigned stops,
                  unsigned pace_us) {
    struct harness_storm storm = {.name = name,
                                  .workers = load->producers + load->consumers,
                                  .kills = kills,
                                  .stops = stops,
                                  .stop_ms = 10,
                                  .pace_us = pace_us,
                                  .work = work,
                                  .killed = killed};
    harness_storm(&storm, load);
    account(load, name);
}

static void test_records_survive_kills_on_both_sides(void) {
    struct load load;
    load_start(&load, 2, 2, 64, 64, false, false, false);
    storm(&load, "records of 64 bytes", harness_kills(120), 0, 2000);
    load_end(&load);
}

static void test_large_items_survive_kills_on_both_sides(void) {
    struct load load;
    load_start(&load, 2, 2, SIZE_MAX_BYTES, 8, true, false, false);
    storm(&load, "up to 16 KiB", harness_kills(80), 0, 2000);
    load_end(&load);
}

static void test_a_single_pair_survives_kills(void) {
    struct load load;
    load_start(&load, 1, 1, 64, 16, false, true, false);
    storm(&load, "one each", harness_kills(60), 0, 2000);
    load_end(&load);
}

static void test_redelivered_items_come_to_somebody(void) {
    struct load load;
    load_start(&load, 1, 2, 256, 8, false, false, true);
    storm(&load, "redelivered", harness_kills(60), 0, 2000);
    load_end(&load);
}

static void test_a_stopped_process_is_not_a_dead_one(void) {
    struct load load;
    load_start(&load, 2, 2, 1024, 8, false, false, false);
    storm(&load, "stopped, not killed", 0, harness_kills(300) > 300 ? 1000 : 30, 5000);
    hf_shm_figures figures;
    CHECK_EQ(hf_shm_figures_of(load.world.shm, "queue", &figures), HF_OK);
    CHECK_EQ(figures.recovered, 0);
    CHECK_EQ(figures.lost, 0);
    load_end(&load);
}

int main(void) {
    harness_watchdog(280);
    CHECK_RUN(test_records_survive_kills_on_both_sides);
    CHECK_RUN(test_large_items_survive_kills_on_both_sides);
    CHECK_RUN(test_a_single_pair_survives_kills);
    CHECK_RUN(test_redelivered_items_come_to_somebody);
    CHECK_RUN(test_a_stopped_process_is_not_a_dead_one);
    return 0;
}
