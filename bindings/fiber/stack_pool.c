/* stack_pool.c - the Python type StackPool, and the pools that fibers share by size.
 *
 * Invariants  the shared pool of a size is made at first use and lives to the end of the process.
 *             A pool object that dies with stacks taken leaves its pool behind.
 * Talks to    holdfast/stack.h, holdfast.options (sizes as text).   Called by fiber.c,
 *             run_on_stack.c, holdfast/stack.py.
 * Threads     the GIL is held.
 * Fails with  InvalidArgumentError, OutOfMemoryError, BusyError. */
#include "fiber.h"

#include <structmember.h>

#include <stdio.h>

#include <holdfast/stats.h>

#include "docs.h"

#define STACK_SIZE_MAX   ((size_t)1 << 36)
#define RESERVATION_SIZE ((size_t)1 << 42) /* of addresses, at most, per size */

PyTypeObject *stack_pool_type;

static PyObject *pools_by_argument; /* what was given as stack_size -> StackPool */
static PyObject *pools_by_size;     /* bytes -> the same StackPool               */
static stack_pool *pool_default;

static stack_pool *pool_make(PyTypeObject *type, const hf_stack_pool_options *options) {
    stack_pool *self = (stack_pool *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    const hf_status status = hf_stack_pool_create(options, &self->pool);
    hf_stack_pool_info info = {.struct_size = sizeof info};
    if (status == HF_OK && hf_stack_pool_info_get(self->pool, &info) == HF_OK) {
        self->stack_size = info.stack_size;
        self->levels = interpreter_levels(info.stack_size);
        return self;
    }
    fiber_raise(status, "no pool of stacks of %zu bytes: %s", options->stack_size,
                hf_status_text(status));
    Py_DECREF(self);
    return NULL;
}

stack_pool *stack_pool_of_size(size_t stack_size) {
    if (stack_size < FIBER_STACK_SIZE_MIN || stack_size > STACK_SIZE_MAX)
        return (stack_pool *)fiber_raise(
            HF_E_INVALID, "stack_size: %zu bytes; 128 KiB to 64 GiB are possible", stack_size);
    stack_size = (stack_size + 4095) & ~(size_t)4095;
    PyObject *key = PyLong_FromSize_t(stack_size);
    if (key == NULL) return NULL;
    stack_pool *pool = (stack_pool *)PyDict_GetItemWithError(pools_by_size, key);
    if (pool == NULL && !PyErr_Occurred()) {
        hf_stack_pool_options options;
        hf_stack_pool_options_init(&options);
        options.stack_size = stack_size;
        options.guard_size = FIBER_GUARD_SIZE;
        const size_t fit = RESERVATION_SIZE / (stack_size + FIBER_GUARD_SIZE);
        if (fit < options.count_max) options.count_max = fit < 16 ? 16 : (uint32_t)fit;
        char name[HF_STACK_NAME_MAX + 1];
        snprintf(name, sizeof name, "python %zu KiB", stack_size >> 10);
        options.name = name;
        pool = pool_make(stack_pool_type, &options);
        if (pool != NULL) {
            const int failed = PyDict_SetItem(pools_by_size, key, (PyObject *)pool);
            Py_DECREF(pool); /* the dict's, if it has it */
            if (failed) pool = NULL;
        }
    }
    Py_DECREF(key);
    return pool;
}

/* Bytes of an int, or of text such as "64 MiB"; 0 with an exception. */
static size_t parse_size(PyObject *given) {
    if (PyLong_Check(given)) {
        const size_t size = PyLong_AsSize_t(given);
        if (size != (size_t)-1 || !PyErr_Occurred()) return size != 0 ? size : 1;
        PyErr_Clear();
        fiber_raise(HF_E_INVALID, "stack_size: 128 KiB to 64 GiB are possible");
        return 0;
    }
    PyObject *options = PyImport_ImportModule("holdfast.options");
    PyObject *size = options != NULL
                         ? PyObject_CallMethod(options, "parse_size", "Os", given, "stack_size")
                         : NULL;
    Py_XDECREF(options);
    if (size == NULL) return 0;
    const size_t bytes = PyLong_AsSize_t(size);
    Py_DECREF(size);
    if (bytes == (size_t)-1 && PyErr_Occurred()) return 0;
    return bytes != 0 ? bytes : 1;
}

stack_pool *stack_pool_of_argument(PyObject *stack_size) {
    if (stack_size == NULL) {
        if (pool_default == NULL) pool_default = stack_pool_of_size(FIBER_STACK_SIZE);
        return pool_default;
    }
    if (!PyLong_CheckExact(stack_size) && !PyUnicode_CheckExact(stack_size))
        return (stack_pool *)PyErr_Format(
            PyExc_TypeError, "stack_size: %R is neither bytes nor text like '64 MiB'", stack_size);
    PyObject *pool = PyDict_GetItemWithError(pools_by_argument, stack_size);
    if (pool != NULL || PyErr_Occurred()) return (stack_pool *)pool;
    const size_t size = parse_size(stack_size);
    if (size == 0) return NULL;
    pool = (PyObject *)stack_pool_of_size(size);
    if (pool != NULL && PyDict_Size(pools_by_argument) < 64 &&
        PyDict_SetItem(pools_by_argument, stack_size, pool) < 0)
        return NULL;
    return (stack_pool *)pool;
}

int stack_pool_take(stack_pool *pool, hf_stack *stack_out, const char *kind, PyObject *name,
                    PyObject *function) {
    const size_t kind_size = strlen(kind);
    if (pool->pool == NULL) {
        fiber_raise(HF_E_CLOSED, "the stack pool is closed");
        return -1;
    }
    const hf_status status = hf_stack_take(pool->pool, stack_out);
    if (status != HF_OK) {
        fiber_raise(status, "no stack of %zu bytes: %s", pool->stack_size, hf_status_text(status));
        return -1;
    }
    /* For the report of an overflow. Without a name, the function's. */
    if (name == NULL && PyFunction_Check(function))
        name = ((PyFunctionObject *)function)->func_qualname;
    const char *text = name != NULL ? PyUnicode_AsUTF8(name) : NULL;
    if (text == NULL && name == NULL && PyCFunction_Check(function))
        text = ((PyCFunctionObject *)function)->m_ml->ml_name;
    if (text == NULL) {
        PyErr_Clear();
        text = Py_TYPE(function)->tp_name;
    }
    char whole[HF_STACK_NAME_MAX + 1];
    if (kind_size != 0) {
        const size_t size = strnlen(text, HF_STACK_NAME_MAX - kind_size);
        memcpy(whole, kind, kind_size);
        memcpy(whole + kind_size, text, size);
        whole[kind_size + size] = '\0';
        text = whole;
    }
    (void)hf_stack_name(pool->pool, stack_out, text);
    return 0;
}

/* ---- the type ---- */

/* StackPool(stack_size, guard_size, count_max, decay_ns, retain, paint, name); see stack.py. */
static PyObject *pool_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
    hf_stack_pool_options options;
    hf_stack_pool_options_init(&options);
    Py_ssize_t stack_size, guard_size, retain;
    unsigned long long decay_ns;
    unsigned int count_max;
    int paint;
    const char *name;
    static char *names[] = {"stack_size", "guard_size", "count_max", "decay_ns",
                            "retain",     "paint",      "name",      NULL};
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "nnIKnps", names, &stack_size, &guard_size,
                                     &count_max, &decay_ns, &retain, &paint, &name))
        return NULL;
    options.stack_size = (size_t)stack_size;
    options.guard_size = (size_t)guard_size;
    options.count_max = count_max;
    options.decay_ns = decay_ns;
    options.retain = (size_t)retain;
    options.paint = (uint8_t)paint;
    options.name = name;
    return (PyObject *)pool_make(type, &options);
}

