/* frames.c - the Python call stack of the calling thread. frames.h is the contract.
 * Invariants  words handed out are numbers of lines.c, never addresses.
 * Threads     no state but counters. In 3.11 the current thread state is one word for the process;
 *             a thread that does not hold the GIL compares it with its own, and walks its own.
 * Why         the public calls (PyThreadState_GetFrame) make objects, so they cannot run inside
 *             malloc; a direct walk costs less than half, besides.
 * Source      location table: Objects/locations.md of CPython; frame owners: pycore_frame.h. */
#include "frames.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <holdfast/report.h>

#include "base/format.h"
#include "frame_layout.h"
#include "lines.h"
#include "os/os.h"
#include "python_api.h"

#define DEPTH_MOST     512 /* frames looked at, those without code included */
#define OWNER_LAST     3
#define LINE_NONE      15
#define LINE_LONG      14
#define LINE_NO_COLUMN 13
#define LINE_ONE       10
#define TEXT_COMPACT   0x20u
#define TEXT_ASCII     0x40u

static const hfi_frame_layout *layout;
static _Atomic uint64_t captured;
static _Atomic bool proven; /* the thread state was seen to be this thread's */

static const char *pointer_at(const char *object, size_t offset) {
    const char *value;
    memcpy(&value, object + offset, sizeof value);
    return value;
}

static int32_t int_at(const char *object, size_t offset) {
    int32_t value;
    memcpy(&value, object + offset, sizeof value);
    return value;
}

static bool has_type(const char *object, const void *type) {
    return object != NULL && pointer_at(object, layout->object_type) == type;
}

static void put_code_point(char *buffer, size_t size, size_t *at, uint32_t c) {
    char bytes[4];
    size_t length = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = length; i-- > 1; c >>= 6)
        bytes[i] = (char)(0x80 | (c & 0x3f));
    bytes[0] = (char)(lead[length] | c);
    if (*at + length > size) return;
    memcpy(buffer + *at, bytes, length);
    *at += length;
}

/* One byte less than `size` at most: the caller terminates. */
static size_t read_text(const char *object, char *buffer, size_t size) {
    uint32_t state = (uint32_t)int_at(object, layout->text_state);
    uint32_t width = state >> 2 & 7; /* interned:2, kind:3, compact:1, ascii:1; 3.12: the same */
    size_t length, at = 0;
    memcpy(&length, object + layout->text_length, sizeof length);
    if ((state & TEXT_COMPACT) == 0) return 0;
    bool ascii = (state & TEXT_ASCII) != 0;
    const char *data = object + (ascii ? layout->text_data_ascii : layout->text_data_other);
    for (size_t i = 0; i < length && at + 4 < size; i++) {
        uint32_t c = 0;
        memcpy(&c, data + i * width, width <= 4 ? width : 0);
        if (c < 0x20 || (c >= 0xd800 && c < 0xe000)) c = '?';
        put_code_point(buffer, size - 1, &at, c);
    }
    return at;
}

static uint32_t read_varint(const unsigned char **at, const unsigned char *end) {
    uint32_t value = 0;
    for (unsigned shift = 0; *at < end && shift < 32; shift += 6) {
        unsigned char byte = *(*at)++;
        value |= (uint32_t)(byte & 63) << shift;
        if ((byte & 64) == 0) break;
    }
    return value;
}

/* The line of an instruction, by the code's location table; its first line if there is none. */
static uint32_t read_line(const hfi_line_key *key) {
    ptrdiff_t size;
    memcpy(&size, key->lines + layout->object_size, sizeof size);
    const unsigned char *at = (const unsigned char *)key->lines + layout->bytes_data;
    const unsigned char *end = at + size;
    int32_t line = (int32_t)key->first_line;
    uint32_t best = key->first_line, unit = 0, wanted = key->instruction / 2;
    while (at < end) {
        unsigned char head = *at++;
        unsigned kind = head >> 3 & 15;
        if (kind == LINE_LONG || kind == LINE_NO_COLUMN) {
            uint32_t value = read_varint(&at, end);
            line += (value & 1) != 0 ? -(int32_t)(value >> 1) : (int32_t)(value >> 1);
        } else if (kind >= LINE_ONE && kind < LINE_NO_COLUMN) {
            line += (int32_t)kind - LINE_ONE;
        }
        if (kind != LINE_NONE) best = (uint32_t)line;
        unit += (head & 7u) + 1;
        if (wanted < unit) return kind != LINE_NONE ? (uint32_t)line : best;
        while (at < end && (*at & 0x80) == 0)
            at++; /* columns */
    }
    return best;
}

static void give_up(const char *why) {
    hfi_part_set(HFI_PART_FRAMES, false, why);
}

