/* fault_linux.c - SIGSEGV: asked whether it is ours, and passed on as if we had not been there.
 *
 *   kernel --> fault_handle (alternate stack) --> judge --> abort, or the previous disposition
 * Contract    os.h, "Faults".
 * Threads     the handler takes no lock and allocates nothing. Install and remove are serialised by
 *             the caller; what the handler reads of them is written before it is installed.
 * Fails with  -1 and errno from sigaction, sigaltstack and mmap.
 * Source      sigaction(2), sigaltstack(2). A synchronous SIGSEGV that is ignored kills: SIG_IGN is
 *             honoured for signals that were sent only. */
#include "os.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

enum { ALTSTACK_SIZE = 64 << 10, ALTSTACK_LEAST = 32 << 10, JUDGES_MAX = 4, NEST_MAX = 256 << 10 };

static struct sigaction previous; /* written before `installed` */
static _Atomic(hfi_os_fault_judge) judges[JUDGES_MAX];
static __thread __attribute__((tls_model("initial-exec"))) const char *in_handler; /* its frame */
static __thread __attribute__((tls_model("initial-exec"))) bool altstack_ready;
static pthread_key_t altstack_key;
static _Atomic int altstack_key_state; /* 0 not made, 1 being made, 2 made, -1 refused */

static uintptr_t stack_pointer_of(const ucontext_t *context) {
#if defined(__x86_64__)
    return (uintptr_t)context->uc_mcontext.gregs[REG_RSP];
#elif defined(__aarch64__)
    return (uintptr_t)context->uc_mcontext.sp;
#else
#error "holdfast knows x86-64 and AArch64"
#endif
}

/* The kernel's own answer: the access is repeated, or the signal sent again, without us. */
static void pass_to_default(int number, bool sent) {
    struct sigaction standard = {.sa_handler = SIG_DFL};
    sigemptyset(&standard.sa_mask);
    (void)sigaction(number, &standard, NULL);
    if (sent) (void)raise(number); /* blocked now, delivered when the handler returns */
}

