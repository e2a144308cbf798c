/* An array that grows at its end: a pointer and a count, both kept by the caller. */
#pragma once

#include <stddef.h>

/**
 * array_append() - Make room for one more element
 * @array_pointer: address of the pointer to the first element; that points to NULL while there are none
 * @count: elements there; one more afterwards
 * @size: of an element, in bytes
 *
 * The memory doubles when @count is a power of two, so an array must grow by this function only. The old memory is
 * wiped before it is freed: elements may be keys. Pointers to elements are good until the next call. Free it with
 * free().
 *
 * Return: the new element, zeroed; NULL without memory, array and count are then as they were.
 */
void *array_append(void *array_pointer, size_t *count, size_t size);
