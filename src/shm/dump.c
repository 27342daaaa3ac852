/* dump.c - a whole segment as a file, and back.
 *
 *   head 512 | piece: offset 8, size 8, bytes, checksum 8 | ... | end: offset ~0, pieces 8, checksum 8
 *
 * Format      numbers are little-endian words of 32 and 64 bits; the bytes are the segment's own, so a
 *             dump is for machines of the same word size and byte order (head.machine). A piece is up
 *             to 64 KiB at a multiple of it; one that is all zero is left out. Checksums are CRC-64/XZ,
 *             of the head, of each piece with its two words, and of all checksums before the end.
 * Invariants  nothing of the dumped header is believed: a loaded segment has a new one, made from
 *             counts and sizes that pass the checks of a new segment. Places and users are emptied
 *             (at rest), or their owners are recovered as dead (copied while others lived).
 * Threads     dump holds the table's lock, and alone in the segment all places' bytes.
 * Fails with  HF_E_BUSY, HF_E_LAYOUT, HF_E_CORRUPT, HF_E_SYSTEM with the errno's text.
 * Talks to    os (files), layout, segment (making).
 * Source      CRC-64/XZ: ECMA-182, reflected; slicing by eight: Kounavis and Berry, 2008. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "os/os.h"
#include "segment_state.h"

#define DUMP_MAGIC   UINT64_C(0x504d554448534648) /* "HFSHDUMP" */
#define DUMP_VERSION 1u
#define PIECE        ((uint64_t)64 << 10)
#define END          UINT64_MAX

/* Words as they lie in the file; hfi_shm_machine says the byte order, and only one is read. */
struct dump_head {
    uint64_t magic;
    uint32_t version, head_size;
    uint32_t machine, layout;
    uint64_t size, size_max;
    uint64_t data_at, dirty_end, recoveries;
    uint64_t created_ns, dumped_ns;
    uint32_t participants_max, entries_max, name_size, format_size;
    uint32_t huge_pages, entries_high;
    uint32_t entries, live;
    uint8_t id[16];
    char name[HF_SHM_NAME_MAX + 8];
    uint8_t spare[168];
    uint64_t checksum;
};
_Static_assert(sizeof(struct dump_head) == 512, "the head of a dump has 512 bytes");

/* --- checksum --------------------------------------------------------------------------------- */

struct crc {
    uint64_t table[8][256];
};

static void crc_make(struct crc *crc) {
    for (unsigned i = 0; i < 256; i++) {
        uint64_t value = i;
        for (unsigned bit = 0; bit < 8; bit++)
            value = (value & 1) != 0 ? value >> 1 ^ UINT64_C(0xc96c5795d7870f42) : value >> 1;
        crc->table[0][i] = value;
    }
    for (unsigned i = 0; i < 256; i++)
        for (unsigned k = 1; k < 8; k++)
            crc->table[k][i] =
                crc->table[k - 1][i] >> 8 ^ crc->table[0][crc->table[k - 1][i] & 0xff];
}

static uint64_t crc_of(const struct crc *crc, uint64_t sum, const void *bytes, size_t size) {
    const uint8_t *at = bytes;
    sum = ~sum;
    for (; size >= 8; size -= 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        sum ^= word;
        uint64_t next = 0;
        for (unsigned k = 0; k < 8; k++)
            next ^= crc->table[7 - k][sum >> (8 * k) & 0xff];
        sum = next;
    }
    for (; size > 0; size--, at++)
        sum = sum >> 8 ^ crc->table[0][(sum ^ *at) & 0xff];
    return ~sum;
}

/* What both directions carry along. Private memory: 80 KiB are too much for a stack. */
struct passage {
    int file;
    struct crc crc;
    struct dump_head head;
    uint64_t sum, pieces; /* checksum of checksums so far; how many */
    uint64_t stored;
    uint64_t buffer[PIECE / 8];
};

static struct passage *passage_make(int file) {
    struct passage *passage = hfi_os_map(sizeof *passage);
    if (passage == NULL) {
        (void)hfi_shm_say(HF_E_NO_MEMORY, "no memory to copy a segment");
        return NULL;
    }
    passage->file = file;
    crc_make(&passage->crc);
    return passage;
}

static hf_status no_memory(void) {
    return HF_E_NO_MEMORY; /* said by passage_make */
}

