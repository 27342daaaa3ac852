/* test_dlopen.c - modules that allocate while they are loaded and unloaded, from several threads.
 * Method: a C program without a C++ runtime opens a C++ module with RTLD_LOCAL, so the runtime is
 * where only the module sees it; a failing operator new in there must still become bad_alloc. */
#define _GNU_SOURCE
#include "preload_test.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#ifndef PLUGIN
#error "PLUGIN is the path of the module"
#endif

static void open_use_close(int flags) {
    void *module = dlopen(PLUGIN, flags);
    if (module == NULL) fprintf(stderr, "%s\n", dlerror());
    CHECK(module != NULL);
    size_t (*size)(void) = (size_t(*)(void))(uintptr_t)dlsym(module, "plugin_size");
    CHECK(size != NULL);
    CHECK(size() == 300);
    CHECK(dlclose(module) == 0);
}

static void *open_in_thread(void *argument) {
    for (unsigned i = 0; i < 30; i++) {
        open_use_close(RTLD_NOW | RTLD_LOCAL);
        free(malloc(100 + i));
    }
    return argument;
}

/* Nobody here can throw: one sentence, then abort. */
static void test_failing_new_without_runtime_says_so(void) {
    int ends[2];
    CHECK(pipe(ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 2);
        void *(*new_form)(size_t) = (void *(*)(size_t))(uintptr_t)library_symbol("_Znwm");
        if (new_form != NULL) new_form(PTRDIFF_MAX);
        _exit(0);
    }
    close(ends[1]);
    char text[512] = "";
    ssize_t got = read(ends[0], text, sizeof text - 1);
    CHECK(got > 0);
    CHECK(strstr(text, "no C++ runtime") != NULL);
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status));
    CHECK(WTERMSIG(status) == SIGABRT);
    close(ends[0]);
}

int main(void) {
    test_begin(120);
    CHECK(dlsym(RTLD_DEFAULT, "_ZSt17__throw_bad_allocv") == NULL);
    test_failing_new_without_runtime_says_so();
    for (unsigned i = 0; i < 200; i++)
        open_use_close(i % 2 == 0 ? RTLD_LAZY : RTLD_NOW);

    void *module = dlopen(PLUGIN, RTLD_NOW | RTLD_LOCAL);
    CHECK(module != NULL);
    int (*catches)(void) = (int (*)(void))(uintptr_t)dlsym(module, "plugin_catches_bad_alloc");
    CHECK(catches != NULL);
    CHECK(catches() == 1);
    CHECK(dlclose(module) == 0);

    pthread_t threads[4];
    for (unsigned i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, open_in_thread, NULL) == 0);
    for (unsigned i = 0; i < 4; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(dlopen("/does/not/exist.so", RTLD_NOW) == NULL);
    CHECK(dlerror() != NULL);
    test_end();
    return 0;
}
