/* segment.c - segments are opened and closed.
 *
 *   open:  file -> whose is it? -> header, taken once and checked -> map -> join
 *          no file, and one may be made -> create.c
 * Invariants  who loses the race for a name opens the winner's. Nothing is mapped before
 *             every number of the header was checked.
 * Threads     opening and closing share nothing with other segments but the list of owners.
 * Fails with  the statuses of shm.h, each with a sentence; undone in reverse order.
 * Talks to    os, create, layout, participants, table. */
#include "segment_state.h"

#include <errno.h>
#include <holdfast/heap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "os/os.h"

#define ROUNDS_MAX    1000 /* of an opener that meets one removed segment after the other */
/* Shorter than it takes to suspect a holder, a wait would call dead ones alive. */
#define WAIT_LEAST_NS UINT64_C(1000000)

void hf_shm_options_init(hf_shm_options *options, uint64_t size) {
    HF_EXPECT(options != NULL);
    /* A table of 256 rows takes 128 KiB: smaller segments get fewer. */
    uint64_t entries = size / 16384;
    *options = (hf_shm_options){.struct_size = sizeof *options,
                                .access = 0600,
                                .group = -1,
                                .owner = -1,
                                .size = size,
                                .participants_max = 64,
                                .entries_max = size == 0 || entries > 256 ? 256
                                               : entries < 16             ? 16
                                                                          : (uint32_t)entries,
                                .name_size = 64,
                                .format_size = 192,
                                .stale = HF_SHM_RECOVER,
                                .node = -1,
                                .lock_wait_ns = UINT64_C(10000000000)};
}

hf_status hfi_shm_readable(const hf_shm *shm) {
    if (shm == NULL) return hfi_shm_say(HF_E_INVALID, "the segment is NULL");
    bool there = hfi_shm_self(shm) != 0 || shm->presence == HF_SHM_WATCHER;
    return there ? HF_OK : hfi_shm_closed(shm);
}

hf_status hfi_shm_usable(const hf_shm *shm) {
    if (shm != NULL && shm->presence == HF_SHM_WATCHER)
        return hfi_shm_say(HF_E_PERMISSION,
                           "segment \"%s\" was opened as a watcher, who changes nothing; open it "
                           "as a member or a guest",
                           shm->name);
    return hfi_shm_readable(shm);
}

/* --- checks of what was asked ----------------------------------------------------------------- */

static bool name_is_sound(const char *name) {
    size_t length = name == NULL ? 0 : strnlen(name, HF_SHM_NAME_MAX + 1);
    if (length == 0 || length > HF_SHM_NAME_MAX || name[0] == '.') return false;
    for (const char *c = name; *c != '\0'; c++)
        if (!(*c >= '0' && *c <= '9') && !(*c >= 'A' && *c <= 'Z') && !(*c >= 'a' && *c <= 'z') &&
            *c != '.' && *c != '_' && *c != '-')
            return false;
    return true;
}

hf_status hfi_shm_name_path(const char *name, char *path) {
    if (name_is_sound(name) && hfi_os_shm_path(name, path, HFI_OS_PATH_MAX)) return HF_OK;
    return hfi_shm_say(
        HF_E_INVALID,
        "the name of a segment is 1 to %d letters, digits, '.', '_' or '-', the first "
        "not a '.': \"%.40s\" is none",
        HF_SHM_NAME_MAX, name == NULL ? "(null)" : name);
}

