#include "workload.h"

#include "stamp.h"

#define HOT 16

struct operation workload_at(const struct workload *load, uint64_t n)
{
    if (load->flush && n % load->flush == load->flush - 1)
        return (struct operation){.kind = BLOCK_FLUSH};
    uint64_t r = mix(load->key + n);
    bool few = r >> 8 & 15 || load->span == 1, anywhere = r >> 16 & 7 || load->blocks < HOT;
    uint64_t count = few ? 1 : 2 + (r >> 12 & 15) % (load->span - 1);
    uint64_t first = (r >> 32) * (anywhere ? load->blocks : HOT) >> 32;
    uint64_t room = load->blocks - first;
    return (struct operation){
        .kind = (r & 0xff) * 100 < load->writes << 8 ? BLOCK_WRITE : BLOCK_READ,
        .first = first,
        .count = (uint32_t)(count < room ? count : room),
    };
}

const char *workload_name(enum block_request kind)
{
    return kind == BLOCK_READ ? "read" : kind == BLOCK_WRITE ? "write" : "flush";
}
