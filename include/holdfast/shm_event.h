/* shm_event.h - something has happened: one process says so, others wait for it.
 *
 *   hf_shm_event_options options;             hf_shm_event *ready;
 *   hf_shm_event_options_init(&options);
 *   hf_shm_event_open(shm, "ready", HF_SHM_OPEN_OR_CREATE, &options, &ready);
 *   hf_shm_event_set(ready);                  hf_shm_event_wait(ready, HF_FOREVER);
 *
 * Manual    stays set until it is cleared; every wait returns meanwhile.
 * Automatic one wait takes it and it is clear again. Setting what is set adds nothing.
 * Killed    in set: it is set or not; if so, who waits sees it within 50 ms also without the wake-up.
 *           In wait, automatic: the victim may have taken it. A killed process never has it "in hand":
 *           what must come back belongs into a semaphore.
 * Caveats
 *  - Every function may be called from any thread; close when no other thread uses the event. */
#ifndef HOLDFAST_SHM_EVENT_H
#define HOLDFAST_SHM_EVENT_H

#include <stdint.h>

#include <holdfast/export.h>
#include <holdfast/shm.h>
#include <holdfast/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hf_shm_event hf_shm_event;

typedef struct hf_shm_event_options {
    uint32_t struct_size;
    uint32_t automatic; /* 1: a wait clears it; opened: must agree           */
    uint32_t set;       /* 1: a new one is set from the beginning            */
    uint32_t spare;
} hf_shm_event_options;

HF_API void hf_shm_event_options_init(hf_shm_event_options *options);
/* Options NULL with HF_SHM_OPEN: either kind. HF_E_NOT_FOUND, HF_E_EXISTS, HF_E_MISMATCH (kind or
 * automatic), HF_E_NO_SPACE, HF_E_LIMIT, HF_E_INVALID. */
HF_API hf_status hf_shm_event_open(hf_shm *shm, const char *name, hf_shm_mode mode,
                                   const hf_shm_event_options *options, hf_shm_event **event_out);
HF_API void hf_shm_event_close(hf_shm_event *event);

HF_API hf_status hf_shm_event_set(hf_shm_event *event);
HF_API hf_status hf_shm_event_clear(hf_shm_event *event);
/* HF_OK: it was set. HF_E_TIMEOUT: it was not, for that long (0: now). */
HF_API hf_status hf_shm_event_wait(hf_shm_event *event, uint64_t timeout_ns);
/* 1 or 0, of a moment that is over. */
HF_API int hf_shm_event_is_set(const hf_shm_event *event);
HF_API int hf_shm_event_is_automatic(const hf_shm_event *event);

#ifdef __cplusplus
}
#endif
#endif
