/* holdfast.h - everything. C++ users include the .hpp headers, which stand on these alone. */
#ifndef HOLDFAST_H
#define HOLDFAST_H

#include <holdfast/arena.h>
#include <holdfast/fiber.h>
#include <holdfast/heap.h>
#include <holdfast/options.h>
#include <holdfast/owner.h>
#include <holdfast/pool.h>
#include <holdfast/report.h>
#include <holdfast/shm.h>
#include <holdfast/shm_array.h>
#include <holdfast/shm_ring.h>
#include <holdfast/shm_versioned.h>
#include <holdfast/shm_view.h>
#include <holdfast/stack.h>
#include <holdfast/stats.h>
#include <holdfast/status.h>
#include <holdfast/view.h>

#endif