/* Fills `key`; false if the frame has no code, or nothing of it can be believed. */
static bool read_frame(const char *frame, hfi_line_key *key) {
    unsigned char owner = (unsigned char)frame[layout->frame_owner];
    if (owner > OWNER_LAST) {
        give_up("a frame is not as expected");
        return false;
    }
    if (owner == layout->frame_owner_native) return false;
    key->code = pointer_at(frame, layout->frame_code);
    if (!has_type(key->code, hfi_python.code_type)) return false;
    key->file = pointer_at(key->code, layout->code_file);
    key->name = pointer_at(key->code, layout->code_name);
    key->lines = pointer_at(key->code, layout->code_lines);
    if (!has_type(key->file, hfi_python.text_type) || !has_type(key->name, hfi_python.text_type) ||
        !has_type(key->lines, hfi_python.bytes_type)) {
        give_up("a code object is not as expected");
        return false;
    }
    key->first_line = (uint32_t)int_at(key->code, layout->code_first_line);
    ptrdiff_t units;
    memcpy(&units, key->code + layout->object_size, sizeof units);
    ptrdiff_t offset =
        pointer_at(frame, layout->frame_instruction) - (key->code + layout->code_units);
    /* A frame that has not begun points ahead of its code: its first line is meant. */
    if (offset < 0 || offset >= units * 2) offset = 0;
    key->instruction = (uint32_t)offset;
    return true;
}

static const char *current_frame(const char *thread) {
    const char *frame = pointer_at(thread, layout->thread_frame);
    if (layout->cframe_current < 0 || frame == NULL) return frame;
    return pointer_at(frame, (size_t)layout->cframe_current);
}

static bool is_own(const char *thread) {
    unsigned long native;
    memcpy(&native, thread + layout->thread_native_id, sizeof native);
    return native == hfi_os_thread_id();
}

/* The layout is believed once the thread state names the kernel thread that asks. */
static bool prove(const char *thread) {
    if (!is_own(thread)) return false;
    atomic_store_explicit(&proven, true, memory_order_relaxed);
    hfi_part_set(HFI_PART_FRAMES, true, "the layout was verified");
    return true;
}

/* The calling thread's. One that gave the GIL away to run native code is in the middle of that call:
 * its frames stand still, and keep what they refer to, until it takes the GIL again. NULL if there is
 * none, or it cannot be believed. */
static const char *thread_state(void) {
    bool believed = atomic_load_explicit(&proven, memory_order_relaxed);
    if (hfi_python_thread_runs()) {
        const char *thread = hfi_python.thread_current();
        return believed || prove(thread) ? thread : NULL;
    }
    /* At the end of the interpreter thread states vanish while their threads go on. */
    if (!believed || !hfi_python.is_initialized()) return NULL;
    const char *thread = hfi_python.thread_own();
    return thread != NULL && is_own(thread) ? thread : NULL;
}

static size_t capture(uintptr_t *frames, size_t capacity) {
    static const hfi_line_reader reader = {read_text, read_line};
    if (!hfi_part_is_on(HFI_PART_FRAMES)) return 0;
    const char *thread = thread_state();
    if (thread == NULL) return 0;
    size_t count = 0;
    const char *frame = current_frame(thread);
    for (int depth = 0; frame != NULL && count < capacity && depth < DEPTH_MOST; depth++) {
        hfi_line_key key;
        if (read_frame(frame, &key)) {
            frames[count] = hfi_line_intern(&key, &reader);
            if (frames[count] == 0) break;
            count++;
        }
        if (!hfi_part_is_on(HFI_PART_FRAMES)) break;
        frame = pointer_at(frame, layout->frame_previous);
    }
    atomic_fetch_add_explicit(&captured, count != 0, memory_order_relaxed);
    return count;
}

static size_t render(const uintptr_t *frames, size_t count, char *buffer, size_t size) {
    hfi_writer writer = hfi_writer_make(buffer, size);
    char line[HF_SITE_TEXT];
    for (size_t i = count; i-- > 0;) {
        if (hfi_line_text((uint32_t)frames[i], line, sizeof line) == 0) continue;
        if (writer.wanted != 0) hfi_write_char(&writer, '\n');
        hfi_write_text(&writer, line);
    }
    return hfi_writer_finish(&writer);
}

void hfi_frames_start(void) {
    const char *why;
    layout = hfi_frame_layout_find(&why);
    if (layout == NULL || hfi_python.code_type == NULL || hfi_python.text_type == NULL ||
        hfi_python.bytes_type == NULL) {
        hfi_part_set(HFI_PART_FRAMES, false, why != NULL ? why : "types are not exported");
        return;
    }
    hfi_part_set(HFI_PART_FRAMES, true, "not used yet: will be verified at the first call site");
    hf_site_functions_set(capture, render);
}

uint64_t hfi_frames_captured(void) {
    return atomic_load_explicit(&captured, memory_order_relaxed);
}
