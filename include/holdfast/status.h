/* status.h - the one way an expected failure reaches a caller.
 * 0 is success, negative is an error. Corruption is never a status of the call that meets it: it is
 * reported once (report.h); HF_E_CORRUPT is the answer of explicit checks only. */
#ifndef HOLDFAST_STATUS_H
#define HOLDFAST_STATUS_H

#include <holdfast/export.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A C++ program may meet the value of a newer library, which an enum of C++ could not hold. */
#ifdef __cplusplus
typedef enum hf_status : int {
#else
typedef enum hf_status {
#endif
#define HF_STATUS(name, value, python, sentence) HF_##name = value,
#include <holdfast/status.def>
#undef HF_STATUS
} hf_status;

/* One English sentence, static storage, never NULL. */
HF_API const char *hf_status_text(hf_status status);
/* "HF_E_LIMIT" and the like, static storage; "HF_E_UNKNOWN" for a value that is none. */
HF_API const char *hf_status_name(hf_status status);

#ifdef __cplusplus
}
#endif
#endif
