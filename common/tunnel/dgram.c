/* The pool of datagram cells: a mapping handed out front to back, and a free list of what came back (last in, first
 * out, so that warm memory is used again). Fails only by being empty.
 *
 * All flows and both directions share one pool. Its capacity bounds what a burst can cost, whoever sends it, and a
 * datagram moves from queue to queue as a pointer. One thread uses it, so nothing is locked. */
#include "common/tunnel/dgram.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

/* MAP_NORESERVE, and no page is touched here: a pool for the worst case costs an idle program nothing. */
int dgram_pool_init(struct dgram_pool *pool, size_t capacity, struct err *err)
{
	void *memory = mmap(NULL, capacity * sizeof(struct dgram), PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		return err_system(err, -errno, "memory for %zu datagrams", capacity);
	*pool = (struct dgram_pool){.memory = memory, .capacity = capacity};
	return 0;
}

void dgram_pool_done(struct dgram_pool *pool)
{
	if (pool->memory)
		munmap(pool->memory, pool->capacity * sizeof(struct dgram));
	*pool = (struct dgram_pool){0};
}

/* The free list is in the cells and goes with them. */
void dgram_pool_give_back(struct dgram_pool *pool)
{
	if (pool->in_use > 0 || madvise(pool->memory, pool->touched * sizeof(struct dgram), MADV_DONTNEED) < 0)
		return;
	pool->free = NULL;
	pool->touched = 0;
}

/* All cells but the last are full, so its share of the bytes follows from the length. Only datagrams that are longer
 * than a cell come here; without a free cell the datagram stays as it was. */
int dgram_append(struct dgram_pool *pool, struct dgram *dgram, const uint8_t *data, size_t len)
{
	size_t used = dgram->len; /* of the last cell */
	struct dgram *old_last = dgram, *last;
	uint32_t cells = dgram->cells;
	size_t done = 0;

	for (; old_last->more; old_last = old_last->more)
		used -= DGRAM_CELL_DATA;
	last = old_last;
	while (done < len) {
		size_t room = DGRAM_CELL_DATA - used;
		size_t part = len - done < room ? len - done : room;

		memcpy(last->data + used, data + done, part);
		done += part;
		used += part;
		if (done < len) {
			last->more = dgram_take(pool);
			if (!last->more)
				goto undo;
			last = last->more;
			cells++;
			used = 0;
		}
	}
	dgram->len += (uint32_t)len;
	dgram->cells = cells;
	return 0;
undo: /* len and cells were not changed yet; what was copied behind len means nothing */
	dgram_give(pool, old_last->more);
	old_last->more = NULL;
	return -ENOBUFS;
}

/* One memcpy() in nearly all cases: a cell holds a datagram of any usual MTU. */
void dgram_copy(const struct dgram *dgram, uint8_t *out)
{
	size_t left = dgram->len;

	while (left > DGRAM_CELL_DATA) {
		memcpy(out, dgram->data, DGRAM_CELL_DATA);
		out += DGRAM_CELL_DATA;
		left -= DGRAM_CELL_DATA;
		dgram = dgram->more;
	}
	memcpy(out, dgram->data, left);
}
