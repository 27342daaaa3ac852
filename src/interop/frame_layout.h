/* frame_layout.h - where the interpreter keeps the running frames of a thread.
 *
 *   thread state -> [cframe ->] frame -> previous -> ...;  frame -> code -> file, name, lines
 *
 * Invariants  offsets in bytes. 3.13 publishes them itself (_Py_DebugOffsets, for debuggers); 3.11
 *             and 3.12 did not change them from their first release on.
 * Threads     written once, before Py_Initialize.
 * Source      Include/internal/pycore_frame.h, pycore_runtime.h, cpython/code.h, cpython/pystate.h.
 *             */
#ifndef HFI_FRAME_LAYOUT_H
#define HFI_FRAME_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

typedef struct hfi_frame_layout {
    uint16_t thread_native_id; /* kernel thread id                                         */
    uint16_t thread_frame;     /* of the pointer to the frame, or to the C frame           */
    int16_t cframe_current;    /* in the C frame, of the pointer to the frame; -1: no such */
    uint16_t frame_code;       /* code object, or something else in frames without code    */
    uint16_t frame_previous;
    uint16_t frame_instruction; /* 3.13: that runs; before: ahead of the next one            */
    uint16_t frame_owner;
    uint8_t frame_owner_native; /* owner of frames that stand for C code; 255: none          */
    uint16_t code_file;
    uint16_t code_name;  /* qualified                                                */
    uint16_t code_lines; /* location table, bytes                                    */
    uint16_t code_first_line;
    uint16_t code_units; /* the instructions                                         */
    uint16_t object_type;
    uint16_t object_size; /* of objects of variable size                              */
    uint16_t bytes_data;
    uint16_t text_length;
    uint16_t text_state;
    uint16_t text_data_ascii; /* of compact text that is ASCII                            */
    uint16_t text_data_other; /* of compact text that is not                              */
} hfi_frame_layout;

/* The layout of the interpreter found; NULL if it is not known, with the reason. */
const hfi_frame_layout *hfi_frame_layout_find(const char **why_out);

#endif
