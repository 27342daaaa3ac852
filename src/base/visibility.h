/* visibility.h - variables of ours that hot paths read.
 * -fvisibility=hidden speaks of definitions only: without this a reference from another file goes
 * through the global offset table, one instruction and one load more each time. */
#ifndef HFI_VISIBILITY_H
#define HFI_VISIBILITY_H

#define HFI_HIDDEN __attribute__((visibility("hidden")))

#endif
