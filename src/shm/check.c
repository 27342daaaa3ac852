/* check.c - is everything what it should be, and what can be put right?
 *
 * Contract    check changes nothing and may run at any time: what is changed by living participants
 *             meanwhile is no fault. repair takes the table's lock.
 * Threads     any; each structure is held while its kind looks at it.
 * Fails with  HF_E_CORRUPT when anything was found; each fault is a sentence.
 * Talks to    table, the kinds.   Called by users and the command line. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "os/os.h"
#include "segment_state.h"

struct hfi_shm_finding {
    const char *name;
    hf_shm_fault_visitor visitor;
    void *context;
    size_t count;
    bool stopped;
};

void hfi_shm_fault(struct hfi_shm_finding *finding, const char *format, ...) {
    char text[400];
    va_list values;
    va_start(values, format);
    (void)vsnprintf(text, sizeof text, format, values);
    va_end(values);
    finding->count++;
    if (finding->count == 1)
        (void)hfi_shm_say(HF_E_CORRUPT, "%s%s%.300s", finding->name,
                          finding->name[0] != '\0' ? ": " : "", text);
    if (finding->visitor != NULL && !finding->stopped)
        finding->stopped = finding->visitor(finding->name, text, finding->context) != 0;
}

/* --- header and table ------------------------------------------------------------------------- */

static void header_check(hf_shm *shm, struct hfi_shm_finding *finding) {
    struct hfi_shm_header *header = hfi_shm_header_of(shm);
    struct hfi_shm_constants now;
    memcpy(&now, &header->constants, sizeof now);
    if (header->magic != HFI_SHM_MAGIC || header->layout != HFI_SHM_LAYOUT ||
        memcmp(&now, &shm->geometry.c, sizeof now) != 0 ||
        header->checksum != hfi_shm_checksum(&shm->geometry.c))
        hfi_shm_fault(finding, "the header is not what it was when this process opened it");
    uint32_t state = hfi_shm_load32(&header->state);
    if (state != HFI_SHM_READY && state != HFI_SHM_REMOVED)
        hfi_shm_fault(finding, "the state in the header is %u, which is none", state);
    uint64_t size = hfi_shm_load64(&header->size);
    struct hfi_os_file file;
    if (size > shm->reserved || size % HFI_PAGE != 0 || size <= shm->geometry.c.data_at)
        hfi_shm_fault(finding, "the size in the header is %llu, and at most %llu is possible",
                      (unsigned long long)size, (unsigned long long)shm->reserved);
    else if (hfi_os_shm_stat(shm->view, &file) == 0 && file.size < size)
        hfi_shm_fault(finding, "the file was cut short: %llu bytes of %llu",
                      (unsigned long long)file.size, (unsigned long long)size);
    if (hfi_shm_load32(&header->entries_high) > shm->geometry.c.entries_max)
        hfi_shm_fault(finding, "the header speaks of %u rows of %u",
                      hfi_shm_load32(&header->entries_high), shm->geometry.c.entries_max);
    for (uint32_t i = 0; i < hfi_shm_places(shm); i++) {
        uint32_t place = hfi_shm_load32(&hfi_shm_place_of(shm, i)->state);
        if (place > HFI_SHM_LEFT)
            hfi_shm_fault(finding, "participant %u has state %u, which is none", i, place);
    }
}

/* Bits of users above the number of places. */
static uint64_t impossible_users(const hf_shm *shm, uint32_t word) {
    uint32_t left = hfi_shm_places(shm) - word * 64;
    return left >= 64 ? 0 : ~UINT64_C(0) << left;
}