static hf_status options_check(const hf_shm_options *o) {
    if (o->struct_size != sizeof *o)
        return hfi_shm_say(HF_E_INVALID,
                           "hf_shm_options: struct_size is %u, not %zu; call "
                           "hf_shm_options_init first",
                           o->struct_size, sizeof *o);
    if (o->size > HF_SHM_SIZE_MAX || o->size_max > HF_SHM_SIZE_MAX)
        return hfi_shm_say(HF_E_INVALID, "a segment has at most %llu bytes",
                           (unsigned long long)HF_SHM_SIZE_MAX);
    if (o->size_max != 0 && o->size_max < o->size)
        return hfi_shm_say(HF_E_INVALID, "size_max %llu is less than size %llu",
                           (unsigned long long)o->size_max, (unsigned long long)o->size);
    if (o->stale > HF_SHM_REFUSE)
        return hfi_shm_say(HF_E_INVALID, "stale is %u, which is no hf_shm_stale", o->stale);
    if (o->presence > HF_SHM_WATCHER)
        return hfi_shm_say(HF_E_INVALID, "presence is %u, which is no hf_shm_presence",
                           o->presence);
    if ((o->access & ~0777u) != 0 || (o->access & 0600) != 0600)
        return hfi_shm_say(HF_E_INVALID,
                           "access is 0%o: of the file modes up to 0777, those in "
                           "which the owner may read and write",
                           o->access);
    if (o->group < -1 || o->group >= UINT32_MAX || o->owner < -2 || o->owner >= UINT32_MAX)
        return hfi_shm_say(HF_E_INVALID, "group %lld or owner %lld is no id", (long long)o->group,
                           (long long)o->owner);
    if (o->node < -2 || o->node >= (int32_t)hfi_os_node_count())
        return hfi_shm_say(HF_E_INVALID, "node is %d, and this machine has %u", o->node,
                           hfi_os_node_count());
    if (o->path != NULL && (o->path[0] == '\0' || strlen(o->path) >= HFI_OS_PATH_MAX - 20))
        return hfi_shm_say(HF_E_INVALID, "the path is empty or too long");
    if (o->role != NULL && strlen(o->role) > HF_SHM_ROLE_MAX)
        return hfi_shm_say(HF_E_INVALID, "the role \"%.40s\" is longer than %d bytes", o->role,
                           HF_SHM_ROLE_MAX);
    return HF_OK;
}

hf_status hfi_shm_say_errno(const char *what, const char *path) {
    int error = errno;
    hf_status status = error == ENOENT                                        ? HF_E_NOT_FOUND
                       : error == EACCES || error == EPERM || error == EROFS  ? HF_E_PERMISSION
                       : error == ELOOP                                       ? HF_E_PERMISSION
                       : error == ENOSPC || error == EDQUOT || error == EFBIG ? HF_E_NO_SPACE
                       : error == ENOMEM                                      ? HF_E_NO_MEMORY
                       : error == EISDIR || error == ENXIO                    ? HF_E_LAYOUT
                                                                              : HF_E_SYSTEM;
    char text[128];
    const char *message = strerror_r(error, text, sizeof text);
    hfi_shm_say(status, "%s %.200s: %s%s", what, path, message,
                error == ELOOP ? " (a symbolic link is not followed)" : "");
    errno = error;
    return status;
}

/* --- the mapping ------------------------------------------------------------------------------ */

void hfi_shm_discard(hf_shm *shm) {
    if (shm->base != NULL) hfi_os_unmap(shm->base, shm->reserved);
    hfi_os_shm_close(shm->view);
    hfi_os_shm_close(shm->file);
    hfi_os_unmap(shm, shm->private_size);
}

static int map_part(hf_shm *shm, uint64_t from, uint64_t to, bool *sync_out) {
    if (shm->presence == HF_SHM_WATCHER)
        return hfi_os_shm_map_read(shm->base + from, to - from, shm->view, from);
    return hfi_os_shm_map(shm->base + from, to - from, shm->view, from,
                          shm->on_file ? sync_out : NULL);
}

hf_status hfi_shm_map_file(hf_shm *shm, uint64_t size) {
    const struct hfi_shm_constants *c = &shm->geometry.c;
    shm->reserved = c->size_max;
    bool huge = c->huge_pages != 0 || shm->huge_pages != 0;
    shm->base = hfi_os_reserve(shm->reserved, huge ? HFI_SHM_HUGE : HFI_PAGE);
    if (shm->base == NULL)
        return hfi_shm_say(HF_E_NO_MEMORY, "segment \"%s\": no address space for %llu bytes",
                           shm->name, (unsigned long long)shm->reserved);
    bool sync = false;
    if (map_part(shm, 0, size, &sync) != 0) return hfi_shm_say_errno("mapping", shm->path);
    shm->sync = sync;
    if (huge) hfi_os_huge(shm->base, size, true);
    atomic_store_explicit(&shm->mapped, size, memory_order_release);
    return HF_OK;
}