static uint64_t piece_sum(struct passage *p, const uint64_t words[2], const void *bytes,
                          size_t size) {
    uint64_t sum = crc_of(&p->crc, 0, words, 16);
    sum = crc_of(&p->crc, sum, bytes, size);
    p->sum = crc_of(&p->crc, p->sum, &sum, sizeof sum);
    return sum;
}

static void describe(const struct passage *p, hf_shm_dump_info *out) {
    if (out == NULL) return;
    *out = (hf_shm_dump_info){.size = p->head.size,
                              .size_max = p->head.size_max,
                              .bytes_stored = p->stored,
                              .created_ns = p->head.created_ns,
                              .dumped_ns = p->head.dumped_ns,
                              .entries = p->head.entries,
                              .live = p->head.live};
    (void)snprintf(out->name, sizeof out->name, "%.*s", HF_SHM_NAME_MAX, p->head.name);
}

/* --- out -------------------------------------------------------------------------------------- */

static hf_status put(struct passage *p, const void *bytes, size_t size) {
    if (hfi_os_shm_put(p->file, bytes, size) == 0) return HF_OK;
    return hfi_shm_say(errno == ENOSPC || errno == EDQUOT ? HF_E_NO_SPACE : HF_E_SYSTEM,
                       "writing the dump: %s", strerror(errno));
}

static bool is_zero(const uint64_t *words, size_t count) {
    uint64_t any = 0;
    for (size_t i = 0; i < count && any == 0; i++)
        any |= words[i];
    return any == 0;
}

/* Through a copy of our own: what is summed is what is written, whatever others do meanwhile. */
static hf_status put_piece(struct passage *p, const char *base, uint64_t at, uint64_t size) {
    const _Atomic uint64_t *from = (const _Atomic uint64_t *)(base + at);
    /* relaxed: alone, or the copy is known to be of different moments. */
    for (size_t i = 0; i < size / 8; i++)
        p->buffer[i] = atomic_load_explicit(&from[i], memory_order_relaxed);
    if (is_zero(p->buffer, size / 8)) return HF_OK;
    uint64_t words[2] = {at, size};
    uint64_t sum = piece_sum(p, words, p->buffer, size);
    hf_status status = put(p, words, sizeof words);
    if (status == HF_OK) status = put(p, p->buffer, size);
    if (status == HF_OK) status = put(p, &sum, sizeof sum);
    p->pieces++;
    p->stored += size;
    return status;
}

static uint32_t count_live(hf_shm *shm) {
    uint32_t live = 0;
    for (uint32_t owner = 1; owner <= hfi_shm_places(shm); owner++)
        live += owner != hfi_shm_self(shm) &&
                hfi_shm_load32(&hfi_shm_place_of(shm, owner - 1)->state) != HFI_SHM_FREE &&
                !hfi_shm_dead(shm, owner);
    return live;
}

static void head_fill(hf_shm *shm, struct dump_head *head, uint32_t live) {
    struct hfi_shm_header *header = hfi_shm_header_of(shm);
    const struct hfi_shm_constants *c = &shm->geometry.c;
    *head = (struct dump_head){.magic = DUMP_MAGIC,
                               .version = DUMP_VERSION,
                               .head_size = sizeof *head,
                               .machine = hfi_shm_machine(),
                               .layout = HFI_SHM_LAYOUT,
                               .size = hfi_shm_size(shm),
                               .size_max = c->size_max,
                               .data_at = c->data_at,
                               .dirty_end = hfi_shm_load64(&header->dirty_end),
                               .recoveries = hfi_shm_load64(&header->recoveries),
                               .created_ns = c->created_ns,
                               .dumped_ns = hfi_os_realtime_ns(),
                               .participants_max = c->participants_max,
                               .entries_max = c->entries_max,
                               .name_size = c->name_size,
                               .format_size = c->format_size,
                               .huge_pages = c->huge_pages,
                               .entries_high = hfi_shm_rows(shm),
                               .live = live};
    memcpy(head->id, c->id, sizeof head->id);
    memcpy(head->name, c->name, sizeof head->name);
    for (uint32_t i = 0; i < head->entries_high; i++)
        head->entries += hfi_shm_control_state(hfi_shm_load64(&hfi_shm_row_of(shm, i)->control)) ==
                         HFI_SHM_ROW_PUBLISHED;
}

