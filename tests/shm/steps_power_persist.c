/* steps_power_persist.c - what was persisted outlives a kill and a power cut; what was closed is not cut.
 *
 * Method: a process that writes, persists and closes is killed at every step, and the power fails at the
 * same moment in every way that power_medium.h knows: what says that the data is complete is never newer
 * than the data. After the last close all of it is on the medium, and says so. */
#include "power_world.h"

/* --- killed at every step of persisting ------------------------------------------------------- */

/* The way to write so that it can be relied on: the data, persist; what says so, persist. */
static void write_round(hf_shm *shm, uint64_t round) {
    hf_shm_entry entry;
    hf_shm_array_options a;
    hf_shm_array_options_init(&a, 8, WORDS);
    OK(hf_shm_array_open(shm, "array", HF_SHM_OPEN_OR_CREATE, &a, &array));
    hf_shm_cells_options c;
    hf_shm_cells_options_init(&c, HF_SHM_CELL_U64, 1);
    OK(hf_shm_cells_open(shm, "done", HF_SHM_OPEN_OR_CREATE, &c, &cells));
    for (unsigned i = 0; i < WORDS; i++) {
        if (i % 100 == 0) hfi_shm_step();
        ((_Atomic uint64_t *)hf_shm_array_data(array))[i] = round;
    }
    OK(hf_shm_persist_span(shm, hf_shm_array_span(array)));
    OK(hf_shm_cells_store(cells, 0, (hf_shm_cell){.u64 = round}));
    OK(hf_shm_find(shm, "done", &entry));
    OK(hf_shm_persist_span(shm, entry.span));
    hf_shm_array_close(array);
    hf_shm_cells_close(cells);
}

static void round_expect(const char *at, bool finished, bool cut) {
    hf_shm *shm = open_at(at, HF_SHM_OPEN);
    CHECK_SAY(hf_shm_check(shm, NULL, fault_print, NULL) == HF_OK, "%s", cut ? "image" : "file");
    /* Whose header says that it was closed has nobody of before in it. */
    hf_shm_info info = help_info(shm);
    CHECK(!cut || info.power_cuts == 1 || info.recoveries == 0);
    hf_shm_array_options a;
    hf_shm_array_options_init(&a, 0, 0);
    OK(hf_shm_array_open(shm, "array", HF_SHM_OPEN, &a, &array));
    OK(hf_shm_cells_open(shm, "done", HF_SHM_OPEN, NULL, &cells));
    hf_shm_cell done;
    OK(hf_shm_cells_load(cells, 0, &done));
    CHECK(done.u64 == 1 || done.u64 == 2);
    CHECK(!finished || done.u64 == 2);
    for (unsigned i = 0; i < WORDS; i++) {
        uint64_t word = ((uint64_t *)hf_shm_array_data(array))[i];
        CHECK(word >= done.u64 && word <= 2);
    }
    hf_shm_array_close(array);
    hf_shm_cells_close(cells);
    OK(hf_shm_close(shm));
}

static hf_shm *victims;

static void kill_setup(void *world) {
    (void)world;
    hf_shm *shm = begin();
    write_round(shm, 1);
    OK(hf_shm_close(shm));
}

static void kill_victim(void *world) {
    (void)world;
    memory = NULL;
    learns = true;
    victims = open_at(path, HF_SHM_OPEN);
    CHECK(memory == victims->base);
    write_round(victims, 2);
    OK(hf_shm_close(victims));
}

static void kill_verify(void *world, bool finished) {
    (void)world;
    int file = open(path, O_RDONLY);
    char *view = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, file, 0);
    CHECK(file >= 0 && view != MAP_FAILED);
    memory = view;
    for (enum mix mix = MIX_OLD; mix < MIXES; mix++) {
        image_make(mix, mix == MIX_DRAWN ? 64 : 4096);
        image_write();
        round_expect(image_path, finished, true);
    }
    memory = NULL;
    munmap(view, SIZE);
    close(file);
    round_expect(path, finished, false);
}

static void kill_teardown(void *world) {
    (void)world;
    CHECK(unlink(path) == 0);
}

static void test_persisted_data_outlives_a_kill_and_a_power_cut_at_every_step(void) {
    const struct harness_steps plan = {.name = "persist",
                                       .setup = kill_setup,
                                       .victim = kill_victim,
                                       .verify = kill_verify,
                                       .teardown = kill_teardown};
    CHECK_GT(harness_crash_points(&plan, NULL, 1), 50);
}

/* --- clean ends ------------------------------------------------------------------------------- */

static void test_closed_files_are_not_taken_for_cut_ones(void) {
    hf_shm *shm = begin(), *second = open_at(path, HF_SHM_OPEN);
    open_all(shm, HF_SHM_CREATE);
    OK(hf_shm_mutex_lock(mutex, 0));
    hf_shm_mutex_close(mutex);
    OK(hf_shm_mutex_open(shm, "mutex", HF_SHM_OPEN, &mutex));
    close_all();
    memory = shm->base;
    OK(hf_shm_close(second));
    CHECK_NE(hfi_shm_header_of(shm)->boot, 0); /* one is left */
    /* Everything is on the medium when the last one has left, and the mark behind it. */
    char *view = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, hf_shm_file(shm), 0);
    CHECK(view != MAP_FAILED);
    OK(hf_shm_close(shm));
    CHECK(memcmp(medium, view, SIZE) == 0);
    munmap(view, SIZE);
    memory = medium;
    image_make(MIX_OLD, 4096);
    CHECK_EQ(((struct hfi_shm_header *)image)->boot, 0);
    image_write();
    memory = NULL;
    hf_shm_options options;
    hf_shm_options_init(&options, 0);
    options.path = image_path;
    options.stale = HF_SHM_REFUSE;
    OK(hf_shm_open(NULL, HF_SHM_OPEN, &options, &shm));
    CHECK_EQ(help_info(shm).power_cuts, 0);
    CHECK_NE(hfi_shm_header_of(shm)->boot, 0);
    /* Cut now, it is refused by who wants to know, and else repaired. */
    memcpy(image, shm->base, SIZE);
    ((struct hfi_shm_header *)image)->boot ^= 2;
    OK(hf_shm_close(shm));
    image_write();
    CHECK_EQ(hf_shm_open(NULL, HF_SHM_OPEN, &options, &shm), HF_E_OWNER_DIED);
    CHECK(strstr(hf_shm_detail(), "went down") != NULL);
    shm = open_at(image_path, HF_SHM_OPEN);
    CHECK_EQ(help_info(shm).power_cuts, 1);
    OK(hf_shm_close(shm));
    OK(hf_shm_open(NULL, HF_SHM_OPEN, &options, &shm));
    OK(hf_shm_close(shm));
    CHECK(unlink(path) == 0);
}

int main(void) {
    CHECK_WATCHDOG(600);
    medium_make();
    CHECK_RUN(test_persisted_data_outlives_a_kill_and_a_power_cut_at_every_step);
    CHECK_RUN(test_closed_files_are_not_taken_for_cut_ones);
    medium_drop();
    return 0;
}
