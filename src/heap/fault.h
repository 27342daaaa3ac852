/* fault.h - names the block whose guard was hit. See fault.c. */
#ifndef HFI_FAULT_H
#define HFI_FAULT_H

/* From now on an access to a guard of the heap is reported before the program dies of it. Any number
 * of times, from any thread. */
void hfi_fault_start(void);

#endif