static void pool_dealloc(PyObject *object) {
    stack_pool *self = (stack_pool *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->weak != NULL) PyObject_ClearWeakRefs(object);
    if (self->pool != NULL) (void)hf_stack_pool_destroy(self->pool); /* busy: it stays */
    type->tp_free(object);
    Py_DECREF(type);
}

static int pool_check(const stack_pool *self) {
    if (self->pool != NULL) return 0;
    fiber_raise(HF_E_CLOSED, "the stack pool is closed");
    return -1;
}

static PyObject *pool_close(PyObject *object, PyObject *unused) {
    (void)unused;
    stack_pool *self = (stack_pool *)object;
    if (self->pool == NULL) Py_RETURN_NONE;
    const hf_status status = hf_stack_pool_destroy(self->pool);
    if (status != HF_OK) return fiber_raise(status, "stacks of the pool are still in use");
    self->pool = NULL;
    Py_RETURN_NONE;
}

static PyObject *pool_trim(PyObject *object, PyObject *unused) {
    (void)unused;
    stack_pool *self = (stack_pool *)object;
    if (pool_check(self) < 0) return NULL;
    return PyLong_FromSize_t(hf_stack_pool_trim(self->pool));
}

/* (stack_ptr, size, guard_low, guard_high, index, generation) */
static PyObject *stack_row(const hf_stack *stack) {
    return Py_BuildValue("KnKKII", (unsigned long long)(uintptr_t)stack->stack_ptr,
                         (Py_ssize_t)stack->size, (unsigned long long)(uintptr_t)stack->guard_low,
                         (unsigned long long)(uintptr_t)stack->guard_high, stack->index,
                         stack->generation);
}

