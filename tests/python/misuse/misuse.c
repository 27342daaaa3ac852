/* misuse.c - fourteen ways in which extension modules break memory, one function each.
 * Each is what a real module does by mistake: allocate in one call, damage, free in another. The
 * names are those of the table in the project's design notes. Built by tests/python/test_misuse.py. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdlib.h>
#include <string.h>

static volatile char *volatile kept;

static PyObject *libc_alloc(PyObject *self, PyObject *args) {
    Py_ssize_t size;
    (void)self;
    if (!PyArg_ParseTuple(args, "n", &size)) return NULL;
    kept = malloc((size_t)size);
    memset((void *)kept, 'a', (size_t)size);
    return PyLong_FromVoidPtr((void *)kept);
}

static PyObject *object_alloc(PyObject *self, PyObject *args) {
    Py_ssize_t size;
    (void)self;
    if (!PyArg_ParseTuple(args, "n", &size)) return NULL;
    kept = PyObject_Malloc((size_t)size);
    memset((void *)kept, 'a', (size_t)size);
    return PyLong_FromVoidPtr((void *)kept);
}

/* Writes `count` bytes 'X' at `offset` from the block. */
static PyObject *poke(PyObject *self, PyObject *args) {
    Py_ssize_t offset, count;
    (void)self;
    if (!PyArg_ParseTuple(args, "nn", &offset, &count)) return NULL;
    for (Py_ssize_t i = 0; i < count; i++)
        kept[offset + i] = 'X';
    Py_RETURN_NONE;
}

static PyObject *libc_free(PyObject *self, PyObject *args) {
    Py_ssize_t offset = 0;
    (void)self;
    if (!PyArg_ParseTuple(args, "|n", &offset)) return NULL;
    free((void *)(kept + offset));
    Py_RETURN_NONE;
}

static PyObject *object_free(PyObject *self, PyObject *args) {
    (void)self;
    (void)args;
    PyObject_Free((void *)kept);
    Py_RETURN_NONE;
}

/* Allocates and frees what lies in between, so that a double free is not of the last block. */
static PyObject *libc_churn(PyObject *self, PyObject *args) {
    void *blocks[64];
    (void)self;
    (void)args;
    for (int i = 0; i < 64; i++)
        blocks[i] = malloc(200);
    for (int i = 0; i < 64; i++)
        free(blocks[i]);
    Py_RETURN_NONE;
}

/* Takes blocks of one size until the freed one comes round again. */
static PyObject *libc_reuse(PyObject *self, PyObject *args) {
    Py_ssize_t size;
    void *blocks[300];
    (void)self;
    if (!PyArg_ParseTuple(args, "n", &size)) return NULL;
    for (int i = 0; i < 300; i++)
        blocks[i] = malloc((size_t)size);
    for (int i = 0; i < 300; i++)
        free(blocks[i]);
    Py_RETURN_NONE;
}

static PyObject *object_reuse(PyObject *self, PyObject *args) {
    Py_ssize_t size;
    void *blocks[300];
    (void)self;
    if (!PyArg_ParseTuple(args, "n", &size)) return NULL;
    for (int i = 0; i < 300; i++)
        blocks[i] = PyObject_Malloc((size_t)size);
    for (int i = 0; i < 300; i++)
        PyObject_Free(blocks[i]);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"libc_alloc", libc_alloc, METH_VARARGS, NULL},
    {"object_alloc", object_alloc, METH_VARARGS, NULL},
    {"poke", poke, METH_VARARGS, NULL},
    {"libc_free", libc_free, METH_VARARGS, NULL},
    {"object_free", object_free, METH_NOARGS, NULL},
    {"libc_churn", libc_churn, METH_NOARGS, NULL},
    {"libc_reuse", libc_reuse, METH_VARARGS, NULL},
    {"object_reuse", object_reuse, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "misuse", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_misuse(void) {
    return PyModule_Create(&module);
}
