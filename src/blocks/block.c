/* block.c - the secret behind trailers and patterns.
 * Threads     started once, before the first block; read-only afterwards.
 * Why         a fresh secret per process: a trailer copied from a file or another process is found. */
#include "block.h"

#include "os/os.h"

uint64_t hfi_block_secret;
uint64_t hfi_block_pattern;
uint64_t hfi_block_multiplier = HFI_BLOCK_MULTIPLIER;
uint64_t hfi_block_inverse = HFI_BLOCK_INVERSE;

void hfi_block_secret_start(void) {
    unsigned char bytes[8];
    hfi_os_random(&hfi_block_secret, sizeof hfi_block_secret);
    hfi_os_random(bytes, sizeof bytes);
    /* One byte out of each sixteenth of 0x80..0xfe, so all differ: a shifted pattern is noticed. */
    uint64_t pattern = 0;
    for (unsigned i = 0; i < 8; i++)
        pattern |= (uint64_t)(0x80u + 16 * i + bytes[i] % 15) << (8 * i);
    hfi_block_pattern = pattern;
}