void hfi_shm_place_pages(hf_shm *shm, uint64_t from, uint64_t to) {
    if (shm->node >= 0) (void)hfi_os_node_bind(shm->base + from, to - from, (unsigned)shm->node);
    if (shm->node == -2) (void)hfi_os_node_interleave(shm->base + from, to - from);
}

uint64_t hfi_shm_size(hf_shm *shm) {
    uint64_t size = hfi_shm_load64(&hfi_shm_header_of(shm)->size);
    uint64_t mapped = atomic_load_explicit(&shm->mapped, memory_order_acquire);
    if (size <= mapped || size > shm->reserved || size % HFI_PAGE != 0) return mapped;
    (void)hfi_shm_cover(shm, size);
    return atomic_load_explicit(&shm->mapped, memory_order_acquire);
}

bool hfi_shm_cover(hf_shm *shm, uint64_t end) {
    if (end <= atomic_load_explicit(&shm->mapped, memory_order_acquire)) return true;
    uint64_t size = hfi_shm_load64(&hfi_shm_header_of(shm)->size);
    if (size < end || size > shm->reserved || size % HFI_PAGE != 0) return false;
    struct hfi_os_file file;
    hfi_shm_enter(shm);
    uint64_t mapped = atomic_load_explicit(&shm->mapped, memory_order_relaxed);
    bool done = mapped >= size;
    if (!done && hfi_os_shm_stat(shm->view, &file) == 0 && file.size >= size) {
        bool sync = false;
        done = map_part(shm, mapped, size, &sync) == 0;
        if (shm->geometry.c.huge_pages || shm->huge_pages)
            hfi_os_huge(shm->base + mapped, size - mapped, true);
        /* SYNC(shm.mapped): published after the pages are there; pairs with the acquires above. */
        if (done) atomic_store_explicit(&shm->mapped, size, memory_order_release);
    }
    hfi_shm_exit(shm);
    return done;
}

hf_status hfi_shm_make(const struct hfi_shm_geometry *geometry, const char *name, const char *path,
                       const hf_shm_options *o, hf_shm **shm_out) {
    size_t entries = geometry->c.entries_max;
    size_t opens_at = (sizeof(hf_shm) + 15) & ~(size_t)15;
    size_t extents_at = (opens_at + entries * sizeof(uint32_t) + 15) & ~(size_t)15;
    size_t size = hfi_shm_page_up(extents_at + entries * sizeof(struct hfi_shm_extent));
    hf_shm *shm = hfi_os_map(size);
    if (shm == NULL) return hfi_shm_say(HF_E_NO_MEMORY, "no memory to open a segment");
    shm->geometry = *geometry;
    shm->private_size = size;
    shm->opens = (uint32_t *)((char *)shm + opens_at);
    shm->extents = (struct hfi_shm_extent *)((char *)shm + extents_at);
    shm->file = shm->view = shm->fork_file = -1;
    shm->lock_wait_ns = o->lock_wait_ns > WAIT_LEAST_NS ? o->lock_wait_ns : WAIT_LEAST_NS;
    shm->huge_pages = o->huge_pages;
    shm->node = o->node;
    shm->presence = o->presence;
    shm->on_file = geometry->c.unnamed == 0 && geometry->c.name[0] == '\0';
    hfi_lock_init(&shm->lock, HFI_RANK_OWNER);
    hfi_lock_init(&shm->pin_lock, HFI_RANK_OWNER);
    if (name != NULL) (void)snprintf(shm->name, sizeof shm->name, "%s", name);
    if (path != NULL) (void)snprintf(shm->path, sizeof shm->path, "%s", path);
    if (o->role != NULL) (void)snprintf(shm->role, sizeof shm->role, "%s", o->role);
    *shm_out = shm;
    return HF_OK;
}