static void pass_on(int number, siginfo_t *info, void *context) {
    bool sent = info->si_code <= 0; /* kill, raise, sigqueue: no access stands behind it */
    bool takes_info = (previous.sa_flags & SA_SIGINFO) != 0;
    if (!takes_info && previous.sa_handler == SIG_IGN && sent) return;
    if (!takes_info && (previous.sa_handler == SIG_DFL || previous.sa_handler == SIG_IGN)) {
        pass_to_default(number, sent);
        return;
    }
    struct sigaction target = previous;
    if ((target.sa_flags & (int)SA_RESETHAND) != 0) {
        previous = (struct sigaction){.sa_handler = SIG_DFL};
        sigemptyset(&previous.sa_mask);
    }
    sigset_t block = target.sa_mask, before;
    if ((target.sa_flags & SA_NODEFER) == 0) sigaddset(&block, number);
    (void)pthread_sigmask(SIG_BLOCK, &block, &before);
    if ((target.sa_flags & SA_NODEFER) != 0) {
        sigset_t open;
        sigemptyset(&open);
        sigaddset(&open, number);
        (void)pthread_sigmask(SIG_UNBLOCK, &open, NULL);
    }
    if (takes_info)
        target.sa_sigaction(number, info, context);
    else
        target.sa_handler(number);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void fault_handle(int number, siginfo_t *info, void *context) {
    int saved = errno;
    /* The mark alone may be stale: the previous handler is free to jump out (siglongjmp). Inside of it
     * are frames on the alternate stack, or a signal sent from right below our own frame. */
    const ucontext_t *interrupted = context;
    const char *frame = __builtin_frame_address(0);
    bool on_stack = (interrupted->uc_stack.ss_flags & SS_ONSTACK) != 0;
    bool below = info->si_code <= 0 && frame < in_handler && in_handler - frame < NEST_MAX;
    if (in_handler != NULL && (on_stack || below)) {
        /* The previous handler raised it again, or chains back to us: two of us would go on for ever. */
        pass_to_default(number, info->si_code <= 0);
        errno = saved;
        return;
    }
    in_handler = frame;
    if (info->si_code > 0) {
        struct hfi_os_fault fault = {.address = info->si_addr,
                                     .stack_pointer = stack_pointer_of(context)};
        for (int i = 0; i < JUDGES_MAX; i++) {
            /* SYNC(judge): pairs with the release in judge_add. */
            hfi_os_fault_judge judge = atomic_load_explicit(&judges[i], memory_order_acquire);
            if (judge != NULL) judge(&fault);
        }
    }
    pass_on(number, info, context);
    in_handler = NULL;
    errno = saved;
}

static bool is_mine(const struct sigaction *action) {
    return (action->sa_flags & SA_SIGINFO) != 0 && action->sa_sigaction == fault_handle;
}

static bool judge_add(hfi_os_fault_judge judge) {
    for (int i = 0; i < JUDGES_MAX; i++)
        if (atomic_load_explicit(&judges[i], memory_order_relaxed) == judge) return true;
    for (int i = 0; i < JUDGES_MAX; i++) {
        hfi_os_fault_judge there = NULL;
        /* SYNC(judge): pairs with the acquire in fault_handle. */
        if (atomic_compare_exchange_strong_explicit(&judges[i], &there, judge, memory_order_release,
                                                    memory_order_relaxed))
            return true;
    }
    return false;
}

/* True if nobody is left. */
static bool judge_drop(hfi_os_fault_judge judge) {
    bool alone = true;
    for (int i = 0; i < JUDGES_MAX; i++) {
        hfi_os_fault_judge there = judge;
        if (!atomic_compare_exchange_strong_explicit(&judges[i], &there, NULL, memory_order_relaxed,
                                                     memory_order_relaxed))
            alone &= there == NULL;
    }
    return alone;
}

int hfi_os_fault_install(hfi_os_fault_judge judge) {
    static _Atomic uint32_t busy;
    struct sigaction now, mine = {.sa_sigaction = fault_handle,
                                  .sa_flags = SA_SIGINFO | SA_ONSTACK | (int)SA_RESTART};
    sigemptyset(&mine.sa_mask);
    if (sigaction(SIGSEGV, NULL, &now) != 0) return -1;
    if (!judge_add(judge)) {
        errno = EBUSY;
        return -1;
    }
    if (is_mine(&now)) return 0;
    /* Another thread is at it: what it does is what we came for. */
    if (atomic_exchange_explicit(&busy, 1, memory_order_acquire) != 0) return 0;
    previous = now;
    int status = sigaction(SIGSEGV, &mine, &now);
    /* Somebody else's came in between the two calls: it is the one before ours. */
    if (status == 0 && !is_mine(&now)) previous = now;
    atomic_store_explicit(&busy, 0, memory_order_release);
    return status;
}

int hfi_os_fault_remove(hfi_os_fault_judge judge) {
    struct sigaction now;
    if (!judge_drop(judge)) return 0; /* others still want to know */
    if (sigaction(SIGSEGV, NULL, &now) != 0) return -1;
    if (!is_mine(&now)) {
        (void)judge_add(judge);
        errno = EBUSY;
        return -1;
    }
    return sigaction(SIGSEGV, &previous, NULL);
}

/* ---- alternate stacks ---- */

static void altstack_drop(void *mapping) {
    stack_t now, off = {.ss_flags = SS_DISABLE};
    /* Not while another one is in use: then it is not ours to switch off. */
    if (sigaltstack(NULL, &now) == 0 && now.ss_sp == (char *)mapping + HFI_PAGE)
        (void)sigaltstack(&off, NULL);
    altstack_ready = false;
    munmap(mapping, ALTSTACK_SIZE + HFI_PAGE);
}

static bool altstack_key_made(void) {
    int none = 0;
    /* SYNC(altstack.key): the key is there; pairs with the release below. */
    if (atomic_compare_exchange_strong_explicit(&altstack_key_state, &none, 1, memory_order_acquire,
                                                memory_order_acquire)) {
        bool made = pthread_key_create(&altstack_key, altstack_drop) == 0;
        /* SYNC(altstack.key): publishes the key. */
        atomic_store_explicit(&altstack_key_state, made ? 2 : -1, memory_order_release);
        return made;
    }
    while ((none = atomic_load_explicit(&altstack_key_state, memory_order_acquire)) == 1)
        ;
    return none == 2;
}

int hfi_os_altstack_prepare(void) {
    stack_t now;
    if (altstack_ready) return 0;
    if (sigaltstack(NULL, &now) != 0) return -1;
    if ((now.ss_flags & SS_DISABLE) == 0 && now.ss_size >= ALTSTACK_LEAST) {
        altstack_ready = true;
        return 0;
    }
    if ((now.ss_flags & SS_ONSTACK) != 0) return 0; /* in a handler: it cannot be changed now */
    char *mapping = hfi_os_map(ALTSTACK_SIZE + HFI_PAGE);
    if (mapping == NULL) return -1;
    (void)mprotect(mapping, HFI_PAGE, PROT_NONE);
    stack_t mine = {.ss_sp = mapping + HFI_PAGE, .ss_size = ALTSTACK_SIZE};
    if (!altstack_key_made() || sigaltstack(&mine, NULL) != 0) {
        munmap(mapping, ALTSTACK_SIZE + HFI_PAGE);
        return -1;
    }
    altstack_ready = true;
    (void)pthread_setspecific(altstack_key, mapping);
    return 0;
}
