/* palette.c - packs colours for a display: three bytes each, and a checksum of four bytes behind.
 * It has a bug, the kind that passes every test: the buffer has no room for the checksum. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void palette_free(PyObject *capsule) {
    free(PyCapsule_GetPointer(capsule, "palette"));
}

/* pack(colours: list[tuple[int, int, int]]) -> palette */
static PyObject *palette_pack(PyObject *module, PyObject *colours) {
    (void)module;
    if (!PyList_Check(colours)) return PyErr_Format(PyExc_TypeError, "a list of colours, please");
    Py_ssize_t count = PyList_Size(colours);
    size_t size = (size_t)count * 3;
    uint8_t *packed = malloc(size);
    if (packed == NULL) return PyErr_NoMemory();
    uint32_t checksum = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        int red, green, blue;
        if (!PyArg_ParseTuple(PyList_GetItem(colours, i), "iii", &red, &green, &blue)) {
            free(packed);
            return NULL;
        }
        packed[3 * i] = (uint8_t)red;
        packed[3 * i + 1] = (uint8_t)green;
        packed[3 * i + 2] = (uint8_t)blue;
        checksum = checksum * 31 + (uint32_t)(red ^ green ^ blue);
    }
    memcpy(packed + size, &checksum, sizeof checksum);
    return PyCapsule_New(packed, "palette", palette_free);
}

static PyMethodDef methods[] = {
    {"pack", palette_pack, METH_O, "Pack a list of (red, green, blue) for the display."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "palette", .m_size = -1,
                             .m_methods = methods};

PyMODINIT_FUNC PyInit_palette(void) {
    return PyModule_Create(&module);
}
