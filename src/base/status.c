/* status.c - names and sentences of status.def. holdfast/status.h is the contract.
 * Threads  constant. */
#include <holdfast/status.h>

const char *hf_status_text(hf_status status) {
    switch (status) {
#define HF_STATUS(name, value, python, sentence)                                                   \
    case HF_##name:                                                                                \
        return sentence;
#include <holdfast/status.def>
#undef HF_STATUS
    }
    return "this number is no status of holdfast";
}

const char *hf_status_name(hf_status status) {
    switch (status) {
#define HF_STATUS(name, value, python, sentence)                                                   \
    case HF_##name:                                                                                \
        return "HF_" #name;
#include <holdfast/status.def>
#undef HF_STATUS
    }
    return "HF_E_UNKNOWN";
}