static int stack_from_row(PyObject *row, hf_stack *stack_out) {
    long long top, low, high, index, generation;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(row, "LnLLLL", &top, &size, &low, &high, &index, &generation)) return -1;
    if (index != (uint32_t)index || generation != (uint32_t)generation) {
        fiber_raise(HF_E_INVALID, "no stack has index %lld and generation %lld", index, generation);
        return -1;
    }
    stack_out->index = (uint32_t)index;
    stack_out->generation = (uint32_t)generation;
    stack_out->stack_ptr = (void *)(uintptr_t)top;
    stack_out->size = (size_t)size;
    stack_out->guard_low = (void *)(uintptr_t)low;
    stack_out->guard_high = (void *)(uintptr_t)high;
    return 0;
}

static PyObject *pool_take(PyObject *object, PyObject *name) {
    stack_pool *self = (stack_pool *)object;
    hf_stack stack;
    if (pool_check(self) < 0) return NULL;
    const char *text = PyUnicode_AsUTF8(name);
    if (text == NULL) return NULL;
    hf_status status = hf_stack_take(self->pool, &stack);
    if (status != HF_OK)
        return fiber_raise(status, "no stack of %zu bytes: %s", self->stack_size,
                           hf_status_text(status));
    (void)hf_stack_name(self->pool, &stack, text);
    return stack_row(&stack);
}

static PyObject *pool_give(PyObject *object, PyObject *row) {
    stack_pool *self = (stack_pool *)object;
    hf_stack stack;
    if (pool_check(self) < 0 || stack_from_row(row, &stack) < 0) return NULL;
    const hf_status status = hf_stack_give(self->pool, &stack);
    if (status != HF_OK)
        return fiber_raise(status, "the stack is not one this pool has handed out");
    Py_RETURN_NONE;
}

static PyObject *pool_high_water(PyObject *object, PyObject *row) {
    stack_pool *self = (stack_pool *)object;
    hf_stack stack;
    size_t bytes;
    if (pool_check(self) < 0 || stack_from_row(row, &stack) < 0) return NULL;
    const hf_status status = hf_stack_high_water(self->pool, &stack, &bytes);
    if (status != HF_OK) return fiber_raise(status, "the stack is not one of this pool");
    return PyLong_FromSize_t(bytes);
}

