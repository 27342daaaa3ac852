/* say.c - the sentence that goes with a status, per thread.
 * Threads     each has its own; it stays until the next failure.
 * Fails with  nothing: what does not fit is cut.
 * Called by   every function of shm that returns a status. */
#include <stdarg.h>
#include <stdio.h>

#include "segment.h"

/* Not initial-exec: the room that a library loaded late gets for those is small. */
static __thread __attribute__((tls_model("global-dynamic"))) char sentence[512];

hf_status hfi_shm_say(hf_status status, const char *format, ...) {
    va_list values;
    va_start(values, format);
    (void)vsnprintf(sentence, sizeof sentence, format, values);
    va_end(values);
    return status;
}

const char *hf_shm_detail(void) {
    return sentence;
}