void hf_shm_leave_all(void) {
    hfi_owners_each(HF_OWNER_SHM, hfi_shm_at_exit, NULL);
}

static void enlist(hf_shm *shm) {
    shm->entry = (struct hfi_owner_entry){.kind = HF_OWNER_SHM,
                                          .name = shm->name,
                                          .stats = hfi_shm_account,
                                          .fork = hfi_shm_fork,
                                          .self = shm};
    hfi_owners_add(&shm->entry);
    static _Atomic uint32_t exit_is_watched;
    if (atomic_exchange(&exit_is_watched, 1) == 0) (void)atexit(hf_shm_leave_all);
}

/* --- opening ---------------------------------------------------------------------------------- */

/* Nobody else's file, and no other kind of file. */
static hf_status file_check(const struct hfi_os_file *file, const char *what,
                            const hf_shm_options *o) {
    if (!file->regular)
        return hfi_shm_say(HF_E_LAYOUT, "%.200s is no regular file, so no segment", what);
    int64_t trusted = o->owner == -1 ? (int64_t)hfi_os_user() : o->owner;
    if (trusted >= 0 && (int64_t)file->owner != trusted && file->owner != 0)
        return hfi_shm_say(
            HF_E_PERMISSION,
            "%.200s belongs to user %u (mode 0%o), not to %lld or root: whoever made "
            "it could cut it short; if that user is trusted, say so with options.owner",
            what, file->owner, file->access, (long long)trusted);
    return HF_OK;
}

/* Takes the header once, believes nothing. */
static hf_status header_check(const struct hfi_shm_header *header, const struct hfi_os_file *file,
                              const char *what, struct hfi_shm_geometry *out, uint64_t *size_out) {
    if (header->magic != HFI_SHM_MAGIC)
        return hfi_shm_say(HF_E_LAYOUT, "%.200s is no segment of holdfast", what);
    if (header->layout != HFI_SHM_LAYOUT)
        return hfi_shm_say(
            HF_E_LAYOUT,
            "%.200s has layout version %u, this library knows %u: use the same version "
            "of holdfast in all processes, or remove the segment",
            what, header->layout, HFI_SHM_LAYOUT);
    if (header->machine != hfi_shm_machine())
        return hfi_shm_say(
            HF_E_LAYOUT,
            "%.200s was made by a program of another word size or byte order (%x, here "
            "%x)",
            what, header->machine, hfi_shm_machine());
    struct hfi_shm_geometry geometry = {.c = header->constants};
    const struct hfi_shm_constants *c = &header->constants;
    uint64_t size = header->size;
    bool sound = hfi_shm_checksum(c) == header->checksum && hfi_shm_geometry_make(&geometry) &&
                 geometry.c.data_at == c->data_at && geometry.c.name_size == c->name_size &&
                 geometry.c.format_size == c->format_size && size % HFI_PAGE == 0 &&
                 c->size_max % HFI_PAGE == 0 && c->size_max <= HF_SHM_SIZE_MAX &&
                 size <= c->size_max && size > c->data_at && c->size_created <= c->size_max &&
                 memchr(c->name, 0, sizeof c->name) != NULL;
    if (!sound)
        return hfi_shm_say(
            HF_E_CORRUPT, "the header of %.200s was overwritten: its numbers contradict each other",
            what);
    if (file->size < size)
        return hfi_shm_say(HF_E_CORRUPT, "%.200s was cut short: %llu bytes of %llu", what,
                           (unsigned long long)file->size, (unsigned long long)size);
    *out = geometry;
    *size_out = size;
    return HF_OK;
}

