/* Memory for buffers and rings: handed out once, from the end of the image upwards. */
#ifndef MEMORY_H
#define MEMORY_H

#include <stddef.h>

/* `size` zeroed bytes at a page boundary; NULL if the RAM below 4 GiB does not suffice. */
void *memory_take(size_t size);

/* All that is left, not zeroed; *size is its bytes, whole pages. */
void *memory_rest(size_t *size);

#endif
