/* meta.h - memory for the allocator's own bookkeeping, apart from the program's blocks.
 * Small pieces of 64-byte multiples with one free list per size; larger ones by powers of two.
 * Threads     any; one lock, rank META, taken when slabs, caches and pools are made, never per block.
 * Fails with  NULL when the OS refuses. Memory is zeroed and never goes back to the OS.
 * Called by   everything in pages and heap that keeps state. */
#ifndef HFI_META_H
#define HFI_META_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* `guarded`: each mapping gets inaccessible pages around it (profile hardened). */
void hfi_meta_start(bool guarded);
void *hfi_meta_alloc(size_t size);
void hfi_meta_free(void *piece, size_t size);
/* Bytes mapped for metadata so far, and how many of them are handed out. */
size_t hfi_meta_mapped(size_t *used_out);

void hfi_meta_fork_prepare(void);
void hfi_meta_fork_parent(void);
void hfi_meta_fork_child(void);

#endif
