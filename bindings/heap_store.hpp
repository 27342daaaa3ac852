/// heap_store.hpp - array memory on a heap, and on any std::pmr resource.
///
/// Invariants  a heap is pinned while arrays live on it, so that close answers HF_E_BUSY.
/// Talks to    store.hpp, heap_state.hpp.   Used by array_handler.hpp, bind_array.cpp.
/// Threads     as store.hpp. A resource may run Python (a callback, a site): no lock is held then.
#ifndef HOLDFAST_BINDINGS_HEAP_STORE_HPP
#define HOLDFAST_BINDINGS_HEAP_STORE_HPP

#include "heap_state.hpp"
#include "store.hpp"

#include <memory_resource>

/// Small blocks wait here, like in NumPy's own cache; the rest the heap keeps better itself.
class HeapStore final : public Store, private HeapLodger {
public:
    explicit HeapStore(std::shared_ptr<HeapState> heap) : Store(4096, 16), heap_(std::move(heap)) {
        heap_->move_in(this);
    }
    ~HeapStore() override {
        heap_->move_out(this);
        close_down();
    }

    [[nodiscard]] bool owns(const void *address) const noexcept override {
        if (hf_owns(address) == 0) return false;
        /* The header is aligned up inside its block, whose start the heap knows. Blocks that were
         * aligned further are not found; the default handler makes none. */
        const char *header = static_cast<const char *>(address) - sizeof(BlockHeader);
        for (std::size_t before = 0; before < 64; before += 16)
            if (hf_heap *found = hf_heap_of(header - before))
                return hf::HeapRef(found) == heap_->heap();
        return false;
    }
    [[nodiscard]] bool closed() const noexcept override { return !heap_->open(); }
    [[nodiscard]] const char *kind() const noexcept override { return "heap"; }
    [[nodiscard]] std::string name() const override {
        if (!heap_->pin()) return "";
        std::string found(heap_->heap().name());
        heap_->unpin();
        return found;
    }
    [[nodiscard]] std::uint64_t id() const noexcept override {
        if (!heap_->pin()) return 0;
        const std::uint64_t found = heap_->heap().id();
        heap_->unpin();
        return found;
    }

private:
    void *obtain(std::size_t bytes) noexcept override {
        return heap_->heap().try_allocate(bytes, 64);
    }
    void give_back(void *base, std::size_t) noexcept override { heap_->heap().deallocate(base); }
    void *obtain_zeroed(std::size_t bytes) noexcept override {
        return hf_heap_calloc(heap_->heap().native(), 1, bytes);
    }
    void *move(void *base, std::size_t, std::size_t bytes) noexcept override {
        return hf_heap_realloc(heap_->heap().native(), base, bytes);
    }
    bool pin() noexcept override { return heap_->pin(); }
    void unpin() noexcept override { heap_->unpin(); }
    long settle() noexcept override {
        flush();
        return live();
    }

    std::shared_ptr<HeapState> heap_;
};

class ResourceStore final : public Store {
public:
    ResourceStore(std::shared_ptr<std::pmr::memory_resource> resource, std::string name)
        : Store(0, 0, true), resource_(std::move(resource)), name_(std::move(name)) {}
    ~ResourceStore() override { close_down(); }

    [[nodiscard]] bool owns(const void *) const noexcept override { return false; }
    [[nodiscard]] bool can_tell() const noexcept override { return false; }
    [[nodiscard]] const char *kind() const noexcept override { return "resource"; }
    [[nodiscard]] std::string name() const override { return name_; }

private:
    void *obtain(std::size_t bytes) noexcept override;
    void give_back(void *base, std::size_t bytes) noexcept override {
        resource_->deallocate(base, bytes, 64);
    }

    std::shared_ptr<std::pmr::memory_resource> resource_;
    std::string name_;
};

#endif
