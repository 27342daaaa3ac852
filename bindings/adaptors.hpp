/// adaptors.hpp - resources on resources: limit, count, track, log, retry, prefault, place.
///
///   Statistics ── Limit ── Track ── Heap     any order: each only sees the one below
///
/// Invariants  what was allocated through an adaptor is given back through it, in the same sizes.
/// Talks to    resources.hpp.   Used by bind_resource.cpp.
/// Threads     any. Track and OnFailure run Python: the caller holds the GIL when it allocates.
/// Fails with  what the resource below throws; Limit throws Refused with HF_E_LIMIT.
#ifndef HOLDFAST_BINDINGS_ADAPTORS_HPP
#define HOLDFAST_BINDINGS_ADAPTORS_HPP

#include "core.hpp"
#include "placement.hpp"
#include "resources.hpp"

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

class Adaptor : public Resource {
public:
    explicit Adaptor(ResourceRef below) : below_(std::move(below)) {}

protected:
    void do_deallocate(void *block, std::size_t size, std::size_t align) override {
        below_->deallocate(block, size, align);
    }
    ResourceRef below_;
};

class LimitAdaptor final : public Adaptor {
public:
    LimitAdaptor(ResourceRef below, std::size_t limit, std::string name)
        : Adaptor(std::move(below)), limit_(limit), name_(std::move(name)) {}
    [[nodiscard]] std::size_t used() const noexcept { return used_.load(); }

private:
    void *do_allocate(std::size_t size, std::size_t align) override {
        std::size_t used = used_.load(std::memory_order_relaxed);
        do {
            if (size > limit_ || used > limit_ - size)
                throw Refused((name_.empty() ? "limit" : "limit of '" + name_ + "'") + ": " +
                                  std::to_string(size) + " bytes asked for, " +
                                  std::to_string(used) + " of " + std::to_string(limit_) +
                                  " are used",
                              HF_E_LIMIT);
        } while (!used_.compare_exchange_weak(used, used + size, std::memory_order_relaxed));
        try {
            return below_->allocate(size, align);
        } catch (...) {
            used_.fetch_sub(size, std::memory_order_relaxed);
            throw;
        }
    }
    void do_deallocate(void *block, std::size_t size, std::size_t align) override {
        below_->deallocate(block, size, align);
        used_.fetch_sub(size, std::memory_order_relaxed);
    }

    std::atomic<std::size_t> used_{0};
    const std::size_t limit_;
    const std::string name_;
};

/// A stack of counters; every allocation counts in all of them.
class StatisticsAdaptor final : public Adaptor {
public:
    struct Counter {
        long long bytes = 0, bytes_peak = 0, bytes_total = 0;
        long long blocks = 0, blocks_peak = 0, blocks_total = 0;
    };
    explicit StatisticsAdaptor(ResourceRef below) : Adaptor(std::move(below)), counters_(1) {}

    [[nodiscard]] Counter read() {
        const std::lock_guard hold(mutex_);
        return counters_.back();
    }
    [[nodiscard]] std::size_t depth() {
        const std::lock_guard hold(mutex_);
        return counters_.size();
    }
    void push() {
        const std::lock_guard hold(mutex_);
        counters_.emplace_back();
    }
    [[nodiscard]] Counter pop() {
        const std::lock_guard hold(mutex_);
        if (counters_.size() == 1) hf::raise(HF_E_INVALID, "pop without push");
        const Counter top = counters_.back();
        counters_.pop_back();
        return top;
    }

private:
    void *do_allocate(std::size_t size, std::size_t align) override {
        void *block = below_->allocate(size, align);
        const std::lock_guard hold(mutex_);
        for (Counter &counter : counters_) {
            counter.bytes += static_cast<long long>(size);
            counter.bytes_total += static_cast<long long>(size);
            counter.bytes_peak = std::max(counter.bytes_peak, counter.bytes);
            counter.blocks++;
            counter.blocks_total++;
            counter.blocks_peak = std::max(counter.blocks_peak, counter.blocks);
        }
        return block;
    }
    void do_deallocate(void *block, std::size_t size, std::size_t align) override {
        below_->deallocate(block, size, align);
        const std::lock_guard hold(mutex_);
        for (Counter &counter : counters_) {
            counter.bytes -= static_cast<long long>(size);
            counter.blocks--;
        }
    }

    std::mutex mutex_;
    std::vector<Counter> counters_; /* guarded by: mutex_ */
};

/// Remembers what is out and which line asked for it.
class TrackAdaptor final : public Adaptor {
public:
    struct Block {
        std::uintptr_t address;
        std::size_t size;
        std::string site;
    };
    TrackAdaptor(ResourceRef below, unsigned frames, std::string ours)
        : Adaptor(std::move(below)), frames_(frames), ours_(std::move(ours)) {}

    [[nodiscard]] std::vector<Block> outstanding() {
        std::vector<Block> made;
        const std::lock_guard hold(mutex_);
        for (const auto &[address, block] : blocks_)
            made.push_back({reinterpret_cast<std::uintptr_t>(address), block.size, block.site});
        return made;
    }

private:
    struct Entry {
        std::size_t size;
        std::string site;
    };
    void *do_allocate(std::size_t size, std::size_t align) override;
    void do_deallocate(void *block, std::size_t size, std::size_t align) override {
        {
            const std::lock_guard hold(mutex_); /* before it can be handed out again */
            blocks_.erase(block);
        }
        below_->deallocate(block, size, align);
    }

    const unsigned frames_;
    const std::string ours_; /* folder whose lines are not counted */
    std::mutex mutex_;
    std::unordered_map<void *, Entry> blocks_; /* guarded by: mutex_ */
};

/// One line of CSV per operation: time_ns,thread,operation,address,size,align.
class LogAdaptor final : public Adaptor {
public:
    LogAdaptor(ResourceRef below, const std::string &path);
    ~LogAdaptor() override;

private:
    void *do_allocate(std::size_t size, std::size_t align) override;
    void do_deallocate(void *block, std::size_t size, std::size_t align) override;
    void line(const char *operation, const void *block, std::size_t size, std::size_t align) const;

    int file_;
};

/// Asks a callback whether to try again when the resource below has no memory.
class FailureAdaptor final : public Adaptor {
public:
    FailureAdaptor(ResourceRef below, nb::object callback)
        : Adaptor(std::move(below)), callback_(std::move(callback)) {}
    ~FailureAdaptor() override;

private:
    void *do_allocate(std::size_t size, std::size_t align) override;
    nb::object callback_;
};

/// Pages are there before the block is used.
class PrefaultAdaptor final : public Adaptor {
    using Adaptor::Adaptor;
    void *do_allocate(std::size_t size, std::size_t align) override;
};

/// Pages wholly inside the block come from a NUMA node.
class PlaceAdaptor final : public Adaptor {
public:
    PlaceAdaptor(ResourceRef below, unsigned node) : Adaptor(std::move(below)), node_(node) {}

private:
    void *do_allocate(std::size_t size, std::size_t align) override {
        void *block = below_->allocate(size, align);
        (void)place_pages(block, size, node_); /* a wish: the block is good all the same */
        return block;
    }
    unsigned node_;
};

#endif
