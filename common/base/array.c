/* See array.h. The capacity is not stored: it is the smallest power of two that holds the count, so it is known to be
 * exhausted exactly when the count is 0 or a power of two.
 */
#include "common/base/array.h"

#include "common/base/secret.h"

#include <stdlib.h>
#include <string.h>

void *array_append(void *array_pointer, size_t *count, size_t size)
{
	void **array = array_pointer;
	char *element;

	if ((*count & (*count - 1)) == 0) {
		void *grown = calloc(*count ? 2 * *count : 1, size);

		if (!grown)
			return NULL;
		if (*count > 0)
			memcpy(grown, *array, *count * size);
		secret_wipe(*array, *count * size);
		free(*array);
		*array = grown;
	}
	element = (char *)*array + (*count)++ * size;
	return memset(element, 0, size); /* an element that was taken off again may have left its bytes */
}
