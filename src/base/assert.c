/* assert.c - the one way this library gives up. assert.h is the contract.
 * Threads  no state: two threads that fail at once write two lines. */
#include "assert.h"

#include <stdlib.h>

#include "format.h"
#include "os/os.h"

void hfi_expect_failed(const char *condition, const char *file, int line, const char *function,
                       const char *names, const uint64_t *values, unsigned count) {
    char text[512];
    hfi_writer writer = hfi_writer_make(text, sizeof text - 1);
    hfi_write_text(&writer, "holdfast: ");
    hfi_write_text(&writer, file);
    hfi_write_char(&writer, ':');
    hfi_write_i64(&writer, line);
    hfi_write_text(&writer, ": ");
    hfi_write_text(&writer, function);
    hfi_write_text(&writer, ": expected ");
    hfi_write_text(&writer, condition);
    if (count > 1) {
        hfi_write_text(&writer, " with ");
        hfi_write_text(&writer, names);
        hfi_write_text(&writer, " = ");
        for (unsigned i = 1; i < count; i++) {
            if (i > 1) hfi_write_text(&writer, ", ");
            hfi_write_u64(&writer, values[i]);
            if (values[i] > 4095) {
                hfi_write_text(&writer, " (");
                hfi_write_hex(&writer, values[i], 0);
                hfi_write_char(&writer, ')');
            }
        }
    }
    (void)hfi_writer_finish(&writer);
    size_t length = (size_t)(writer.at - text);
    text[length++] = '\n'; /* one byte of the array was kept out of the writer for it */
    hfi_os_write(2, text, length);
    abort();
}
