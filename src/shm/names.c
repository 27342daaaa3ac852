/* names.c - segments by name, without being a participant of them: list, remove, collect.
 * Invariants  who takes a name away holds the file's name byte, so nobody else's new segment of that
 *             name is hit; who collects holds all bytes: nobody lives in it, nobody comes in.
 * Threads     any; other processes too.
 * Fails with  HF_E_NOT_FOUND, HF_E_PERMISSION, HF_E_TIMEOUT.
 * Talks to    os (files, locks), layout (the header). */
#include <errno.h>
#include <string.h>

#include "os/os.h"
#include "segment_state.h"

#define NAME_WAIT_NS UINT64_C(2000000000)

/* Opens the file of a name if this user may and it is a regular file; else a status. */
static hf_status open_named(const char *name, char *path, int *file_out, struct hfi_os_file *out) {
    hf_status status = hfi_shm_name_path(name, path);
    if (status != HF_OK) return status;
    int file = hfi_os_shm_open(path, true);
    if (file < 0)
        return errno == ENOENT ? hfi_shm_say(HF_E_NOT_FOUND, "there is no segment \"%s\"", name)
                               : hfi_shm_say_errno("opening", path);
    if (hfi_os_shm_stat(file, out) != 0 || !out->regular) {
        hfi_os_shm_close(file);
        return hfi_shm_say(HF_E_LAYOUT, "\"%s\" is no regular file", name);
    }
    *file_out = file;
    return HF_OK;
}

/* 0, or -1 with errno. */
static int unlink_same(const char *path, const struct hfi_os_file *file) {
    struct hfi_os_file named;
    if (hfi_os_shm_stat_path(path, &named) != 0) return -1;
    if (named.inode != file->inode || named.device != file->device) {
        errno = ENOENT;
        return -1;
    }
    hfi_shm_step();
    return hfi_os_shm_unlink(path);
}

static bool name_lock(int file) {
    uint64_t deadline = hfi_shm_deadline(NAME_WAIT_NS);
    while (!hfi_os_shm_lock(file, HFI_SHM_NAME_BYTE, 1)) {
        if (hfi_os_clock_ns() >= deadline) return false;
        hfi_os_pause_ns(UINT64_C(200000));
    }
    return true;
}

static hf_status unlink_locked(int file, const char *name, const char *path,
                               const struct hfi_os_file *about) {
    if (!name_lock(file))
        return hfi_shm_say(HF_E_TIMEOUT, "segment \"%s\": another process is removing it", name);
    if (unlink_same(path, about) == 0) return HF_OK;
    if (errno == ENOENT)
        return hfi_shm_say(HF_E_NOT_FOUND, "segment \"%s\" was removed just now", name);
    return hfi_shm_say(HF_E_PERMISSION, "segment \"%s\" (of user %u) stays: %s", name, about->owner,
                       strerror(errno));
}

hf_status hf_shm_remove(const char *name) {
    char path[HFI_OS_PATH_MAX];
    struct hfi_os_file about;
    int file = -1;
    hf_status status = open_named(name, path, &file, &about);
    if (status != HF_OK) return status;
    status = unlink_locked(file, name, path, &about);
    hfi_os_shm_close(file);
    return status;
}

hf_status hf_shm_collect(const char *name, int *removed_out) {
    char path[HFI_OS_PATH_MAX];
    struct hfi_os_file about;
    struct hfi_shm_header header = {0};
    int file = -1;
    hf_status status = open_named(name, path, &file, &about);
    if (status != HF_OK) return status;
    int removed = 0;
    bool ours = about.size >= sizeof header &&
                hfi_os_shm_read(file, 0, &header, sizeof header) == 0 &&
                header.magic == HFI_SHM_MAGIC;
    if (!ours) {
        status = hfi_shm_say(HF_E_LAYOUT, "\"%s\" is no segment of holdfast", name);
    } else if (hfi_os_shm_lock(file, HFI_SHM_PLACE_BYTE, HF_SHM_PARTICIPANTS_MAX)) {
        /* Again, now that nobody changes it. */
        bool kept = hfi_os_shm_read(file, 0, &header, sizeof header) != 0 ||
                    (header.persist != 0 && header.state != HFI_SHM_REMOVED);
        if (!kept) status = unlink_locked(file, name, path, &about);
        removed = !kept && status == HF_OK;
        if (status == HF_E_NOT_FOUND) status = HF_OK; /* somebody else has just done it */
    }
    hfi_os_shm_close(file);
    if (status == HF_OK && removed_out != NULL) *removed_out = removed;
    return status;
}

struct naming {
    hf_shm_name_visitor visitor;
    void *context;
};

static int visit_name(const char *name, void *context) {
    struct naming *naming = context;
    char path[HFI_OS_PATH_MAX];
    struct hfi_os_file about;
    if (hfi_shm_name_path(name, path) != HF_OK || hfi_os_shm_stat_path(path, &about) != 0 ||
        !about.regular)
        return 0;
    return naming->visitor(name, about.size, naming->context);
}

hf_status hf_shm_names(hf_shm_name_visitor visitor, void *context) {
    if (visitor == NULL) return hfi_shm_say(HF_E_INVALID, "hf_shm_names: visitor is NULL");
    struct naming naming = {visitor, context};
    if (hfi_os_shm_each(visit_name, &naming) != 0 && errno != ENOENT)
        return hfi_shm_say(HF_E_SYSTEM, "/dev/shm cannot be read: %s", strerror(errno));
    return HF_OK;
}
