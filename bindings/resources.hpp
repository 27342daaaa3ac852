/// resources.hpp - leaf resources: where memory comes from. All are std::pmr::memory_resource, so that
/// C++ composes them as it composes its own.
///
/// Invariants  a block keeps its owner open: a heap or an arena with blocks out is not closed.
/// Talks to    heap_state.hpp, arena_state.hpp, pool.h.   Used by bind_resource.cpp.
/// Threads     any.
/// Fails with  Refused, hf::OutOfMemory (both std::bad_alloc), hf::InvalidArgument when closed.
#ifndef HOLDFAST_BINDINGS_RESOURCES_HPP
#define HOLDFAST_BINDINGS_RESOURCES_HPP

#include "arena_state.hpp"
#include "heap_state.hpp"
#include "refused.hpp"

#include <holdfast/pool.h>

#include <memory>
#include <memory_resource>
#include <string>
#include <sys/mman.h>

class Resource : public std::pmr::memory_resource {
    bool do_is_equal(const std::pmr::memory_resource &other) const noexcept final {
        return this == &other;
    }
};

using ResourceRef = std::shared_ptr<std::pmr::memory_resource>;

class HeapResource final : public Resource {
public:
    explicit HeapResource(std::shared_ptr<HeapState> heap) : heap_(std::move(heap)) {}

private:
    void *do_allocate(std::size_t size, std::size_t align) override {
        if (!heap_->pin_view({})) hf::raise(HF_E_CLOSED, "the heap is closed");
        void *block = heap_->heap().try_allocate(size, align);
        if (block != nullptr) return block;
        heap_->unpin_view({});
        throw Refused("heap: " + std::to_string(size) +
                      " bytes were refused by the system or a limit");
    }
    void do_deallocate(void *block, std::size_t, std::size_t) override {
        heap_->heap().deallocate(block);
        heap_->unpin_view({});
    }

    std::shared_ptr<HeapState> heap_;
};

class ArenaResource final : public Resource {
public:
    explicit ArenaResource(std::shared_ptr<ArenaState> arena) : arena_(std::move(arena)) {}

private:
    void *do_allocate(std::size_t size, std::size_t align) override {
        void *block = arena_->allocate(size, align);
        if (block != nullptr) return block;
        if (arena_->closed()) hf::raise(HF_E_CLOSED, "the arena is closed");
        throw Refused(arena_->refusal(size));
    }
    void do_deallocate(void *block, std::size_t, std::size_t) override { Store::give(block); }

    std::shared_ptr<ArenaState> arena_;
};

/// Blocks of one size; larger requests are refused.
class PoolResource final : public Resource {
public:
    PoolResource(std::size_t block_size, std::size_t align, std::size_t capacity,
                 const std::string &name) {
        hf_pool_options options;
        hf_pool_options_init(&options, block_size);
        options.alignment = align;
        options.name = name.c_str();
        if (capacity != 0) {
            options.capacity = capacity;
            options.on_exhausted = HF_POOL_FAIL;
        }
        hf::check(hf_pool_create(&options, &pool_));
        size_ = block_size;
        align_ = align;
    }
    ~PoolResource() override { (void)hf_pool_destroy(pool_); }

private:
    void *do_allocate(std::size_t size, std::size_t align) override {
        if (size > size_ || align > align_)
            throw Refused("pool of " + std::to_string(size_) +
                          "-byte blocks: " + std::to_string(size) + " bytes do not fit");
        void *block = nullptr;
        if (hf_pool_acquire(pool_, &block) != HF_OK)
            throw Refused("pool of " + std::to_string(size_) + "-byte blocks: all are out",
                          HF_E_LIMIT);
        return block;
    }
    void do_deallocate(void *block, std::size_t, std::size_t) override {
        (void)hf_pool_release(pool_, block);
    }

    hf_pool *pool_ = nullptr;
    std::size_t size_ = 0, align_ = 0;
};

/// Every block is a mapping of its own between two pages that fault.
class SegmentResource final : public Resource {
public:
    explicit SegmentResource(bool huge_pages) : huge_pages_(huge_pages) {}

private:
    static constexpr std::size_t page = 4096, huge = std::size_t{2} << 20;

    [[nodiscard]] static std::size_t rounded(std::size_t size, std::size_t to) {
        return (size + to - 1) & ~(to - 1);
    }
    /// Address space for a block at any place, with the alignment and both guards to spare.
    [[nodiscard]] static std::size_t span(std::size_t size, std::size_t align) {
        return rounded(size, page) + (align > page ? align : page) + 2 * page;
    }
    void *do_allocate(std::size_t size, std::size_t align) override {
        if (size > std::size_t{1} << 46) throw Refused("segment: larger than the address space");
        const std::size_t to = huge_pages_ && size >= huge && align < huge ? huge : align;
        const std::size_t bytes = span(size, to);
        void *base =
            mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (base == MAP_FAILED)
            throw Refused("segment: the system refused " + std::to_string(size) + " bytes");
        const std::uintptr_t first = reinterpret_cast<std::uintptr_t>(base) + page;
        const std::uintptr_t at = rounded(first, to > page ? to : page);
        auto *block = reinterpret_cast<char *>(at);
        const std::size_t usable = rounded(size != 0 ? size : 1, page);
        /* What is not needed goes back: the block keeps a guard page on either side. */
        if (at - page > reinterpret_cast<std::uintptr_t>(base))
            munmap(base, at - page - reinterpret_cast<std::uintptr_t>(base));
        char *const end = static_cast<char *>(base) + bytes;
        if (block + usable + page < end)
            munmap(block + usable + page, static_cast<std::size_t>(end - (block + usable + page)));
        if (mprotect(block, usable, PROT_READ | PROT_WRITE) != 0) {
            munmap(block - page, usable + 2 * page);
            throw Refused("segment: the system refused " + std::to_string(size) + " bytes");
        }
        if (huge_pages_ && size >= huge) madvise(block, usable, MADV_HUGEPAGE);
        return block;
    }
    void do_deallocate(void *block, std::size_t size, std::size_t) override {
        munmap(static_cast<char *>(block) - page, rounded(size != 0 ? size : 1, page) + 2 * page);
    }

    bool huge_pages_;
};

#endif
