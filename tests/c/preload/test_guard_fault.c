/* An access that runs into a guard of the heap is named before the program dies of it, and only that.
 *
 * Method: children commit one access each; the parent reads what they said on stderr and how they
 * died: by SIGSEGV, as without the library. */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static char *opaque(void *pointer) {
    char *volatile hidden = pointer;
    return hidden;
}

static void write_behind(void) {
    char *p = opaque(malloc(3000000));
    memset(p, 1, 3000000);
    for (size_t i = 3000000; i < 3000000 + 8192; i++)
        *(volatile char *)(p + i) = 'A';
}

static void write_nowhere(void) {
    *(volatile char *)opaque((void *)8) = 1;
}

static void write_to_other_guard(void) {
    char *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *(volatile char *)page = 1;
}

static void send_itself_the_signal(void) {
    raise(SIGSEGV);
}

static void write_after_free(void) {
    char *p = opaque(malloc(100));
    memset(p, 1, 100);
    free(p);
    *(volatile char *)p = 1;
}

static int failures;

static void expect(const char *name, void (*commit)(void), const char *said) {
    int ends[2];
    char text[8192];
    size_t length = 0;
    ssize_t got;
    if (pipe(ends) != 0) abort();
    pid_t child = fork();
    if (child == 0) {
        alarm(20);
        dup2(ends[1], STDERR_FILENO);
        commit();
        _exit(0);
    }
    close(ends[1]);
    while ((got = read(ends[0], text + length, sizeof text - 1 - length)) > 0)
        length += (size_t)got;
    text[length] = '\0';
    close(ends[0]);
    int status = 0;
    if (waitpid(child, &status, 0) != child) abort();
    int killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
    int right = said != NULL ? strstr(text, said) != NULL : strstr(text, "holdfast: ") == NULL;
    if (killed && right) return;
    printf("%s: status %x, said: %s\n", name, status, text);
    failures++;
}

int main(void) {
    const char *profile = getenv("HOLDFAST_PROFILE"), *every = getenv("HOLDFAST_GUARD_EVERY");
    expect("behind a large block", write_behind, "holdfast: OVERFLOW");
    expect("nowhere", write_nowhere, NULL);
    expect("a page of the program's own", write_to_other_guard, NULL);
    expect("a signal that was sent", send_itself_the_signal, NULL);
    if (profile != NULL && strcmp(profile, "debug") == 0 && every != NULL)
        expect("after free", write_after_free, "holdfast: USE_AFTER_FREE");
    return failures != 0;
}
