/* array_door.h - the door from holdfast._core to holdfast._numpy: functions over one store of arrays.
 *
 * Travels in a capsule named ARRAY_DOOR, whose destructor gives the store up; whoever uses a door holds
 * the capsule. The first five functions are shaped like NumPy's PyDataMemAllocator (NEP 49).
 * Threads     any; `refuse` needs the GIL. */
#ifndef HOLDFAST_BINDINGS_ARRAY_DOOR_H
#define HOLDFAST_BINDINGS_ARRAY_DOOR_H

#include <stddef.h>

#define ARRAY_DOOR "holdfast.array_door.1"

struct array_door {
    void *context;
    void *(*allocate)(void *context, size_t size);
    void *(*zeroed)(void *context, size_t count, size_t size);
    void *(*resize)(void *context, void *data, size_t size);
    void (*give)(void *context, void *data, size_t size);
    /* The same with an alignment, and never from the fallback: NULL if the owner is closed or full. */
    void *(*allocate_aligned)(void *context, size_t size, size_t alignment);
    /* 1 if the address can only be a block of this store; never reads it. */
    int (*owns)(void *context, const void *address);
    /* Sets the Python error for an allocate_aligned that returned NULL. */
    void (*refuse)(void *context, size_t size);
};

#endif