/* Opens what `file` refers to, which is consumed. HFI_SHM_AGAIN: it was removed meanwhile. */
static hf_status enter(int file, const char *name, const char *path, const hf_shm_options *o,
                       hf_shm **shm_out) {
    struct hfi_os_file about;
    struct hfi_shm_header header;
    struct hfi_shm_geometry geometry;
    hf_shm *shm = NULL;
    uint64_t size = 0;
    char what[HF_SHM_NAME_MAX + 32];
    (void)snprintf(what, sizeof what, name != NULL ? "segment \"%s\"" : "%s",
                   name != NULL   ? name
                   : path != NULL ? path
                                  : "the segment");
    hf_status status = HF_OK;
    if (hfi_os_shm_stat(file, &about) != 0) status = hfi_shm_say_errno("looking at", what);
    if (status == HF_OK) status = file_check(&about, what, o);
    if (status == HF_OK &&
        (about.size < sizeof header || hfi_os_shm_read(file, 0, &header, sizeof header) != 0))
        status = hfi_shm_say(HF_E_LAYOUT, "%.200s is too short for a segment", what);
    if (status == HF_OK) status = header_check(&header, &about, what, &geometry, &size);
    if (status == HF_OK && o->size != 0 && hfi_shm_page_up(o->size) != geometry.c.size_created &&
        hfi_shm_page_up(o->size) != size)
        status =
            hfi_shm_say(HF_E_MISMATCH,
                        "%.200s has %llu bytes, and %llu were asked for; open it with size 0 to "
                        "take it as it is",
                        what, (unsigned long long)size, (unsigned long long)o->size);
    if (status == HF_OK && name != NULL && strcmp(geometry.c.name, name) != 0)
        status = hfi_shm_say(HF_E_LAYOUT,
                             "%.200s is another, \"%.200s\", whose file was renamed or linked to "
                             "this name",
                             what, name_is_sound(geometry.c.name) ? geometry.c.name : "");
    char named[HFI_OS_PATH_MAX];
    if (status == HF_OK && path == NULL && geometry.c.name[0] != '\0' && about.links > 0 &&
        hfi_shm_name_path(geometry.c.name, named) == HF_OK) {
        name = geometry.c.name;
        path = named;
    }
    if (status == HF_OK) status = hfi_shm_make(&geometry, name, path, o, &shm);
    if (status != HF_OK) {
        hfi_os_shm_close(file);
        return status;
    }
    shm->file = file;
    shm->device = about.device;
    shm->inode = about.inode;
    shm->view = hfi_os_shm_reopen(file, o->presence != HF_SHM_WATCHER);
    if (shm->view < 0)
        status = hfi_shm_say_errno("opening /proc/self/fd of", what);
    else
        status = hfi_shm_map_file(shm, size);
    if (status == HF_OK && o->presence != HF_SHM_WATCHER)
        status =
            hfi_shm_join(shm, (hf_shm_stale)o->stale, false, hfi_shm_deadline(shm->lock_wait_ns));
    if (status != HF_OK) {
        hfi_shm_discard(shm);
        return status;
    }
    if (o->persist != 0 && o->presence != HF_SHM_WATCHER)
        hfi_shm_store32(&hfi_shm_header_of(shm)->persist, 1);
    *shm_out = shm;
    return HF_OK;
}

void hfi_shm_unname(hf_shm *shm) {
    struct hfi_os_file named;
    if (shm->path[0] == '\0') return;
    /* Who changes the name holds its byte: the file that is found is the file that is unlinked. */
    uint64_t deadline = hfi_shm_deadline(UINT64_C(1000000000));
    while (!hfi_os_shm_lock(shm->file, HFI_SHM_NAME_BYTE, 1)) {
        if (hfi_os_clock_ns() >= deadline) return; /* who holds it takes the name away itself */
        hfi_os_pause_ns(UINT64_C(200000));
    }
    if (hfi_os_shm_stat_path(shm->path, &named) == 0 && named.inode == shm->inode &&
        named.device == shm->device) {
        hfi_shm_step();
        (void)hfi_os_shm_unlink(shm->path);
    }
    hfi_os_shm_unlock(shm->file, HFI_SHM_NAME_BYTE, 1);
}

