/// report_dict.hpp - one hf::Report as a Python dictionary, field by field.
///
/// Used by     bind_report.cpp, bind_safe_point.cpp.
#ifndef HOLDFAST_BINDINGS_REPORT_DICT_HPP
#define HOLDFAST_BINDINGS_REPORT_DICT_HPP

#include "core.hpp"

#include <cstdint>
#include <string>

inline const char *domain_name(hf_domain domain) {
    switch (domain) {
    case HF_DOMAIN_LIBC: return "libc";
    case HF_DOMAIN_PY_RAW: return "raw";
    case HF_DOMAIN_PY_MEM: return "mem";
    case HF_DOMAIN_PY_OBJ: return "obj";
    }
    return "unknown";
}

inline nb::dict report_dict(const hf::Report &report) {
    const auto number = [](const void *address) {
        return reinterpret_cast<std::uintptr_t>(address);
    };
    nb::dict fields;
    fields["kind"] = report.kind_name();
    fields["sentence"] = report.sentence();
    fields["anchor"] = report.anchor();
    fields["time_ns"] = report.time_ns;
    fields["thread_id"] = report.thread_id;
    fields["found_by"] = text_from_c(report.found_by ? report.found_by : "");
    fields["address"] = number(report.address);
    fields["block"] = number(report.block);
    fields["block_size"] = report.block_size;
    fields["class_size"] = report.class_size;
    fields["damage_offset"] = report.damage_offset;
    fields["damage_length"] = report.damage_length;
    fields["expected"] = report.expected;
    fields["found"] = report.found;
    const std::uint32_t count =
        report.bytes_count < HF_REPORT_BYTES ? report.bytes_count : HF_REPORT_BYTES;
    fields["data"] = nb::bytes(reinterpret_cast<const char *>(report.bytes), count);
    fields["domain"] = domain_name(report.domain);
    fields["freed_as"] = domain_name(report.freed_as);
    fields["given_size"] = report.given_size;
    fields["owner"] = text_from_c(report.owner ? report.owner : "");
    fields["heap_id"] = report.heap_id;
    fields["site_noticed"] = text_from_c(report.site_noticed);
    fields["site_allocated"] = text_from_c(report.site_allocated);
    fields["site_freed"] = text_from_c(report.site_freed);
    fields["text"] = text_from_c(report.text().c_str());
    return fields;
}

#endif
