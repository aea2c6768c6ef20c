/* All that is compiled once for each level. LEVEL is its name; the compiler's options (build.py) allow its instructions,
   and nothing here runs before the processor has been asked for them. */

#include "level.h"

#include <math.h>
#include <string.h>

#include "block.h"

#define MULTIPLY                                                                                                       \
    const uint8_t *panel, const uint8_t *block, int groups, float *out, int64_t stride, int width, int add,            \
        const float *bias
#define Q8_SCALE_BYTES(groups) (((groups)*32 + 63) / 64 * 64)

#if defined(__AVX512VNNI__)
#include "matmul_avx512.h"
#elif defined(__AVX2__)
#include "matmul_avx2.h"
#else
#include "matmul_plain.h"
#endif

#define FOR_ROWS(kind, rows)                                                                                           \
    static void kind##_##rows(MULTIPLY) { kind(panel, block, groups, out, stride, width, add, bias, rows); }
#define FOR_ALL_ROWS(kind)                                                                                             \
    FOR_ROWS(kind, 1) FOR_ROWS(kind, 2) FOR_ROWS(kind, 3) FOR_ROWS(kind, 4) FOR_ROWS(kind, 5) FOR_ROWS(kind, 6)        \
    FOR_ROWS(kind, 7) FOR_ROWS(kind, 8) FOR_ROWS(kind, 9) FOR_ROWS(kind, 10) FOR_ROWS(kind, 11) FOR_ROWS(kind, 12)     \
    FOR_ROWS(kind, 13) FOR_ROWS(kind, 14) FOR_ROWS(kind, 15) FOR_ROWS(kind, 16)
#define ALL_ROWS(kind)                                                                                                 \
    {kind##_1, kind##_2,  kind##_3,  kind##_4,  kind##_5,  kind##_6,  kind##_7,  kind##_8,                             \
     kind##_9, kind##_10, kind##_11, kind##_12, kind##_13, kind##_14, kind##_15, kind##_16}

FOR_ALL_ROWS(q4)
FOR_ALL_ROWS(q4k)
FOR_ALL_ROWS(q6k)
FOR_ALL_ROWS(q8)

static void quantise(
    const float *x, float factor, int inputs, int first, int last, int row, int rows, uint8_t *block) {
    for (int g = first; g < last; g++) {
        uint8_t *group = block + (size_t)g * rows * ROW_GROUP_BYTES;
        int8_t *values = (int8_t *)group + row * GROUP;
        float in[GROUP] = {0};
        int count = inputs - g * GROUP;
        memcpy(in, x + g * GROUP, sizeof(float) * (count < GROUP ? count : GROUP));
        float largest = 0;
        for (int i = 0; i < GROUP; i++) {
            float size = fabsf(in[i]);
            largest = size > largest ? size : largest;
        }
        float inverse = largest > 0 ? 127.0f / largest : 0.0f, scale = largest * (1.0f / 127.0f) * factor;
        int32_t low = 0, high = 0;
        for (int i = 0; i < GROUP; i++) {
            /* Adding 1.5 * 2^23 leaves the nearest whole number, even on a tie, in the lowest bits. */
            float shifted = in[i] * inverse + 12582912.0f;
            int32_t bits;
            memcpy(&bits, &shifted, 4);
            values[i] = (int8_t)(bits - 0x4b400000);
        }
        for (int i = 0; i < 16; i++) low += values[i];
        for (int i = 16; i < 32; i++) high += values[i];
        ((float *)scales_of(group, rows))[row] = scale;
        ((float *)sums_of(group, rows))[row] = scale * (float)(low + high);
        ((int32_t *)lows_of(group, rows))[row] = -32 * low;
        ((int32_t *)highs_of(group, rows))[row] = -32 * high;
        ((int32_t *)wholes_of(group, rows))[row] = -128 * (low + high);
    }
}

const level NAMED(level) = {
    .name = TEXT(LEVEL),
    .multiply = {[Q4] = ALL_ROWS(q4), [Q4K] = ALL_ROWS(q4k), [Q6K] = ALL_ROWS(q6k), [Q8] = ALL_ROWS(q8)},
    .quantise = quantise,
};
