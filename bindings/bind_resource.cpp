/// bind_resource.cpp - resources in Python: leaves, adaptors, and Buffers from them.
///
/// Talks to    resources.hpp, adaptors.hpp, buffer.hpp.   Used by holdfast/mr.py.
/// Fails with  OutOfMemoryError, InvalidArgumentError; what a callback raises goes through.
#include "adaptors.hpp"
#include "arena_access.hpp"
#include "array_handler.hpp"
#include "buffer.hpp"
#include "heap_access.hpp"
#include "heap_store.hpp"
#include "pool_handle.hpp"

#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <cstring>

namespace {

struct PyResource {
    ResourceRef resource;
};

/// Blocks of a holdfast.Pool. Whoever calls holds the GIL, as the Pool's own methods do.
class LentPool final : public Resource {
public:
    explicit LentPool(pool_binding::PoolObject *pool)
        : pool_(pool), owner_(nb::borrow(reinterpret_cast<PyObject *>(pool))) {
        enter();
        hf_pool_figures figures{};
        (void)hf_pool_figures_of(pool_->pool, &figures);
        pool_->users.step_down();
        size_ = figures.block_size;
        /* Blocks follow each other from a page on, so that many are aligned further than asked. */
        align_ = std::min<std::size_t>(figures.stride & -figures.stride, HF_POOL_ALIGNMENT_MAX);
    }
    ~LentPool() override {
        const PyGILState_STATE gil = PyGILState_Ensure();
        owner_.reset();
        PyGILState_Release(gil);
    }

private:
    void enter() const {
        if (!pool_->users.step_up()) hf::raise(HF_E_CLOSED, "the pool is closed");
    }
    void *do_allocate(std::size_t size, std::size_t align) override {
        const std::string who = "pool of " + std::to_string(size_) + "-byte blocks: ";
        if (size > size_ || align > align_)
            throw Refused(who + std::to_string(size) + " bytes at a multiple of " +
                          std::to_string(align) + " do not fit; blocks are aligned to " +
                          std::to_string(align_));
        void *block = nullptr;
        enter();
        const hf_status status = hf_pool_acquire_within(pool_->pool, 0, &block);
        pool_->users.step_down();
        if (status != HF_OK) throw Refused(who + "all are out", HF_E_LIMIT);
        return block;
    }
    void do_deallocate(void *block, std::size_t, std::size_t) override {
        pool_binding::block_give_back(pool_, block);
    }

    pool_binding::PoolObject *pool_;
    nb::object owner_;
    std::size_t size_ = 0, align_ = 0;
};

/// A Buffer's way back.
class ResourceLender final : public Lender {
public:
    explicit ResourceLender(ResourceRef resource) : resource_(std::move(resource)) {}
    bool pin_view(const Ticket &) noexcept override { return true; }
    void unpin_view(const Ticket &) noexcept override {}
    bool has(const Ticket &) const noexcept override { return true; }
    void free_block(void *address, std::size_t size, std::size_t align) noexcept override {
        resource_->deallocate(address, size, align);
    }
    void *move_block(void *address, std::size_t size, std::size_t fresh,
                     std::size_t align) override {
        void *moved = resource_->allocate(fresh, align);
        std::memcpy(moved, address, std::min(size, fresh));
        resource_->deallocate(address, size, align);
        return moved;
    }
    const char *gone() const noexcept override { return ""; }

private:
    ResourceRef resource_;
};

Buffer *alloc(const PyResource &self, std::size_t size, std::size_t align) {
    auto lender = std::make_shared<ResourceLender>(self.resource);
    void *block = self.resource->allocate(size, align);
    return new Buffer(std::move(lender), block, size, align);
}

template <class Made, class... Args> PyResource make(Args &&...args) {
    return PyResource{std::make_shared<Made>(std::forward<Args>(args)...)};
}

template <class Made> Made &as(const PyResource &self) {
    auto *made = dynamic_cast<Made *>(self.resource.get());
    if (made == nullptr) hf::raise(HF_E_INVALID, "the resource is of another kind");
    return *made;
}

nb::tuple row_of(const StatisticsAdaptor::Counter &c) {
    return nb::make_tuple(c.bytes, c.bytes_peak, c.bytes_total, c.blocks, c.blocks_peak,
                          c.blocks_total);
}

/// Rows (address, size, site).
nb::list outstanding(const PyResource &self) {
    nb::list rows;
    for (const TrackAdaptor::Block &block : as<TrackAdaptor>(self).outstanding())
        rows.append(nb::make_tuple(block.address, block.size, text_from_c(block.site.c_str())));
    return rows;
}

void bind_leaves(nb::module_ &module) {
    module.def("heap_resource",
               [](nb::handle heap) { return make<HeapResource>(heap_state_of(heap)); });
    module.def("arena_resource",
               [](nb::handle arena) { return make<ArenaResource>(arena_state_of(arena)); });
    module.def("pool_resource", [](std::size_t size, std::size_t align, std::size_t capacity,
                                   const std::string &name) {
        return make<PoolResource>(size, align, capacity, name);
    });
    module.def("lent_pool_resource", [](nb::handle pool) {
        auto *object = pool_binding::pool_of_object(pool.ptr());
        if (object == nullptr) throw nb::type_error("a Pool is needed");
        return make<LentPool>(object);
    });
    module.def("segment_resource", [](bool huge) { return make<SegmentResource>(huge); });
}

void bind_adaptors(nb::module_ &module) {
    using Below = const PyResource &;
    module.def("limit_resource", [](Below below, std::size_t limit, const std::string &name) {
        return make<LimitAdaptor>(below.resource, limit, name);
    });
    module.def("statistics_resource",
               [](Below below) { return make<StatisticsAdaptor>(below.resource); });
    module.def("track_resource", [](Below below, unsigned frames, const std::string &ours) {
        return make<TrackAdaptor>(below.resource, frames, ours);
    });
    module.def("log_resource", [](Below below, const std::string &path) {
        return make<LogAdaptor>(below.resource, path);
    });
    module.def("failure_resource", [](Below below, nb::object callback) {
        return make<FailureAdaptor>(below.resource, std::move(callback));
    });
    module.def("prefault_resource",
               [](Below below) { return make<PrefaultAdaptor>(below.resource); });
    module.def("place_resource",
               [](Below below, unsigned node) { return make<PlaceAdaptor>(below.resource, node); });
}

} // namespace

void bind_resource(nb::module_ &module) {
    nb::class_<PyResource>(module, "Resource", "A memory resource; see holdfast.mr.")
        .def("alloc", &alloc, nb::arg("size"), nb::arg("align"), nb::rv_policy::take_ownership)
        .def("handler",
             [](const PyResource &self, const std::string &name) {
                 return std::make_shared<ArrayHandler>(
                     std::make_shared<ResourceStore>(self.resource, name));
             })
        .def("used", [](const PyResource &self) { return as<LimitAdaptor>(self).used(); })
        .def("counter",
             [](const PyResource &self) { return row_of(as<StatisticsAdaptor>(self).read()); })
        .def("depth", [](const PyResource &self) { return as<StatisticsAdaptor>(self).depth(); })
        .def("push", [](const PyResource &self) { as<StatisticsAdaptor>(self).push(); })
        .def("pop",
             [](const PyResource &self) { return row_of(as<StatisticsAdaptor>(self).pop()); })
        .def("outstanding", &outstanding);
    bind_leaves(module);
    bind_adaptors(module);
}