static hf_status put_all(hf_shm *shm, struct passage *p) {
    p->head.checksum = p->sum = crc_of(&p->crc, 0, &p->head, offsetof(struct dump_head, checksum));
    hf_status status = put(p, &p->head, sizeof p->head);
    for (uint64_t at = 0; at < p->head.size && status == HF_OK; at += PIECE) {
        uint64_t left = p->head.size - at;
        status = put_piece(p, shm->base, at, left < PIECE ? left : PIECE);
    }
    uint64_t end[3] = {END, p->pieces, p->sum};
    return status == HF_OK ? put(p, end, sizeof end) : status;
}

hf_status hf_shm_dump(hf_shm *shm, int file, int while_live, hf_shm_dump_info *info_out) {
    hf_status status = hfi_shm_usable(shm);
    if (status != HF_OK) return status;
    uint32_t places = hfi_shm_places(shm), self = hfi_shm_self(shm), live = 0;
    struct passage *p = passage_make(file);
    if (p == NULL) return no_memory();
    (void)hfi_shm_sweep_all(shm);
    /* Taking every byte succeeds only where nobody else lives, and keeps others out. */
    bool alone = hfi_os_shm_lock(shm->file, HFI_SHM_PLACE_BYTE, places);
    if (!alone) live = count_live(shm);
    if (!alone && while_live == 0) {
        status =
            hfi_shm_say(HF_E_BUSY,
                        "segment \"%s\": %u other participants live in it, so what they change "
                        "while it is copied may be copied half; end them first",
                        shm->name, live);
    } else {
        status = hfi_shm_table_lock(shm);
        if (status == HF_OK) {
            head_fill(shm, &p->head, alone ? 0 : live > 0 ? live : 1);
            status = put_all(shm, p);
            hfi_shm_table_unlock(shm);
        }
    }
    if (alone) {
        if (self > 1) hfi_os_shm_unlock(shm->file, HFI_SHM_PLACE_BYTE, self - 1);
        if (self < places) hfi_os_shm_unlock(shm->file, HFI_SHM_PLACE_BYTE + self, places - self);
    }
    if (status == HF_OK) describe(p, info_out);
    hfi_os_unmap(p, sizeof *p);
    return status;
}

/* --- and back --------------------------------------------------------------------------------- */

static hf_status get(struct passage *p, void *bytes, size_t size) {
    if (hfi_os_shm_get(p->file, bytes, size) == 0) return HF_OK;
    if (errno == 0) return hfi_shm_say(HF_E_CORRUPT, "the dump was cut short");
    return hfi_shm_say(HF_E_SYSTEM, "reading the dump: %s", strerror(errno));
}

static hf_status get_head(struct passage *p) {
    struct dump_head *head = &p->head;
    hf_status status = get(p, head, sizeof *head);
    if (status != HF_OK && status != HF_E_CORRUPT) return status;
    if (status == HF_E_CORRUPT || head->magic != DUMP_MAGIC)
        return hfi_shm_say(HF_E_LAYOUT, "this is no dump of a segment");
    if (head->version != DUMP_VERSION || head->head_size != sizeof *head)
        return hfi_shm_say(HF_E_LAYOUT,
                           "the dump has version %u, and this library reads version %u",
                           head->version, DUMP_VERSION);
    p->sum = crc_of(&p->crc, 0, head, offsetof(struct dump_head, checksum));
    if (head->checksum != p->sum || memchr(head->name, 0, sizeof head->name) == NULL)
        return hfi_shm_say(HF_E_CORRUPT, "the head of the dump is damaged: its checksum differs");
    if (head->machine != hfi_shm_machine())
        return hfi_shm_say(HF_E_LAYOUT,
                           "the dump is of a machine of another word size or byte order (%x, here "
                           "%x)",
                           head->machine, hfi_shm_machine());
    if (head->layout != HFI_SHM_LAYOUT)
        return hfi_shm_say(HF_E_LAYOUT,
                           "the dumped segment has layout version %u, this library knows %u",
                           head->layout, HFI_SHM_LAYOUT);
    return HF_OK;
}

