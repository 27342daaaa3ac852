/* test_array - plain arrays: where elements lie, what is refused, what a killed process leaves. */
#include <holdfast/shm_array.h>

#include "stream.h"

#include <signal.h>
#include <sys/wait.h>

static hf_shm *shm;

static void test_elements_lie_in_c_order(void) {
    hf_shm_array_options options;
    hf_shm_array *array = NULL, *again = NULL;
    hf_shm_array_options_init(&options, 4, 0);
    options.dimensions = 3;
    options.shape[0] = 2, options.shape[1] = 3, options.shape[2] = 5;
    options.format = "<i4";
    CHECK_EQ(hf_shm_array_open(shm, "field", HF_SHM_CREATE, &options, &array), HF_OK);
    CHECK_EQ(hf_shm_array_size(array), 120);
    CHECK_EQ(hf_shm_array_element_count(array), 30);
    CHECK_EQ(hf_shm_array_element_size(array), 4);
    CHECK_EQ((uintptr_t)hf_shm_array_data(array) % 64, 0);
    for (uint64_t i = 0; i < 2; i++)
        for (uint64_t j = 0; j < 3; j++)
            for (uint64_t k = 0; k < 5; k++) {
                uint64_t indices[3] = {i, j, k};
                int32_t *element = hf_shm_array_at(array, indices);
                CHECK_PTR(element, (int32_t *)hf_shm_array_data(array) + i * 15 + j * 5 + k);
                CHECK_EQ(*element, 0);
                *element = (int32_t)(i * 100 + j * 10 + k);
            }
    uint64_t outside[3][3] = {{2, 0, 0}, {0, 3, 0}, {0, 0, UINT64_MAX}};
    for (int i = 0; i < 3; i++)
        CHECK_PTR(hf_shm_array_at(array, outside[i]), NULL);
    CHECK_EQ(hf_shm_array_open(shm, "field", HF_SHM_OPEN, NULL, &again), HF_OK);
    CHECK_EQ(hf_shm_array_dimensions(again), 3);
    CHECK_EQ(hf_shm_array_shape(again)[2], 5);
    CHECK_EQ(((int32_t *)hf_shm_array_data(again))[29], 124);
    CHECK_PTR(hf_shm_array_run(again, 29, 1), (int32_t *)hf_shm_array_data(again) + 29);
    CHECK(hf_shm_array_run(again, 30, 0) != NULL);
    CHECK_PTR(hf_shm_array_run(again, 29, 2), NULL);
    CHECK_PTR(hf_shm_array_run(again, 31, 0), NULL);
    CHECK_PTR(hf_shm_array_run(again, 5, UINT64_MAX), NULL);
    hf_shm_span span = hf_shm_array_span(again);
    CHECK_EQ(span.size, 120);
    CHECK_PTR(hf_shm_at(shm, span, 4, 4), (int32_t *)hf_shm_array_data(array) + 1);
    stream_check(shm);
    hf_shm_array_close(again);
    hf_shm_array_close(array);
    CHECK_EQ(hf_shm_erase(shm, "field"), HF_OK);
}

