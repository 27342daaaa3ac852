/* shm_barrier.h - nobody goes on before all have come: n parties, round after round.
 *
 *   hf_shm_barrier_options options;                           hf_shm_barrier *step;
 *   hf_shm_barrier_options_init(&options, 4);
 *   hf_shm_barrier_open(shm, "step", HF_SHM_OPEN_OR_CREATE, &options, &step);
 *   for (;;) { simulate(); hf_shm_barrier_wait(step, HF_FOREVER, NULL); }
 *
 * A party is a call of wait: threads of one process are as many parties. A participant takes part from
 * its first wait until it closes the barrier.
 * Killed    HF_SHM_BARRIER_BREAK (default): who takes part and is killed breaks the round: all who wait
 *           in it get HF_E_OWNER_DIED, and so does the next wait of those who were not waiting (once
 *           per handle). The round after it is whole again: it waits for n, the successor included.
 *           HF_SHM_BARRIER_GO_ON: who takes part and is killed is not waited for any more, neither in
 *           this round nor in later ones, until a new participant takes its place.
 * Timeout   who gives up takes its arrival back, and the round goes on waiting for n. It takes part still.
 * Caveats
 *  - A participant that closes the barrier, leaves the segment or stops coming is waited for: only a
 *    death is noticed. A process that returns from main or calls exit has left; one that is killed,
 *    aborts or calls _exit has died.
 *  - Every function may be called from any thread; close when no other thread uses the barrier. */
#ifndef HOLDFAST_SHM_BARRIER_H
#define HOLDFAST_SHM_BARRIER_H

#include <stdint.h>

#include <holdfast/export.h>
#include <holdfast/shm.h>
#include <holdfast/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hf_shm_barrier hf_shm_barrier;

#define HF_SHM_BARRIER_PARTIES_MAX ((uint32_t)4096)

typedef enum hf_shm_barrier_death {
    HF_SHM_BARRIER_BREAK,
    HF_SHM_BARRIER_GO_ON
} hf_shm_barrier_death;

typedef struct hf_shm_barrier_options {
    uint32_t struct_size;
    uint32_t parties;  /* 1 to HF_SHM_BARRIER_PARTIES_MAX; open: 0 = any */
    uint32_t on_death; /* hf_shm_barrier_death; opened: must agree       */
    uint32_t spare;
} hf_shm_barrier_options;

HF_API void hf_shm_barrier_options_init(hf_shm_barrier_options *options, uint32_t parties);
/* Options NULL with HF_SHM_OPEN: whatever it is. HF_E_NOT_FOUND, HF_E_EXISTS, HF_E_MISMATCH,
 * HF_E_NO_SPACE, HF_E_LIMIT, HF_E_INVALID. */
HF_API hf_status hf_shm_barrier_open(hf_shm *shm, const char *name, hf_shm_mode mode,
                                     const hf_shm_barrier_options *options,
                                     hf_shm_barrier **barrier_out);
HF_API void hf_shm_barrier_close(hf_shm_barrier *barrier);

/* HF_OK: all have come. place_out (may be NULL): 0 to parties - 1, each at most once per round.
 * HF_E_OWNER_DIED: the round was broken by a death; come again. HF_E_TIMEOUT: not all came in time, and
 * this one has not come (timeout 0: it is the last one missing, or HF_E_TIMEOUT). */
HF_API hf_status hf_shm_barrier_wait(hf_shm_barrier *barrier, uint64_t timeout_ns,
                                     uint32_t *place_out);
HF_API uint32_t hf_shm_barrier_parties(const hf_shm_barrier *barrier);
/* Those who have come and wait, of a moment that is over. */
HF_API uint32_t hf_shm_barrier_waiting(hf_shm_barrier *barrier);
/* Rounds so far, complete or broken, modulo 2^24. */
HF_API uint32_t hf_shm_barrier_round(const hf_shm_barrier *barrier);

#ifdef __cplusplus
}
#endif
#endif