static void row_check(hf_shm *shm, uint32_t index, struct hfi_shm_finding *finding) {
    struct hfi_shm_row *row = hfi_shm_row_of(shm, index);
    struct hfi_shm_sight sight;
    char name[HFI_SHM_NAME_SIZE];
    uint64_t control = hfi_shm_load64(&row->control);
    if (hfi_shm_control_state(control) > HFI_SHM_ROW_FREEING) {
        hfi_shm_fault(finding, "entry %u has state %u, which is none", index,
                      hfi_shm_control_state(control));
        return;
    }
    for (uint32_t w = 0; w < shm->geometry.user_words; w++)
        if ((hfi_shm_load64(&row->tail[w]) & impossible_users(shm, w)) != 0)
            hfi_shm_fault(finding, "entry %u is used by participants that cannot be", index);
    if (!hfi_shm_see(shm, index, &sight, name, NULL)) return;
    const struct hfi_shm_facts *f = &sight.facts;
    if (!hfi_shm_sound(shm, f)) {
        hfi_shm_fault(finding, "entry %u (\"%.60s\"): offset %llu, size %llu, kind %u cannot be",
                      index, name, (unsigned long long)f->offset, (unsigned long long)f->size,
                      f->kind);
        return;
    }
    if (f->hash != hfi_shm_hash(name))
        hfi_shm_fault(finding, "entry %u: \"%.60s\" is not the name it was published with", index,
                      name);
}

/* Two structures in the same bytes. */
static void overlap_check(hf_shm *shm, struct hfi_shm_finding *finding) {
    uint32_t rows = hfi_shm_rows(shm);
    struct hfi_shm_space space = hfi_shm_space(shm);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < rows; i++) {
        struct hfi_shm_sight sight;
        if (hfi_shm_see(shm, i, &sight, NULL, NULL) && hfi_shm_sound(shm, &sight.facts))
            sum += hfi_shm_footprint(sight.facts.size);
    }
    if (sum <= space.used) return;
    /* Joined extents are shorter than their sum: say which, slowly. */
    for (uint32_t i = 0; i < rows; i++)
        for (uint32_t k = i + 1; k < rows; k++) {
            struct hfi_shm_sight a, b;
            if (!hfi_shm_see(shm, i, &a, NULL, NULL) || !hfi_shm_see(shm, k, &b, NULL, NULL) ||
                !hfi_shm_sound(shm, &a.facts) || !hfi_shm_sound(shm, &b.facts))
                continue;
            if (a.facts.offset < b.facts.offset + b.facts.size &&
                b.facts.offset < a.facts.offset + a.facts.size)
                hfi_shm_fault(finding, "entries %u and %u lie in the same bytes", i, k);
        }
}

/* --- structures ------------------------------------------------------------------------------- */

enum task { TASK_CHECK, TASK_REPAIR, TASK_FIGURES };

struct visit {
    enum task task;
    struct hfi_shm_finding *finding;
    size_t repaired;
    hf_shm_figures figures;
};

/* Holds a structure and lets its kind look at it. */
static void visit_row(hf_shm *shm, const struct hfi_shm_sight *sight, const char *name,
                      struct visit *visit) {
    struct hfi_shm_part part;
    const struct hfi_shm_kind *kind = hfi_shm_kind_of(shm, sight, &part);
    if (kind == NULL) return;
    bool watches = hfi_shm_self(shm) == 0;
    if (watches ? !hfi_shm_same_row(shm, sight) : !hfi_shm_hold(shm, sight)) return;
    if (visit->task == TASK_CHECK && kind->check != NULL) {
        /* A watcher holds nothing: what it found in bytes that are others' meanwhile is no fault. */
        struct hfi_shm_finding quiet = {.name = name};
        if (watches) kind->check(&part, &quiet);
        visit->finding->name = name;
        if (!watches || (quiet.count > 0 && hfi_shm_same_row(shm, sight)))
            kind->check(&part, visit->finding);
        visit->finding->name = "";
    }
    if (visit->task == TASK_REPAIR && kind->repair != NULL) visit->repaired += kind->repair(&part);
    if (visit->task == TASK_FIGURES && kind->figures != NULL) kind->figures(&part, &visit->figures);
    if (!watches) hfi_shm_unhold(shm, sight->index, part.generation);
}

static hf_status visit_named(hf_shm *shm, const char *name, struct visit *visit) {
    struct hfi_shm_sight sight;
    if (!hfi_shm_name_is_sound(shm, name))
        return hfi_shm_say(HF_E_NOT_FOUND, "segment \"%s\": no structure has such a name",
                           shm->name);
    hf_status status = hfi_shm_lookup(shm, name, &sight, NULL);
    if (status == HF_OK) visit_row(shm, &sight, name, visit);
    return status;
}

