/// shape.hpp - a shape from Python into the options of a structure.
#ifndef HOLDFAST_BINDINGS_SHM_SHAPE_HPP
#define HOLDFAST_BINDINGS_SHM_SHAPE_HPP

#include "shm.hpp"

namespace shm_binding {

/// Fills dimensions, shape and element_count of hf_shm_array_options or hf_shm_versioned_options.
template <class Options> void fill_shape(Options &options, const nb::tuple &shape) {
    if (shape.size() > HF_SHM_DIMENSIONS_MAX) {
        set_error_text(HF_E_INVALID, "a shape has 8 dimensions at most");
        throw nb::python_error();
    }
    options.dimensions = static_cast<std::uint32_t>(shape.size());
    options.element_count = 1;
    for (std::size_t i = 0; i < shape.size(); i++) {
        options.shape[i] = nb::cast<std::uint64_t>(shape[i]); /* Python looked whether it fits */
        if (__builtin_mul_overflow(options.element_count, options.shape[i],
                                   &options.element_count)) {
            set_error_text(HF_E_INVALID, "the shape has more elements than memory has bytes");
            throw nb::python_error();
        }
    }
}

} // namespace shm_binding

#endif