static hf_status say_not_allowed(const char *name, const char *path) {
    struct hfi_os_file about;
    if (hfi_os_shm_stat_path(path, &about) != 0) return hfi_shm_say_errno("opening", path);
    return hfi_shm_say(HF_E_PERMISSION,
                       "segment \"%s\" belongs to user %u and has mode 0%o: this user may not read "
                       "and write it",
                       name != NULL ? name : path, about.owner, about.access);
}

static hf_status open_loop(const char *name, const char *path, hf_shm_mode mode,
                           const hf_shm_options *o, hf_shm **shm_out) {
    for (unsigned round = 0; round < ROUNDS_MAX; round++) {
        hf_status status;
        int file = hfi_os_shm_open(path, o->presence != HF_SHM_WATCHER);
        if (file < 0 && errno == EACCES) return say_not_allowed(name, path);
        if (file < 0 && errno != ENOENT) return hfi_shm_say_errno("opening", path);
        if (file >= 0 && mode == HF_SHM_CREATE) {
            hfi_os_shm_close(file);
            int removed = 0;
            if (o->stale == HF_SHM_RESET && o->path == NULL) (void)hf_shm_collect(name, &removed);
            if (!removed)
                return hfi_shm_say(HF_E_EXISTS,
                                   name != NULL ? "segment \"%s\" exists; open it, or remove it "
                                                  "first (stale RESET does, if nobody lives in it "
                                                  "and it does not persist)"
                                                : "\"%s\" exists; open it, or delete it first",
                                   name != NULL ? name : path);
            continue;
        }
        if (file >= 0) {
            status = enter(file, name, path, o, shm_out);
            if (status != (hf_status)HFI_SHM_AGAIN) return status;
            continue;
        }
        if (mode == HF_SHM_OPEN)
            return hfi_shm_say(HF_E_NOT_FOUND, "there is no segment \"%s\"",
                               name != NULL ? name : path);
        status = hfi_shm_create(name, path, o, NULL, shm_out);
        if (status == HF_E_NO_SPACE && mode == HF_SHM_OPEN_OR_CREATE && round < ROUNDS_MAX - 1) {
            /* Two makers at once need twice the room; the other may have made it. */
            struct hfi_os_file about;
            if (hfi_os_shm_stat_path(path, &about) == 0) continue;
        }
        if (status != (hf_status)HFI_SHM_AGAIN) return status;
    }
    return hfi_shm_say(HF_E_BUSY, "segment \"%s\" is made and removed by others all the time",
                       name != NULL ? name : path);
}

static hf_status start(const hf_shm_options **options, hf_shm_options *standard, hf_shm **shm_out) {
    if (shm_out == NULL) return hfi_shm_say(HF_E_INVALID, "shm_out is NULL");
    if (*options == NULL) {
        hf_shm_options_init(standard, 0);
        *options = standard;
    }
    /* The fork handlers are the heap's doing. */
    if (hf_heap_default() == NULL) return hfi_shm_say(HF_E_NO_MEMORY, "the library did not start");
    return options_check(*options);
}

static void finish(hf_shm *shm, const hf_shm_options *o, hf_shm **shm_out) {
    if (o->prefault != 0 && o->presence != HF_SHM_WATCHER)
        hfi_os_shm_prefault(shm->base, shm->mapped);
    enlist(shm);
    *shm_out = shm;
}

/* The file of a name, or the one that is given: then the segment has no name. */
static hf_status place(const char **name, const hf_shm_options *options,
                       char path[HFI_OS_PATH_MAX]) {
    if (options->path == NULL) return hfi_shm_name_path(*name, path);
    *name = NULL;
    (void)snprintf(path, HFI_OS_PATH_MAX, "%s", options->path);
    return HF_OK;
}

