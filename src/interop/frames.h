/* frames.h - the Python call stack of the calling thread, read in place.
 * Invariants  every pointer followed was first seen to have the type it must have; the first that
 *             does not, switches the part off.
 * Threads     capture on any thread: answers 0 where the thread does not hold its GIL. Both
 *             functions allocate nothing, lock nothing and call no Python.
 * Talks to    frame_layout.h, lines.h, the public report.h.   Called by the heap through report.h.
 *             */
#ifndef HFI_FRAMES_H
#define HFI_FRAMES_H

#include <stdint.h>

/* Installs capture and render. */
void hfi_frames_start(void);
/* Call stacks captured so far. */
uint64_t hfi_frames_captured(void);

#endif
