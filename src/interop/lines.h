/* lines.h - lines of Python code, remembered for good: one small number for each.
 *
 *   (code object, instruction) -> number -> "file:line in function"
 *
 * Invariants  a number, once given, renders the same text for ever, also after the code died. What
 *             is stored is text and line; the code object's address is only a key, believed
 *             together with the addresses of its file name, name and line table and its first line.
 * Threads     intern is called by threads that hold a GIL and gives up rather than wait for
 *             another; rendering takes no lock.
 * Fails with  0: no memory, or too many lines (HFI_LINES_MOST).
 * Talks to    os.   Called by frames.c. */
#ifndef HFI_LINES_H
#define HFI_LINES_H

#include <stddef.h>
#include <stdint.h>

#define HFI_LINES_MOST ((uint32_t)1 << 22)

typedef struct hfi_line_key {
    const char *code;     /* code object                        */
    uint32_t instruction; /* offset in its instructions [bytes] */
    uint32_t first_line;  /* of the code                        */
    const char *file;     /* text object                        */
    const char *name;     /* text object                        */
    const char *lines;    /* bytes object                       */
} hfi_line_key;

/* Text of the two objects and the line are asked for only when the key is new. Each text callback
 * writes UTF-8 to `buffer` and returns its length. */
typedef struct hfi_line_reader {
    size_t (*text)(const char *object, char *buffer, size_t size);
    uint32_t (*line)(const hfi_line_key *key);
} hfi_line_reader;

uint32_t hfi_line_intern(const hfi_line_key *key, const hfi_line_reader *reader);
/* Writes "file:line in function"; 0 for a number that was never given. */
size_t hfi_line_text(uint32_t number, char *buffer, size_t size);
uint32_t hfi_lines_count(void);
size_t hfi_lines_bytes(void);
void hfi_lines_fork_prepare(void);
void hfi_lines_fork_done(void);

#endif
