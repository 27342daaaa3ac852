/* test_libc_use.c - the parts of libc that allocate behind the program's back, and hand out blocks
 * the program frees. Method: plain use with checked results; a block freed by another allocator
 * than the one that made it would be a report. */
#define _GNU_SOURCE
#include "preload_test.h"

#include <ctype.h>
#include <dirent.h>
#include <glob.h>
#include <iconv.h>
#include <locale.h>
#include <netdb.h>
#include <regex.h>
#include <search.h>
#include <sys/wait.h>
#include <time.h>
#include <wchar.h>

static void test_text_functions_hand_out_blocks(void) {
    char *copy = strdup("strdup"), *part = strndup("strndup", 4), *made = NULL;
    CHECK(asprintf(&made, "%s-%s-%0500d", copy, part, 7) == 12 + 500);
    wchar_t *wide = wcsdup(L"wide");
    CHECK(wide != NULL);
    CHECK(strncmp(made, "strdup-strn-0", 13) == 0);
    free(copy);
    free(part);
    free(made);
    free(wide);
    char *path = realpath("/", NULL);
    CHECK(strcmp(path, "/") == 0);
    free(path);
    path = getcwd(NULL, 0);
    CHECK(path[0] == '/');
    free(path);
}

static void test_streams(void) {
    char *line = NULL;
    size_t size = 0;
    FILE *stream = tmpfile();
    CHECK(stream != NULL);
    for (unsigned i = 1; i < 300; i++)
        fprintf(stream, "%*u\n", (int)i * 10, i);
    rewind(stream);
    for (unsigned i = 1; i < 300; i++) {
        CHECK(getline(&line, &size, stream) == (ssize_t)i * 10 + 1);
        CHECK((unsigned)atoi(line) == i);
    }
    free(line);
    fclose(stream);
    stream = popen("echo popen", "r");
    CHECK(stream != NULL);
    char text[16] = "";
    CHECK(fgets(text, sizeof text, stream) == text);
    CHECK(strcmp(text, "popen\n") == 0);
    CHECK(pclose(stream) == 0);
    CHECK(system("exit 5") == 5 << 8);
}

static void test_locale_and_iconv(void) {
    CHECK(setlocale(LC_ALL, "C.UTF-8") != NULL);
    locale_t locale = newlocale(LC_ALL_MASK, "C.UTF-8", (locale_t)0);
    CHECK(locale != (locale_t)0);
    CHECK(isalpha_l('a', locale));
    freelocale(locale);
    iconv_t converter = iconv_open("UTF-16LE", "UTF-8");
    CHECK(converter != (iconv_t)-1);
    char input[] = "na\xc3\xafve", output[32];
    char *from = input, *to = output;
    size_t from_left = sizeof input - 1, to_left = sizeof output;
    CHECK(iconv(converter, &from, &from_left, &to, &to_left) == 0);
    CHECK(sizeof output - to_left == 10);
    CHECK(iconv_close(converter) == 0);
    CHECK(iconv_open("no such charset", "UTF-8") == (iconv_t)-1);
    CHECK(setlocale(LC_ALL, "C") != NULL);
}

static void test_names_and_services(void) {
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM}, *found = NULL;
    CHECK(getaddrinfo("127.0.0.1", "80", &hints, &found) == 0);
    CHECK(found != NULL);
    freeaddrinfo(found);
    /* Through the name service switch, which opens modules: the answer depends on the machine. */
    hints.ai_flags = 0;
    if (getaddrinfo("localhost", NULL, &hints, &found) == 0) freeaddrinfo(found);
    tzset();
    time_t now = time(NULL);
    CHECK(localtime(&now) != NULL);
}

static int compare_numbers(const void *left, const void *right) {
    int a = *(const int *)left, b = *(const int *)right;
    return (a > b) - (a < b);
}

static void test_patterns_folders_and_sorting(void) {
    regex_t pattern;
    CHECK(regcomp(&pattern, "^([a-z]+)-([0-9]{2,3})$", REG_EXTENDED) == 0);
    regmatch_t groups[3];
    CHECK(regexec(&pattern, "abc-123", 3, groups, 0) == 0);
    CHECK(groups[2].rm_so == 4);
    regfree(&pattern);
    glob_t matches;
    CHECK(glob("/*", 0, NULL, &matches) == 0);
    CHECK(matches.gl_pathc > 3);
    globfree(&matches);
    struct dirent **entries = NULL;
    int count = scandir("/", &entries, NULL, alphasort);
    CHECK(count > 3);
    for (int i = 0; i < count; i++)
        free(entries[i]);
    free(entries);
    enum { NUMBERS = 100000 };
    int *numbers = malloc(NUMBERS * sizeof *numbers); /* qsort merges in a block of its own */
    for (int i = 0; i < NUMBERS; i++)
        numbers[i] = (int)((unsigned)i * 2654435761u >> 1);
    qsort(numbers, NUMBERS, sizeof *numbers, compare_numbers);
    for (int i = 1; i < NUMBERS; i++)
        CHECK(numbers[i - 1] <= numbers[i]);
    void *tree = NULL;
    for (int i = 0; i < 1000; i++)
        CHECK(tsearch(&numbers[i * 7], &tree, compare_numbers) != NULL);
    for (int i = 0; i < 1000; i++)
        tdelete(&numbers[i * 7], &tree, compare_numbers);
    free(numbers);
}

static void test_environment(void) {
    for (unsigned i = 0; i < 500; i++) {
        char name[32];
        snprintf(name, sizeof name, "PRELOAD_TEST_%u", i);
        CHECK(setenv(name, name, 1) == 0);
        CHECK(strcmp(getenv(name), name) == 0);
        if (i % 3 == 0) CHECK(unsetenv(name) == 0);
    }
    CHECK(clearenv() == 0);
}

int main(void) {
    test_begin(60);
    test_text_functions_hand_out_blocks();
    test_streams();
    test_locale_and_iconv();
    test_names_and_services();
    test_patterns_folders_and_sorting();
    test_environment();
    test_end();
    return 0;
}
