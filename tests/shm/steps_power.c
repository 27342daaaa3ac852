/* steps_power.c - segments on a file when the power fails: every structure, at every shared access.
 *
 * Method: while a script changes every structure, at each step images of the medium are made
 * (power_medium.h). An image is opened as after a restart of the machine: it must be repaired by that,
 * pass the check, be whole where it was persisted and not changed since, and be usable to the last
 * element everywhere (power_world.h). The table is in steps_power_table.c, kills and clean ends are in
 * steps_power_persist.c. */
#include "power_world.h"

static uint32_t changed; /* a bit per part: since it was persisted */

static void image_verify(void) {
    /* The script's own handles stay as they are. */
    void *saved[] = {queue, ring,  map,       pool,  cells,  versioned,
                     array, mutex, semaphore, event, barrier};
    hf_shm *shm = open_at(image_path, HF_SHM_OPEN);
    CHECK_EQ(help_info(shm).power_cuts, 1);
    CHECK_EQ(help_info(shm).participants_dead, 0);
    CHECK_SAY(hf_shm_check(shm, NULL, fault_print, NULL) == HF_OK, "image %" PRIu64, images);
    open_all(shm, HF_SHM_OPEN);
    for (enum part part = 0; part < PARTS; part++)
        if ((changed >> part & 1) == 0)
            expect_exact(part);
        else
            expect_some(part);
    expect_usable();
    CHECK_SAY(hf_shm_check(shm, NULL, fault_print, NULL) == HF_OK, "image %" PRIu64 " in use",
              images);
    close_all();
    OK(hf_shm_close(shm));
    queue = saved[0], ring = saved[1], map = saved[2], pool = saved[3], cells = saved[4];
    versioned = saved[5], array = saved[6], mutex = saved[7], semaphore = saved[8];
    event = saved[9], barrier = saved[10];
}

static void keep(void) {
    kept = now;
    changed = 0;
}

static void test_every_structure_after_a_power_cut_at_every_step(void) {
    unsigned moments = harness_kills(600);
    hf_shm *shm = begin();
    memset(&now, 0, sizeof now);
    open_all(shm, HF_SHM_CREATE);
    images = 0;
    verify = image_verify;
    for (unsigned round = 0; images < moments; round++) {
        OK(hf_shm_persist(shm));
        keep();
        /* One half of them is left alone until the next persist. */
        uint32_t active = (uint32_t)check_random_below(&draw, 1u << PARTS);
        stride = 23;
        step_phase = (unsigned)check_random_below(&draw, stride);
        for (unsigned i = 0; i < 60; i++) {
            enum part part = (enum part)check_random_below(&draw, PARTS);
            if ((active >> part & 1) == 0) continue;
            changed |= 1u << part;
            hfi_shm_step_hook = power_fails;
            change(part);
            hfi_shm_step_hook = NULL;
        }
        if (round % 3 == 0) /* something comes and goes in the table, too */
            OK(hf_shm_add(shm, "guest", 5000, NULL)), OK(hf_shm_erase(shm, "guest"));
    }
    printf("  %" PRIu64 " images\n", images);
    close_all();
    OK(hf_shm_close(shm));
    CHECK(unlink(path) == 0);
}

/* --- tests that can fail ---------------------------------------------------------------------- */

static void test_mutants_are_caught(void) {
    expect_caught(POWER_MUTANT_NO_RECOVERY, test_every_structure_after_a_power_cut_at_every_step);
}

int main(void) {
    harness_watchdog(600);
    medium_make();
    CHECK_RUN(test_every_structure_after_a_power_cut_at_every_step);
    CHECK_RUN(test_mutants_are_caught);
    medium_drop();
    return 0;
}
