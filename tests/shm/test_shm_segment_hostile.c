/* test_shm_segment_hostile.c - garbage in the header, the places and the table: an error or no harm,
 * before a process opens the segment and while it uses it.
 *
 * Method: a persistent segment that nobody has open is damaged in its file; a child then does all that
 * can be done to a segment. Whatever it is told is right, as long as it ends. */
#include <fcntl.h>
#include <holdfast/shm.h>
#include <sys/mman.h>

#include "shm/layout.h"
#include "shm_help.h"

struct world {
    const char *name;
    bool open_before; /* the damage comes when the child has it open */
    char *bytes;
    size_t size;
    hf_shm *shm;
};

static hf_shm_options options_of(void) {
    hf_shm_options options;
    hf_shm_options_init(&options, 256 << 10);
    options.size_max = 1 << 20;
    options.persist = 1;
    options.participants_max = 6;
    options.entries_max = 8;
    options.lock_wait_ns = UINT64_C(20000000);
    return options;
}

static void setup(void *raw) {
    struct world *world = raw;
    hf_shm_options options = options_of();
    hf_shm *shm = NULL;
    hf_shm_span span;
    char path[300];
    (void)hf_shm_remove(world->name);
    OK(hf_shm_open(world->name, HF_SHM_CREATE, &options, &shm));
    OK(hf_shm_add(shm, "small", 100, &span));
    OK(hf_shm_add(shm, "large", 20000, &span));
    world->size = (size_t)help_info(shm).bytes_meta;
    if (world->open_before)
        world->shm = shm;
    else
        OK(hf_shm_close(shm));
    (void)snprintf(path, sizeof path, "/dev/shm/holdfast-%s", world->name);
    int file = open(path, O_RDWR);
    CHECK(file >= 0);
    world->bytes = mmap(NULL, world->size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    CHECK(world->bytes != MAP_FAILED);
    close(file);
}

static void target(void *raw, char **bytes_out, size_t *size_out) {
    struct world *world = raw;
    *bytes_out = world->bytes;
    *size_out = world->size;
}

static int touch_entry(const hf_shm_entry *entry, void *context) {
    char *bytes = hf_shm_at(context, entry->span, 0, entry->span.size);
    if (bytes != NULL) bytes[0] = bytes[entry->span.size - 1]; /* inside, or it ends here */
    CHECK(strnlen(entry->name, 4096) < 4096 && strnlen(entry->format, 65536) < 65536);
    CHECK(entry->dimensions <= HF_SHM_DIMENSIONS_MAX);
    return 0;
}
static int see_participant(const hf_shm_participant *participant, void *context) {
    (void)context;
    CHECK(strnlen(participant->role, sizeof participant->role) < sizeof participant->role);
    return 0;
}
static int see_fault(const char *name, const char *fault, void *context) {
    (void)context;
    CHECK(name != NULL && fault[0] != '\0');
    return 0;
}

static int see_item(const hf_shm_view_item *item, void *context) {
    CHECK(hf_shm_piece_name(item->piece)[0] != '\0');
    return ++*(unsigned *)context == 100000;
}

static void use_all(hf_shm *shm) {
    hf_shm_info info;
    hf_stats stats;
    hf_shm_span span;
    hf_shm_entry entry;
    hf_shm_figures figures;
    struct hfi_shm_part part;
    struct hfi_shm_request request = {
        .name = "small", .kind = HF_SHM_KIND_SPAN, .layout = 1, .size = 100};
    (void)hf_shm_info_of(shm, &info);
    (void)hf_shm_stats(shm, &stats);
    (void)hf_shm_participants(shm, see_participant, NULL);
    (void)hf_shm_list(shm, touch_entry, shm);
    if (hf_shm_find(shm, "large", &entry) == HF_OK) {
        char *bytes = hf_shm_at(shm, entry.span, 0, entry.span.size);
        CHECK(bytes != NULL);
        memset(bytes, 1, 1);
        memset(bytes + entry.span.size - 1, 1, 1);
    }
    if (hfi_shm_attach(shm, HF_SHM_OPEN_OR_CREATE, &request, &part) == HF_OK) {
        part.base[part.size - 1] = 1;
        (void)hf_shm_erase(shm, "small");
        hfi_shm_detach(&part);
    }
    (void)hf_shm_figures_of(shm, "large", &figures);
    unsigned items = 0;
    (void)hf_shm_view(shm, "large", see_item, &items);
    (void)hf_shm_view(shm, "small", see_item, &items);
    if (hf_shm_add(shm, "more", 5000, &span) == HF_OK) {
        char *bytes = hf_shm_at(shm, span, 0, span.size);
        if (bytes != NULL) memset(bytes, 2, span.size);
    }
    (void)hf_shm_grow(shm, 512 << 10);
    (void)hf_shm_check(shm, NULL, see_fault, NULL);
    (void)hf_shm_sweep(shm, NULL);
    (void)hf_shm_repair(shm, NULL, NULL);
    (void)hf_shm_erase(shm, "large");
    (void)hf_shm_erase(shm, "more");
}

static void use(void *raw) {
    struct world *world = raw;
    hf_shm *shm = world->shm;
    for (unsigned round = 0; round < 3; round++) {
        hf_shm_options options = options_of();
        hf_shm *own = NULL;
        options.size = 0;
        if (shm != NULL) use_all(shm);
        if (hf_shm_open(world->name, HF_SHM_OPEN, &options, &own) != HF_OK) continue;
        use_all(own);
        CHECK(hf_shm_close(own) == HF_OK || hf_shm_opened(own) != 0);
    }
    /* Repaired by a process that had it open, it is whole again. */
    if (shm != NULL && world->bytes != NULL) {
        hf_status status = hf_shm_repair(shm, NULL, NULL);
        if (status == HF_OK) (void)hf_shm_check(shm, NULL, see_fault, NULL);
        (void)hf_shm_close(shm);
    }
}

static void teardown(void *raw) {
    struct world *world = raw;
    munmap(world->bytes, world->size);
    if (world->shm != NULL) (void)hf_shm_close(world->shm);
    world->shm = NULL;
    char path[300];
    (void)snprintf(path, sizeof path, "/dev/shm/holdfast-%s", world->name);
    (void)unlink(path);
}

static void run(const char *what, bool open_before, bool meanwhile, unsigned rounds,
                unsigned flips) {
    struct world world = {.name = harness_name("hostile"), .open_before = open_before};
    struct harness_hostile hostile = {.name = what,
                                      .setup = setup,
                                      .target = target,
                                      .use = use,
                                      .teardown = teardown,
                                      .rounds = harness_kills(rounds),
                                      .flips_max = flips,
                                      .meanwhile = meanwhile};
    harness_hostile(&hostile, &world);
}

static void test_damage_before_a_process_opens(void) {
    run("before", false, false, 1000, 8);
}
static void test_damage_of_a_segment_that_is_open(void) {
    run("open", true, false, 1000, 64);
}
static void test_damage_while_it_is_used(void) {
    run("meanwhile", true, true, 200, 1);
}

static void test_what_can_be_repaired_is(void) {
    const char *name = harness_name("mend");
    check_random random = {harness_seed()};
    for (unsigned round = 0; round < harness_kills(300); round++) {
        hf_shm *shm = NULL;
        hf_shm_options options = options_of();
        hf_shm_span span;
        (void)hf_shm_remove(name);
        OK(hf_shm_open(name, HF_SHM_CREATE, &options, &shm));
        OK(hf_shm_add(shm, "small", 100, &span));
        OK(hf_shm_add(shm, "large", 20000, &span));
        char *bytes = (char *)hf_shm_at(shm, span, 0, 1) - span.offset;
        size_t size = (size_t)help_info(shm).bytes_meta;
        for (unsigned i = 0; i < 5; i++)
            bytes[check_random_below(&random, size)] ^=
                (char)(1u << check_random_below(&random, 8));
        hf_status status = hf_shm_repair(shm, NULL, NULL);
        CHECK_SAY(status == HF_OK || status == HF_E_TIMEOUT, "%s", hf_shm_detail());
        if (status ==
            HF_OK) { /* a kind that became another one is beyond repair: the table alone */
            status = hf_shm_check(shm, "", NULL, NULL);
            CHECK_SAY(status == HF_OK, "round %u of seed %" PRIu64 ": %s", round, harness_seed(),
                      hf_shm_detail());
        }
        OK(hf_shm_close(shm));
    }
    (void)hf_shm_remove(name);
}

int main(void) {
    harness_watchdog(280);
    CHECK_RUN(test_damage_before_a_process_opens);
    CHECK_RUN(test_damage_of_a_segment_that_is_open);
    CHECK_RUN(test_damage_while_it_is_used);
    CHECK_RUN(test_what_can_be_repaired_is);
    return 0;
}
