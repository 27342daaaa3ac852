/* replay_main.c - runs a fuzz target without libFuzzer.
 *
 *   replay_fuzz_X FILE...        each file is one input (crash-* files of libFuzzer)
 *   replay_fuzz_X [SEED]         random inputs; the seed of each is printed if it fails
 *
 * Why         every build tests that the targets work, and a crash can be replayed by any compiler. */
#include <sys/stat.h>

#include "../c/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUTS = CHECK_SANITIZED ? 60 : 400, SIZE_MOST = 4096 };

static void run_file(const char *path) {
    struct stat about;
    FILE *file = fopen(path, "rb");
    CHECK_SAY(file != NULL, "%s", path);
    CHECK_EQ(fstat(fileno(file), &about), 0);
    uint8_t *data = malloc((size_t)about.st_size + 1);
    CHECK(data != NULL);
    CHECK_EQ(fread(data, 1, (size_t)about.st_size, file), about.st_size);
    fclose(file);
    (void)LLVMFuzzerTestOneInput(data, (size_t)about.st_size);
    free(data);
}

int main(int argc, char **argv) {
    static uint8_t data[SIZE_MOST];
    CHECK_WATCHDOG(200);
    if (argc > 1 && access(argv[1], R_OK) == 0) {
        for (int i = 1; i < argc; i++)
            run_file(argv[i]);
        return 0;
    }
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
    for (uint64_t seed = first; seed < first + (argc > 1 ? 1 : INPUTS); seed++) {
        check_random random = {seed};
        size_t size = check_random_below(&random, SIZE_MOST);
        for (size_t i = 0; i < size; i++)
            data[i] = (uint8_t)check_random_next(&random);
        printf("%s %" PRIu64 "\n", argv[0], seed);
        fflush(stdout);
        (void)LLVMFuzzerTestOneInput(data, size);
    }
    return 0;
}
