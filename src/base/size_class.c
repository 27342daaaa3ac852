/* size_class.c - the tables of size_class.def.
 * Contract    index = class; [0] is no class. Read-only, shared by pools, thread caches, reports. */
#include "size_class.h"

const uint32_t hfi_class_size[HFI_CLASS_COUNT] = {
#define HF_CLASS(size, alignment) size,
#include "size_class.def"
#undef HF_CLASS
};

const uint32_t hfi_class_alignment[HFI_CLASS_COUNT] = {
#define HF_CLASS(size, alignment) alignment,
#include "size_class.def"
#undef HF_CLASS
};
