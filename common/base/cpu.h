/* What the processor under us can do, asked at run time: a package runs on all of its architecture. */
#pragma once

#include <stdbool.h>

/* Without these instructions AES takes several times as long as ChaCha20: a Raspberry Pi up to model 4 has none. */
bool cpu_has_aes(void);