static void visit_all(hf_shm *shm, struct visit *visit) {
    char name[HFI_SHM_NAME_SIZE];
    for (uint32_t i = 0, rows = hfi_shm_rows(shm); i < rows; i++) {
        struct hfi_shm_sight sight;
        if (hfi_shm_see(shm, i, &sight, name, NULL) &&
            hfi_shm_control_state(sight.control) == HFI_SHM_ROW_PUBLISHED)
            visit_row(shm, &sight, name, visit);
    }
}

hf_status hf_shm_check(hf_shm *shm, const char *name, hf_shm_fault_visitor visitor, void *context) {
    hf_status status = hfi_shm_readable(shm);
    if (status != HF_OK) return status;
    struct hfi_shm_finding finding = {.name = "", .visitor = visitor, .context = context};
    struct visit visit = {.task = TASK_CHECK, .finding = &finding};
    if (name == NULL || name[0] == '\0') {
        header_check(shm, &finding);
        for (uint32_t i = 0, rows = hfi_shm_rows(shm); i < rows; i++)
            row_check(shm, i, &finding);
        overlap_check(shm, &finding);
    }
    if (name == NULL)
        visit_all(shm, &visit);
    else if (name[0] != '\0')
        status = visit_named(shm, name, &visit);
    if (status == HF_OK && finding.count > 0) status = HF_E_CORRUPT;
    return status;
}

hf_status hf_shm_figures_of(hf_shm *shm, const char *name, hf_shm_figures *figures_out) {
    hf_status status = hfi_shm_readable(shm);
    if (status != HF_OK) return status;
    if (figures_out == NULL)
        return hfi_shm_say(HF_E_INVALID, "hf_shm_figures_of: figures_out is NULL");
    struct visit visit = {.task = TASK_FIGURES};
    status = visit_named(shm, name, &visit);
    if (status == HF_OK) *figures_out = visit.figures;
    return status;
}

/* --- repair ----------------------------------------------------------------------------------- */

/* Under the table's lock. What cannot be loses its row: where its bytes lie, nobody can tell. */
static size_t row_repair(hf_shm *shm, uint32_t index) {
    struct hfi_shm_row *row = hfi_shm_row_of(shm, index);
    uint64_t control = hfi_shm_load64(&row->control);
    uint32_t next = hfi_shm_control_generation(control) + 1;
    struct hfi_shm_sight sight = {.index = index};
    char name[HFI_SHM_NAME_SIZE];
    size_t repaired = 0;
    for (uint32_t w = 0; w < shm->geometry.user_words; w++) {
        uint64_t users = hfi_shm_load64(&row->tail[w]), wrong = users & impossible_users(shm, w);
        for (uint64_t left = users & ~wrong; left != 0; left &= left - 1) {
            uint32_t place = w * 64 + (uint32_t)__builtin_ctzll(left);
            /* A living participant sets its bits after its place says so. */
            if (hfi_shm_load32(&hfi_shm_place_of(shm, place)->state) == HFI_SHM_FREE)
                wrong |= UINT64_C(1) << (place % 64);
        }
        if (wrong != 0) (void)hfi_shm_and64(&row->tail[w], ~wrong);
        repaired += wrong != 0;
    }
    if (hfi_shm_control_state(control) == HFI_SHM_ROW_EMPTY) return repaired;
    bool seen = hfi_shm_see(shm, index, &sight, name, NULL);
    bool sound = seen && hfi_shm_sound(shm, &sight.facts);
    struct hfi_shm_facts meant = sight.facts;
    meant.hash = hfi_shm_hash(name);
    if (seen && !sound) {
        sound = hfi_shm_sound(shm, &meant); /* only the hash was hit */
    } else if (sound && sight.facts.hash != meant.hash) {
        meant.checksum = hfi_shm_facts_checksum(&meant); /* only the name was: it is a new one */
    }
    if (!sound)
        return repaired +
               hfi_shm_swap64(&row->control, &control, hfi_shm_control(next, 0, HFI_SHM_ROW_EMPTY));
    if (memcmp(&meant, &sight.facts, sizeof meant) != 0) {
        hfi_shm_facts_write(row, &meant);
        repaired++;
    }
    hfi_shm_reclaim(shm, index);
    return repaired;
}

