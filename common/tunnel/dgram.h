/* Datagrams in memory: cells from one pool, received into, queued and sent from without a copy in between.
 *
 * A cell holds a full WireGuard packet of a 1500-byte link with room to spare; a longer datagram is a chain of cells.
 * The pool is mapped once and touched only as far as it is used; nothing is allocated later.
 */
#pragma once

#include "common/base/err.h"

#include <stddef.h>
#include <stdint.h>

/* A cell is half a page of 4096 bytes; two pointers and 16 bytes are in front of the data. */
#define DGRAM_CELL 2048u
#define DGRAM_CELL_DATA ((uint32_t)(DGRAM_CELL - 2 * sizeof(void *) - 16))

struct dgram {
	struct dgram *next; /* in a queue or in the free list */
	struct dgram *more; /* the next cell of this datagram; NULL: the last one */
	uint64_t received_us;
	uint32_t len;	/* of the whole datagram; meaningful in its first cell */
	uint32_t cells; /* of the whole datagram; meaningful in its first cell */
	uint8_t data[DGRAM_CELL_DATA];
};

_Static_assert(sizeof(struct dgram) == DGRAM_CELL, "two cells fill a page");

struct dgram_pool {
	struct dgram *memory;
	size_t capacity; /* cells */
	size_t touched;	 /* cells that were ever handed out; those behind have not cost a page yet */
	size_t in_use;
	struct dgram *free;
};

/* Map room for @capacity cells. Return: 0 or a negative errno. */
int dgram_pool_init(struct dgram_pool *pool, size_t capacity, struct err *err);
void dgram_pool_done(struct dgram_pool *pool);

/* Give the pages back to the kernel, if no cell is in use. */
void dgram_pool_give_back(struct dgram_pool *pool);

/* One cell with len 0; NULL where the pool is used up. The data is not cleared: len says how much of it means
 * anything. */
static inline struct dgram *dgram_take(struct dgram_pool *pool)
{
	struct dgram *dgram = pool->free;

	if (dgram)
		pool->free = dgram->next;
	else if (pool->touched < pool->capacity)
		dgram = &pool->memory[pool->touched++];
	else
		return NULL;
	pool->in_use++;
	dgram->next = NULL;
	dgram->more = NULL;
	dgram->len = 0;
	dgram->cells = 1;
	return dgram;
}

/* Give a whole datagram back, all its cells. Each goes to the head of the free list: the next datagram is received into
 * memory that is in the cache. */
static inline void dgram_give(struct dgram_pool *pool, struct dgram *dgram)
{
	while (dgram) {
		struct dgram *more = dgram->more;

		dgram->next = pool->free;
		pool->free = dgram;
		pool->in_use--;
		dgram = more;
	}
}

/* Append bytes behind @dgram->len, taking further cells as needed. Return: 0, or -ENOBUFS, @dgram's len unchanged. */
int dgram_append(struct dgram_pool *pool, struct dgram *dgram, const uint8_t *data, size_t len);

/* Copy the whole datagram to @out (dgram->len bytes). */
void dgram_copy(const struct dgram *dgram, uint8_t *out);
