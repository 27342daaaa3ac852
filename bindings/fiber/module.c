/* module.c - the module holdfast._fiber, and how a status becomes an exception.
 *
 * Invariants  if the interpreter is not known, or fails the self-test, everything can be imported and
 *             nothing used: fiber_unsupported says why.
 * Talks to    all of fiber.h, holdfast.errors.   Called by the import of holdfast._fiber.
 * Threads     the GIL is held. Sub-interpreters get UnsupportedError, from the import if the main
 *             interpreter has not done it yet, else from the use; those with a GIL of their own
 *             ImportError.
 * Fails with  UnsupportedError, ImportError, MemoryError. */
#include "fiber.h"

#include <stdarg.h>
#include <stdio.h>

PyObject *fiber_base_code;
const char *fiber_unsupported;

PyObject *fiber_raise(hf_status status, const char *format, ...) {
    char sentence[512];
    va_list list;
    va_start(list, format);
    vsnprintf(sentence, sizeof sentence, format, list);
    va_end(list);
    PyObject *module = PyImport_ImportModule("holdfast.errors");
    if (module == NULL) return NULL;
    PyObject *text = PyUnicode_DecodeUTF8(sentence, (Py_ssize_t)strlen(sentence), "replace");
    PyObject *error =
        text != NULL ? PyObject_CallMethod(module, "from_status", "iO", (int)status, text) : NULL;
    if (error != NULL) PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_XDECREF(error);
    Py_XDECREF(text);
    Py_DECREF(module);
    return NULL;
}

int fiber_check_supported(void) {
    const char *reason = fiber_unsupported;
    if (reason == NULL && PyInterpreterState_Get() != PyInterpreterState_Main())
        reason = "this is not the main interpreter";
    if (reason == NULL) return 0;
    fiber_raise(HF_E_UNSUPPORTED, "fibers and run_on_stack do not work here: %s", reason);
    return -1;
}

static PyObject *unsupported(PyObject *module, PyObject *unused) {
    (void)module, (void)unused;
    if (fiber_unsupported == NULL) Py_RETURN_NONE;
    return PyUnicode_FromString(fiber_unsupported);
}

/* From now on nothing here works: what an interpreter that is not known looks like. */
static PyObject *refuse(PyObject *module, PyObject *reason) {
    (void)module;
    const char *text = PyUnicode_AsUTF8(reason);
    if (text == NULL) return NULL;
    Py_INCREF(reason); /* never freed */
    fiber_unsupported = text;
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"unsupported", unsupported, METH_NOARGS,
     "unsupported()\n--\n\nWhy fibers do not work in this process, or None."},
    {"_refuse", refuse, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

/* Once per process: types, thread records and shared pools are the main interpreter's. */
static int setup(void) {
    static int done;
    if (done) return 0;
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) return fiber_check_supported();
    if (fiber_thread_setup() < 0 || stack_pool_setup() < 0 || fiber_setup() < 0) return -1;
    done = 1;
#ifdef INTERPRETER_UNSUPPORTED
    fiber_unsupported = INTERPRETER_UNSUPPORTED;
#else
    fiber_unsupported = fiber_self_test();
#endif
    return PyErr_Occurred() ? -1 : 0;
}

static int module_exec(PyObject *module) {
    if (setup() < 0 || PyModule_AddFunctions(module, functions) < 0) return -1;
    if (PyModule_AddFunctions(module, fiber_functions) < 0) return -1;
    if (PyModule_AddObjectRef(module, "Fiber", (PyObject *)fiber_type) < 0) return -1;
    return PyModule_AddObjectRef(module, "StackPool", (PyObject *)stack_pool_type);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, module_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030D0000
    {Py_mod_gil, Py_MOD_GIL_NOT_USED}, /* on free-threaded builds nothing here works at all */
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "holdfast._fiber",
    .m_doc = "C stacks of their own for Python code; use holdfast.Fiber and holdfast.run_on_stack.",
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__fiber(void) {
    return PyModuleDef_Init(&definition);
}
