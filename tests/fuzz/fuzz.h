/* The function that every fuzz target offers to libFuzzer and to replay.c, and the way it complains. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* @data lies in memory of exactly @size bytes. Return: 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A claim about the code under test, not about the input. */
#define CLAIM(condition)                                                                                               \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);                      \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

/* Memory of exactly @len bytes, so that the sanitizer sees every step too far. */
static inline void *fuzz_copy(const void *data, size_t len)
{
	uint8_t *copy = malloc(len > 0 ? len : 1);

	CLAIM(copy);
	if (len > 0)
		memcpy(copy, data, len);
	return copy;
}
