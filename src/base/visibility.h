/* visibility.h - variables of ours that hot paths read; functions that every process runs.
 * -fvisibility=hidden speaks of definitions only: without this a reference from another file goes
 * through the global offset table, one instruction and one load more each time. */
#ifndef HFI_VISIBILITY_H
#define HFI_VISIBILITY_H

#define HFI_HIDDEN        __attribute__((visibility("hidden")))
/* Runs at start or end of every process, unlike the rest of its file: stands with the others of its
 * kind at the front of the library, whose first 64 KiB the kernel maps in one go. */
#define HFI_EVERY_PROCESS __attribute__((section(".text.startup.every_process")))

#endif
