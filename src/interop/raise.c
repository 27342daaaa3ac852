/* raise.c - a report becomes a Python exception in a program that knows nothing of holdfast.
 *
 *   report, on any thread --> hfi_raise_ask --> interpreter's safe point, main thread --> raise_now
 *                                               holdfast.report.raise_pending(), or RuntimeError
 *
 * Invariants  one call is on its way at a time; a report is raised once, here or by the package.
 * Threads     ask: any, inside malloc, with or without the GIL; allocates nothing. raise_now: under
 *             the GIL. The functions are found once, before Py_Initialize.
 * Talks to    base/report.h, python_api.h.   Called by cpython.c, src/preload/sink.c.
 * Fails with  nothing: the interpreter queues 32 calls; where it has no room, the report stays pending
 *             and the next one asks again. */
#include "raise.h"

#include <stdatomic.h>

#include "base/report.h"
#include "python_api.h"

static _Atomic bool asked;
static struct {
    void *(*import)(const char *name);
    void *(*call_method)(void *object, const char *name, const char *format, ...);
    void (*release)(void *object);
    void (*clear)(void);
    void (*set)(void *kind, const char *text);
    void **runtime_error;
} python;

bool hfi_raise_start(void *(*symbol)(const char *name)) {
    python.import = (void *(*)(const char *))symbol("PyImport_ImportModule");
    python.call_method =
        (void *(*)(void *, const char *, const char *, ...))symbol("PyObject_CallMethod");
    python.release = (void (*)(void *))symbol("Py_DecRef");
    python.clear = (void (*)(void))symbol("PyErr_Clear");
    python.set = (void (*)(void *, const char *))symbol("PyErr_SetString");
    python.runtime_error = symbol("PyExc_RuntimeError");
    bool whole = python.import != NULL && python.call_method != NULL && python.release != NULL &&
                 python.clear != NULL && python.set != NULL && python.runtime_error != NULL;
    if (!whole) python.import = NULL;
    return whole;
}

/* The interpreter has no such package: its own exception, with the text of the report. */
static int raise_plainly(void) {
    hf_report report;
    char text[6 * HF_SITE_TEXT];
    if (!hf_report_take_pending(&report)) return 0;
    (void)hf_report_format(&report, text, sizeof text);
    python.set(*python.runtime_error, text);
    return -1;
}

static int raise_now(void *unused) {
    (void)unused;
    /* relaxed: who asks from here on is heard; the report itself is published by its ring. */
    atomic_store_explicit(&asked, false, memory_order_relaxed);
    int result = 0;
    void *package = python.import("holdfast.report");
    if (package == NULL) {
        python.clear();
        result = raise_plainly();
    } else {
        void *answer = python.call_method(package, "raise_pending", NULL);
        python.release(package);
        result = answer != NULL ? 0 : -1;
        if (answer != NULL) python.release(answer);
    }
    if (result != 0) hfi_raise_ask(); /* one report at a time */
    return result;
}

void hfi_raise_ask(void) {
    if (python.import == NULL || hfi_policy() != HF_POLICY_RAISE || !hfi_python.is_initialized())
        return;
    /* relaxed: see raise_now. */
    if (atomic_exchange_explicit(&asked, true, memory_order_relaxed)) return;
    if (hfi_python.add_pending_call(raise_now, NULL) != 0)
        atomic_store_explicit(&asked, false, memory_order_relaxed);
}