static size_t header_repair(hf_shm *shm) {
    struct hfi_shm_header *header = hfi_shm_header_of(shm);
    size_t repaired = 0;
    uint32_t high = 0;
    for (uint32_t i = 0; i < shm->geometry.c.entries_max; i++)
        if (hfi_shm_load64(&hfi_shm_row_of(shm, i)->control) != 0) high = i + 1;
    uint32_t now = hfi_shm_load32(&header->entries_high); /* one killed early leaves it higher */
    if (now < high || now > shm->geometry.c.entries_max) {
        hfi_shm_store32(&header->entries_high, high);
        repaired++;
    }
    uint32_t state = hfi_shm_load32(&header->state);
    if (state != HFI_SHM_READY && state != HFI_SHM_REMOVED) {
        hfi_shm_store32(&header->state, HFI_SHM_READY);
        repaired++;
    }
    uint64_t dirty = hfi_shm_load64(&header->dirty_end), size = hfi_shm_size(shm);
    uint64_t said = hfi_shm_load64(&header->size);
    struct hfi_os_file file;
    bool cut = hfi_os_shm_stat(shm->view, &file) == 0 && file.size < said;
    if (said > shm->reserved || said % HFI_PAGE != 0 || said < size || cut) {
        hfi_shm_store64(&header->size, size);
        repaired++;
    }
    /* Zeroing more than needed costs time alone. */
    if (dirty < shm->geometry.c.data_at || dirty > shm->reserved) {
        hfi_shm_store64(&header->dirty_end, shm->reserved);
        repaired++;
    }
    if (header->magic != HFI_SHM_MAGIC || header->layout != HFI_SHM_LAYOUT ||
        header->machine != hfi_shm_machine() ||
        memcmp(&header->constants, &shm->geometry.c, sizeof shm->geometry.c) != 0 ||
        header->checksum != hfi_shm_checksum(&shm->geometry.c)) {
        header->magic = HFI_SHM_MAGIC;
        header->layout = HFI_SHM_LAYOUT;
        header->machine = hfi_shm_machine();
        header->constants = shm->geometry.c;
        header->checksum = hfi_shm_checksum(&shm->geometry.c);
        repaired++;
    }
    return repaired;
}

static size_t places_repair(hf_shm *shm) {
    size_t repaired = 0;
    for (uint32_t i = 0; i < hfi_shm_places(shm); i++) {
        _Atomic uint32_t *state = &hfi_shm_place_of(shm, i)->state;
        uint32_t was = hfi_shm_load32(state);
        /* A living one whose state was overwritten is joined; garbage of nobody is to be recovered. */
        if (was > HFI_SHM_LEFT || (i + 1 == hfi_shm_self(shm) && was != HFI_SHM_JOINED)) {
            hfi_shm_store32(state, HFI_SHM_JOINED);
            repaired++;
        }
    }
    return repaired;
}

hf_status hf_shm_repair(hf_shm *shm, const char *name, size_t *repaired_out) {
    hf_status status = hfi_shm_usable(shm);
    if (status != HF_OK) return status;
    struct visit visit = {.task = TASK_REPAIR};
    if (name == NULL || name[0] == '\0') {
        visit.repaired += places_repair(shm);
        status = hfi_shm_table_lock(shm);
        if (status != HF_OK) return status;
        visit.repaired += header_repair(shm);
        for (uint32_t i = 0, rows = hfi_shm_rows(shm); i < rows; i++)
            visit.repaired += row_repair(shm, i);
        hfi_shm_table_unlock(shm);
        visit.repaired += hfi_shm_sweep_all(shm);
    }
    if (name == NULL)
        visit_all(shm, &visit);
    else if (name[0] != '\0')
        status = visit_named(shm, name, &visit);
    if (status == HF_OK && repaired_out != NULL) *repaired_out = visit.repaired;
    return status;
}
