/* export.h - what a shared library shows and what it keeps to itself. */
#ifndef HOLDFAST_EXPORT_H
#define HOLDFAST_EXPORT_H

#define HF_VERSION_MAJOR  0
#define HF_VERSION_MINOR  1
#define HF_VERSION_PATCH  0
#define HF_VERSION_STRING "0.1.0"

#define HF_API         __attribute__((visibility("default")))
#define HF_MALLOC_LIKE __attribute__((malloc))
#define HF_NODISCARD   __attribute__((warn_unused_result))

#endif
