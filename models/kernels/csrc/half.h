/* float16, by hand: every processor has it in memory, not every one in registers. */

#ifndef HALF_H
#define HALF_H

#include <stdint.h>
#include <string.h>

static inline float half_float(const uint8_t *at) {
    uint16_t bits;
    memcpy(&bits, at, 2);
    uint32_t sign = (uint32_t)(bits & 0x8000) << 16, rest = bits & 0x7fff, wide;
    if (rest >= 0x7c00)
        wide = sign | 0x7f800000 | (rest & 0x3ff) << 13;
    else if (rest >= 0x400)
        wide = sign | ((rest << 13) + 0x38000000);
    else { /* below the normal range */
        float small = (float)rest * 0x1p-24f;
        memcpy(&wide, &small, 4);
        wide |= sign;
    }
    float result;
    memcpy(&result, &wide, 4);
    return result;
}

#endif