hf_status hf_shm_open(const char *name, hf_shm_mode mode, const hf_shm_options *options,
                      hf_shm **shm_out) {
    hf_shm_options standard;
    char path[HFI_OS_PATH_MAX];
    hf_shm *shm = NULL;
    hf_status status = start(&options, &standard, shm_out);
    if (status != HF_OK) return status;
    if ((unsigned)mode > HF_SHM_OPEN_OR_CREATE)
        return hfi_shm_say(HF_E_INVALID, "mode %d is no hf_shm_mode", (int)mode);
    status = place(&name, options, path);
    if (status != HF_OK) return status;
    if (mode == HF_SHM_CREATE && options->size == 0)
        return hfi_shm_say(HF_E_INVALID, "a new segment needs a size");
    if (mode != HF_SHM_OPEN && options->presence == HF_SHM_WATCHER)
        return hfi_shm_say(HF_E_INVALID, "a watcher makes no segment; mode is HF_SHM_OPEN");
    status = open_loop(name, path, mode, options, &shm);
    if (status == HF_OK) finish(shm, options, shm_out);
    return status;
}

hf_status hf_shm_create_anonymous(const hf_shm_options *options, hf_shm **shm_out) {
    hf_shm_options standard;
    hf_shm *shm = NULL;
    hf_status status = start(&options, &standard, shm_out);
    if (status == HF_OK && options->path != NULL)
        status = hfi_shm_say(HF_E_CONFLICT, "an anonymous segment has no path");
    if (status == HF_OK && options->presence == HF_SHM_WATCHER)
        status = hfi_shm_say(HF_E_INVALID, "a watcher makes no segment");
    if (status == HF_OK) status = hfi_shm_create(NULL, NULL, options, NULL, &shm);
    if (status == HF_OK) finish(shm, options, shm_out);
    return status;
}

hf_status hf_shm_open_file(int file, const hf_shm_options *options, hf_shm **shm_out) {
    hf_shm_options standard;
    hf_shm *shm = NULL;
    hf_status status = start(&options, &standard, shm_out);
    if (status != HF_OK) return status;
    /* A description of our own: sharing the caller's would share its locks. */
    int own = hfi_os_shm_reopen(file, options->presence != HF_SHM_WATCHER);
    if (own < 0)
        return hfi_shm_say_errno("opening", "what the descriptor refers to (/proc/self/fd)");
    status = enter(own, NULL, NULL, options, &shm);
    if (status == (hf_status)HFI_SHM_AGAIN)
        status = hfi_shm_say(HF_E_NOT_FOUND, "the last participant has removed this segment");
    if (status == HF_OK) finish(shm, options, shm_out);
    return status;
}

hf_status hfi_shm_create_filled(const char *name, const hf_shm_options *options,
                                const struct hfi_shm_filling *filling, hf_shm **shm_out) {
    hf_shm_options standard;
    char path[HFI_OS_PATH_MAX];
    hf_shm *shm = NULL;
    hf_status status = start(&options, &standard, shm_out);
    if (status != HF_OK) return status;
    status = place(&name, options, path);
    if (status != HF_OK) return status;
    status = hfi_shm_create(name, path, options, filling, &shm);
    if (status == (hf_status)HFI_SHM_AGAIN)
        status = hfi_shm_say(HF_E_EXISTS,
                             "segment \"%s\" exists; remove it first, or choose "
                             "another name",
                             name != NULL ? name : path);
    if (status == HF_OK) finish(shm, options, shm_out);
    return status;
}

int hf_shm_file(const hf_shm *shm) {
    return shm == NULL ? -1 : shm->view;
}

size_t hf_shm_opened(const hf_shm *shm) {
    return shm == NULL ? 0 : hfi_peek(shm->opened);
}

hf_status hf_shm_close(hf_shm *shm) {
    if (shm == NULL) return HF_OK;
    if (hf_shm_opened(shm) != 0)
        return hfi_shm_say(HF_E_BUSY,
                           "segment \"%s\": %zu structures are open on it; close them first",
                           shm->name, hf_shm_opened(shm));
    hfi_owners_remove(&shm->entry);
    if (shm->file >= 0) hfi_shm_leave(shm);
    hfi_shm_discard(shm);
    return HF_OK;
}
