/// holdfast.hpp - everything of the C++20 door; header-only, on the public C API alone.
#ifndef HOLDFAST_HPP
#define HOLDFAST_HPP

#include <holdfast/arena.hpp>
#include <holdfast/arena_blocks.hpp>
#include <holdfast/arena_memory.hpp>
#include <holdfast/bump_allocator.hpp>
#include <holdfast/error.hpp>
#include <holdfast/fiber.hpp>
#include <holdfast/heap.hpp>
#include <holdfast/memory.hpp>
#include <holdfast/options.hpp>
#include <holdfast/pool.hpp>
#include <holdfast/report.hpp>
#include <holdfast/shm.hpp>
#include <holdfast/shm_array.hpp>
#include <holdfast/shm_ring.hpp>
#include <holdfast/shm_versioned.hpp>
#include <holdfast/stack.hpp>
#include <holdfast/stats.hpp>
#include <holdfast/view.hpp>

#endif
