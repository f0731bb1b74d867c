/* The low 4 GiB mapped one to one in 2 MiB pages, all of it accessible at CPL 3.
 *
 * User access is what lets drivers run at CPL 3, where code is native everywhere: RAM, the rings,
 * and device registers alike. The last GiB, where registers live, is mapped uncached. Accessed
 * and dirty bits are set beforehand, so that no CPU ever writes to these tables.
 */

#define TABLE 0x27               /* present, writable, user, accessed */
#define RAM_PAGE 0xe7            /* the same, dirty, 2 MiB */
#define DEVICE_PAGE 0xff         /* the same, uncached (PCD, PWT) */

    .section .page_tables, "aw", @progbits
    .globl page_map
    .balign 4096
page_map:
    .quad directories + TABLE
    .fill 511, 8, 0
directories:
    .quad pages + TABLE, pages + 0x1000 + TABLE, pages + 0x2000 + TABLE, pages + 0x3000 + TABLE
    .fill 508, 8, 0
pages:
    .set address, 0
    .rept 3 * 512
    .quad address + RAM_PAGE
    .set address, address + 0x200000
    .endr
    .rept 512
    .quad address + DEVICE_PAGE
    .set address, address + 0x200000
    .endr

    .section .note.GNU-stack, "", @progbits
