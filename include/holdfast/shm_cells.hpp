/// shm_cells.hpp - numbers that any process changes in one step, as C++ owns them.
///
///   hf::shm::Cells<std::uint64_t> counts{segment, "counts", {.count = 16}};
///   counts.add(3, 1);      counts.wait(3, 0);  ...  counts.notify(3);
///   std::atomic_ref<std::uint64_t> cell = counts.ref(3);       every operation the machine has
///
/// Caveats
///  - What shm_cells.h says of killed processes, of doubles, and of waking.
///  - A reference must not outlive its cells. Its wait and notify do not reach other processes.
/// Talks to    shm_cells.h, error.hpp.
/// Threads     every function from any thread.
/// Fails with  InvalidArgument (no such cell), NotFound, Exists, Mismatch, OutOfMemory.
#ifndef HOLDFAST_SHM_CELLS_HPP
#define HOLDFAST_SHM_CELLS_HPP

#include <atomic>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <string>

#include <holdfast/error.hpp>
#include <holdfast/shm_cells.h>
#include <holdfast/shm_owned.hpp>
#include <holdfast/shm_wait.hpp>

namespace hf::shm {

template <class T>
concept Cell = std::same_as<T, std::int64_t> || std::same_as<T, std::uint64_t> ||
    std::same_as<T, std::int32_t> || std::same_as<T, std::uint32_t> || std::same_as<T, double>;

struct CellsOptions {
    std::uint64_t count = 0;
    bool packed = false; // side by side instead of one per 64 bytes
};

template <Cell T> class Cells : public detail::Owned<hf_shm_cells, &hf_shm_cells_close> {
public:
    using value_type = T;
    static constexpr hf_shm_cell_type type = std::same_as<T, std::int64_t>    ? HF_SHM_CELL_I64
                                             : std::same_as<T, std::uint64_t> ? HF_SHM_CELL_U64
                                             : std::same_as<T, std::int32_t>  ? HF_SHM_CELL_I32
                                             : std::same_as<T, std::uint32_t> ? HF_SHM_CELL_U32
                                                                              : HF_SHM_CELL_F64;

    Cells(hf_shm *segment, const std::string &name, const CellsOptions &options,
          hf_shm_mode mode = HF_SHM_OPEN_OR_CREATE) {
        hf_shm_cells_options native;
        hf_shm_cells_options_init(&native, type, options.count);
        native.packed = options.packed ? 1 : 0;
        hf::check(hf_shm_cells_open(segment, hf::detail::c_name(name), mode, &native, &native_),
                  hf_shm_detail());
    }

    [[nodiscard]] T load(std::uint64_t index) const { return ref(index).load(); }
    void store(std::uint64_t index, T value) const { ref(index).store(value); }
    T exchange(std::uint64_t index, T value) const { return ref(index).exchange(value); }
    /// These return what was there before.
    T add(std::uint64_t index, T value) const { return change(&hf_shm_cells_add, index, value); }
    T min(std::uint64_t index, T value) const { return change(&hf_shm_cells_min, index, value); }
    T max(std::uint64_t index, T value) const { return change(&hf_shm_cells_max, index, value); }
    /// True if `expected` was there; otherwise it becomes what was.
    bool compare_exchange(std::uint64_t index, T &expected, T value) const {
        return ref(index).compare_exchange_strong(expected, value);
    }
    /// Sleeps while the cell is `value`; false if it was for that long.
    bool wait(std::uint64_t index, T value, Timeout timeout = forever) const {
        const hf::Status status = hf_shm_cells_wait(native_, index, cell(value), timeout.ns());
        if (status == HF_E_TIMEOUT) return false;
        hf::check(status, hf_shm_detail());
        return true;
    }
    void notify(std::uint64_t index, std::uint32_t count = UINT32_MAX) const {
        hf::check(hf_shm_cells_notify(native_, index, count), hf_shm_detail());
    }
    [[nodiscard]] std::atomic_ref<T> ref(std::uint64_t index) const {
        void *at = hf_shm_cells_at(native_, index);
        if (at == nullptr) hf::raise(HF_E_INVALID, "there is no such cell");
        return std::atomic_ref<T>(*static_cast<T *>(at));
    }
    [[nodiscard]] std::uint64_t size() const noexcept { return hf_shm_cells_count(native_); }

private:
    static hf_shm_cell cell(T value) noexcept {
        hf_shm_cell cell{};
        std::memcpy(&cell, &value, sizeof value);
        return cell;
    }
    template <class Function> T change(Function *function, std::uint64_t index, T value) const {
        hf_shm_cell before{};
        hf::check(function(native_, index, cell(value), &before), hf_shm_detail());
        T result;
        std::memcpy(&result, &before, sizeof result);
        return result;
    }
};

} // namespace hf::shm

#endif