static PyObject *pool_stats(PyObject *object, PyObject *unused) {
    (void)unused;
    stack_pool *self = (stack_pool *)object;
    if (pool_check(self) < 0) return NULL;
    hf_stats stats;
    memset(&stats, 0, sizeof stats);
    stats.struct_size = sizeof stats;
    const hf_status status = hf_stack_pool_stats(self->pool, &stats);
    if (status != HF_OK) return fiber_raise(status, "stats: %s", hf_status_text(status));
    const uint64_t figures[] = {
#define HF_STAT(name, unit, sentence) stats.name,
#include <holdfast/stats.def>
#undef HF_STAT
    };
    const Py_ssize_t count = (Py_ssize_t)(sizeof figures / sizeof figures[0]);
    PyObject *row = PyTuple_New(count);
    for (Py_ssize_t i = 0; row != NULL && i < count; i++) {
        PyObject *value = PyLong_FromUnsignedLongLong(figures[i]);
        if (value == NULL)
            Py_CLEAR(row);
        else
            PyTuple_SET_ITEM(row, i, value);
    }
    return row;
}

/* (light_guards, guard_size, count, count_taken, count_max, high_water_max) */
static PyObject *pool_info(PyObject *object, PyObject *unused) {
    (void)unused;
    stack_pool *self = (stack_pool *)object;
    if (pool_check(self) < 0) return NULL;
    hf_stack_pool_info info = {.struct_size = sizeof info};
    const hf_status status = hf_stack_pool_info_get(self->pool, &info);
    if (status != HF_OK) return fiber_raise(status, "info: %s", hf_status_text(status));
    return Py_BuildValue("NnKKKn", PyBool_FromLong((long)info.light_guards),
                         (Py_ssize_t)info.guard_size, (unsigned long long)info.count,
                         (unsigned long long)info.count_taken, (unsigned long long)info.count_max,
                         (Py_ssize_t)info.high_water_max);
}

static PyObject *pool_name(PyObject *object, void *unused) {
    (void)unused;
    stack_pool *self = (stack_pool *)object;
    if (pool_check(self) < 0) return NULL;
    return PyUnicode_DecodeUTF8(hf_stack_pool_name(self->pool),
                                (Py_ssize_t)strlen(hf_stack_pool_name(self->pool)), "replace");
}

static PyObject *pool_stack_size(PyObject *object, void *unused) {
    (void)unused;
    return PyLong_FromSize_t(((stack_pool *)object)->stack_size);
}

static PyObject *pool_closed(PyObject *object, void *unused) {
    (void)unused;
    return PyBool_FromLong(((stack_pool *)object)->pool == NULL);
}

static PyMethodDef pool_methods[] = {
    {"close", pool_close, METH_NOARGS, DOC_POOL_CLOSE},
    {"trim", pool_trim, METH_NOARGS, DOC_POOL_TRIM},
    {"_take", pool_take, METH_O, NULL},
    {"_give", pool_give, METH_O, NULL},
    {"_high_water", pool_high_water, METH_O, NULL},
    {"_stats", pool_stats, METH_NOARGS, NULL},
    {"_info", pool_info, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef pool_properties[] = {
    {"name", pool_name, NULL, "Of the pool, in reports.", NULL},
    {"stack_size", pool_stack_size, NULL, "Usable bytes of each stack.", NULL},
    {"closed", pool_closed, NULL, "True after close().", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef pool_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(stack_pool, weak), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot pool_slots[] = {
    {Py_tp_new, pool_new},           {Py_tp_dealloc, pool_dealloc}, {Py_tp_methods, pool_methods},
    {Py_tp_getset, pool_properties}, {Py_tp_members, pool_members}, {0, NULL},
};

static PyType_Spec pool_spec = {
    .name = "holdfast._fiber.StackPool",
    .basicsize = sizeof(stack_pool),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = pool_slots,
};

int stack_pool_setup(void) {
    pools_by_argument = PyDict_New();
    pools_by_size = PyDict_New();
    stack_pool_type = (PyTypeObject *)PyType_FromSpec(&pool_spec);
    return pools_by_argument != NULL && pools_by_size != NULL && stack_pool_type != NULL ? 0 : -1;
}
