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

/* The nearest float16, even on a tie; |x| must not be beyond the largest. */
static inline uint16_t float_half(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    uint32_t sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
    if (size > 0x7f800000) return (uint16_t)(sign | 0x7e00);
    if (size < 0x38800000) { /* below the normal range: count steps of 2^-24, by rounding in float */
        float positive, shifted;
        memcpy(&positive, &size, 4);
        shifted = positive + 0.5f;
        memcpy(&size, &shifted, 4);
        return (uint16_t)(sign | (size - 0x3f000000));
    }
    size += 0xfff + (size >> 13 & 1);
    return (uint16_t)(sign | (size - 0x38000000) >> 13);
}

#endif
