/* create.c - a new segment: what the options ask for, as a file with a header and memory behind it.
 *
 *   make:  file without a name -> memory -> header -> own byte -> name      nobody sees it half made
 * Invariants  the name appears when everything else is there: all bytes have memory, the header is
 *             READY, the maker lives in it.
 * Threads     a segment that is being made is its maker's alone; of two makers one gets the name.
 * Fails with  HFI_SHM_AGAIN for who does not; else the statuses of shm.h, each with a sentence.
 *             Undone in reverse order: no file stays behind.
 * Talks to    os, layout, participants, persist.   Called by segment.c.
 * Source      O_TMPFILE and linkat: open(2). */
#include <errno.h>
#include <stdio.h>

#include "os/os.h"
#include "segment_state.h"

static hf_status geometry_for(const hf_shm_options *o, const char *what, bool unnamed,
                              struct hfi_shm_geometry *out) {
    *out = (struct hfi_shm_geometry){.c = {.size_created = hfi_shm_page_up(o->size),
                                           .size_max = hfi_shm_page_up(o->size_max),
                                           .created_ns = hfi_os_realtime_ns(),
                                           .participants_max = o->participants_max,
                                           .entries_max = o->entries_max,
                                           .name_size = o->name_size,
                                           .format_size = o->format_size,
                                           .huge_pages = o->huge_pages != 0,
                                           .unnamed = unnamed}};
    if (!hfi_shm_geometry_make(out))
        return hfi_shm_say(
            HF_E_INVALID,
            "segment \"%s\": participants_max %u (1 to %d), entries_max %u (1 to %u), "
            "name_size %u (2 to %u) or format_size %u (1 to %u) is out of range",
            what, o->participants_max, HF_SHM_PARTICIPANTS_MAX, o->entries_max, HFI_SHM_ENTRIES_MAX,
            o->name_size, HFI_SHM_NAME_SIZE, o->format_size, HFI_SHM_FORMAT_SIZE);
    struct hfi_shm_constants *c = &out->c;
    if (c->size_max < c->size_created) c->size_max = c->size_created;
    if (c->size_created <= c->data_at)
        return hfi_shm_say(
            HF_E_INVALID,
            "segment \"%s\": size %llu leaves nothing: header, %u participants and %u "
            "entries take %llu bytes; ask for more, or for fewer of them",
            what, (unsigned long long)o->size, c->participants_max, c->entries_max,
            (unsigned long long)c->data_at);
    hfi_os_random(c->id, sizeof c->id);
    if (!unnamed && o->path == NULL) (void)snprintf(c->name, sizeof c->name, "%s", what);
    return HF_OK;
}

static void header_write(hf_shm *shm, bool persist) {
    struct hfi_shm_header *header = hfi_shm_header_of(shm);
    header->magic = HFI_SHM_MAGIC;
    header->layout = HFI_SHM_LAYOUT;
    header->machine = hfi_shm_machine();
    header->constants = shm->geometry.c;
    header->checksum = hfi_shm_checksum(&header->constants);
    hfi_shm_store32(&header->persist, persist);
    hfi_shm_store64(&header->size, shm->geometry.c.size_created);
    hfi_shm_store64(&header->dirty_end, shm->geometry.c.data_at);
    hfi_shm_store32(&header->state, HFI_SHM_READY);
}

/* Memory behind the whole file, on the nodes that were asked for. */
static hf_status back_with_memory(hf_shm *shm) {
    uint64_t size = shm->geometry.c.size_created;
    if (hfi_os_shm_set_size(shm->file, size) != 0) return hfi_shm_say_errno("sizing", shm->path);
    hf_status status = hfi_shm_map_file(shm, size);
    if (status != HF_OK) return status;
    hfi_shm_place_pages(shm, 0, size);
    if (hfi_os_shm_extend(shm->file, 0, size) == 0) return HF_OK;
    status = hfi_shm_say_errno("allocating", shm->path);
    if (status == HF_E_NO_SPACE)
        hfi_shm_say(
            status,
            "segment \"%s\": there are no %llu bytes left (%s is full, or a limit is reached); "
            "remove segments, or make it larger",
            shm->name, (unsigned long long)size,
            shm->on_file        ? "the file system"
            : shm->path[0] == 0 ? "memory"
                                : "/dev/shm");
    return status;
}

hf_status hfi_shm_create(const char *name, const char *path, const hf_shm_options *o,
                         const struct hfi_shm_filling *filling, hf_shm **shm_out) {
    struct hfi_shm_geometry geometry;
    hf_shm *shm = NULL;
    char draft[HFI_OS_PATH_MAX] = "";
    const char *what = name != NULL ? name : path != NULL ? path : "";
    hf_status status = geometry_for(o, what, path == NULL, &geometry);
    if (status == HF_OK) status = hfi_shm_make(&geometry, name, path, o, &shm);
    if (status != HF_OK) return status;
    shm->file = path != NULL ? hfi_os_shm_draft(path, o->access, draft) : hfi_os_shm_anonymous();
    if (shm->file < 0) {
        status = hfi_shm_say_errno("making", path != NULL ? path : "memory");
        goto fail;
    }
    if (hfi_os_shm_access(shm->file, o->access, o->group) != 0) {
        status = hfi_shm_say_errno("setting mode and group of", what);
        goto fail;
    }
    shm->view = hfi_os_shm_reopen(shm->file, true);
    if (shm->view < 0) {
        status = hfi_shm_say_errno("opening /proc/self/fd of", what);
        goto fail;
    }
    status = back_with_memory(shm);
    if (status != HF_OK) goto fail;
    if (filling != NULL) status = filling->fill(shm, filling->context);
    if (status != HF_OK) goto fail;
    header_write(shm, o->persist != 0 || path == NULL || o->path != NULL);
    if (filling != NULL) filling->finish(shm, filling->context);
    status = hfi_shm_join(shm, HF_SHM_RECOVER, true, 0);
    if (status != HF_OK) goto fail;
    if (shm->on_file && (hf_shm_persist(shm) != HF_OK || hfi_os_shm_sync(shm->file) != 0)) {
        status = hfi_shm_say_errno("writing", path);
        goto fail;
    }
    hfi_shm_step();
    if (path != NULL && hfi_os_shm_publish(shm->file, path, draft) != 0) {
        draft[0] = '\0';
        status = errno == EEXIST ? (hf_status)HFI_SHM_AGAIN : hfi_shm_say_errno("naming", path);
        goto fail;
    }
    if (shm->on_file) (void)hfi_os_shm_sync_name(path);
    struct hfi_os_file file;
    if (hfi_os_shm_stat(shm->file, &file) == 0) {
        shm->device = file.device;
        shm->inode = file.inode;
    }
    *shm_out = shm;
    return HF_OK;
fail:
    if (draft[0] != '\0') (void)hfi_os_shm_unlink(draft);
    hfi_shm_discard(shm);
    return status;
}
