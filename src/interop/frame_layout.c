/* frame_layout.c - where the interpreter keeps frames. frame_layout.h is the contract.
 * Invariants  a published offset is taken only if it fits 16 bits and the cookie and version agree.
 * Threads     runs once, in the constructor. */
#include "frame_layout.h"

#include <stddef.h>
#include <string.h>

#include "python_api.h"

#define OFFSETS_COOKIE "xdebugpy"
#define OBJECT_TYPE    8
#define OBJECT_SIZE    16
#define BYTES_DATA     32
#define TEXT_LENGTH    16
#define TEXT_STATE     32

static const hfi_frame_layout layout_3_11 = {
    .thread_native_id = 160,
    .thread_frame = 56,
    .cframe_current = 8,
    .frame_code = 32,
    .frame_previous = 48,
    .frame_instruction = 56,
    .frame_owner = 69,
    .frame_owner_native = 255,
    .code_file = 112,
    .code_name = 128,
    .code_lines = 136,
    .code_first_line = 72,
    .code_units = 184,
    .object_type = OBJECT_TYPE,
    .object_size = OBJECT_SIZE,
    .bytes_data = BYTES_DATA,
    .text_length = TEXT_LENGTH,
    .text_state = TEXT_STATE,
    .text_data_ascii = 48,
    .text_data_other = 72,
};

static const hfi_frame_layout layout_3_12 = {
    .thread_native_id = 144,
    .thread_frame = 56,
    .cframe_current = 0,
    .frame_code = 0,
    .frame_previous = 8,
    .frame_instruction = 56,
    .frame_owner = 70,
    .frame_owner_native = 3,
    .code_file = 112,
    .code_name = 128,
    .code_lines = 136,
    .code_first_line = 68,
    .code_units = 192,
    .object_type = OBJECT_TYPE,
    .object_size = OBJECT_SIZE,
    .bytes_data = BYTES_DATA,
    .text_length = TEXT_LENGTH,
    .text_state = TEXT_STATE,
    .text_data_ascii = 40,
    .text_data_other = 56,
};

/* The beginning of _Py_DebugOffsets of 3.13, as far as it is read. */
typedef struct published {
    char cookie[8];
    uint64_t version;
    uint64_t free_threaded;
    uint64_t runtime[3];
    uint64_t interpreter[13];
    struct {
        uint64_t size, prev, next, interp, frame, id, native_id, chunk, status;
    } thread;
    struct {
        uint64_t size, previous, executable, instruction, locals, owner;
    } frame;
    struct {
        uint64_t size, file, name, qualified, lines, first_line, arguments, names, kinds, units;
    } code;
    struct {
        uint64_t size, type;
    } object;
    uint64_t type_object[4];
    uint64_t tuple_object[3];
    uint64_t list_object[3];
    uint64_t dict_object[3];
    uint64_t float_object[2];
    uint64_t long_object[3];
    struct {
        uint64_t size, length, data;
    } bytes;
    struct {
        uint64_t size, state, length, ascii_size;
    } text;
} published;

static hfi_frame_layout layout_published;

static bool read_published(void) {
    const published *p = (const published *)hfi_python.runtime;
    if (hfi_python.runtime_size < sizeof *p || memcmp(p->cookie, OFFSETS_COOKIE, 8) != 0)
        return false;
    if (p->version >> 24 != 3 || (p->version >> 16 & 0xff) != (hfi_python.version & 0xff))
        return false;
    const uint64_t taken[] = {p->thread.native_id, p->thread.frame,      p->frame.executable,
                              p->frame.previous,   p->frame.instruction, p->frame.owner,
                              p->code.file,        p->code.qualified,    p->code.lines,
                              p->code.first_line,  p->code.units,        p->object.type,
                              p->bytes.length,     p->bytes.data,        p->text.length,
                              p->text.state,       p->text.ascii_size};
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++) {
        if (taken[i] >= INT16_MAX) return false;
    }
    layout_published = (hfi_frame_layout){
        .thread_native_id = (uint16_t)p->thread.native_id,
        .thread_frame = (uint16_t)p->thread.frame,
        .cframe_current = -1,
        .frame_code = (uint16_t)p->frame.executable,
        .frame_previous = (uint16_t)p->frame.previous,
        .frame_instruction = (uint16_t)p->frame.instruction,
        .frame_owner = (uint16_t)p->frame.owner,
        .frame_owner_native = 3,
        .code_file = (uint16_t)p->code.file,
        .code_name = (uint16_t)p->code.qualified,
        .code_lines = (uint16_t)p->code.lines,
        .code_first_line = (uint16_t)p->code.first_line,
        .code_units = (uint16_t)p->code.units,
        .object_type = (uint16_t)p->object.type,
        .object_size = (uint16_t)p->bytes.length,
        .bytes_data = (uint16_t)p->bytes.data,
        .text_length = (uint16_t)p->text.length,
        .text_state = (uint16_t)p->text.state,
        .text_data_ascii = (uint16_t)p->text.ascii_size,
        .text_data_other = (uint16_t)(p->text.ascii_size + 16), /* utf8_length, utf8 */
    };
    return true;
}

const hfi_frame_layout *hfi_frame_layout_find(const char **why_out) {
    *why_out = NULL;
    if (hfi_python.version == HFI_PYTHON_3_11) return &layout_3_11;
    if (hfi_python.version == HFI_PYTHON_3_12) return &layout_3_12;
    if (hfi_python.version == HFI_PYTHON_3_13 && read_published()) return &layout_published;
    *why_out = "the interpreter does not say where its frames are";
    return NULL;
}
