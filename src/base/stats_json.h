/* stats_json.h - figures as JSON, for the files that compose larger objects.
 * Threads    stateless; nothing allocates.
 * Called by  hf_stats_json, hf_process_json. */
#ifndef HFI_STATS_JSON_H
#define HFI_STATS_JSON_H

#include <holdfast/stats.h>

#include "format.h"

/* {"profile":"checked", every name of stats.def, "hit_rate":0.9987, ...}; the derived figures are
 * explained in stats_json.c. */
void hfi_write_stats(hfi_writer *writer, const hf_stats *stats);
/* [{"size":48,...},...]; classes that were never used are left out. */
void hfi_write_class_stats(hfi_writer *writer, const hf_class_stats *classes, size_t count);

#endif