/* Pieces into the new segment, whose own size bounds everything. */
static hf_status get_all(hf_shm *shm, void *context) {
    struct passage *p = context;
    uint64_t size = shm->geometry.c.size_created, next = 0;
    if (shm->geometry.c.data_at != p->head.data_at || size != p->head.size)
        return hfi_shm_say(HF_E_CORRUPT,
                           "the numbers in the head of the dump contradict each other");
    for (;;) {
        uint64_t words[2], sum = 0;
        hf_status status = get(p, words, sizeof words);
        if (status != HF_OK) return status;
        if (words[0] == END) {
            status = get(p, &sum, sizeof sum);
            if (status != HF_OK) return status;
            return words[1] == p->pieces && sum == p->sum
                       ? HF_OK
                       : hfi_shm_say(HF_E_CORRUPT, "the dump lacks pieces, or has others' pieces");
        }
        if (words[0] % PIECE != 0 || words[0] < next || words[0] >= size || words[1] == 0 ||
            words[1] > PIECE || words[1] > size - words[0] || words[1] % 8 != 0)
            return hfi_shm_say(HF_E_CORRUPT, "the dump is damaged: a piece of %llu bytes at %llu",
                               (unsigned long long)words[1], (unsigned long long)words[0]);
        char *to = shm->base + words[0];
        status = get(p, to, words[1]);
        if (status == HF_OK) status = get(p, &sum, sizeof sum);
        if (status != HF_OK) return status;
        if (sum != piece_sum(p, words, to, words[1]))
            return hfi_shm_say(
                HF_E_CORRUPT, "the dump is damaged between %llu and %llu: the checksum differs",
                (unsigned long long)words[0], (unsigned long long)(words[0] + words[1]));
        next = words[0] + PIECE;
        p->pieces++;
        p->stored += words[1];
    }
}

static hf_status fill(hf_shm *shm, void *context) {
    struct passage *p = context;
    hf_status status = get_all(shm, p);
    if (status != HF_OK) return status;
    memset(shm->base, 0, HFI_SHM_PLACES_AT);
    if (p->head.live != 0) return HF_OK; /* their owners are recovered when the segment is joined */
    memset(shm->base + HFI_SHM_PLACES_AT, 0, shm->geometry.rows_at - HFI_SHM_PLACES_AT);
    for (uint32_t i = 0; i < shm->geometry.c.entries_max; i++)
        memset(hfi_shm_row_of(shm, i)->tail, 0, (size_t)shm->geometry.user_words * 8);
    return HF_OK;
}

/* Before anybody joins: recovering the dead goes through the rows. */
static void finish(hf_shm *shm, void *context) {
    const struct dump_head *head = &((struct passage *)context)->head;
    struct hfi_shm_header *header = hfi_shm_header_of(shm);
    uint32_t rows = shm->geometry.c.entries_max;
    bool possible = head->dirty_end >= head->data_at && head->dirty_end <= head->size;
    hfi_shm_store32(&header->entries_high, head->entries_high < rows ? head->entries_high : rows);
    hfi_shm_store64(&header->dirty_end, possible ? head->dirty_end : head->size);
    hfi_shm_store64(&header->recoveries, head->recoveries);
}

hf_status hf_shm_dump_look(int file, hf_shm_dump_info *info_out) {
    if (info_out == NULL) return hfi_shm_say(HF_E_INVALID, "hf_shm_dump_look: info_out is NULL");
    struct passage *p = passage_make(file);
    if (p == NULL) return no_memory();
    hf_status status = get_head(p);
    if (status == HF_OK) describe(p, info_out);
    hfi_os_unmap(p, sizeof *p);
    return status;
}

hf_status hf_shm_load(const char *name, int file, const hf_shm_options *options,
                      hf_shm_dump_info *info_out, hf_shm **shm_out) {
    if (options != NULL && options->struct_size != sizeof *options)
        return hfi_shm_say(HF_E_INVALID,
                           "hf_shm_options: struct_size is %u, not %zu; call hf_shm_options_init "
                           "first",
                           options->struct_size, sizeof *options);
    struct passage *p = passage_make(file);
    if (p == NULL) return no_memory();
    hf_status status = get_head(p);
    if (status == HF_OK) {
        hf_shm_options own;
        if (options != NULL)
            own = *options;
        else
            hf_shm_options_init(&own, 0);
        own.size = p->head.size;
        own.size_max = p->head.size_max;
        own.participants_max = p->head.participants_max;
        own.entries_max = p->head.entries_max;
        own.name_size = p->head.name_size;
        own.format_size = p->head.format_size;
        own.huge_pages = p->head.huge_pages;
        if (own.presence == HF_SHM_WATCHER) own.presence = HF_SHM_MEMBER;
        const struct hfi_shm_filling filling = {fill, finish, p};
        status = hfi_shm_create_filled(name != NULL ? name : p->head.name, &own, &filling, shm_out);
        if (status == HF_OK) describe(p, info_out);
    }
    hfi_os_unmap(p, sizeof *p);
    return status;
}
