/// bind_owner.cpp - everything in the process that owns memory, as rows.
///
/// Talks to    owner.h.   Used by holdfast/owners.py.
#include "core.hpp"
#include "stats_row.hpp"

#include <holdfast/owner.h>

#include <vector>

namespace {

int collect(const hf_owner *owner, void *context) {
    static_cast<std::vector<hf_owner> *>(context)->push_back(*owner);
    return 0;
}

/// Rows (id, kind, name, stats).
nb::list owners() {
    std::vector<hf_owner> found;
    {
        const nb::gil_scoped_release released;
        hf::check(hf_owners_visit(collect, &found));
    }
    nb::list rows;
    for (const hf_owner &owner : found)
        rows.append(nb::make_tuple(owner.id, hf_owner_kind_name(owner.kind),
                                   text_from_c(owner.name), stats_row(owner.stats)));
    return rows;
}

} // namespace

void bind_owner(nb::module_ &module) {
    module.def("owners", &owners, "Rows (id, kind, name, stats) of every owner of memory.");
}