static void test_openers_that_ask_for_something_else_are_told(void) {
    hf_shm_array_options options;
    hf_shm_array *array = NULL, *none = NULL;
    hf_shm_array_options_init(&options, 8, 1000);
    options.format = "<f8";
    CHECK_EQ(hf_shm_array_open(shm, "a", HF_SHM_OPEN, &options, &none), HF_E_NOT_FOUND);
    CHECK_EQ(hf_shm_array_open(shm, "a", HF_SHM_OPEN_OR_CREATE, &options, &array), HF_OK);
    CHECK_EQ(hf_shm_array_dimensions(array), 1);
    CHECK_EQ(hf_shm_array_shape(array)[0], 1000);
    CHECK_EQ((uintptr_t)hf_shm_array_data(array) % 4096, 0);
    CHECK_EQ(hf_shm_array_open(shm, "a", HF_SHM_CREATE, &options, &none), HF_E_EXISTS);
    for (int i = 0; i < 4; i++) {
        hf_shm_array_options other = options;
        if (i == 0) other.element_size = 4;
        if (i == 1) other.element_count = 999;
        if (i == 2) other.format = "<i8";
        if (i == 3) other.dimensions = 2, other.shape[0] = 10, other.shape[1] = 100;
        CHECK_EQ(hf_shm_array_open(shm, "a", HF_SHM_OPEN, &other, &none), HF_E_MISMATCH);
        CHECK_EQ(hf_shm_array_open(shm, "a", HF_SHM_OPEN_OR_CREATE, &other, &none), HF_E_MISMATCH);
        CHECK_GT(strlen(hf_shm_detail()), 10);
    }
    hf_shm_array_options other = options;
    other.format = NULL;
    CHECK_EQ(hf_shm_array_open(shm, "a", HF_SHM_OPEN_OR_CREATE, &other, &none), HF_OK);
    hf_shm_array_close(none);
    for (int i = 0; i < 5; i++) {
        hf_shm_array_options bad = options;
        if (i == 0) bad.struct_size = 1;
        if (i == 1) bad.element_size = 0;
        if (i == 2) bad.element_count = 0;
        if (i == 3) bad.element_count = UINT64_MAX / 4;
        if (i == 4) bad.dimensions = 9;
        CHECK_EQ(hf_shm_array_open(shm, "b", HF_SHM_CREATE, &bad, &none), HF_E_INVALID);
    }
    CHECK_EQ(hf_shm_array_open(shm, "b", HF_SHM_CREATE, NULL, &none), HF_E_INVALID);
    CHECK_EQ(hf_shm_array_open(NULL, "b", HF_SHM_CREATE, &options, &none), HF_E_INVALID);
    options.element_count = (64 << 20) / 8;
    CHECK_EQ(hf_shm_array_open(shm, "b", HF_SHM_CREATE, &options, &none), HF_E_NO_SPACE);
    hf_shm_array_close(array);
    hf_shm_array_close(NULL);
    CHECK_EQ(hf_shm_erase(shm, "a"), HF_OK);
}

static void test_a_killed_process_leaves_what_it_wrote(void) {
    hf_shm_array_options options;
    hf_shm_array *array = NULL;
    hf_shm_array_options_init(&options, 8, 512);
    CHECK_EQ(hf_shm_array_open(shm, "k", HF_SHM_CREATE, &options, &array), HF_OK);
    _Atomic uint64_t *words = hf_shm_array_data(array);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK_WATCHDOG(30);
        hf_shm_array *own = NULL;
        CHECK_EQ(hf_shm_array_open(shm, "k", HF_SHM_OPEN, NULL, &own), HF_OK);
        _Atomic uint64_t *mine = hf_shm_array_data(own);
        for (uint64_t i = 0;; i = (i + 1) % 512)
            mine[i] = (mine[i] >> 8) * 0x0101010101010100u | (uint64_t)'x';
    }
    usleep(3000);
    kill(child, SIGKILL);
    CHECK(waitpid(child, NULL, 0) == child);
    for (uint64_t i = 0; i < 512; i++)
        CHECK(words[i] == 0 || (words[i] & 0xff) == 'x');
    stream_check(shm);
    hf_shm_array_close(array);
    CHECK_EQ(hf_shm_erase(shm, "k"), HF_OK);
    size_t recovered = 0;
    CHECK_EQ(hf_shm_sweep(shm, &recovered), HF_OK);
    hf_shm_info info;
    CHECK_EQ(hf_shm_info_of(shm, &info), HF_OK);
    CHECK_EQ(info.bytes_used, 0);
}

int main(void) {
    CHECK_WATCHDOG(60);
    shm = stream_segment("array", 1 << 20);
    CHECK_RUN(test_elements_lie_in_c_order);
    CHECK_RUN(test_openers_that_ask_for_something_else_are_told);
    CHECK_RUN(test_a_killed_process_leaves_what_it_wrote);
    CHECK_EQ(hf_shm_close(shm), HF_OK);
    return 0;
}
