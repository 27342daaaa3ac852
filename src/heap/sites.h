/* sites.h - call sites, each kept once and named by a number that fits a block.
 * Threads     look-ups take no lock; adding takes sites_lock, rank SITES.
 * Fails with  0: no site (no capture function, no code of that language, memory short).
 * Talks to    base/report (capture, render), meta.   Called by malloc, diagnose. */
#ifndef HFI_SITES_H
#define HFI_SITES_H

#include <stddef.h>
#include <stdint.h>

void hfi_sites_start(void);
/* Number of the calling thread's call site. */
uint32_t hfi_site_here(void);
/* Text of a site; "" for 0. Returns the length. */
size_t hfi_site_text(uint32_t site, char *buffer, size_t size);
size_t hfi_sites_count(void);
void hfi_sites_fork_prepare(void);
void hfi_sites_fork_parent(void);
void hfi_sites_fork_child(void);

#endif
