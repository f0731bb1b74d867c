/* Rules that are broken one after the other, on a disk that has to work again after each.
 *
 * A disk must answer a broken ring by asking for a reset (DEVICE_NEEDS_RESET, virtio 1.2, 2.1),
 * after which it works. Whatever goes wrong ends the guest with a line that names the trial.
 */
#ifndef TRIAL_H
#define TRIAL_H

#include "block.h"

#define TRIAL_DEPTH 8
#define TRIAL_BLOCK 4096

struct trial {
    const char *name;
    void (*run)(void);
};

/* Runs the trial of the argument `mode`, or all of them without one, saying
 * `<guest>: <name>: ok` after each. With gate=<disk number>, it first waits, mostly halted, until
 * somebody outside has made that disk's first byte other than 0. The guest's exit status. */
int trials_run(const struct trial *trials, unsigned count);

/* Ends the guest: `<guest>: FAIL <trial>: <message>`. */
_Noreturn void trial_failed(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The disk of the argument `device`, with TRIAL_DEPTH slots of TRIAL_BLOCK bytes. */
extern struct block_device trial_disk;
void trial_start(void); /* or start again, after a reset */

/* A request, as block_submit; and all that were submitted, to their ends. */
void trial_submit(unsigned slot, enum block_request kind, uint64_t block);
void trial_finish(void);

/* Writes TRIAL_DEPTH blocks and reads them back in other slots: the disk works. */
void trial_prove(void);

/* A read in a slot, laid out and not yet offered: its three descriptors (header, buffer, status),
 * the first of which is number 3 * slot. */
struct descriptor *trial_chain(unsigned slot);

/* Offers `head`. Refused: the device must ask for a reset. Survived: that, or a completion. After
 * it, the disk works. */
void trial_refused(uint16_t head);
void trial_survived(uint16_t head);

/* Waits until the disk asks for a reset, or, if `may_complete`, has completed something. */
void trial_await(bool may_complete);

#endif
